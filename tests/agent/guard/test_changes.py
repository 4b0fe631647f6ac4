"""What the kernel lets pass follows the time and the limits, without a word from a statement."""

from dataclasses import replace

import pytest

from agent.directory import Directory
from agent.guard.changes import Changes
from agent.identity import Claims
from agent.judge import GuardJudge
from agent.sql.client import ParserClient
from model.event import SessionSeen
from model.session import Identity, IdentityKind, Origin, OriginKind
from rules import Judge
from tests.agent.guard.test_allowances import BACKEND, SHAPE, Allowances, Table, started
from tests.rules.rule_files import load

RULES = """\
windows:
  maintenance: {from: "01:00", to: "05:00"}
rules:
  - id: drop
    title: DROP outside maintenance
    when: "'drop' in statement.verbs && !('maintenance' in time.windows)"
    severity: high
    action: deny
limits:
  - {id: budget, title: B, for: "identity.kind == 'ai_agent'", rows_per_hour: 100, severity: low,
     action: deny}
"""
HALF_PAST_MIDNIGHT_US = 1_767_227_400_000_000
HOUR_US = 3_600_000_000
SEEN = SessionSeen(0, BACKEND, "main", "app", "shop", "", "local", 0)


class Clock:
    def __init__(self):
        self.wall_us, self.monotonic_us = HALF_PAST_MIDNIGHT_US, 0

    def turn(self, changes, wall_us=300_000):
        self.wall_us += wall_us
        self.monotonic_us += 300_000
        changes.turn()


def enriched(pooled):
    def enrich(session):
        if pooled:
            return replace(session, origin=Origin(OriginKind.POOLER, sure=True))
        return replace(session, identity=Identity(IdentityKind.AI_AGENT, "bot", 0.9, proven=True))

    return enrich


class Stage:
    def __init__(self, tmp_path, pooled=False):
        self.clock, self.table = Clock(), Table()
        self.judge = Judge(load(tmp_path, RULES))
        allowances = Allowances(self.table, lambda _: True, exhausted=self.judge.usage.exhausted)
        self.allowances = allowances
        self.directory = Directory(enriched(pooled), allowances.know)
        self.directory.observe(SEEN)
        self.changes = Changes(
            lambda: self.judge,
            allowances,
            self.directory.tell,
            clock_us=lambda: self.clock.wall_us,
            monotonic_us=lambda: self.clock.monotonic_us,
        )
        self.clock.turn(self.changes)

    def allow(self):
        self.allowances.allow(started(), SHAPE)

    @property
    def passes(self):
        return self.table.passes(BACKEND, 0)

    def spend(self, rows):
        limit = self.judge.rules.limits["budget"]
        session = self.directory.session(BACKEND)
        self.judge.usage.count(limit, session, rows, 1, self.clock.monotonic_us)


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)


def test_what_was_allowed_is_asked_about_again_when_a_window_opens_or_closes(stage):
    for hours in (1, 5):
        stage.allow()
        assert stage.passes
        stage.clock.turn(stage.changes, 60_000_000)
        assert stage.passes, "a minute makes no difference"
        stage.clock.turn(stage.changes, hours * HOUR_US)
        assert not stage.passes
    stage.allow()
    assert stage.passes, "sessions are known in their new class"


def test_a_clock_that_is_set_back_counts_as_well(stage):
    stage.clock.turn(stage.changes, HOUR_US)
    stage.allow()
    stage.clock.turn(stage.changes, -HOUR_US)
    assert not stage.passes


def test_a_session_whose_limit_is_used_up_is_asked_about_until_it_is_free_again(stage):
    stage.allow()
    stage.spend(100)
    assert stage.passes, "until the next look"
    stage.clock.turn(stage.changes)
    assert not stage.passes
    stage.clock.monotonic_us += 2 * HOUR_US
    stage.clock.turn(stage.changes)
    assert stage.passes, "what was allowed before is allowed again"


def test_a_shape_that_brings_much_more_than_before_is_asked_about_again(stage):
    stage.judge.history.observe("f", 5_000)
    stage.clock.turn(stage.changes)
    stage.allow()
    stage.judge.history.observe("f", 5_001)
    stage.clock.turn(stage.changes)
    assert stage.passes
    stage.judge.history.observe("f", 500_000)
    stage.clock.turn(stage.changes)
    assert not stage.passes


@pytest.mark.parametrize(
    ("text", "lasting"),
    [(b"SELECT 1 /*agent='bot'*/", False), (b"SELECT 1", True)],
)
def test_what_a_comment_claims_behind_a_pooler_is_asked_about_each_time(tmp_path, text, lasting):
    """The kernel knows the class of the session, which is the pooler's."""
    stage = Stage(tmp_path, pooled=True)
    with ParserClient() as parser:
        guard = GuardJudge(stage.directory, parser, lambda: stage.judge, Claims())
        assert guard(started(text)).lasting is lasting
        assert guard.at_once(started(text)).lasting is lasting
