"""Whether this host's clock may say what is old enough to go.

Rows that went by a wrong clock do not come back. So a clock that is suddenly ahead must stand for a
day first: while the collector runs it is compared with the monotonic clock, at a start with the
time of the ledger's last head. Pure.
"""

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


class ClockTrust:
    """All times in microseconds; ``unix_us`` of the clock in question."""

    def __init__(self, unix_us: int, monotonic_us: int, last_us: int, until_us: int = 0) -> None:
        """``last_us``: of the ledger's last head, 0 for none; ``until_us``: as long as it was
        doubted when the collector ended."""
        self._offset_us = unix_us - monotonic_us
        left_us = min(until_us - unix_us, DAY_US)  # it may have been put right meanwhile
        self._good_at_us = monotonic_us + max(left_us, 0)
        self._ahead_us = 0
        if last_us and unix_us - last_us > DAY_US:
            self._doubt(unix_us - last_us, monotonic_us)

    def look(self, unix_us: int, monotonic_us: int) -> int:
        """By how much it was set forward, to be told; 0: nothing new."""
        moved_us = unix_us - monotonic_us - self._offset_us
        self._offset_us += moved_us
        if moved_us > HOUR_US:
            self._doubt(moved_us, monotonic_us)
        ahead_us, self._ahead_us = self._ahead_us, 0
        return ahead_us

    def is_good(self, monotonic_us: int) -> bool:
        return monotonic_us >= self._good_at_us

    def _doubt(self, ahead_us: int, monotonic_us: int) -> None:
        self._ahead_us = ahead_us
        self._good_at_us = monotonic_us + DAY_US
