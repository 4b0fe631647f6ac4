"""Many small pieces of a relation, for days, are told; a loud day is left to other detectors."""

from __future__ import annotations

from analytics.detectors.slow_drip import SlowDrip
from tests.analytics.offices import by, found, highest, office_days

SIZE = 60_000


def dump(day):
    """Somebody's weekly report shows how large the relation is."""
    return [by("carol", day, 8, reads=["shop.customers"], rows=SIZE)]


def drip(name, first, last, a_day=20, rows=180, relation="shop.customers"):
    return [
        by(name, day, 9 + n / 3, reads=[relation], rows=rows)
        for day in range(first, last)
        for n in range(a_day)
    ]


def test_a_relation_taken_in_small_pieces_over_days_is_told():
    findings = found(SlowDrip(), office_days(0, 20), dump(1), dump(8), drip("bob", 14, 20))
    last = [f for f in findings if f.identity == "bob"][-1]
    assert last.object == "shop.customers"
    assert "rows of shop.customers in " in last.sentence
    assert dict(last.details)["size"] == str(SIZE)
    assert 0 < float(dict(last.details)["share_of_a_query"]) < 0.01
    assert highest(findings, "bob", 19) > 2


def test_a_drip_weighs_more_from_day_to_day():
    findings = found(SlowDrip(), office_days(0, 20), dump(1), drip("bob", 14, 20))
    loudness = [highest(findings, "bob", day) for day in range(14, 20)]
    assert max(loudness[3:]) >= max(loudness[:2])


def test_a_month_end_report_is_less_than_a_drip():
    report = [by("bob", 19, 10, reads=["shop.customers"], rows=20 * 180)]
    once = found(SlowDrip(), office_days(0, 20), dump(1), report)
    dripping = found(SlowDrip(), office_days(0, 20), dump(1), drip("bob", 14, 20))
    assert highest(once, "bob", 19) < max(highest(dripping, "bob", day) for day in range(14, 20))


def test_ordinary_days_say_little():
    findings = found(SlowDrip(), office_days(0, 20))
    assert [f for f in findings if f.score > 2.5] == []


def test_what_was_always_taken_is_usual():
    findings = found(SlowDrip(), office_days(0, 20), dump(1), drip("bob", 0, 20))
    assert highest(findings, "bob", 19) < 1.5


def test_a_backfill_that_writes_is_none():
    rows = [
        by("bob", day, 9 + n / 60, operation="insert", writes=["shop.customers"], rows=5000)
        for day in range(14, 18)
        for n in range(60)
    ]
    findings = found(SlowDrip(), office_days(0, 18), rows)
    assert [f for f in findings if f.object == "shop.customers" and f.identity == "bob"] == []
