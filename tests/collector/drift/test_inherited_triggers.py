"""A trigger that comes from a parent or a constraint is on or off, neither made nor dropped."""

import pytest

from collector.drift import clauses, risk
from collector.drift.plan.code import trigger
from collector.drift.plan.steps import World
from model.catalog import CatalogKind
from model.verdict import Severity
from tests.collector.drift.story import actor_of, difference, ran

OFF = "definition: CREATE TRIGGER a ...\nenabled: disabled\nfunction: hr.f\nfrom: parent"
KEY = OFF.replace("parent", "constraint t_fk")
NAME = "hr.p1.a"


@pytest.mark.parametrize(
    ("before", "after", "severity", "said", "steps"),
    [
        (None, OFF, Severity.HIGH, "trigger hr.p1.a, which comes from its parent, is disabled",
         ["ALTER TABLE hr.p1 ENABLE TRIGGER a"]),
        (None, KEY, Severity.HIGH,
         "trigger hr.p1.a, which comes from its constraint t_fk, is disabled",
         ["ALTER TABLE hr.p1 ENABLE TRIGGER a"]),
        (OFF, None, Severity.LOW, "trigger hr.p1.a, which comes from its parent, is as there again",
         ["ALTER TABLE hr.p1 DISABLE TRIGGER a"]),
    ],
)  # fmt: skip
def test_it_is_said_judged_and_brought_back_as_what_it_is(before, after, severity, said, steps):
    step = difference(NAME, before, after)
    assert risk.severity(CatalogKind.TRIGGER, step, attributed=True) == severity
    assert clauses.describe(CatalogKind.TRIGGER, step) == said
    assert [each.text for each in trigger(step, World({}, {}), "shop")] == steps


@pytest.mark.parametrize("which", ["a", "ALL", "USER"])
def test_who_disabled_it_is_named(which):
    rows = [
        ran(10, "eve", "ALTER TABLE hr.p2 DISABLE TRIGGER ALL"),
        ran(20, "alice", f"ALTER TABLE hr.p1 DISABLE TRIGGER {which}"),
        ran(30, "bob", f"ALTER TABLE hr.p1 ENABLE TRIGGER {which}"),
    ]
    assert actor_of(rows[:2], "trigger", NAME, None, OFF) == "alice"
    assert actor_of(rows[2:], "trigger", NAME, OFF, None) == "bob"
