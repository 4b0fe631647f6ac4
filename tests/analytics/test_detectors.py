"""What each detector says, and what it leaves alone."""

from __future__ import annotations

import itertools

import pytest

from analytics.detectors.error_burst import ErrorBurst, ErrorBurstSettings
from analytics.detectors.first_seen import FirstSeen, FirstSeenSettings
from analytics.detectors.new_shape import NewShape, NewShapeSettings
from analytics.detectors.volume import Volume, VolumeSettings, amount
from model.verdict import Severity
from tests.analytics.streams import batches, clean, frame, statement

QUICK = FirstSeen(FirstSeenSettings(day_seconds=5))
VOLUME = Volume(VolumeSettings(window_seconds=60, day_seconds=600, min_bits=3))
ERRORS = ErrorBurst(ErrorBurstSettings(day_seconds=600, min_bits=3))
SHAPES = NewShape(NewShapeSettings(day_seconds=100))
AGENT = {"user_name": "assistant", "identity_name": "assistant", "identity_kind": "ai_agent"}


def run(detector, rows, size=500):
    state, found = detector.empty_state(), []
    for part in batches(frame(rows), size):
        state, news = detector.observe(state, part)
        found += news
    return found


def a_minute_of_a_shop(seconds: float = 60.0):
    """The demo's clients: a service, an AI agent, two people."""
    rows = []
    for n in range(int(seconds * 6)):
        rows.append(statement(n / 6, user_name="shop_api", reads=["shop.orders"]))
        relation = ("shop.products", "shop.orders", "shop.customers")[n % 3]
        rows.append(statement(n / 6, **AGENT, reads=[relation]))
        if n % 60 == 30:
            rows.append(statement(n / 6, user_name="alice", reads=["shop.orders"]))
            rows.append(statement(n / 6, user_name="bob", operation="grant"))
    return rows


def test_an_agent_that_turns_to_salaries_is_found_within_a_demo():
    read = statement(20.0, **AGENT, reads=["hr.salaries"])
    found = run(QUICK, [*a_minute_of_a_shop(20), read])
    assert [f.sentence for f in found] == [
        "assistant read hr.salaries for the first time; 0 of 3 peers have (4 days of history)"
    ]
    assert found[0].object == "hr.salaries"
    assert found[0].severity is Severity.HIGH


def test_the_regular_work_of_a_demo_is_no_finding():
    assert run(QUICK, a_minute_of_a_shop()) == []


def test_a_second_read_is_no_longer_the_first():
    reads = [statement(20.0 + n, **AGENT, reads=["hr.salaries"]) for n in range(5)]
    assert len(run(QUICK, [*a_minute_of_a_shop(20), *reads])) == 1


def test_what_most_peers_do_is_no_news():
    rows = [
        statement(n, user_name=name, reads=["shop.orders", "shop.prices"])
        for n in range(100)
        for name in ("a", "b", "c")
    ]
    rows += [statement(100 + n, user_name="d", reads=["shop.orders"]) for n in range(300)]
    assert run(QUICK, [*rows, statement(401, user_name="d", reads=["shop.prices"])]) == []
    assert len(run(QUICK, [*rows, statement(401, user_name="d", reads=["shop.secret"])])) == 1


def test_a_refused_read_is_no_access():
    read = statement(20.0, **AGENT, reads=["hr.salaries"], sqlstate="42501")
    assert run(QUICK, [*a_minute_of_a_shop(20), read]) == []


def test_writing_what_was_only_read_before_is_new():
    write = statement(20.0, **AGENT, operation="delete", writes=["shop.orders"])
    [found] = run(QUICK, [*a_minute_of_a_shop(20), write])
    assert found.sentence.startswith("assistant deleted from shop.orders for the first time")


@pytest.mark.parametrize("size", [1, 7, 500])
def test_what_somebody_made_is_no_first_access_and_what_it_was_made_of_is(size):
    made = statement(
        20, **AGENT, operation="create", reads=["hr.salaries"], writes=["s.mine"], rows=100
    )
    uses = [
        statement(21, **AGENT, reads=["s.mine"]),
        statement(22, **AGENT, operation="delete", writes=["s.mine"]),
    ]
    found = run(QUICK, [*a_minute_of_a_shop(20), made, *uses], size)
    assert [each.object for each in found] == ["hr.salaries"]


def test_what_others_made_is_not_met_by_a_create_that_made_nothing():
    """With IF NOT EXISTS it writes no rows into what is there."""
    nothing = statement(
        20, **AGENT, operation="create", reads=["shop.orders"], writes=["hr.salaries"], rows=0
    )
    read = statement(21, **AGENT, reads=["hr.salaries"])
    found = run(QUICK, [*a_minute_of_a_shop(20), nothing, read])
    assert "read hr.salaries" in " ".join(each.sentence for each in found)


@pytest.mark.parametrize(
    ("relation", "found"),
    [
        ("pg_catalog.pg_class", 0),
        ("pg_class", 0),
        ("information_schema.tables", 0),
        ("pg_authid", 1),
        ("pg_catalog.pg_shadow", 1),
    ],
)
def test_catalogs_are_dull_unless_they_hold_secrets(relation, found):
    read = statement(20.0, **AGENT, reads=[relation])
    assert len(run(QUICK, [*a_minute_of_a_shop(20), read])) == found


def test_an_identity_that_always_reads_new_relations_surprises_nobody():
    rows = [statement(n, user_name="pg_dump", reads=[f"s.t{n}"]) for n in range(300)]
    assert run(QUICK, rows) == []


def test_the_same_relation_in_another_database_is_another_relation():
    rows = a_minute_of_a_shop(20)
    elsewhere = [row | {"database": "archive", "reads": ["hr.salaries"]} for row in rows]
    mixed = sorted([*elsewhere, *rows], key=lambda row: row["started_at"])
    [found] = run(QUICK, [*mixed, statement(20, **AGENT, reads=["hr.salaries"])])
    assert found.database == "shop"


def steady(user="etl", until=6000, **words):
    return [statement(n, user_name=user, rows=100, **words) for n in range(0, until, 20)]


def lately(found):
    return [each for each in found if each.at_us >= statement(6000)["started_at"]]


def test_volume_names_what_is_usual():
    rows = [*steady(), statement(6001, user_name="etl", rows=18_100)]
    [found] = run(VOLUME, rows)
    assert found.sentence == (
        "etl took 18,200 rows within 60 s; usual at this hour is 300 rows, "
        "the most on earlier days was 300 rows"
    )
    assert dict(found.details)["expected"] == "300"


def test_volume_below_the_floor_is_no_finding():
    quiet = [row | {"rows": 1} for row in steady()]
    assert run(VOLUME, [*quiet, statement(6000, user_name="etl", rows=900)]) == []


def test_a_repeated_extreme_is_raised_again_only_when_it_is_a_new_one():
    peaks = [(6001, 50_000), (6061, 49_000), (6121, 9_000_000)]
    rows = [*steady(), *(statement(at, user_name="etl", rows=count) for at, count in peaks)]
    assert [dict(f.details)["seen"] for f in run(VOLUME, rows)] == ["50100", "9000000"]


def test_a_dump_of_everything_does_not_hide_what_else_somebody_takes():
    dumps = [
        row | {"rows": 8_000_000, "application_name": "pg_dump"} for row in steady("dba")[::15]
    ]
    days = sorted([*steady("dba"), *dumps], key=lambda row: row["started_at"])
    theft = statement(6001, user_name="dba", rows=400_000)
    assert [found.object for found in lately(run(VOLUME, [*days, theft]))] == ["rows"]
    again = statement(6001, user_name="dba", rows=8_000_000, application_name="pg_dump")
    assert lately(run(VOLUME, [*days, again])) == []


def test_a_dump_larger_than_all_before_says_that_it_is_one():
    dumps = [row | {"rows": 8_000, "application_name": "pg_dump"} for row in steady("dba")[::2]]
    large = statement(6001, user_name="dba", rows=90_000_000, application_name="pg_dump")
    [found] = lately(run(VOLUME, [*dumps, large]))
    assert " took 90,000,000 rows within 60 s with a dump; " in found.sentence
    assert ("way", "dump") in found.details


def test_rows_that_are_deleted_are_taken_by_nobody_and_hide_no_export():
    cleaning = [
        row | {"rows": 900_000, "operation": "delete", "writes": ["shop.carts"]}
        for row in steady()[::3]
    ]
    days = sorted([*steady(), *cleaning], key=lambda row: row["started_at"])
    export = statement(6001, user_name="etl", rows=400_000, reads=["shop.carts"])
    [found] = lately(run(VOLUME, [*days, export]))
    assert found.sentence.startswith("etl took 400,100 rows within 60 s; ")
    more = statement(
        6001, user_name="etl", rows=90_000_000, operation="delete", writes=["shop.carts"]
    )
    [found] = lately(run(VOLUME, [*days, more]))
    assert found.sentence.startswith("etl changed 90,000,000 rows within 60 s; ")


def test_what_always_varies_has_to_vary_more():
    mixed = [row | {"rows": 100 if n % 9 else 20_000} for n, row in enumerate(steady())]
    theft = statement(6000, user_name="etl", rows=20_000)
    assert run(VOLUME, [*mixed, theft]) == []
    assert run(VOLUME, [*steady(), theft]) != []


def test_someone_new_is_compared_with_peers():
    rows = [row for name in ("a", "b", "c") for row in steady(name)]
    rows.sort(key=lambda row: row["started_at"])
    [found] = run(VOLUME, [*rows, statement(6000, user_name="new", rows=5_000_000)])
    assert found.identity == "new"
    assert found.sentence.endswith("(0 days of history)")
    assert "warm_up" in dict(found.details)


def test_nested_statements_do_not_count_twice():
    inner = statement(6000, user_name="etl", rows=900_000, parent_id=7)
    assert run(VOLUME, [*steady(), inner]) == []


def test_amounts_that_cannot_be_do_no_harm():
    absurd = [
        statement(5990, user_name="etl", rows=-(2**62), bytes_sent=-1),
        statement(5991, user_name="etl", rows=2**63 - 1, bytes_sent=2**63 - 1),
        statement(5992, user_name="etl", rows=2**63 - 1, bytes_sent=2**63 - 1),
    ]
    found = run(VOLUME, [*steady(), *absurd])
    assert {f.object for f in found} == {"rows", "bytes"}
    assert all(0 < f.score <= 40 for f in found)


def test_amounts_are_readable():
    assert amount("bytes", 999) == "999 B"
    assert amount("bytes", 4.1e9) == "4.1 GB"


def test_a_burst_says_what_was_expected():
    rows = [statement(n, user_name="web") for n in range(3600)]
    rows += [statement(3600 + n / 10, user_name="web", sqlstate="42501") for n in range(200)]
    found = run(ERRORS, rows)
    assert found[0].sentence.startswith("3 x permission denied by web within 60 s (expected 0.0")
    assert found[0].severity is Severity.HIGH
    assert len({f.id for f in found}) == 1


def test_a_growing_burst_is_told_again_only_when_it_is_more_extreme():
    rows = [statement(n, user_name="web") for n in range(3600)]
    rows += [statement(3600 + n / 10, user_name="web", sqlstate="42501") for n in range(200)]
    scores = [f.score for f in run(ERRORS, rows)]
    assert all(later >= earlier + 0.75 for earlier, later in itertools.pairwise(scores))


def test_who_always_fails_that_often_makes_no_burst():
    rows = [statement(n, user_name="web", sqlstate="23505") for n in range(7200)]
    late = [f for f in run(ERRORS, rows) if f.at_us > rows[3600]["started_at"]]
    assert late == []


def test_notices_and_warnings_are_no_errors():
    rows = [statement(n / 10, user_name="web", sqlstate="01000") for n in range(500)]
    assert run(ERRORS, rows) == []


def test_failed_logins_are_errors_of_whom_they_claim_to_be():
    rows = [statement(n, user_name="web") for n in range(3600)]
    login = {"operation": "login", "protocol": "startup", "sqlstate": "28P01", "text": ""}
    rows += [statement(3600 + n, user_name="web", **login) for n in range(30)]
    assert "failed login by web" in run(ERRORS, rows)[0].sentence


def test_a_burst_in_one_window_does_not_become_normal():
    rows = [statement(n, user_name="web") for n in range(3600)]
    rows += [statement(3600 + n / 100, user_name="web", sqlstate="42501") for n in range(5000)]
    rows += [statement(3700 + n, user_name="web") for n in range(3600)]
    rows += [statement(7300 + n / 10, user_name="web", sqlstate="42501") for n in range(200)]
    found = run(ERRORS, rows)
    assert found[0].at_us < rows[8600]["started_at"] < found[-1].at_us


def people(count=3000):
    return [row | {"verbs": ["select"]} for row in clean(count)]


ODD = {"user_name": "bob", "identity_name": "bob", "identity_kind": "human", "fingerprint": "zz"}


def test_a_new_shape_names_the_nearest_and_what_differs():
    odd = statement(
        600, **ODD, summary="SELECT pg_authid", verbs=["select", "union"],
        reads=["dw.facts", "pg_authid"],
    )  # fmt: skip
    [found] = run(SHAPES, [*people(), odd])
    assert found.identity == "bob"
    assert "the nearest differs by a read of pg_authid, a union" in found.sentence
    assert "0 of 6 others run it" in found.sentence


def test_a_shape_of_known_parts_is_less_strange():
    known = statement(600, **ODD, verbs=["select"], reads=["dw.facts"])
    strange = known | {"reads": ["hr.salaries"]}
    scores = [run(SHAPES, [*people(), row]) for row in (known, strange)]
    assert max((f.score for f in scores[0]), default=0) < scores[1][0].score


def test_transaction_control_is_no_new_shape():
    odd = statement(600, **ODD, operation="commit")
    assert run(SHAPES, [*people(), odd]) == []
