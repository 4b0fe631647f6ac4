"""The inbox between the sources and the recorder is bounded, counted and in order."""

import threading
import time
from dataclasses import replace

import pytest

from agent.guard.hold import Settled
from agent.inbox import Inbox
from agent.judging import Held
from model.event import (
    AuditLogged,
    Completion,
    ErrorReport,
    Executed,
    ResponseSent,
    SessionSeen,
    StatementsCounted,
    StatementsExecuted,
    StatementStarted,
)
from model.session import BackendKey

BACKEND = BackendKey(1, 1)
KIB = b"x" * 1024
EXECUTED = Executed(0, 1, 1, 1, 1)
FAILURE = ErrorReport("ERROR", "42601", "syntax error")


def statement(text=b"SELECT 1"):
    return StatementStarted(0, BACKEND, text, len(text))


def audit(text):
    return AuditLogged(
        0, BACKEND, "", "", "", "", "", "SESSION", 1, 1, "READ", "SELECT", "", "", text, text
    )


HEAVY = [
    statement(KIB * 4),
    Held(statement(KIB * 4), Settled.__new__(Settled)),
    audit("x" * 2048),
    ResponseSent(0, BACKEND, 1, failed_text=KIB * 4),
    ResponseSent(0, BACKEND, 1, error=ErrorReport("ERROR", "22012", "x" * 4096)),
]


def test_an_offer_is_taken_whole_while_there_is_room_and_counted_when_there_is_none():
    inbox = Inbox(3)
    first = [statement(b"a") for _ in range(5)]
    inbox.offer(first)
    inbox.offer([statement(b"b"), statement(b"c")])
    assert [(lost.reason, lost.count) for lost in inbox.overflow] == [("queue_full", 2)]
    assert inbox.take(0).events == first
    inbox.offer([statement(b"d")])
    assert len(inbox.overflow) == 1, "there is room again"


@pytest.mark.parametrize("event", HEAVY, ids=lambda event: type(event).__name__)
def test_text_weighs_by_the_kib_whatever_carries_it(event):
    inbox = Inbox(5)
    inbox.offer([event])
    inbox.offer([statement()])
    assert len(inbox.overflow) == 1
    assert inbox.take(0).events == [event]
    inbox.offer([statement()])
    assert len(inbox.overflow) == 1


def test_what_does_not_fit_is_counted_by_the_statement():
    inbox = Inbox(1)
    inbox.offer([statement()])
    inbox.offer(
        [
            StatementsExecuted(BACKEND, b"SELECT 1", "SELECT", "II", [EXECUTED] * 7),
            StatementsCounted(BACKEND, b"SELECT 1", 40, 40, 0, 0, 0, 0, ()),
            ResponseSent(0, BACKEND, 1, (Completion("SELECT", 1),), ready=True),
            ResponseSent(0, BACKEND, 1, error=FAILURE, failed_text=b"SELEC 1"),
            statement(),
        ]
    )
    assert [lost.count for lost in inbox.overflow] == [7 + 40 + 1 + 1]


def test_what_is_urgent_and_who_is_connected_finds_room_in_a_full_inbox():
    inbox, other = Inbox(8), BackendKey(2, 2)
    inbox.offer([statement() for _ in range(8)])
    drop = replace(statement(b"DROP TABLE t"), urgent=True)
    grant = StatementsExecuted(other, b"GRANT a TO b", "GRANT", "II", [EXECUTED], urgent=True)
    answer = ResponseSent(0, BACKEND, 1, (Completion("DROP TABLE", -1),), ready=True)
    seen = SessionSeen(0, other, "main", "app", "shop", "", "local", 0)
    inbox.offer([seen, drop, statement(), answer, answer, grant])
    inbox.take(0)
    assert inbox.take(0).events == [seen, drop, answer, grant]
    assert [lost.count for lost in inbox.overflow] == [1], "of the answers one was to nothing kept"


def test_an_urgent_statement_whose_poll_was_taken_whole_gets_its_answer_later():
    inbox = Inbox(1)
    drop = replace(statement(b"DROP TABLE t"), urgent=True)
    inbox.offer([drop])
    inbox.offer([ResponseSent(0, BACKEND, 1, (Completion("DROP TABLE", -1),), ready=True)])
    assert not inbox.overflow
    inbox.take(0)
    assert inbox.take(0).events[0].ready


def test_reserved_room_ends_too_and_what_is_urgent_is_counted_then():
    inbox = Inbox(4)
    inbox.offer([statement() for _ in range(6)])
    grants = StatementsExecuted(
        BACKEND, b"GRANT a TO b", "GRANT", "II", [EXECUTED] * 3, urgent=True
    )
    inbox.offer([replace(statement(), urgent=True), grants, statement()])
    lost = [(one.reason, one.count) for one in inbox.overflow]
    assert lost == [("queue_full", 1), ("urgent_queue_full", 4)]


def test_small_texts_weigh_by_the_event():
    inbox = Inbox(100)
    for _ in range(101):
        inbox.offer([statement(b"SELECT 1")])
    assert len(inbox.overflow) == 1


def test_large_texts_hold_at_most_about_10_mib():
    inbox = Inbox()
    text = b"x" * 100_000
    for _ in range(1000):
        inbox.offer([statement(text)])
    kept = 0
    while inbox.take(0) is not None:
        kept += len(text)
    assert 9_500_000 < kept < 10_500_000
    assert sum(lost.count for lost in inbox.overflow) == 1000 - kept // len(text)


def test_a_delivery_waits_until_there_is_room_and_keeps_its_confirmation():
    inbox, confirmed = Inbox(1), []
    inbox.offer([statement(b"a")])
    waiting = threading.Thread(
        target=inbox.deliver,
        args=([statement(b"b")], lambda: confirmed.append(True), threading.Event()),
    )
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    assert inbox.take(0).events[0].text == b"a"
    waiting.join(5)
    polled = inbox.take(0)
    assert polled.events[0].text == b"b"
    polled.confirm()
    assert confirmed == [True]
    assert not inbox.overflow


def test_a_delivery_gives_up_when_told_to_stop():
    inbox, stop = Inbox(1), threading.Event()
    inbox.offer([statement(b"a")])
    stop.set()
    inbox.deliver([statement(b"b")], lambda: None, stop)
    assert inbox.take(0).events[0].text == b"a"
    assert inbox.take(0) is None


def test_what_is_taken_comes_in_order_and_an_empty_inbox_waits_no_longer_than_told():
    inbox = Inbox()
    for number in range(10):
        inbox.offer([statement(b"%d" % number)])
    taken = [inbox.take(0).events[0].text for _ in range(10)]
    assert taken == [b"%d" % number for number in range(10)]
    began = time.monotonic()
    assert inbox.take(0.05) is None
    assert time.monotonic() - began < 1


def given_up(inbox, *, urgent_too):
    inbox.give_up(urgent_too=urgent_too)
    kept = [event for polled in iter(lambda: inbox.take(0), None) for event in polled.events]
    return kept, [(lost.reason, lost.count) for lost in inbox.overflow]


def test_at_the_end_what_is_ordinary_is_counted_and_what_is_urgent_still_comes():
    inbox = Inbox()
    drop = replace(statement(b"DROP TABLE t"), urgent=True)
    answer = ResponseSent(0, BACKEND, 1, (Completion("DROP TABLE", -1),), ready=True)
    runs = StatementsExecuted(BACKEND, b"SELECT 1", "SELECT", "II", [EXECUTED] * 7)
    for events in ([statement()], [drop], [answer, runs]):
        inbox.offer(events)
    assert given_up(inbox, urgent_too=False) == ([drop, answer], [("stopped", 1 + 7)])
    inbox.offer([drop])
    kept, lost = given_up(inbox, urgent_too=True)
    assert (kept, lost[1:]) == ([], [("urgent_stopped", 1)])


def test_what_came_from_a_log_is_given_up_uncounted_and_unconfirmed():
    inbox = Inbox()
    inbox.deliver([audit("SELECT 1")], lambda: None, threading.Event(), ("main", 1))
    assert given_up(inbox, urgent_too=False) == ([], [])
