"""What each detector says, and what it leaves alone."""

from __future__ import annotations

import pytest

from analytics.budget import Budget
from analytics.detectors.error_burst import ErrorBurst
from analytics.detectors.first_seen import FirstSeen, FirstSeenSettings
from analytics.detectors.new_shape import NewShape, NewShapeSettings
from analytics.detectors.volume import Volume, VolumeSettings, amount
from analytics.findings import DAY_US
from model.verdict import Severity
from tests.analytics.streams import batches, clean, frame, statement

QUICK = FirstSeen(FirstSeenSettings(learn_seconds=0, learn_statements=25))
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
        "assistant read hr.salaries for the first time; 0 of 3 peers have"
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
    assert run(QUICK, [*rows, statement(500, user_name="d", reads=["shop.prices"])]) == []
    assert len(run(QUICK, [*rows, statement(500, user_name="d", reads=["shop.secret"])])) == 1


def test_a_refused_read_is_no_access():
    read = statement(20.0, **AGENT, reads=["hr.salaries"], sqlstate="42501")
    assert run(QUICK, [*a_minute_of_a_shop(20), read]) == []


def test_writing_what_was_only_read_before_is_new():
    write = statement(20.0, **AGENT, operation="delete", writes=["shop.orders"])
    [found] = run(QUICK, [*a_minute_of_a_shop(20), write])
    assert found.sentence.startswith("assistant deleted from shop.orders for the first time")


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
    assert len(run(QUICK, [*elsewhere, *rows, statement(30, **AGENT, reads=["hr.salaries"])])) == 1


def test_volume_names_what_is_usual():
    rows = [statement(n * 20, user_name="etl", rows=100) for n in range(60)]
    rows += [statement(1200 + n, user_name="etl", rows=9_000) for n in range(3)]
    [found] = run(Volume(VolumeSettings(window_seconds=60)), rows)
    assert found.sentence == (
        "etl took 18,100 rows within 60 s; usual is 300 rows, the most so far was 300 rows"
    )


def test_volume_below_the_floor_or_while_learning_is_no_finding():
    quiet = [statement(n * 20, user_name="etl", rows=1) for n in range(60)]
    early = [statement(n * 20, user_name="etl", rows=1) for n in range(6)]
    volume = Volume(VolumeSettings(window_seconds=60))
    assert run(volume, [*quiet, statement(1200, user_name="etl", rows=9_000)]) == []
    assert run(volume, [*early, statement(120, user_name="etl", rows=900_000)]) == []


def test_a_repeated_extreme_is_raised_again_only_when_it_is_a_new_one():
    rows = [statement(n * 60, user_name="etl", rows=100) for n in range(40)]
    peaks = [(2400, 50_000), (2460, 49_000), (2520, 60_000)]
    rows += [statement(second, user_name="etl", rows=count) for second, count in peaks]
    found = run(Volume(VolumeSettings(window_seconds=60)), rows)
    assert [dict(f.details)["total"] for f in found] == ["50000", "60000"]


def test_nested_statements_do_not_count_twice():
    rows = [statement(n * 60, user_name="etl", rows=100) for n in range(40)]
    inner = statement(2400, user_name="etl", rows=900_000, parent_id=7)
    assert run(Volume(VolumeSettings(window_seconds=60)), [*rows, inner]) == []


def test_amounts_are_readable():
    assert amount("bytes", 999) == "999 B"
    assert amount("bytes", 4.1e9) == "4.1 GB"


def test_a_burst_is_raised_once_and_says_what_was_expected():
    rows = [statement(n, user_name="web") for n in range(600)]
    rows += [statement(600 + n / 10, user_name="web", sqlstate="42501") for n in range(200)]
    [found] = run(ErrorBurst(), rows)
    assert found.sentence.startswith("10 x permission denied by web within 60 s (expected 0.0")
    assert found.severity is Severity.HIGH


def test_who_always_fails_that_often_makes_no_burst():
    rows = [statement(n, user_name="web", sqlstate="23505") for n in range(7200)]
    late = [f for f in run(ErrorBurst(), rows) if f.at_us > rows[1800]["started_at"]]
    assert late == []


def test_notices_and_warnings_are_no_errors():
    rows = [statement(n / 10, user_name="web", sqlstate="01000") for n in range(500)]
    assert run(ErrorBurst(), rows) == []


def test_a_burst_in_one_window_does_not_become_normal():
    rows = [statement(n, user_name="web") for n in range(600)]
    rows += [statement(600 + n / 100, user_name="web", sqlstate="42501") for n in range(5000)]
    rows += [statement(700 + n, user_name="web") for n in range(3600)]
    rows += [statement(4300 + n / 10, user_name="web", sqlstate="42501") for n in range(200)]
    found = run(ErrorBurst(), rows)
    assert found[0].at_us < rows[4200]["started_at"] < found[-1].at_us


def test_a_new_shape_from_a_role_with_few_shapes_is_found():
    shape = NewShape(NewShapeSettings(learn_seconds=0, learn_statements=100))
    rows = clean(3000)
    odd = statement(700, user_name="web", fingerprint="zz", summary="SELECT pg_authid")
    [found] = run(shape, [*rows, odd])
    assert "SELECT pg_authid" in found.sentence
    assert "0 of 6 other roles run it" in found.sentence


def test_transaction_control_is_no_new_shape():
    shape = NewShape(NewShapeSettings(learn_seconds=0, learn_statements=100))
    odd = statement(700, user_name="web", fingerprint="zz", operation="commit")
    assert run(shape, [*clean(3000), odd]) == []


def finding(number: int, day: int = 0):
    rows = a_minute_of_a_shop(20)
    read = statement(20 + day * DAY_US / 1e6, **AGENT, reads=[f"hr.t{number}"])
    return run(QUICK, [*rows, read])[0]


def test_the_budget_passes_a_finding_once_and_counts_the_rest():
    first, second, third = (finding(n) for n in range(3))
    budget, passed = Budget(per_day=2).admit([first, first, second, third])
    assert passed == [first, second]
    assert budget.suppressed == {"first_seen": 1}


def test_a_new_day_has_a_new_budget():
    budget, _ = Budget(per_day=1).admit([finding(1), finding(2)])
    budget, passed = budget.admit([finding(2, day=1)])
    assert len(passed) == 1
    assert budget.suppressed == {}
