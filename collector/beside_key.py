"""The newest head once more beside the key, where that does not lie with the record.

Who can write ``data_dir`` alone can put back an old copy of all of it, which is signed and whole.
What lies beside the key then knows more than that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from collector.pgwarden_verify import signed_head

_log = logging.getLogger(__name__)


class BesideKey:
    """``key_file`` None, or in ``data_dir``: it does nothing."""

    def __init__(self, data_dir: Path, key_file: Path | None) -> None:
        is_apart = key_file is not None and key_file.resolve().parent != data_dir.resolve()
        self._file = key_file.with_name(f"{key_file.name}.head") if key_file and is_apart else None

    def keep(self, line: bytes) -> None:
        """Without waiting for the disk: one that is older after a crash only sees less."""
        if self._file is None:
            return
        part = self._file.with_name(f".{self._file.name}.part")
        try:
            part.write_bytes(line + b"\n")
            part.replace(self._file)
        except OSError as error:
            _log.warning("no head is kept beside the key: %s: %s", self._file, error.strerror)
            self._file = None

    def problem(
        self,
        key_id: str,
        key: Ed25519PublicKey,
        size_now: int,
        root_at: Callable[[int], bytes | None],
    ) -> str:
        """How the ledger contradicts it; empty: it does not, or there is none of this key.
        ``root_at`` None: of a size that this start has not read."""
        try:
            lines = self._file.read_bytes().splitlines() if self._file is not None else []
            head = signed_head(lines[0], {key_id: key})
        except (OSError, ValueError, IndexError):
            return ""
        size, root = int(head["size"]), root_at(int(head["size"]))
        if size > size_now:
            return f"{self._file}: {size} entries were signed, and there are {size_now}"
        if root is not None and root.hex() != head["root"]:
            return f"{self._file}: the first {size} entries are not those that were signed"
        return ""
