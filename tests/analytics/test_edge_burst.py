"""Five minutes that use an edge, or many edges, far more than usual is told."""

from __future__ import annotations

from analytics.detectors.edge_burst import EdgeBurst
from tests.analytics.offices import by, found, highest, office_days


def tour(name, day, hour, tables):
    return [by(name, day, hour + n / 3600, reads=[f"dw.t{n}"]) for n in range(tables)]


def lookups(name, day, hour, count, relation="shop.orders"):
    return [by(name, day, hour + n / 36_000, reads=[relation]) for n in range(count)]


def test_a_tour_of_the_schema_is_told_with_the_number_of_tables():
    findings = found(EdgeBurst(), office_days(0, 10), tour("alice", 10, 11, 41))
    assert highest(findings, "alice", 10) > 4
    widest = max((f for f in findings if f.object == "relations"), key=lambda f: f.score)
    assert widest.sentence.startswith("alice opened ")
    assert " tables in 300 s; usual " in widest.sentence


def test_a_client_program_that_reads_the_catalog_opens_no_tables():
    names = ("pg_catalog.pg_class", "pg_namespace", "information_schema.tables", "pg_type")
    tool = [by("alice", 10, 11 + n / 3600, reads=[name]) for n, name in enumerate(names * 10)]
    assert highest(found(EdgeBurst(), office_days(0, 10), tool), "alice", 10) == 0


def test_row_by_row_lookups_are_told_by_the_relation():
    findings = found(EdgeBurst(), office_days(0, 10), lookups("bob", 10, 11, 400))
    assert "shop.orders" in {f.object for f in findings if f.identity == "bob"}
    assert highest(findings, "bob", 10) > 3


def test_a_nightly_job_that_bursts_every_night_is_usual():
    nights = [row for day in range(10) for row in lookups("bob", day, 2, 400)]
    findings = found(EdgeBurst(), office_days(0, 10), nights)
    once = found(EdgeBurst(), office_days(0, 10), lookups("bob", 9, 2, 400))
    assert highest(findings, "bob", 9) < 1.5 < highest(once, "bob", 9)


def test_one_new_table_after_a_deploy_is_less_than_a_tour():
    new = [by("alice", 10, 11 + n / 60, reads=["shop.coupons"]) for n in range(30)]
    deploy = found(EdgeBurst(), office_days(0, 10), new)
    wide = found(EdgeBurst(), office_days(0, 10), tour("alice", 10, 11, 41))
    assert highest(deploy, "alice", 10) < highest(wide, "alice", 10) - 2


def test_many_identities_from_one_address_in_a_tick_are_told():
    spray = [by(f"user{n}", 10, 3 + n / 3600, client_address="10.9.9.9") for n in range(30)]
    office = list(office_days(0, 10))
    findings = found(EdgeBurst(), office, spray)
    told = [f for f in findings if f.object == "identities"]
    assert told
    assert "came from 10.9.9.9" in told[-1].sentence
    assert told[-1].score > 3


def test_a_burst_that_lasts_for_days_does_not_become_usual_in_a_day():
    days = [row for day in (10, 11) for row in tour("alice", day, 11, 41)]
    findings = found(EdgeBurst(), office_days(0, 11), days)
    assert highest(findings, "alice", 11) > 2
