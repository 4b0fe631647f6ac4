"""How a verdict ended is read from the statement's own result, row by row."""

import pytest

from agent.guard.decision import Decision, DecisionKind
from agent.guard.hold import Settled
from agent.outcomes import (
    END_UNSEEN,
    OTHER_ERROR,
    RAN_ALL_THE_SAME,
    TABLE,
    Done,
    Ending,
    read_back,
)
from model.session import BackendKey, Session
from model.statement import ParseStatus, Shape, Source, Statement
from model.verdict import Outcome

DENY = Decision(DecisionKind.DENY, "no", "not this", "shop")
DROP = Shape(ParseStatus.PARSED, "d", "ALTER TABLE t", "alter", verbs=("alter",), statements=1)
SELECT = Shape(ParseStatus.PARSED, "d", "SELECT x", "select", verbs=("select",), statements=1)
CALL = Shape(ParseStatus.PARSED, "d", "CALL p()", "call", verbs=("call",), statements=1)
UNREADABLE = Shape(ParseStatus.FAILED, "d", "?", statements=0)

REDIRECTED = Settled(DENY, Outcome.PREVENTED, 100)
INTERRUPTED = Settled(DENY, Outcome.CANCELLED, 100, reason="cancelled instead of refused: traced")
ENDED = Settled(DENY, Outcome.TERMINATED, 100)
CUT_OFF = Settled(DENY, Outcome.TERMINATED, 100, reason="cancelled instead of refused: traced")
BROKEN = Settled(DENY, Outcome.FAILED, 100, reason="no such process")
RELEASED = Settled(DENY, Outcome.TOO_LATE, 100, reason="the hold had been released")
LET_GO = Settled(Decision(DecisionKind.ALLOW), None, 100, late=True)


def statement(sqlstate="", tag="", transaction="II", preparation_us=10):
    return Statement(
        id=1,
        session=Session(BackendKey(1, 2)),
        text=b"",
        text_bytes=0,
        started_at_us=0,
        source=Source.EBPF,
        tag=tag,
        sqlstate=sqlstate,
        transaction=transaction,
        preparation_us=preparation_us,
    )


def outcome(settled, sqlstate="", shape=DROP, **more):
    return read_back(settled, statement(sqlstate, **more), shape).outcome


def test_the_table_knows_every_ending_of_whatever_was_done():
    assert {done: set(row) for done, row in TABLE.items()} == {done: set(Ending) for done in Done}


@pytest.mark.parametrize("done", Done)
def test_what_ran_although_it_is_forbidden_is_too_late_whatever_the_guard_did(done):
    assert TABLE[done][Ending.RAN].outcome is Outcome.TOO_LATE


@pytest.mark.parametrize("done", Done)
def test_nothing_is_called_prevented_that_ended_with_another_error_than_ours(done):
    others = set(Ending) - {Ending.REFUSED, Ending.UNSEEN}
    assert all(TABLE[done][ending].outcome is not Outcome.PREVENTED for ending in others)


@pytest.mark.parametrize(
    ("settled", "sqlstate", "expected"),
    [
        (REDIRECTED, "42501", Outcome.PREVENTED),
        (REDIRECTED, "00000", Outcome.TOO_LATE),
        (REDIRECTED, "57014", Outcome.CANCELLED),
        (REDIRECTED, "40001", Outcome.CANCELLED),
        (REDIRECTED, "", Outcome.PREVENTED),
        (INTERRUPTED, "57014", Outcome.CANCELLED),
        (INTERRUPTED, "00000", Outcome.TOO_LATE),
        (INTERRUPTED, "42501", Outcome.CANCELLED),
        (INTERRUPTED, "23505", Outcome.CANCELLED),
        (INTERRUPTED, "", Outcome.FAILED),
        (ENDED, "42501", Outcome.TERMINATED),
        (ENDED, "57P01", Outcome.TERMINATED),
        (ENDED, "00000", Outcome.TOO_LATE),
        (ENDED, "", Outcome.TERMINATED),
        (CUT_OFF, "57P01", Outcome.TERMINATED),
        (CUT_OFF, "57014", Outcome.TERMINATED),
        (CUT_OFF, "00000", Outcome.TOO_LATE),
        (CUT_OFF, "", Outcome.FAILED),
        (BROKEN, "42501", Outcome.PREVENTED),
        (BROKEN, "57014", Outcome.CANCELLED),
        (BROKEN, "00000", Outcome.TOO_LATE),
        (BROKEN, "", Outcome.FAILED),
        (RELEASED, "00000", Outcome.TOO_LATE),
        (RELEASED, "57014", Outcome.CANCELLED),
        (RELEASED, "55P03", Outcome.CANCELLED),
        (RELEASED, "42P01", Outcome.OBSERVED),
        (RELEASED, "", Outcome.TOO_LATE),
        (LET_GO, "00000", Outcome.TOO_LATE),
        (None, "00000", Outcome.TOO_LATE),
        (None, "42501", Outcome.OBSERVED),
        (None, "25006", Outcome.OBSERVED),
        (None, "57014", Outcome.CANCELLED),
        (None, "", Outcome.TOO_LATE),
    ],
)
def test_a_statement_that_returns_nothing(settled, sqlstate, expected):
    assert outcome(settled, sqlstate) is expected


@pytest.mark.parametrize("shape", [SELECT, CALL, UNREADABLE], ids=["rows", "commits", "unreadable"])
def test_what_may_have_left_something_before_it_failed_was_not_cancelled(shape):
    assert outcome(None, "57014", shape) is Outcome.TOO_LATE
    assert outcome(RELEASED, "40001", shape) is Outcome.TOO_LATE
    assert outcome(INTERRUPTED, "40001", shape) is Outcome.TOO_LATE
    assert outcome(INTERRUPTED, "57014", shape) is Outcome.CANCELLED
    assert outcome(REDIRECTED, "42501", shape) is Outcome.PREVENTED


def test_rows_that_a_query_sent_before_it_divided_by_zero_were_not_refused_by_the_server():
    assert outcome(None, "22012", SELECT) is Outcome.TOO_LATE
    assert outcome(None, "42703", SELECT, preparation_us=-1) is Outcome.OBSERVED


def test_a_refusal_with_a_command_tag_is_none():
    assert outcome(REDIRECTED, "42501", tag="DROP TABLE") is Outcome.CANCELLED


def test_an_end_that_never_came_is_said():
    assert read_back(REDIRECTED, statement(), DROP).reason == END_UNSEEN
    assert read_back(INTERRUPTED, statement(), DROP).reason == END_UNSEEN
    assert read_back(None, statement(), DROP).reason == END_UNSEEN


def test_another_error_than_ours_is_said():
    assert read_back(REDIRECTED, statement("53200"), DROP).reason == OTHER_ERROR


def test_what_ran_in_a_transaction_that_is_open_can_still_be_undone_and_that_is_said():
    read = read_back(REDIRECTED, statement("00000", "DROP TABLE", "TT"), DROP)
    assert read.reason == f"{RAN_ALL_THE_SAME}; its transaction was still open"
    assert read_back(None, statement("00000", "DROP TABLE", "TI"), DROP).reason == ""
