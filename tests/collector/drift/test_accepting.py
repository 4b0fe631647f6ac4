"""Accepting some of a scope's differences."""

from collector.drift.accepting import by_scope, with_observed
from collector.drift.baseline import HBA_ORDER, Fact, Known
from tests.collector.drift.story import scope


def facts(**values):
    return {name.replace("order", HBA_ORDER): Fact(value, "") for name, value in values.items()}


def test_several_are_taken_over_at_once_and_those_that_are_gone_are_left_out():
    known = Known(facts(a="1", b="1", c="1"), facts(a="2", b="2", d="2"))
    assert with_observed(known, ["a", "c", "d"]) == facts(a="2", b="1", d="2")
    assert known.accepted == facts(a="1", b="1", c="1")


def test_a_rule_comes_with_the_order_of_all():
    known = Known(facts(a="1", order="a"), facts(a="1", b="1", order="b > a"))
    assert with_observed(known, ["b"]) == facts(a="1", b="1", order="b > a")
    assert with_observed(known, []) == known.accepted
    assert with_observed(Known(facts(a="1"), facts(order="a")), ["a"]) == {}


def test_names_are_taken_together_for_each_scope():
    tables, roles = scope("table"), scope("role")
    keys = [(tables, "a"), (roles, "x"), (tables, "b")]
    assert by_scope(keys) == {tables: ["a", "b"], roles: ["x"]}
