"""What every detector promises, whatever it looks for."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from analytics import keyed
from analytics.audit import statements as audited
from analytics.detector import Detector
from analytics.detectors.activity_time import ActivityTime, ActivityTimeSettings
from analytics.detectors.application_change import (
    ApplicationChange,
    ApplicationChangeSettings,
)
from analytics.detectors.audit_coverage import AuditCoverage, AuditCoverageSettings
from analytics.detectors.edge_burst import EdgeBurst, EdgeBurstSettings
from analytics.detectors.error_burst import ErrorBurst, ErrorBurstSettings
from analytics.detectors.first_act import FirstAct, FirstActSettings
from analytics.detectors.first_seen import FirstSeen, FirstSeenSettings
from analytics.detectors.harvest import Harvest, HarvestSettings
from analytics.detectors.latency import Latency, LatencySettings
from analytics.detectors.new_shape import NewShape, NewShapeSettings
from analytics.detectors.origin import Origin, OriginSettings
from analytics.detectors.repetition import Repetition, RepetitionSettings
from analytics.detectors.role_profile import RoleProfile, RoleProfileSettings
from analytics.detectors.slow_drip import SlowDrip, SlowDripSettings
from analytics.detectors.volume import Volume, VolumeSettings
from analytics.detectors.workload_mix import WorkloadMix, WorkloadMixSettings
from analytics.frames import COLUMNS, FrameError
from collector.rows import finding_rows
from collector.store import frame_of
from tests.analytics.streams import SCHEMA, SECOND_US, START_US, batches, clean, frame, statement

DETECTORS: list[Detector] = [
    FirstSeen(FirstSeenSettings(day_seconds=100, min_bits=3)),
    FirstAct(FirstActSettings(day_seconds=100)),
    Volume(VolumeSettings(window_seconds=10, day_seconds=100, min_bits=4)),
    ErrorBurst(ErrorBurstSettings(day_seconds=100, window_seconds=10, min_bits=3)),
    NewShape(NewShapeSettings(day_seconds=100, min_bits=3)),
    ApplicationChange(
        ApplicationChangeSettings(learn_seconds=300, learn_statements=20, settle_seconds=30)
    ),
    AuditCoverage(AuditCoverageSettings(window_seconds=20, grace_seconds=5)),
    EdgeBurst(EdgeBurstSettings(tick_seconds=10, day_seconds=100, min_bits=3)),
    RoleProfile(RoleProfileSettings(day_seconds=100, min_bits=3)),
    SlowDrip(SlowDripSettings(day_seconds=100, floor_rows=20_000, min_bits=1.5)),
    Origin(OriginSettings(day_seconds=100)),
    ActivityTime(ActivityTimeSettings(day_seconds=100, min_bits=1.75)),
    WorkloadMix(WorkloadMixSettings(day_seconds=100, block_statements=25, min_bits=2)),
    Latency(LatencySettings(day_seconds=100, block_statements=20)),
    Harvest(HarvestSettings(window_seconds=10, day_seconds=100, min_bits=3)),
    Repetition(RepetitionSettings(window_seconds=10, day_seconds=100, min_bits=2)),
]
SIZES = (1000, 2500, 6000)


def every(function):
    return pytest.mark.parametrize("detector", DETECTORS, ids=lambda d: d.name)(function)


def by_days(function):
    """Those that compare days, with one bound for the keys of each identity."""
    chosen = [each for each in DETECTORS if hasattr(each.settings, "max_keys_per_identity")]
    return pytest.mark.parametrize("detector", chosen, ids=lambda d: d.name)(function)


def in_time(statements: pl.DataFrame) -> pl.DataFrame:
    """Without the campaign."""
    return statements.filter(
        ~((pl.col("user_name") == "assistant") & pl.col("id").is_between(4001, 4071))
    )


def campaign(second: float) -> list[dict]:
    """An AI agent that reads salaries in bulk, past pgaudit, switches logging off, then tries doors
    that are shut.

    It comes from elsewhere, works slowly, and opens one table after the other.
    """
    agent = {
        "user_name": "assistant", "identity_name": "assistant", "identity_kind": "ai_agent",
        "client_address": "203.0.113.9", "application_name": "psql",
    }  # fmt: skip
    read = statement(
        second, **agent, reads=["hr.salaries"], fingerprint="new", summary="SELECT hr.salaries",
        rows=50_000, bytes_sent=60_000_000, source="ebpf", digest="read",
    )  # fmt: skip
    tries = [statement(second + 1 + n / 10, **agent, sqlstate="42501") for n in range(40)]
    tour = [
        statement(
            second + 5 + n / 10, **agent, reads=[f"hr.t{n}"], fingerprint=f"tour {n}", rows=5_000
        )
        for n in range(30)
    ]
    slow = [
        statement(
            second + 8 + n / 20, **agent, reads=["shop.products"], fingerprint="shop.products:r",
            duration_us=90_000,
        )
        for n in range(60)
    ]  # fmt: skip
    quiet = statement(second + 0.5, **agent, operation="set", settings=["log_statement"])
    one_by_one = [
        statement(
            second + 11.5 + n / 10, **agent, reads=["hr.people"], fingerprint="person", rows=1
        )
        for n in range(25)
    ]
    return [read, quiet, *tries, *tour, *slow, *one_by_one]


@pytest.fixture(scope="module")
def world() -> pl.DataFrame:
    rows = clean(4000)
    rows += campaign(801.0)
    rows += [row | {"started_at": row["started_at"] + 900_000_000} for row in clean(1500, seed=3)]
    return frame(rows)


@pytest.fixture
def stream(detector, world) -> pl.DataFrame:
    return as_needed(detector, world)


def as_needed(detector: Detector, statements: pl.DataFrame) -> pl.DataFrame:
    """Of programs another detector tells what new_shape tells of people."""
    if detector.name == "new_shape":
        return in_person(statements)
    return with_a_quiet_hour(statements) if detector.name == "activity_time" else statements


def regular(detector: Detector, statements: pl.DataFrame) -> pl.DataFrame:
    """Of hours of 4 s only those who are always there have a habit."""
    always = pl.col("user_name").is_in(("web", "orders_api"))
    return statements.filter(always) if detector.name == "activity_time" else statements


def with_a_quiet_hour(statements: pl.DataFrame) -> pl.DataFrame:
    """Who runs the campaign never works at that hour of a day of 100 s."""
    second = (pl.col("started_at").dt.epoch("us") - START_US) / 1e6
    campaigning = (pl.col("client_address") == "203.0.113.9") & (second < 1100)
    who = statements.filter(campaigning)["user_name"].unique().to_list()
    seldom = pl.col("user_name").is_in(("alice", "bob", "payroll", "etl_ro"))
    at_that_hour = pl.col("user_name").is_in(who) & (second % 100 < 15)
    return statements.filter(~(at_that_hour | seldom) | campaigning)


def in_person(statements: pl.DataFrame) -> pl.DataFrame:
    return statements.with_columns(identity_kind=pl.lit("human"))


def run(detector: Detector, parts: list[pl.DataFrame]):
    state, found = detector.empty_state(), []
    for part in parts:
        state, news = detector.observe(state, part)
        found += news
    return state, found


def view_of(statements: pl.DataFrame, folder: Path) -> duckdb.DuckDBPyConnection:
    """A DuckDB with view ``statements``, from Parquet as in the store."""
    file = folder / "statements.parquet"
    statements.write_parquet(file)
    database = duckdb.connect()
    database.execute(f"CREATE VIEW statements AS SELECT * FROM read_parquet('{file}')")
    return database


def in_order(state: pl.DataFrame) -> pl.DataFrame:
    if keyed.is_keyed(state):
        return keyed.entries(state).sort(keyed.key_columns(state))
    return state.sort(state.columns)


@every
def test_the_injected_campaign_is_found(detector, stream):
    _, found = run(detector, batches(stream, 1000))
    assert {finding.identity for finding in found} == {"assistant"}


@every
def test_batch_size_changes_neither_findings_nor_state(detector, stream):
    # Single-row batches over the part that raises: the whole stream would take minutes.
    begun = (stream["client_address"] == "203.0.113.9").arg_max() - 20
    state, _ = run(detector, [stream.head(begun)])
    for part in batches(stream.slice(begun, 190), 24):
        before = state
        state, expected = detector.observe(before, part)
        if expected:
            break
    assert expected
    for size in (1, 7):
        after, found = before, []
        for piece in batches(part, size):
            after, news = detector.observe(after, piece)
            found += news
        assert found == expected
        assert_frame_equal(in_order(after), in_order(state))
    whole = [run(detector, batches(stream, size)) for size in SIZES]
    for state, found in whole:
        assert found == whole[0][1]
        assert_frame_equal(in_order(state), in_order(whole[0][0]))


@every
def test_a_restart_in_the_middle_changes_nothing(detector, stream):
    parts = batches(stream, 1000)
    state, found = detector.empty_state(), []
    for part in parts:
        file = io.BytesIO()
        state.write_parquet(file)
        state = pl.read_parquet(io.BytesIO(file.getvalue()))
        state, news = detector.observe(state, part)
        found += news
    there, expected = run(detector, parts)
    assert found == expected
    assert_frame_equal(in_order(state), in_order(there))


@every
def test_the_state_keeps_its_schema(detector, stream):
    state, _ = run(detector, batches(stream, 2000))
    assert state.schema == detector.empty_state().schema


@every
def test_an_empty_batch_changes_nothing(detector, stream):
    state, _ = run(detector, [stream])
    after, found = detector.observe(state, stream.clear())
    assert found == []
    assert_frame_equal(after, state)
    assert detector.observe(detector.empty_state(), stream.clear())[1] == []


@every
def test_columns_that_it_does_not_know_do_no_harm(detector, stream):
    extra = stream.with_columns(more=pl.lit(1), state=pl.lit("x"), item=pl.lit("y"))
    assert run(detector, [extra])[1] == run(detector, [stream])[1]


@every
def test_a_missing_column_is_named(detector, stream):
    with pytest.raises(FrameError, match="user_name"):
        detector.observe(detector.empty_state(), stream.drop("user_name"))


@every
def test_nulls_everywhere_do_not_stop_it(detector, stream):
    nothing = pl.DataFrame({name: [None] * 5 for name in SCHEMA}, schema=SCHEMA)
    mostly = nothing.with_columns(started_at=stream["started_at"].head(5))
    state, found = run(detector, [nothing, mostly])
    assert found == []
    assert state.schema == detector.empty_state().schema


@every
def test_each_finding_explains_itself_and_brings_its_evidence(detector, stream):
    _, found = run(detector, [stream])
    assert found
    for finding in found:
        assert finding.detector == detector.name
        assert "assistant" in finding.sentence
        assert len(finding.sentence) < 300
        assert "\n" not in finding.sentence
        assert finding.score > 0
        assert finding.statement_id in set(stream["id"])
        assert finding.evidence_sql.startswith("SELECT ")
    rows = frame_of("findings", finding_rows(found))
    assert (
        rows["occurred_at"].is_between(stream["started_at"].min(), stream["started_at"].max()).all()
    )


@every
def test_its_evidence_query_returns_the_statement_that_raised_it(detector, stream, tmp_path):
    _, found = run(detector, [stream])
    database = view_of(stream, tmp_path)
    database.execute("SET TimeZone = 'Asia/Tokyo'")
    for finding in found:
        query = f"SELECT count(*) FROM ({finding.evidence_sql}) AS evidence"
        assert database.execute(query).fetchall()[0][0] > 0


@every
def test_hostile_names_stay_data(detector, tmp_path):
    name = "o'; DROP TABLE statements; -- \x1b[31m\0"
    rows = [row | {"user_name": name} if row["user_name"] == "web" else row for row in clean(5000)]
    rows += [row | {"user_name": name, "identity_name": ""} for row in campaign(1001.0)]
    rows.append(statement(1050.0))  # the minute of the campaign is over
    stream = as_needed(detector, frame(rows))
    _, found = run(detector, [stream])
    assert found
    database = view_of(stream, tmp_path)
    for finding in found:
        database.execute(finding.evidence_sql).fetchall()


@every
def test_a_clean_day_raises_nothing(detector):
    day = regular(detector, frame(clean(20_000)))
    assert run(detector, batches(day, 2000))[1] == []


@every
def test_the_state_is_bounded_and_keeps_what_was_used_last(detector):
    small = type(detector)(settings=type(detector.settings)(max_keys=50))
    rows = [
        statement(
            n, user_name=f"user {n}", reads=[f"s.t{n}"], fingerprint=f"f{n}", sqlstate="00000"
        )
        for n in range(400)
    ]
    state, _ = run(small, batches(frame(rows), 90))
    assert 25 <= state.height <= 50
    known = str(state.rows())
    assert any(name in known for name in ("user 399", "=f399 ", "shape f399'"))
    assert not any(name in known for name in ("user 3'", "=f3 ", "shape f3'"))


def test_detectors_read_only_documented_columns():
    assert {*COLUMNS, *audited.COLUMNS} <= set(SCHEMA)


@every
def test_times_with_a_zone_are_the_same_moments(detector, stream):
    zoned = stream.with_columns(pl.col("started_at").dt.replace_time_zone("UTC"))
    tokyo = zoned.with_columns(pl.col("started_at").dt.convert_time_zone("Asia/Tokyo"))
    assert run(detector, [tokyo])[1] == run(detector, [zoned])[1] == run(detector, [stream])[1]


def sane(found) -> bool:
    return all(
        math.isfinite(finding.score) and finding.score > 0 and finding.sentence for finding in found
    )


@every
def test_a_huge_batch_passes(detector, stream):
    times = -(-200_000 // stream.height)
    huge = pl.concat([stream] * times).sort("started_at", maintain_order=True)
    state, found = detector.observe(detector.empty_state(), huge)
    assert state.schema == detector.empty_state().schema
    assert sane(found)


@every
def test_values_that_cannot_be_stop_nothing(detector, stream):
    most = 2**63 - 1
    absurd = stream.with_columns(
        rows=pl.when(pl.col("id") % 3 == 0).then(-most).otherwise(most),
        bytes_sent=pl.when(pl.col("id") % 2 == 0).then(-1).otherwise(most),
        duration_us=pl.when(pl.col("id") % 5 == 0).then(-most).otherwise("duration_us"),
    )
    state, found = run(detector, batches(absurd, 1000))
    assert sane(found)
    for name in state.columns:
        if state[name].dtype == pl.Float64:
            assert state[name].is_finite().all(), name


@by_days
def test_a_clock_that_jumps_for_a_moment_destroys_nothing(detector, stream):
    ahead = stream.slice(3000, 3).with_columns(pl.col("started_at") + pl.duration(days=3650))
    behind = stream.slice(3500, 3).with_columns(pl.col("started_at") - pl.duration(days=3650))
    jumping = pl.concat(
        [stream.head(3000), ahead, stream.slice(3000, 500), behind, stream.slice(3500)]
    )
    _, found = run(detector, batches(jumping, 1000))
    campaign_us = START_US + 801 * SECOND_US
    assert sane(found)
    assert any(
        finding.identity == "assistant" and finding.at_us >= campaign_us for finding in found
    )


@every
def test_rows_out_of_order_stop_nothing(detector, stream):
    state, found = run(detector, batches(stream.sample(fraction=1.0, shuffle=True, seed=1), 1000))
    assert sane(found)
    assert state.schema == detector.empty_state().schema


@by_days
def test_a_few_rows_that_come_days_late_raise_nothing(detector, stream):
    old = stream.filter(pl.col("id").is_between(4001, 4045)).with_columns(
        pl.col("started_at") - pl.duration(seconds=3700 + 150)
    )
    state, _ = run(detector, batches(in_time(stream), 1000))
    assert detector.observe(state, old)[1] == []


@by_days
def test_one_identity_with_many_distinct_statements_evicts_nobody_else(detector):
    settings = replace(detector.settings, max_keys=3000, max_keys_per_identity=300)
    small = type(detector)(settings=settings)
    rows = [statement(n / 10, user_name=f"quiet {n}", reads=["s.t"], fingerprint="f",
                      identity_kind="human") for n in range(100)]  # fmt: skip
    rows += [
        statement(
            10 + n / 1000, user_name="greedy", identity_kind="human", reads=[f"s.t{n}"],
            fingerprint=f"f{n}", sqlstate="00000" if n % 2 else f"{n % 90:02}{n % 1000:03}",
        )
        for n in range(12_000)
    ]  # fmt: skip
    state, _ = run(small, batches(frame(rows), 3000))
    owners = set(state["owner"])
    assert state.height <= 3000
    assert {f"=quiet {n}" for n in range(100)} <= owners
