"""A new statement that is run again and again is told; one that colleagues run is not."""

from __future__ import annotations

from analytics.detectors.repetition import Repetition
from tests.analytics.offices import by, found, highest, office_days


def lookups(name, day, count, relation="hr.salaries", hour=10.0, **words):
    shape = {"fingerprint": f"point {relation}", "summary": f"SELECT {relation}"}
    every = 0.9 / max(count, 1)
    return [
        by(name, day, hour + n * every, reads=[relation], rows=1, **shape | words)
        for n in range(count)
    ]


def test_persons_looked_up_one_by_one_are_told_with_their_number():
    findings = found(Repetition(), office_days(0, 12), lookups("alice", 11, 30))
    assert highest(findings, "alice", 11) > 3
    last = [f for f in findings if f.identity == "alice"][-1]
    assert last.sentence.startswith("alice ran SELECT hr.salaries, new to them and to everybody, ")
    assert " times within 3600 s; usual of a new statement 1." in last.sentence


def test_a_few_tries_of_a_new_statement_are_nothing():
    assert found(Repetition(), office_days(0, 12), lookups("alice", 11, 5)) == []


def test_what_somebody_else_ran_before_is_no_news():
    before = lookups("dave", 3, 1)
    findings = found(Repetition(), office_days(0, 12), before, lookups("alice", 11, 30))
    assert highest(findings, "alice", 11) == 0


def test_the_next_day_it_is_no_news_either():
    once = lookups("alice", 10, 1)
    findings = found(Repetition(), office_days(0, 12), once, lookups("alice", 11, 30))
    assert highest(findings, "alice", 11) == 0


def test_programs_and_catalogs_are_left_out():
    service = lookups("web", 11, 30, identity_kind="service")
    tool = lookups("bob", 11, 30, relation="pg_catalog.pg_class")
    assert found(Repetition(), office_days(0, 12), service, tool) == []


def test_over_a_day_as_many_are_less():
    slow = [row for hour in range(8, 18) for row in lookups("alice", 11, 3, hour=float(hour))]
    fast = lookups("alice", 11, 30)
    office = list(office_days(0, 12))
    of_slow, of_fast = (
        highest(found(Repetition(), office, rows), "alice", 11) for rows in (slow, fast)
    )
    assert of_slow == 0 < of_fast
