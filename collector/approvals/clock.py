"""Both clocks of this host."""

import time
from functools import cache
from pathlib import Path

from model.approval import Moment

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def now() -> Moment:
    boot_us = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    return Moment(time.time_ns() // 1000, boot_us, _boot_id())


@cache
def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
