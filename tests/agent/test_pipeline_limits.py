"""What ended is counted, and a limit that is used up is on the record."""

import time
from dataclasses import replace

import pytest

from agent.guard.decision import ALLOW, Decision, DecisionKind
from agent.guard.hold import Settled
from agent.judging import Held
from agent.pipeline import Pipeline
from agent.sessions import SessionTracker
from agent.sql.client import ParserClient
from agent.sql.messages import redact_message
from model.event import (
    Completion,
    ErrorReport,
    Executed,
    ResponseSent,
    StatementsCounted,
    StatementsExecuted,
    StatementStarted,
)
from model.session import BackendKey, Identity, IdentityKind
from model.verdict import Mode, Outcome
from rules import Judge, Match
from tests.rules.rule_files import load

BACKEND = BackendKey(4711, 1_700_000_000_000_000)
START_US = 1_700_000_001_000_000
TEXT = b"SELECT id FROM t"
RULES = """\
rules:
  - {id: reads-t, title: T, severity: low, action: alert, when: "'secret' in statement.reads"}
limits:
  - {id: budget, title: B, for: "identity.kind == 'ai_agent'", rows_per_hour: 100,
     statements_per_hour: 10, severity: high, action: ACTION}
"""


def agent(session):
    return replace(session, identity=Identity(IdentityKind.AI_AGENT, "bot", 0.9, proven=True))


class Stage:
    def __init__(self, tmp_path, parser, mode=Mode.OBSERVE, action="deny"):
        self.judge = Judge(load(tmp_path, RULES.replace("ACTION", action)))
        self.verdicts = []
        self.now_us = START_US
        self.pipeline = Pipeline(
            tracker=SessionTracker(1, 0, agent),
            parser=parser,
            judges=lambda at_us: (self.judge,),
            mode=mode,
            redact_message=redact_message,
            on_change=lambda touched: None,
            on_verdict=self.verdicts.append,
            on_statement=lambda *_: None,
            on_run=lambda *_: None,
            on_lost=lambda _: None,
            on_held=lambda _: None,
        )

    def take(self, *events):
        self.pipeline.take(events, self.now_us)
        for _ in range(3):
            self.now_us += 1_000_000
            self.pipeline.tick(self.now_us)

    def run(self, rows, settled=None, text=TEXT, sent=90, failed=False):
        self.now_us += 1000
        at_ns = self.now_us * 1000
        started = StatementStarted(
            at_ns, BACKEND, text, len(text), held=settled is not None, hold_id=1 if settled else 0
        )
        refused = settled is not None and settled.outcome is not None
        answer = ResponseSent(
            at_ns + 1000,
            BACKEND,
            sent,
            completions=() if refused or failed else (Completion("SELECT", rows),),
            error=ErrorReport("ERROR", "42501", "no") if refused or failed else None,
            ready=True,
        )
        self.take(Held(started, settled) if settled else started, answer)

    def executed(self, rows, count=1):
        one = Executed(self.now_us, 10, 1, rows, 100)
        self.take(StatementsExecuted(BACKEND, TEXT, "SELECT", "II", [one] * count))

    def used_up(self):
        """As of the next look."""
        limits = self.judge.rules.limits
        self.judge.usage.settle(limits, time.monotonic_ns() // 1000, self.now_us)
        return bool(self.judge.usage.exhausted(agent(self.pipeline.sessions[0])))


@pytest.fixture(scope="module")
def parser():
    with ParserClient() as client:
        yield client


@pytest.mark.parametrize("way", ["one", "together", "counted"])
def test_rows_are_counted_whatever_way_an_execution_is_told(tmp_path, parser, way):
    stage = Stage(tmp_path, parser)

    def spend():
        if way == "one":
            stage.run(50)
        elif way == "together":
            stage.executed(10, 5)
        else:
            at_us = stage.now_us
            stage.take(StatementsCounted(BACKEND, TEXT, 5, 50, 0, 0, at_us, at_us, ()))

    spend()
    assert not stage.used_up()
    spend()
    assert stage.used_up()


@pytest.mark.parametrize("failed", [False, True])
def test_a_row_that_holds_many_or_a_failure_behind_the_last_one_counts_by_what_was_sent(
    tmp_path, parser, failed
):
    stage = Stage(tmp_path, parser)
    stage.run(1, sent=90 * 1024, failed=failed)
    assert not stage.used_up()
    stage.run(1, sent=10 * 1024, failed=failed)
    assert stage.used_up()


def test_executions_that_are_told_together_count_by_what_was_sent_as_well(tmp_path, parser):
    stage = Stage(tmp_path, parser)
    one = Executed(stage.now_us, 10, 1, 1, 60 * 1024)
    stage.take(StatementsExecuted(BACKEND, TEXT, "SELECT", "II", [one] * 2))
    assert stage.used_up()


def test_what_was_refused_is_not_counted_so_that_asking_again_costs_nothing(tmp_path, parser):
    stage = Stage(tmp_path, parser, Mode.ENFORCE)
    refused = Settled(Decision(DecisionKind.DENY, "budget", "why"), Outcome.PREVENTED, 1)
    for _ in range(20):
        stage.run(0, refused)
    assert not stage.used_up()
    for _ in range(10):
        stage.run(0, Settled(ALLOW, None, 1))
    assert stage.used_up()


def test_a_refusal_is_recorded_with_the_guards_words_although_the_limit_is_free_by_now(
    tmp_path, parser
):
    stage = Stage(tmp_path, parser, Mode.ENFORCE)
    match = Match(stage.judge.rules.rule("budget"), "100 of 100 rows")
    refused = Decision(DecisionKind.DENY, "budget", "100 of 100 rows", match=match, judged=True)
    stage.run(0, Settled(refused, Outcome.PREVENTED, 1))
    (verdict,) = stage.verdicts
    assert (verdict.rule_id, verdict.outcome) == ("budget", Outcome.PREVENTED)
    assert (verdict.title, verdict.reason) == ("B", "100 of 100 rows")


@pytest.mark.parametrize("action", ["alert", "deny"])
def test_where_nothing_is_stopped_a_used_up_limit_is_told_once(tmp_path, parser, action):
    stage = Stage(tmp_path, parser, action=action)
    stage.run(100)
    assert stage.used_up()
    assert stage.verdicts == [], "the statement that used it up was within it"
    for _ in range(3):
        stage.run(5)
        stage.executed(1, 2)
    assert [(v.rule_id, v.outcome) for v in stage.verdicts] == [("budget", Outcome.OBSERVED)]
    stage.run(5, text=b"SELECT id FROM secret")
    assert [v.rule_id for v in stage.verdicts] == ["budget", "reads-t"]
