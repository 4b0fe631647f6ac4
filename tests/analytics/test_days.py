"""Which day a row counts for does not depend on absurd clocks, nor on how a stream is cut."""

from __future__ import annotations

import polars as pl

from analytics.days import BELIEVED_ROWS, CLOCK_SCHEMA, with_days

DAY_US = 86_400_000_000
NOBODY = pl.DataFrame(schema=CLOCK_SCHEMA)


def rows(*moments, agent="host-a"):
    """(day, hour) each."""
    times = [int((day + hour / 24) * DAY_US) for day, hour in moments]
    return pl.DataFrame({"agent": [agent] * len(times), "at_us": times})


def days_of(*parts, clocks=NOBODY):
    told = []
    for part in parts:
        dated, clocks = with_days(part, clocks, DAY_US)
        told += dated.select("day", "late").rows()
    return told


def test_the_day_of_a_row_is_that_of_its_time():
    assert days_of(rows((5, 1), (5, 23), (6, 0))) == [(5, False), (5, False), (6, False)]


def test_a_row_slightly_late_for_its_day_counts_for_the_next_and_may_speak():
    assert days_of(rows((6, 0.1), (5, 23.5))) == [(6, False), (6, False)]


def test_a_row_late_by_hours_counts_and_may_not_speak():
    assert days_of(rows((6, 3), (5, 20))) == [(6, False), (6, True)]


def test_one_row_of_the_far_future_moves_nothing():
    assert days_of(rows((5, 1), (9999, 1), (5, 2))) == [(5, False), (5, True), (5, False)]


def test_a_clock_that_keeps_telling_so_is_believed_and_so_is_its_return():
    ahead = rows(*[(90, 1)] * (BELIEVED_ROWS + 5))
    back = rows(*[(5, 2)] * (BELIEVED_ROWS + 5))
    told = days_of(rows((5, 1)), ahead, back)
    assert told[1] == (5, True)
    assert told[BELIEVED_ROWS + 5] == (90, False)
    assert told[-1] == (5, False)


def test_another_agent_keeps_its_own_day():
    both = pl.concat([rows((5, 1)), rows((7, 1), agent="host-b"), rows((5, 2))])
    assert days_of(both) == [(5, False), (7, False), (5, False)]


def test_an_agent_that_comes_back_with_old_events_in_order_is_not_late():
    assert days_of(rows((5, 1)), rows((5, 9), (6, 9), (7, 9))) == [
        (5, False), (5, False), (6, False), (7, False),
    ]  # fmt: skip


def test_how_rows_are_cut_into_batches_changes_no_day():
    mixed = rows((5, 1), *[(60, 1)] * 70, (5, 2), *[(61, 3)] * 60, (60, 23.5), (60, 2))
    whole = days_of(mixed)
    for size in (1, 7, 49, 50, 51):
        assert days_of(*mixed.iter_slices(size)) == whole


def test_the_rows_of_many_agents_that_alternate_are_dated_as_those_of_each():
    one = [(5, 1), *[(60, 1)] * 70, (5, 2), (60, 23.5), (60, 2), (61, 0.2), (60, 23.8)]
    other = [(7, 1), (7, 2), *[(8, 1)] * 60, (7, 3), (7, 23.9), *[(3, 1)] * 12]
    alone = {
        agent: with_days(rows(*moments, agent=agent), NOBODY, DAY_US)[0].select("day", "late")
        for agent, moments in (("host-a", one), ("host-b", other))
    }
    both = pl.concat([rows(*one), rows(*other, agent="host-b")])
    mixed = both[[place + half for place in range(len(one)) for half in (0, len(one))]]
    dated, clocks = with_days(mixed, NOBODY, DAY_US)
    for agent, expected in alone.items():
        assert dated.filter(agent=agent).select("day", "late").equals(expected)
    assert dict(clocks.select("agent", "day").iter_rows()) == {"host-a": 61, "host-b": 8}
