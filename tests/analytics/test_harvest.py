"""Large results of one relation after the other within an hour are told; one of them is work."""

from __future__ import annotations

from analytics.detectors.harvest import Harvest
from tests.analytics.offices import by, found, highest, office_days

LARGE = 4_000


def exports(name, day, hour, relations, rows=LARGE, every=0.05, **words):
    return [
        by(name, day, hour + n * every, reads=[relation], rows=rows, **words)
        for n, relation in enumerate(relations)
    ]


def weekly(name, last):
    """Now and then one large export, as anybody makes."""
    return [row for day in range(2, last, 3) for row in exports(name, day, 11, ["shop.orders"])]


THREE = ["shop.orders", "dw.facts", "shop.customers"]


def test_large_results_of_several_relations_within_an_hour_are_told():
    findings = found(
        Harvest(), office_days(0, 16), weekly("alice", 15), exports("alice", 15, 11, THREE)
    )
    last = [f for f in findings if f.identity == "alice"][-1]
    assert last.sentence.startswith(
        "alice took 12,000 rows of 3 sources, the last shop.customers, in large results within "
    )
    details = dict(last.details)
    assert (details["sources"], details["rows"]) == ("3", "12000")
    assert last.score > 2.5


def test_one_export_as_large_is_less():
    office, usual = list(office_days(0, 16)), weekly("alice", 15)
    one = found(Harvest(), office, usual, exports("alice", 15, 11, THREE[:1]))
    three = found(Harvest(), office, usual, exports("alice", 15, 11, THREE))
    assert highest(one, "alice", 15) < highest(three, "alice", 15) - 1.5


def test_slices_of_one_relation_count_as_one_source():
    findings = found(
        Harvest(), office_days(0, 16), weekly("alice", 15),
        exports("alice", 15, 11, ["shop.orders"] * 8),
    )  # fmt: skip
    assert {dict(f.details)["sources"] for f in findings if f.identity == "alice"} <= {"1"}
    assert highest(findings, "alice", 15) < 1.5


def test_over_a_day_the_same_results_are_no_harvest():
    office, usual = list(office_days(0, 16)), weekly("alice", 15)
    slow = found(Harvest(), office, usual, exports("alice", 15, 9, THREE, every=2.5))
    fast = found(Harvest(), office, usual, exports("alice", 15, 11, THREE))
    assert highest(slow, "alice", 15) < highest(fast, "alice", 15) - 1.5


def test_who_takes_much_from_everywhere_each_night_is_usual():
    nights = [row for day in range(16) for row in exports("alice", day, 2, THREE)]
    assert highest(found(Harvest(), office_days(0, 16), nights), "alice", 15) < 1.5


def test_a_dump_and_what_is_written_are_no_results():
    dump = exports("alice", 15, 11, THREE, application_name="pg_dump")
    written = exports("alice", 15, 12, THREE, writes=["dw.copy"])
    findings = found(Harvest(), office_days(0, 16), weekly("alice", 15), dump, written)
    assert highest(findings, "alice", 15) == 0
