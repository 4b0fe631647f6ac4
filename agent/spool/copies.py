"""Damaged spools that were set aside for a person to look at: so many, and no more."""

import re
from collections import defaultdict
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

MOST_COPIES = 4
_STAMP = re.compile(r"\.damaged-(\d+)")
"""All parts of one copy have the same, in nanoseconds."""


def trim(spool: Path, most_bytes: int) -> int:
    """Removes the oldest beyond ``MOST_COPIES``, or beyond ``most_bytes`` together; the newest one
    stays in any case. Returns how many; each is logged."""
    copies: defaultdict[int, list[Path]] = defaultdict(list)
    for part in spool.parent.glob(f"{spool.name}.damaged-*"):
        if stamp := _STAMP.search(part.name):
            copies[int(stamp[1])].append(part)
    total, removed = 0, 0
    for number, parts in enumerate(copies[stamp] for stamp in sorted(copies, reverse=True)):
        size = sum(part.stat().st_size for part in parts)
        total += size
        if number and (number >= MOST_COPIES or total > most_bytes):
            for part in parts:
                part.unlink(missing_ok=True)
            removed += 1
            log.warning("spool.copy_removed", file=str(min(parts)), bytes=size)
    return removed
