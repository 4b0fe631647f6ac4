"""Accepting some of a scope's differences."""

import pytest

from collector.drift.accepting import by_scope, with_observed
from collector.drift.baseline import HBA_ORDER, Fact, Known
from tests.collector.drift.story import scope


def facts(**values):
    return {name.replace("order", HBA_ORDER): Fact(value, "") for name, value in values.items()}


def test_several_are_taken_over_at_once_and_those_that_are_gone_are_left_out():
    known = Known(facts(a="1", b="1", c="1"), facts(a="2", b="2", d="2"))
    assert with_observed(known, ["a", "c", "d"]) == facts(a="2", b="1", d="2")
    assert known.accepted == facts(a="1", b="1", c="1")


@pytest.mark.parametrize(
    ("before", "seen", "names", "order"),
    [
        ("a", "b > a", ["b"], "b > a"),
        ("a", "b > a > c", ["c"], "a > c"),
        ("a", "b > a", [], "a"),
        ("a > c", "c > a > b", ["b"], "a > c > b"),
        ("a > c > d", "d > b > a > c", ["b"], "b > a > c > d"),
        ("a > c", "b > a > d > c", ["b", "d"], "b > a > d > c"),
        ("a > b > c", "c > a", ["b"], "a > c"),
        ("a > b > c", "c > a", ["a"], "a > b > c"),
        ("a > c", "c > b > a", ["b", "order"], "c > b > a"),
    ],
)
def test_an_accepted_rule_gets_its_place_and_the_order_of_the_others_stays(
    before, seen, names, order
):
    old = facts(**dict.fromkeys(before.split(" > "), "1"), order=before)
    known = Known(old, facts(**dict.fromkeys(seen.split(" > "), "1"), order=seen))
    names = [name.replace("order", HBA_ORDER) for name in names]
    assert with_observed(known, names)[HBA_ORDER].value == order


def test_where_no_order_is_accepted_none_is_with_a_rule():
    assert with_observed(Known(facts(a="1"), facts(order="a")), ["a"]) == {}


def test_names_are_taken_together_for_each_scope():
    tables, roles = scope("table"), scope("role")
    keys = [(tables, "a", 0), (roles, "x", 0), (tables, "b", 0), (tables, "b", 7)]
    assert by_scope(keys) == {tables: ["a", "b"], roles: ["x"]}
