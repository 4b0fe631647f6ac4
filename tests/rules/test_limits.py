"""A limit counts what its condition holds for, and speaks once it is used up."""

import pytest

from model.event import Protocol
from model.session import BackendKey, Identity, IdentityKind, Origin, OriginKind, Session
from rules import Judge, Usage
from rules.language.schema import Per
from rules.usage import BUCKETS, holder
from tests.rules.rule_files import load, problems, shape, view

MINUTE_US = 60_000_000
WALL_US = 1_767_225_600_000_000

BUDGET = """\
vars: {agent_rows: 1000}
rules: []
limits:
  - id: budget
    title: An agent's rows
    for: identity.kind == 'ai_agent'
    rows_per_hour: vars.agent_rows
    statements_per_hour: 50
    severity: high
    action: deny
    message: the agent's budget is used up
"""


def agent(name="bot", user="app", proven=True):
    identity = Identity(IdentityKind.AI_AGENT, name, 0.9, proven=proven)
    return Session(BackendKey(1, 1), "main", user, identity=identity)


@pytest.fixture
def judge(tmp_path):
    return Judge(load(tmp_path, BUDGET))


def spend(judge, session, rows=0, statements=1, minute=0):
    one = judge.rules.limits["budget"]
    judge.usage.count(one, session, rows, statements, minute * MINUTE_US)


def settle(judge, minute=0):
    return judge.usage.settle(judge.rules.limits, minute * MINUTE_US, WALL_US + minute * MINUTE_US)


def said(judge, session, minute=0):
    at_us = WALL_US + minute * MINUTE_US
    asked = view(shape())._replace(session=session, at_us=at_us)
    return [match.reason for match in judge.judge(asked)]


def test_what_a_limit_counts_follows_from_its_condition(judge):
    counted = judge.consider(view(shape())._replace(session=agent()))
    assert [limit.rule.id for limit in counted.limits] == ["budget"]
    assert judge.consider(view(shape())).limits == ()


def test_a_limit_is_silent_until_it_is_used_up_and_then_says_the_figures(judge):
    spend(judge, agent(), 999)
    assert not settle(judge)
    assert said(judge, agent()) == []
    spend(judge, agent(), 11_005)
    assert said(judge, agent()) == [], "nothing changes between two looks"
    assert settle(judge)
    assert said(judge, agent(), 43) == [
        "the agent's budget is used up: 12,004 of 1,000 rows in the last hour; free again in 18 min"
    ]


def test_statements_are_counted_too(judge):
    spend(judge, agent(), statements=50)
    settle(judge)
    assert "50 of 50 statements in the last hour" in said(judge, agent())[0]


def test_what_was_used_is_forgotten_after_an_hour_minute_by_minute(judge):
    spend(judge, agent(), 600, minute=0)
    spend(judge, agent(), 600, minute=30)
    settle(judge, 30)
    assert "free again in 31 min" in said(judge, agent(), 30)[0]
    assert not settle(judge, BUCKETS), "the first minute still counts in part"
    assert settle(judge, BUCKETS + 1)
    assert said(judge, agent(), BUCKETS + 1) == []
    spend(judge, agent(), 400, minute=BUCKETS + 2)
    assert settle(judge, BUCKETS + 2)


def test_a_statement_from_before_is_not_over_the_limit(judge):
    spend(judge, agent(), 5000)
    settle(judge, 10)
    assert said(judge, agent(), 9) == []
    assert said(judge, agent(), 10)


def test_everybody_has_a_budget_of_their_own(judge):
    spend(judge, agent("bot"), 5000)
    settle(judge)
    assert said(judge, agent("bot"))
    assert said(judge, agent("other")) == []
    assert judge.usage.exhausted(agent("bot")) == {"budget"}
    assert judge.usage.exhausted(agent("other")) == frozenset()


def test_a_name_that_a_client_gives_itself_buys_no_new_budget(judge):
    spend(judge, agent("x1", proven=False), 5000)
    settle(judge)
    assert said(judge, agent("x2", proven=False))
    assert said(judge, agent("x2", user="web", proven=False)) == []


@pytest.mark.parametrize(
    ("proven", "origin", "per", "expected"),
    [
        (True, OriginKind.ADDRESS, Per.IDENTITY, "identity bot"),
        (False, OriginKind.ADDRESS, Per.IDENTITY, "login main app"),
        (False, OriginKind.POOLER, Per.IDENTITY, "identity bot"),
        (True, OriginKind.POOLER, Per.LOGIN, "login main app"),
    ],
)
def test_who_a_limit_is_counted_for(proven, origin, per, expected):
    identity = Identity(IdentityKind.SERVICE, "bot", 0.9, proven=proven)
    session = Session(BackendKey(1, 1), "main", "app", identity=identity, origin=Origin(origin))
    assert holder(session, per) == expected


def test_a_remembered_judgement_still_hears_of_a_limit_that_is_used_up(judge):
    assert said(judge, agent()) == []
    spend(judge, agent(), 5000)
    settle(judge)
    assert said(judge, agent())
    assert judge.counts().cached == 1


def test_other_figures_count_at_once_for_what_was_used_before(tmp_path, judge):
    spend(judge, agent(), 5000)
    settle(judge)
    (tmp_path / "more").mkdir()
    more = load(tmp_path / "more", BUDGET, variables={"agent_rows": 9000})
    later = Judge(more, usage=judge.usage)
    assert settle(later)
    assert said(later, agent()) == []


def test_nobody_gets_rid_of_a_count_by_making_many_others(judge):
    usage = Usage(capacity=10)
    judge = Judge(judge.rules, usage=usage)
    spend(judge, agent("heavy"), 5000)
    for number in range(50):
        spend(judge, agent(f"n{number}"), 1)
    settle(judge)
    assert said(judge, agent("heavy"))


def test_what_was_used_outlives_a_restart_and_ages_meanwhile(judge):
    spend(judge, agent(), 600, minute=0)
    spend(judge, agent(), 600, minute=30)
    kept = judge.usage.dump(30 * MINUTE_US)
    later = Judge(judge.rules)
    # Another boot: the monotonic clock starts anew. 20 minutes went by.
    later.usage.restore(kept, 5 * MINUTE_US, 20 * MINUTE_US)
    assert settle(later, 5)
    assert (
        "1,200 of 1,000 rows in the last hour; free again in 11 min" in said(later, agent(), 5)[0]
    )
    much_later = Judge(judge.rules)
    much_later.usage.restore(kept, 5 * MINUTE_US, 120 * MINUTE_US)
    assert not settle(much_later, 5)


def test_an_exception_is_not_counted(tmp_path):
    text = BUDGET + "    unless: session.user == 'etl'\n"
    judge = Judge(load(tmp_path, text))
    asked = view(shape())._replace(session=agent(user="etl"), protocol=Protocol.FASTPATH)
    assert judge.consider(asked).limits == ()


MISTAKES = {
    "no figure": (
        BUDGET.replace("    rows_per_hour: vars.agent_rows\n    statements_per_hour: 50\n", ""),
        "4: a limit needs a figure: rows_per_hour or statements_per_hour",
    ),
    "zero": (
        BUDGET.replace("statements_per_hour: 50", "statements_per_hour: 0"),
        "8: statements_per_hour must be a whole number above 0",
    ),
    "text": (
        BUDGET.replace("statements_per_hour: 50", "statements_per_hour: many"),
        "8: statements_per_hour must be a whole number above 0",
    ),
    "variable": (
        BUDGET.replace("vars.agent_rows", "vars.agent_row"),
        "7: rows_per_hour: unknown variable 'vars.agent_row'",
    ),
    "when": (BUDGET.replace("    for:", "    when:"), "6: unknown field 'when' in a limit"),
    "condition": (
        BUDGET.replace("identity.kind ==", "identity.knd =="),
        "6: rule budget: for: unknown field 'identity.knd'",
    ),
    "per": (BUDGET + "    per: person\n", "12: per 'person' is unknown; known: identity, login"),
    "message": (
        BUDGET.replace("the agent's budget is used up", "x" * 300),
        "4: a limit's message is at most 280 bytes",
    ),
    "id": (
        BUDGET.replace("rules: []", "rules:\n- {id: budget, title: T, severity: low, "
                       "action: alert, when: session.local}"),
        "5: the id 'budget' is taken by",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_a_limit_has_its_place(tmp_path, text, expected):
    found = problems(tmp_path, text)
    assert any(each.startswith(f"rules.yaml:{expected}") for each in found), found
