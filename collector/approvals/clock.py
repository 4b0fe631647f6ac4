"""Both clocks of this host."""

import time

from config.boot import boot_id
from model.approval import Moment


def now() -> Moment:
    boot_us = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    return Moment(time.time_ns() // 1000, boot_us, boot_id())
