"""A day's most extreme moment is worth what the extremes of earlier days make it worth."""

from __future__ import annotations

import math

import polars as pl
import pytest

from analytics import days, extremes, keyed
from analytics.candidates import with_told
from analytics.extremes import KEY, MOST_BITS, Prior

PRIOR = Prior(5.0, 2.0, 0.1)


def bits(figure, mean=4.0, spread=1.0):
    frame = pl.DataFrame({"f": [float(figure)]})
    return frame.select(extremes.bits(pl.col("f"), pl.lit(mean), pl.lit(spread))).item()


def subjects(names, day, top):
    return pl.DataFrame(
        {
            "agent": ["a"] * len(names), "cluster": ["c"] * len(names),
            "database": ["d"] * len(names), "owner": [f"={name}" for name in names],
            "item": ["peak"] * len(names), "group": ["~human"] * len(names),
            "today": [day] * len(names), "since_us": [day] * len(names),
            "seen_us": [day] * len(names), "top": top,
        }
    ).with_columns(**PRIOR.columns())  # fmt: skip


def lived(tops):
    """The last day's rows after days with such extremes of alice and bob."""
    state = keyed.empty(dict.fromkeys(KEY, pl.String), extremes.VALUES)
    for day, today in enumerate(tops):
        peaks, parents = extremes.baselines(state, subjects(["alice", "bob"], day, list(today)))
        state = keyed.put(state, days.filled([with_told(peaks, []), parents], state), 1000)
    return {row["owner"]: row for row in peaks.iter_rows(named=True)}, state


def test_bits_rise_with_the_figure_and_are_finite():
    scores = [bits(figure) for figure in (-1e9, 0, 4, 6, 10, 40, 1e9)]
    assert scores == sorted(scores)
    assert scores[0] >= 0
    assert scores[-1] == MOST_BITS
    assert all(math.isfinite(score) for score in scores)


def test_one_day_in_a_hundred_is_worth_about_two_bits():
    # Of a Gumbel law with this mean and spread the 99th percentile is at 4.14 spreads above.
    location = 4.0 - 0.5772 * 0.7797
    figure = location - 0.7797 * math.log(-math.log(0.99))
    assert bits(figure) == pytest.approx(2.0, abs=0.05)


def test_what_is_usual_follows_the_days_of_the_subject():
    rows, _ = lived([(8.0, 2.0), (8.2, 2.1), (7.9, 2.0), (8.0, 2.2), (8.1, 2.0)] * 4)
    assert rows["=alice"]["mean"] == pytest.approx(7.7, abs=0.5)
    assert rows["=bob"]["mean"] == pytest.approx(2.5, abs=0.6)


def test_a_newcomer_is_expected_to_be_like_the_peers():
    _, state = lived([(8.0, 8.1)] * 10)
    peaks, _ = extremes.baselines(state, subjects(["carol"], 10, [0.0]))
    assert peaks["mean"].item() == pytest.approx(8.0, abs=0.6)
    assert peaks["n"].item() == 0


def test_an_attack_of_a_day_counts_as_little_more_than_an_unusual_day():
    calm, _ = lived([(4.0, 4.0), (4.5, 4.5)] * 10)
    attacked, _ = lived([*[(4.0, 4.0), (4.5, 4.5)] * 9, (4.0, 4.0), (400.0, 4.5), (4.0, 4.0)])
    assert attacked["=alice"]["mean"] < calm["=alice"]["mean"] + 0.5


def test_a_day_without_the_subject_is_no_day_of_it():
    state = keyed.empty(dict.fromkeys(KEY, pl.String), extremes.VALUES)
    for day in (0, 30):
        peaks, parents = extremes.baselines(state, subjects(["alice"], day, [5.0]))
        state = keyed.put(state, days.filled([with_told(peaks, []), parents], state), 1000)
    assert peaks["n"].item() == pytest.approx(0.5)  # one day, faded for thirty
