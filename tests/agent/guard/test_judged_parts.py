"""A string of several statements is held at each of them; to the kernel all have one text."""

from dataclasses import dataclass

import pytest

from agent.directory import Directory
from agent.guard.decision import DecisionKind
from agent.identity import IdentityMap
from agent.judge import GuardJudge, takes_long
from agent.pipeline import enricher
from agent.planned import Touched
from agent.sql.client import ParserClient
from model.event import SessionSeen, StatementStarted
from model.session import BackendKey
from rules import Judge, RuleSet

KEY = BackendKey(42, 1_700_000_000_123_456)
SEEN = SessionSeen(1, KEY, "main", "shop", "d", None, "local", 0)
RULES = """
rules:
  - id: all-pay
    title: t
    severity: high
    action: deny
    when: "'hr.pay' in statement.reads && 'unfiltered' in statement.flags"
  - id: emptied
    title: t
    severity: high
    action: deny
    when: >
      'missing_where' in statement.flags
      && statement.writes.exists(w,
           (w.contains('.') || !statement.resolved) && !w.startsWith('pg_temp.'))
"""
PAY = Touched(("select",), ("public.v", "hr.pay"), (), (), (), 1.0, complete=True)
STAGE = Touched(("delete",), (), ("pg_temp.stage",), (), (), 1.0, complete=True)
LOG = Touched(("insert",), (), ("public.log",), (), (), 1.0, complete=True)


@dataclass
class Plan:
    """Of one statement of the string."""

    plan: Touched | None
    begins: int

    def touched(self, event, session, *, wait):
        return self.plan

    def place(self, event, session):
        return self.begins


@pytest.fixture
def held(tmp_path):
    (tmp_path / "rules.yaml").write_text(RULES)
    rules = Judge(RuleSet.load([tmp_path]))
    directory = Directory(enricher(IdentityMap().session, lambda cluster: frozenset()))
    directory.observe(SEEN)
    with ParserClient() as parser:

        def hold(text, plan, begins):
            judge = GuardJudge(directory, parser, lambda: rules, planned=Plan(plan, begins))
            return judge(StatementStarted(3, KEY, text, len(text), held=True, hold_id=1))

        yield hold


def test_a_plan_says_nothing_of_the_string_s_other_statements(held):
    text = b"SELECT id FROM v LIMIT 1; SELECT * FROM w"
    assert held(text, PAY, 0).kind is DecisionKind.ALLOW
    assert held(text, PAY, text.index(b"SELECT *")).kind is DecisionKind.DENY


def test_what_a_plan_may_mean_for_another_statement_of_the_string_is_asked_each_time(held):
    """The kernel would let that one pass, too: it has the same text and touches the same."""
    assert not held(b"SELECT id FROM v LIMIT 1; SELECT * FROM v", PAY, 0).lasting
    assert held(b"SELECT id FROM v LIMIT 1; SELECT b FROM v LIMIT 1", PAY, 0).lasting


def test_a_plan_of_nobody_knows_which_statement_may_be_any_ones(held):
    assert held(b"SELECT id FROM v LIMIT 1; SELECT * FROM w", PAY, -1).kind is DecisionKind.DENY


def test_a_string_is_refused_before_its_first_statement_has_run(held):
    refused = held(b"INSERT INTO log VALUES (1); SELECT * FROM hr.pay", LOG, 0)
    assert (refused.kind, refused.rule_id) == (DecisionKind.DENY, "all-pay")


@pytest.mark.parametrize(
    ("text", "at_stage", "at_log"),
    [
        (b"INSERT INTO log VALUES (1); DELETE FROM stage", 27, 0),
        (b"DELETE FROM stage; INSERT INTO log VALUES (1)", 0, 18),
    ],
)
def test_a_bare_name_is_judged_when_its_plan_says_what_it_means(held, text, at_stage, at_log):
    decisions = [held(text, STAGE, at_stage), held(text, LOG, at_log)]
    assert [each.kind for each in decisions] == [DecisionKind.ALLOW] * 2
    assert not any(each.lasting for each in decisions)
    permanent = Touched(("delete",), (), ("public.stage",), (), (), 1.0, complete=True)
    assert held(text, permanent, at_stage).kind is DecisionKind.DENY


def test_a_string_of_many_statements_is_judged_beside_the_others():
    few, many = (StatementStarted(3, KEY, b"SELECT 1;" * n, 9 * n) for n in (100, 101))
    assert (takes_long(few), takes_long(many)) == (False, True)
