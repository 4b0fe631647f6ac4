"""Batches that were refused, as long as their agents may not have heard of it.

An acknowledgement covers every number before it, also one that was refused among good ones. An
agent that was killed before it read the refusal, or whose collector was before it left, would
forget that batch uncounted. So a refusal is durable before anything covers its number, and a new
stream hears of it before its first acknowledgement.
"""

import json
import logging
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from collector.ledger import fsync_folder
from collector.line_file import extend
from collector.submission import BatchId

NAME = "refused.jsonl"
KEPT_OF_AGENT = 256
"""The newest: more than an agent has under way at once."""
KEPT = 8_192
"""Of all agents: on the socket of the host a name is free."""
MOST_LINES = 4 * KEPT
"""Of the file, which gets a line for each; then it is written anew with those that are kept."""
REASON_CHARACTERS = 200

Reasons = dict[BatchId, str]

_log = logging.getLogger(__name__)


class Refusals:
    """Thread-safe; who only asks never waits for the disk."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._lock = threading.Lock()
        self._length = 0
        """Of whole lines, in bytes; 0: the file is to be written anew."""
        self._lines = 0
        self._reasons = self._read()
        """The newest last. Never changed: another one takes its place."""

    def add(self, refused: Iterable[tuple[BatchId, str]]) -> None:
        """Durable when it returns. Raises OSError; then nothing may cover these numbers."""
        with self._lock:
            new = {batch: reason[:REASON_CHARACTERS] for batch, reason in refused}
            kept = {each: why for each, why in self._reasons.items() if each not in new}
            self._keep(_newest(kept | new), new)

    def forget(self, accepted: Iterable[BatchId]) -> None:
        """Before they are committed: another release may take what this one refused, and who hears
        of a refusal counts the batch as lost. Raises OSError; then they may not be committed."""
        with self._lock:
            stale = self._reasons.keys() & accepted
            if stale:
                reasons = {each: why for each, why in self._reasons.items() if each not in stale}
                self._keep(reasons, dict.fromkeys(stale, ""))

    def of(self, agent: str, epoch: int, upto: int) -> list[tuple[int, str]]:
        """Numbers, ascending, up to that one, and why."""
        return sorted(
            (batch.sequence, reason)
            for batch, reason in self._reasons.items()
            if (batch.agent, batch.epoch) == (agent, epoch) and batch.sequence <= upto
        )

    def reason(self, batch: BatchId) -> str:
        """Why it was refused; empty if it was not, as far as is known."""
        return self._reasons.get(batch, "")

    def _keep(self, reasons: Reasons, changed: Reasons) -> None:
        if self._length and self._lines + len(changed) <= MOST_LINES:
            self._length = extend(self._path, self._length, b"\n".join(_lines(changed)))
            self._lines += len(changed)
        else:
            self._write(reasons)
        self._reasons = reasons

    def _write(self, reasons: Reasons) -> None:
        if not self._path.parent.is_dir():
            self._path.parent.mkdir(parents=True)
            fsync_folder(self._path.parent.parent)
        data = b"".join(line + b"\n" for line in _lines(reasons))
        part = self._path.with_name(f"{NAME}.part")
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._path)
        self._length = 0  # until its name is durable
        fsync_folder(self._path.parent)
        self._length, self._lines = len(data), len(reasons)

    def _read(self) -> Reasons:
        reasons: Reasons = {}
        try:
            data = self._path.read_bytes()
            lines = data[: data.rfind(b"\n") + 1].splitlines()
            for agent, epoch, sequence, why in map(json.loads, lines):
                batch = BatchId(str(agent), int(epoch), int(sequence))
                reasons.pop(batch, None)
                if why:
                    reasons[batch] = str(why)
            self._length, self._lines = data.rfind(b"\n") + 1, len(lines)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError) as error:
            _log.error("%s cannot be read, refusals are unknown: %s", self._path, error)
        return _newest(reasons)


def _lines(reasons: Reasons) -> Iterator[bytes]:
    """An empty reason: it is refused no more."""
    for each, why in reasons.items():
        yield json.dumps([each.agent, each.epoch, each.sequence, why]).encode()


def _newest(reasons: Reasons) -> Reasons:
    left: dict[str, int] = {}
    kept: list[tuple[BatchId, str]] = []
    for batch, reason in reversed(reasons.items()):
        left[batch.agent] = left.get(batch.agent, KEPT_OF_AGENT) - 1
        if left[batch.agent] >= 0 and len(kept) < KEPT:
            kept.append((batch, reason))
    return dict(reversed(kept))
