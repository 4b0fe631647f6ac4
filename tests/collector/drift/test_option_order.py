"""Options stand in the order in which they were given; it means nothing."""

from __future__ import annotations

from collector.drift.baseline import Difference, Fact, differences
from collector.drift.lines import parts
from collector.drift.plan import make
from model.catalog import CatalogKind as Kind
from model.catalog import DriftChange
from tests.collector.drift.facts import named


def planned(wanted, now):
    return make(*({(Kind.TABLE, "shop"): named({"s.v": view})} for view in (wanted, now)))


def test_options_in_another_order_are_the_same():
    """Who takes one away and gives it back puts it last."""
    view = "owner: o\nkind: view\noptions: {}\ncolumn id: integer\nview text: SELECT t.id FROM s.t;"
    barrier, check = "security_barrier=true", "check_option=cascaded"
    wanted, now = (
        view.format(f"{one}, {other}") for one, other in [(barrier, check), (check, barrier)]
    )
    assert planned(wanted, now).differences == 0
    one = view.format(check)
    assert [step.text for step in planned(wanted, one).steps] == [f"ALTER VIEW s.v SET ({barrier})"]
    facts = [{"s.v": Fact(value, "")} for value in (wanted, now, one)]
    assert [len([*differences(facts[0], each)]) for each in facts] == [0, 0, 1]
    moved = Difference(
        "s.v", DriftChange.CHANGED, wanted, now.replace("owner: o", "owner: p"), ("", "")
    )
    assert [part.key for part in parts(Kind.TABLE, moved)] == ["owner"]
