"""The newest bundle of central rules, handed to every agent: when it connects, and when it changes.

The collector holds no key: it carries what somebody else has signed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from protos.pgwarden.v1 import uplink_pb2 as pb
from rules.bundle import BundleError, Sealed, claimed_version, from_file

log = structlog.get_logger(__name__)

SUFFIX = ".bundle"
LOOK_SECONDS = 2.0


class RuleBundles:
    """``newest`` from any thread; ``tell`` is called with each newer one while it runs, ``note``
    with version and SHA-256 of each that becomes the newest."""

    def __init__(
        self,
        directory: Path | None,
        tell: Callable[[pb.CollectorMessage], None],
        note: Callable[[int, str], None] = lambda version, digest: None,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._directory = directory
        self._tell = tell
        self._note = note
        self._look_seconds = look_seconds
        self._said: set[str] = set()
        self._newest: Sealed | None = None
        self._message: pb.CollectorMessage | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rule-bundles", daemon=True)

    def start(self) -> None:
        if self._directory is not None:
            self._look()
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def newest(self) -> pb.CollectorMessage | None:
        """For an agent that has just said Hello."""
        return self._message

    def _run(self) -> None:
        while not self._stop.wait(self._look_seconds):
            if self._look() and self._message is not None:
                self._tell(self._message)

    def _look(self) -> bool:
        """Whether another bundle is the newest now."""
        found = [bundle for file in self._files() if (bundle := self._read(file)) is not None]
        if not found:
            return False  # an agent keeps what it has: rules are not taken back by removing a file
        version, sealed = max(found, key=lambda each: each[0])
        if sealed == self._newest:
            return False
        self._newest = sealed
        self._message = pb.CollectorMessage(
            rules=pb.Rules(version=version, bundle=sealed.payload, signature=sealed.signature)
        )
        self._note(version, sealed.digest)
        log.info("rules.bundle", version=version, digest=sealed.digest[:12])
        return True

    def _files(self) -> list[Path]:
        try:
            assert self._directory is not None
            return sorted(each for each in self._directory.iterdir() if each.suffix == SUFFIX)
        except OSError as error:
            self._say(f"{self._directory}: {error.strerror}")
            return []

    def _read(self, file: Path) -> tuple[int, Sealed] | None:
        try:
            sealed = from_file(file.read_bytes())
            return claimed_version(sealed), sealed
        except (BundleError, OSError) as error:
            self._say(f"{file}: {error}")
            return None

    def _say(self, problem: str) -> None:
        if problem not in self._said:
            self._said.add(problem)
            log.error("rules.bundle_bad", problem=problem)
