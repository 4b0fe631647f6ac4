"""What every detector promises, whatever it looks for."""

from __future__ import annotations

import io
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from analytics.audit import statements as audited
from analytics.detector import Detector
from analytics.detectors.audit_coverage import AuditCoverage, AuditCoverageSettings
from analytics.detectors.error_burst import ErrorBurst, ErrorBurstSettings
from analytics.detectors.first_seen import FirstSeen, FirstSeenSettings
from analytics.detectors.new_shape import NewShape, NewShapeSettings
from analytics.detectors.volume import Volume, VolumeSettings
from analytics.frames import COLUMNS, FrameError
from collector.rows import finding_rows
from collector.store import frame_of
from tests.analytics.streams import SCHEMA, batches, clean, frame, statement

DETECTORS: list[Detector] = [
    FirstSeen(FirstSeenSettings(learn_seconds=300, learn_statements=20)),
    Volume(VolumeSettings(window_seconds=60, floor_rows=1000)),
    ErrorBurst(ErrorBurstSettings()),
    NewShape(NewShapeSettings(learn_seconds=300, learn_statements=20)),
    AuditCoverage(AuditCoverageSettings(window_seconds=2, grace_seconds=1)),
]
SIZES = (1, 97, 1000, 2500, 6000)


def every(function):
    return pytest.mark.parametrize("detector", DETECTORS, ids=lambda d: d.name)(function)


def campaign(second: float) -> list[dict]:
    """An AI agent that reads salaries in bulk, past pgaudit, then tries doors that are shut."""
    agent = {"user_name": "assistant", "identity_name": "assistant", "identity_kind": "ai_agent"}
    read = statement(
        second, **agent, reads=["hr.salaries"], fingerprint="new", summary="SELECT hr.salaries",
        rows=50_000, bytes_sent=60_000_000, source="ebpf", digest="read",
    )  # fmt: skip
    tries = [statement(second + 1 + n / 10, **agent, sqlstate="42501") for n in range(40)]
    return [read, *tries]


@pytest.fixture(scope="module")
def stream() -> pl.DataFrame:
    rows = clean(4000)
    rows += campaign(801.0)
    rows += [row | {"started_at": row["started_at"] + 900_000_000} for row in clean(1500, seed=3)]
    return frame(rows)


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
    return state.sort(state.columns)


@every
def test_the_injected_campaign_is_found(detector, stream):
    _, found = run(detector, batches(stream, 1000))
    assert {finding.identity for finding in found} == {"assistant"}


@every
def test_batch_size_changes_neither_findings_nor_state(detector, stream):
    # Single-row batches over a part that holds the campaign: the whole stream would take minutes.
    head, tail = stream.head(3950), stream.slice(3950, 150)
    start, _ = run(detector, [head])
    outcomes = []
    for size in SIZES:
        state, found = start, []
        for part in batches(tail, size):
            state, news = detector.observe(state, part)
            found += news
        outcomes.append((in_order(state), found))
    for state, found in outcomes:
        assert found == outcomes[0][1] != []
        assert_frame_equal(state, outcomes[0][0])
    whole = [run(detector, batches(stream, size)) for size in SIZES[2:]]
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
    _, found = run(detector, [frame(rows)])
    assert found
    database = view_of(frame(rows), tmp_path)
    for finding in found:
        database.execute(finding.evidence_sql).fetchall()


@every
def test_a_clean_day_raises_nothing(detector):
    assert run(detector, batches(frame(clean(20_000)), 2000))[1] == []


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
    assert state.height == 50
    assert "user 399" in str(state.rows())
    assert "user 3'" not in str(state.rows())


def test_detectors_read_only_documented_columns():
    assert {*COLUMNS, *audited.COLUMNS} <= set(SCHEMA)


@every
def test_times_with_a_zone_are_the_same_moments(detector, stream):
    zoned = stream.with_columns(pl.col("started_at").dt.replace_time_zone("UTC"))
    tokyo = zoned.with_columns(pl.col("started_at").dt.convert_time_zone("Asia/Tokyo"))
    assert run(detector, [tokyo])[1] == run(detector, [zoned])[1] == run(detector, [stream])[1]
