"""Which start of this host's kernel is running."""

from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@cache
def boot_id() -> str:
    """Empty where /proc does not tell."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
