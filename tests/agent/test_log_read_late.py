"""A log that is read late on a busy host parts no statement from its record."""

import threading
from dataclasses import replace

import pytest

from agent.inbox import Inbox
from agent.log_follower import PATIENCE_US, LogsRead
from agent.sessions import SessionTracker
from model.event import AuditLogged, Completion, ResponseSent, StatementStarted
from model.session import BackendKey
from model.statement import Source, Statement

T0_US = 1_700_000_000_000_000
SECOND_US = 1_000_000
KEY = BackendKey(42, T0_US)


def ran(tracker, at_us):
    text = b"SELECT 1"
    tracker.observe(StatementStarted(at_us * 1000, KEY, text, len(text)))
    done = (Completion("SELECT", 1),)
    tracker.observe(ResponseSent((at_us + 100) * 1000, KEY, 9, done, ready=True))


def record(at_us):
    return AuditLogged(
        at_us * 1000, KEY, "main", "ann", "shop", "psql", "local", "SESSION", 1, 1, "READ",
        "SELECT", "", "", "SELECT 1", "",
    )  # fmt: skip


class Logs(LogsRead):
    """Of a host whose two clocks show the same."""

    def as_of(self, now_us, monotonic_us=None):
        return super().as_of(now_us, now_us if monotonic_us is None else monotonic_us)


def sources(output):
    return [each.source for each in output if isinstance(each, Statement)]


def test_a_statement_waits_for_a_log_that_is_read_late():
    tracker, logs = SessionTracker(1), Logs()
    logs.note("main", T0_US)
    ran(tracker, T0_US)
    told = []
    for step in range(60):  # six seconds, in which the log is not read
        now_us = T0_US + step * SECOND_US // 10
        told += tracker.expire(now_us, logs.as_of(now_us))
    assert sources(told) == []
    tracker.observe(record(T0_US))
    for step in range(60, 70):
        now_us = T0_US + step * SECOND_US // 10
        logs.note("main", now_us)
        told += tracker.expire(now_us, logs.as_of(now_us))
    assert sources(told) == [Source.BOTH]


def test_a_statement_with_one_record_waits_for_those_that_are_read_later():
    tracker, logs = SessionTracker(1), Logs()
    logs.note("main", T0_US)
    ran(tracker, T0_US)
    told = tracker.expire(T0_US, logs.as_of(T0_US))
    tracker.observe(record(T0_US))
    for step in range(30):  # three seconds, in which the log is not read on
        now_us = T0_US + step * SECOND_US // 10
        told += tracker.expire(now_us, logs.as_of(now_us))
    tracker.observe(replace(record(T0_US), object_type="TABLE", object_name="shop.orders"))
    for step in range(30, 35):
        now_us = T0_US + step * SECOND_US // 10
        logs.note("main", now_us)
        told += tracker.expire(now_us, logs.as_of(now_us))
    [statement] = [each for each in told if isinstance(each, Statement)]
    assert statement.audit.objects == ("table:shop.orders",)
    assert tracker.losses() == {}


def test_a_log_that_nobody_reads_delays_a_statement_by_ten_seconds_at_most():
    tracker, logs = SessionTracker(1), Logs()
    logs.note("main", T0_US)
    ran(tracker, T0_US)
    told_at = None
    for step in range(200):
        now_us = T0_US + step * SECOND_US // 10
        if sources(tracker.expire(now_us, logs.as_of(now_us))):
            told_at = now_us
            break
    assert told_at is not None
    assert PATIENCE_US < told_at - T0_US <= PATIENCE_US + 2 * SECOND_US


def test_the_slowest_log_counts_until_it_is_read_no_more():
    logs = Logs()
    assert logs.as_of(T0_US) == T0_US
    logs.note("main", T0_US - 3 * SECOND_US)
    logs.note("other", T0_US - 1)
    assert logs.as_of(T0_US) == T0_US - 3 * SECOND_US
    logs.note("main", 0)
    assert logs.as_of(T0_US) == T0_US - 1


@pytest.mark.parametrize("set_us", [-3600 * SECOND_US, 0, 3600 * SECOND_US])
def test_a_clock_that_is_set_makes_no_log_late_and_none_early(set_us):
    logs = LogsRead()
    logs.note("main", 5 * SECOND_US)
    for late_us in (0, SECOND_US):
        read_us = logs.as_of(T0_US + set_us, 5 * SECOND_US + late_us)
        assert read_us == T0_US + set_us - late_us
    assert logs.as_of(T0_US, 4 * SECOND_US) == T0_US  # noted by another thread meanwhile


def test_how_far_a_log_is_comes_after_what_was_read_from_it():
    inbox, stop = Inbox(), threading.Event()
    inbox.deliver([record(T0_US)], None, stop, ("main", T0_US + 1))
    inbox.note(("main", 0))
    first, second = inbox.take(0), inbox.take(0)
    assert [len(first.events), first.log_read] == [1, ("main", T0_US + 1)]
    assert [second.events, second.log_read] == [[], ("main", 0)]


def test_news_of_a_log_finds_no_room_where_nobody_takes_it():
    inbox, stop = Inbox(limit_weight=3), threading.Event()
    for n in range(3):
        inbox.deliver([], None, stop, ("main", T0_US + n))
    assert inbox.fill == 1.0
    stop.set()
    inbox.deliver([], None, stop, ("main", T0_US + 3))
    assert inbox.fill == 1.0
