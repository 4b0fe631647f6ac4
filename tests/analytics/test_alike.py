"""Statements that are alike are looked at once, and singly where it matters."""

from __future__ import annotations

import polars as pl

from analytics import alike, extremes, keyed
from analytics.frames import prepare, succeeded
from tests.analytics.streams import START_US, clean, frame, statement

DAY_US = 86_400_000_000
NOTHING = keyed.empty(dict.fromkeys(extremes.KEY, pl.String), extremes.VALUES)


def test_what_differs_in_time_number_and_amounts_alone_is_one_kind():
    rows = [statement(n, rows=n + 1, bytes_sent=n, duration_us=n + 1) for n in range(5)]
    [kind] = alike.reduced(frame(rows)).to_dicts()
    assert (kind["times"], kind["rows_taken"], kind["most_rows"]) == (5, 15, 5)
    assert (kind["id"], kind["low_us"], kind["seen_us"]) == (1, START_US, START_US + 4_000_000)


def test_each_column_that_a_detector_reads_tells_kinds_apart():
    others = (
        {"user_name": "x"}, {"identity_kind": "human"}, {"database": "d"}, {"fingerprint": "f"},
        {"reads": ["a"]}, {"writes": ["a"]}, {"reads": ["a", "b"]}, {"reads": ["ab"]},
        {"columns_used": ["c"]}, {"sqlstate": "42501"}, {"parent_id": 4}, {"rows": 0},
        {"duration_us": 0}, {"client_address": "1.1.1.1"}, {"application_name": "psql"},
        {"agent": "host-b"}, {"cluster": "5433"}, {"functions": ["f"]}, {"summary": "s"},
    )  # fmt: skip
    rows = [statement(0), *(statement(1, **words) for words in others)]
    assert alike.reduced(frame(rows)).height == len(rows)


def test_single_rows_of_some_kinds_come_in_order_of_arrival_whatever_the_ticks():
    batch = frame(clean(500))
    chosen = prepare(batch).filter(pl.col("user_name") == "alice")
    for span_us in (0, 10_000_000, 3_600_000_000):
        dated = alike.dated(batch, succeeded(), NOTHING, DAY_US, span_us)
        mine = dated.alike.filter(pl.col("user_name") == "alice")
        rows = dated.rows(mine)
        assert rows["id"].to_list() == chosen.filter(succeeded())["id"].to_list()
        assert dated.single(mine.select(alike.ALIKE).unique(), ("rows",))["row"].equals(rows["row"])
        assert mine["times"].sum() == rows.height


def test_kinds_of_different_ticks_are_counted_by_tick():
    batch = frame([statement(second) for second in (1, 2, 11, 12, 13)])
    dated = alike.dated(batch, succeeded(), NOTHING, DAY_US, 10_000_000)
    first = START_US // 10_000_000
    assert dated.alike.select("tick", "times").rows() == [(first, 2), (first + 1, 3)]


def test_single_rows_have_the_types_of_their_kinds():
    batch = frame(clean(50))
    for span_us in (3_600_000_000, 1_000_000):
        dated = alike.dated(batch, succeeded(), NOTHING, DAY_US, span_us)
        rows = dated.rows(dated.alike)
        for name in ("day", "late", "segment", "tick"):
            assert rows.schema[name] == dated.alike.schema[name]


def test_kinds_of_many_agents_on_one_day_are_dated_without_a_look_at_single_rows():
    batch = frame([statement(n, agent=f"host-{n % 2}") for n in range(8)])
    dated = alike.dated(batch, succeeded(), NOTHING, DAY_US, 3_600_000_000)
    assert dated._timed is None
    assert dated.clocks.select("agent", "last_us").rows() == [
        ("host-0", START_US + 6_000_000), ("host-1", START_US + 7_000_000),
    ]  # fmt: skip


def test_an_agent_that_was_silent_since_yesterday_makes_nobody_elses_day_dear():
    nobody = dict.fromkeys(("cluster", "database", "owner"), "")
    clock = pl.DataFrame({"day": [START_US // DAY_US, 1], "odd": [0, 0], "agent": ["host-a", "b"]})
    schema = {"day": pl.Int64, "odd": pl.Int64, "last_us": pl.Int64}
    state = keyed.empty(dict.fromkeys(("agent", *nobody), pl.String), schema)
    rows = clock.with_columns(last_us=pl.lit(0, pl.Int64), **{n: pl.lit("") for n in nobody})
    state = keyed.put(state, rows, 10)
    dated = alike.dated_by_agent(frame([statement(1)]), succeeded(), state, DAY_US)
    assert dated._timed is None
    assert dated.clocks is None
