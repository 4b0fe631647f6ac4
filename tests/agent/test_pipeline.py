"""What the guard settled reaches the record of the statement it was about."""

import pytest

from agent.guard.decision import ALLOW, LATE, Decision, DecisionKind
from agent.guard.hold import Settled
from agent.judging import Held
from agent.outcomes import END_UNSEEN as UNSEEN
from agent.pipeline import Pipeline
from agent.sessions import Limits, SessionTracker
from agent.sql.client import ParserClient
from agent.sql.messages import redact_message
from model.event import (
    Completion,
    ErrorReport,
    Executed,
    ResponseSent,
    SessionEnded,
    SessionSeen,
    StatementsExecuted,
    StatementStarted,
)
from model.session import BackendKey
from model.verdict import Mode, Outcome, Severity
from rules import Judge, Match, RuleSet

BACKEND = BackendKey(4711, 1_700_000_000_000_000)
AT_NS = 1_700_000_001_000_000_000
PURGE = b"DELETE FROM pay"
UNBOUNDED = RuleSet.load().rule("unbounded-write")
DROP = b"DROP TABLE public.orders /* " + b"x" * 5_000 + b" */"
REFUSED = Settled(Decision(DecisionKind.DENY, "drop-protected"), Outcome.PREVENTED, held_us=150)
INTERRUPTED = Settled(
    Decision(DecisionKind.DENY, "drop-protected"),
    Outcome.CANCELLED,
    held_us=150,
    reason="cancelled instead of refused: traced",
)


def verdicts_of(settled, *after, limits=None, text=DROP):
    """What is put on record of one held statement and what the server told after it."""
    started = StatementStarted(AT_NS, BACKEND, text, len(text), held=True, hold_id=1)
    return played(Held(started, settled), *after, limits=limits)[0]


def played(*events, limits=None):
    """Verdicts, and losses by reason."""
    verdicts, lost = [], []
    judge = Judge(RuleSet.load())
    with ParserClient() as parser:
        pipeline = Pipeline(
            tracker=SessionTracker(1, 0, limits=limits or Limits()),
            parser=parser,
            judges=lambda _: (judge,),
            mode=Mode.ENFORCE,
            redact_message=redact_message,
            on_change=lambda touched: None,
            on_verdict=verdicts.append,
            on_statement=lambda *_: None,
            on_run=lambda *_: None,
            on_lost=lost.append,
            on_held=lambda _: None,
        )
        pipeline.take(events, AT_NS // 1000)
        for seconds in (1, 2, 3):
            pipeline.tick(AT_NS // 1000 + seconds * 1_000_000)
        pipeline.finish(AT_NS // 1000 + 4_000_000)
    return verdicts, {(one.source, one.reason): one.count for one in lost}


def test_what_nobody_knows_the_login_of_is_on_record_and_counted():
    again = Executed(AT_NS // 1000, 10, 1, 1, 20)
    run = StatementsExecuted(BACKEND, b"SELECT 1", "SELECT", "II", [again, again, again])
    started = StatementStarted(AT_NS, BACKEND, b"SELECT 2", 8)
    seen = SessionSeen(AT_NS, BACKEND, "main", "app", "shop", "", "local", 0)
    events = (run, started, answer(tag="SELECT"))
    assert played(*events)[1] == {("sessions", "unattributed"): 4}
    assert played(seen, *events)[1] == {}


def answer(sqlstate="", transaction="II", tag="DROP TABLE"):
    """The end of a round trip: with an error, or without one."""
    error = ErrorReport("ERROR", sqlstate, "permission denied for database shop")
    return ResponseSent(
        AT_NS + 1000, BACKEND, 90, ready=True,
        completions=() if sqlstate else (Completion(tag, -1),),
        error=error if sqlstate else None,
        transaction_before=transaction[0], transaction_status=transaction[1],
    )  # fmt: skip


@pytest.mark.parametrize("limits", [Limits(), Limits(text_bytes=10)], ids=["whole", "cut"])
def test_a_refused_statement_is_prevented_also_where_memory_cut_its_text(limits):
    verdicts = verdicts_of(REFUSED, answer("42501"), limits=limits)
    assert [verdict.outcome for verdict in verdicts] == [Outcome.PREVENTED]


def test_a_statement_that_was_refused_and_completed_all_the_same_is_too_late():
    (verdict,) = verdicts_of(REFUSED, answer())
    assert verdict.outcome is Outcome.TOO_LATE
    assert "ran to its end all the same" in verdict.reason


def test_an_interrupt_that_came_too_late_in_an_open_transaction_says_that_it_can_be_undone():
    (verdict,) = verdicts_of(INTERRUPTED, answer(transaction="TT"))
    assert verdict.outcome is Outcome.TOO_LATE
    assert "its transaction was still open" in verdict.reason


def test_an_interrupt_that_the_server_obeyed_is_a_cancel_and_says_why_it_was_no_refusal():
    (verdict,) = verdicts_of(INTERRUPTED, answer("57014", "TE"))
    assert verdict.outcome is Outcome.CANCELLED
    assert "cancelled instead of refused: traced" in verdict.reason


def test_a_connection_that_died_leaves_a_verdict_that_says_so():
    ended = SessionEnded(AT_NS + 1000, BACKEND)
    (refused,) = verdicts_of(REFUSED, ended)
    assert (refused.outcome, UNSEEN in refused.reason) == (Outcome.PREVENTED, True)
    (interrupted,) = verdicts_of(INTERRUPTED, ended)
    assert (interrupted.outcome, UNSEEN in interrupted.reason) == (Outcome.FAILED, True)


def test_what_a_late_judge_refused_without_a_rule_is_read_back_as_well():
    late = Settled(LATE, Outcome.PREVENTED, 200_000, late=True, reason="no verdict within 200 ms")
    (verdict,) = verdicts_of(late, answer(tag="SELECT"), text=b"SELECT 1 AS harmless")
    assert (verdict.rule_id, verdict.outcome) == ("judge-late", Outcome.TOO_LATE)


def test_of_what_was_held_inside_a_statement_only_what_was_refused_is_recorded():
    verdicts, recorded, held = [], [], []
    judge = Judge(RuleSet.load())
    outer, inner = b"SELECT purge()", b"DROP TABLE public.orders"
    allowed, refused = Settled(ALLOW, None, held_us=90), REFUSED
    at_ns = 1_700_000_001_000_000_000
    with ParserClient() as parser:
        pipeline = Pipeline(
            tracker=SessionTracker(1, 0),
            parser=parser,
            judges=lambda at_us: (judge,),
            mode=Mode.ENFORCE,
            redact_message=redact_message,
            on_change=lambda touched: None,
            on_verdict=verdicts.append,
            on_statement=lambda statement, shape: recorded.append(statement),
            on_run=lambda *_: None,
            on_lost=lambda _: None,
            on_held=held.append,
        )
        inside = {"held": True, "hold_id": 1, "nested": True, "quiet": True, "depth": 1}
        started = StatementStarted(at_ns, BACKEND, outer, len(outer))
        read = StatementStarted(at_ns + 1, BACKEND, b"SELECT 1", 8, **inside)
        drop = StatementStarted(at_ns + 2, BACKEND, inner, len(inner), **inside)
        error = ErrorReport("ERROR", "42501", "permission denied for database shop")
        answered = ResponseSent(at_ns + 1000, BACKEND, 90, error=error, ready=True)
        events = [started, Held(read, allowed), Held(drop, refused), answered]
        pipeline.take(events, at_ns // 1000)
        pipeline.tick(at_ns // 1000 + 3_000_000)
    told = {statement.text: statement for statement in recorded}
    assert set(told) == {outer, inner}
    assert told[inner].parent_id == told[outer].id
    assert [verdict.outcome for verdict in verdicts] == [Outcome.PREVENTED]
    assert held == [allowed, refused]


def test_what_only_the_plan_showed_is_recorded_with_the_rule_that_refused_it():
    match = Match(UNBOUNDED, "say which rows")
    decision = Decision(DecisionKind.DENY, UNBOUNDED.id, lasting=False, match=match, judged=True)
    refused = Settled(decision, Outcome.PREVENTED, 150)
    [verdict] = verdicts_of(refused, answer("42501"), text=b"SELECT * FROM harmless")
    assert (verdict.rule_id, verdict.title) == (UNBOUNDED.id, UNBOUNDED.title)
    assert (verdict.severity, verdict.action) == (Severity.HIGH, UNBOUNDED.action)
    assert (verdict.outcome, verdict.reason) == (Outcome.PREVENTED, "say which rows")
    assert verdict.held_us == 150


def test_what_the_plan_showed_to_be_harmless_is_no_verdict():
    decision = Decision(DecisionKind.ALLOW, lasting=False, judged=True)
    assert verdicts_of(Settled(decision, None, 150), answer(tag="DELETE 1"), text=PURGE) == []


def test_by_its_text_alone_it_would_be_one():
    allowed = Settled(Decision(DecisionKind.ALLOW), None, 150)
    [verdict] = verdicts_of(allowed, answer(tag="DELETE 1"), text=PURGE)
    assert (verdict.rule_id, verdict.outcome) == (UNBOUNDED.id, Outcome.TOO_LATE)
