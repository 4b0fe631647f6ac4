"""The address map's file, read again when it has changed."""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from agent.identity import AddressMap, IdentityError, read_address_map

log = structlog.get_logger(__name__)


class AddressFile:
    """Raises IdentityError for a file that cannot be used at the start; later the last good one
    stays in force, and ``problem`` says why."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen = _version(path)
        self._map = AddressMap() if path is None else read_address_map(path)
        self.problem = ""

    def __call__(self) -> AddressMap:
        return self._map

    def reload(self) -> bool:
        """True when another map is in force since."""
        seen = _version(self._path)
        if self._path is None or seen == self._seen:
            return False
        self._seen = seen
        try:
            self._map = read_address_map(self._path)
        except IdentityError as error:
            self.problem = f"the address map of before is in force: {error}"
            log.error("address_map.bad", problem=str(error))
            return False
        self.problem = ""
        log.info("address_map.read", addresses=len(self._map))
        return True


def _version(path: Path | None) -> tuple[int, int, int] | None:
    """None when there is no such file."""
    try:
        status = os.stat(path) if path else None
    except OSError:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns) if status else None
