"""Segments at a start: which of those that the ledger names are damaged, and which are back.

A segment that is missing is taken out of the record, by an entry of the ledger. A disk that is not
there is something else: nothing is taken out for that, and the collector does not start.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from collector.ledger import Ledger, fsync_folder
from collector.ledger_entry import RESTORED, SealedFile
from collector.ledger_reading import sha256_of

QUARANTINE = "quarantine"
GONE = "gone-for-good"
"""A file of this name in a folder says that its segments will not come back."""


class AbsentError(Exception):
    """The segments, or the disk with them, are not there; the message says where and what to do."""


def damaged_segments(data_dir: Path, ledger: Ledger) -> dict[str, str]:
    """Why, by path: single ones are missing, or have another size. Raises AbsentError."""
    damaged, missing = {}, []
    for name, file in ledger.files.items():
        try:
            size = (data_dir / name).stat().st_size
        except FileNotFoundError as error:
            damaged[name] = f"cannot be read: {error.strerror}"
            missing.append(Path(name))
            continue
        except OSError as error:
            raise AbsentError(
                f"{error.filename}: {error.strerror}: nothing is taken out of the record for that;"
                " check mount, owner and disk"
            ) from error
        if size != file.bytes:
            damaged[name] = f"{size} bytes, sealed with {file.bytes}"
    _check_folders(data_dir, ledger, missing)
    return damaged


def _check_folders(data_dir: Path, ledger: Ledger, missing: list[Path]) -> None:
    sealed = Counter(Path(name).parent for name in ledger.files)
    for folder, count in Counter(name.parent for name in missing).items():
        place = data_dir / folder
        if count < sealed[folder] or (place / GONE).exists():
            continue
        if count > 1 or not place.is_dir():
            raise AbsentError(
                f"{place} has none of its {count} segments: mount or restore it. If they are gone"
                f" for good, make an empty file {place / GONE}: they are then taken out of the"
                " record, and the ledger says so"
            )


def take_back(data_dir: Path, ledger: Ledger) -> list[str]:
    """Segments that were taken out as damaged and are there again as they were sealed, in their
    place or in quarantine, hold again: an entry of the ledger says so. Raises OSError."""
    back = [file for file in ledger.damaged.values() if _is_back(data_dir, file)]
    for folder in {(data_dir / file.path).parent for file in back}:
        fsync_folder(folder)
    if back:
        ledger.append(time.time_ns() // 1000, tuple(back), reason=RESTORED)
    return [file.path for file in back]


def _is_back(data_dir: Path, file: SealedFile) -> bool:
    target = data_dir / file.path
    for found in _copies(data_dir, target):
        if found.stat().st_size != file.bytes or sha256_of(found) != file.sha256:
            continue
        with found.open("rb") as opened:
            os.fsync(opened.fileno())  # whoever put it there may not have
        if found != target:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(found, target)
        return True
    return False


def _copies(data_dir: Path, target: Path) -> Iterator[Path]:
    if target.is_file():
        yield target
    yield from sorted((data_dir / QUARANTINE).glob(f"{target.parent.name}-*-{target.name}"))
