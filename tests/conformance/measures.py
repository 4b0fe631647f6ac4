"""What several statements share: the bytes of one answer, the time of one stopwatch. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from tests.conformance.diary import CLOCK_SLACK_US
from tests.conformance.expected import SUCCESS, Captured, Difference, Expected

Pairs = Sequence[tuple[Expected, Captured]]
READY_BYTES = 6
"""ReadyForQuery: the least that a client receives."""


def _grouped(pairs: Pairs, number: Callable[[Expected], int]) -> Iterator[Pairs]:
    groups = defaultdict(list)
    for one, row in pairs:
        groups[number(one)].append((one, row))
    yield from groups.values()


def answers(pairs: Pairs) -> Iterator[Difference]:
    """The bytes of a round trip belong to the statements that it ran, to the last byte where the
    client counted them."""
    for group in _grouped(pairs, lambda one: one.round_trip):
        one = group[0][0]
        told = [row.bytes_sent for _, row in group if row.bytes_sent is not None]
        if one.received is not None:
            if sum(told) != one.received:
                yield Difference("bytes_sent", one.text, str(one.received), str(told))
        elif one.transaction and not one.transaction.endswith("?") and sum(told) <= READY_BYTES:
            yield Difference("bytes_sent", one.text, f"over {READY_BYTES}", str(told))


def _is_behind_others(one: Expected) -> bool:
    return not one.prepared and one.outcome.sqlstate != SUCCESS


def stretches(pairs: Pairs) -> Iterator[Difference]:
    """Statements that ran one after the other took no longer together than their client waited.

    Of one that fails before it begins, behind others in one message, it is only known when the
    message came: its duration is that of the message, and not looked at here.
    """
    for group in _grouped(pairs, lambda one: one.watch):
        one = group[0][0]
        total_us = sum(row.duration_us or 0 for one, row in group if not _is_behind_others(one))
        if one.watch_us is not None and total_us > one.watch_us + CLOCK_SLACK_US:
            limit = f"at most {one.watch_us} in all"
            yield Difference("duration_us", one.text, limit, str(total_us))
