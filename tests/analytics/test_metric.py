"""A metric's next value against its own past."""

import math
import random

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from analytics.metric import MOST_BITS, STATE, Metric, MetricSettings

MINUTE_US = 60_000_000
DAY_US = 24 * 60 * MINUTE_US
KEY = {"name": pl.String}


def run(
    series: dict[str, list[float]], step_us: int = 60 * MINUTE_US, metric: Metric | None = None
):
    """Scores of every series, side by side, and what is known at the end."""
    metric = metric or Metric()
    known = metric.empty(KEY)
    scores: dict[str, list[float]] = {name: [] for name in series}
    for at in range(max(len(values) for values in series.values())):
        rows = [(n, at * step_us, v[at]) for n, v in series.items() if at < len(v)]
        frame = pl.DataFrame(
            rows, schema={**KEY, "at_us": pl.Int64, "value": pl.Float64}, orient="row"
        )
        judged = metric.step(frame.join(known, on="name", how="left", maintain_order="left"))
        quiet = known.join(judged, on="name", how="anti")
        known = pl.concat([quiet, judged.select("name", *STATE)])
        for name, score in judged.select("name", "score").iter_rows():
            scores[name].append(score)
    return scores, known.sort("name")


def noise(count: int, seed: int = 1, mean: float = 100.0) -> list[float]:
    dice = random.Random(seed)
    return [dice.gauss(mean, 5.0) for _ in range(count)]


@pytest.fixture(scope="module")
def hourly():
    """Scores of several series, side by side: a step of many costs as much as one of one."""
    dice = random.Random(3)
    day = [1000.0 if 9 <= hour < 17 else 10.0 for hour in range(24)]
    busy = [dice.gauss(day[n % 24], 3.0) for n in range(24 * 20)]
    series = {
        "far": [*noise(400), 300.0],
        "usual": noise(480),
        "noon": [*busy, *busy[:12], 1000.0],
        "night": [*busy, *busy[:3], 1000.0],
        "flat": [7.0] * 300,
    }
    return run(series)[0]


def test_a_value_far_from_all_before_is_surprising(hourly):
    assert hourly["far"][-1] > max(hourly["far"][100:-1])
    assert hourly["far"][-1] > 3


def test_the_usual_is_not_surprising(hourly):
    assert sum(score > 3.5 for score in hourly["usual"][100:]) == 0


def test_an_hour_that_is_always_busy_is_expected_and_the_same_value_at_night_is_not(hourly):
    assert hourly["noon"][-1] < 2
    assert hourly["night"][-1] > 3.5


def test_a_slow_shift_of_the_level_is_noticed_though_no_single_value_is_a_record():
    scores, _ = run({"flips": [*[0.0, 100.0] * 200, *[100.0] * 30]}, step_us=DAY_US)
    assert max(scores["flips"][200:400]) < 1
    assert max(scores["flips"][400:]) > 2.5


def test_the_same_surprise_is_said_once_until_it_grows():
    held = [*noise(300), *[400.0] * 20, 900.0, *noise(10)]
    scores, _ = run({"held": held}, step_us=MINUTE_US)
    said = [at for at, score in enumerate(scores["held"]) if at >= 300 and score > 0]
    assert said[0] == 300
    assert 320 in said
    assert not [at for at in said if at > 320]


def test_an_absurd_value_takes_one_place_and_does_not_hide_the_next():
    metric = Metric(MetricSettings(quiet_steps=1))
    scores, known = run({"spiky": [*noise(250), 1e200, *noise(30, seed=9), 300.0]}, metric=metric)
    assert scores["spiky"][-1] > 2
    assert all(math.isfinite(score) and 0 <= score <= MOST_BITS for score in scores["spiky"])
    assert known["variance"].is_finite().all()


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_what_is_no_number_scores_0_and_teaches_nothing(value):
    scores, known = run({"gap": [*noise(30), value]})
    same, before = run({"gap": noise(30)})
    assert scores["gap"] == [*same["gap"], 0.0]
    assert_frame_equal(known, before)


def test_metrics_do_not_touch_each_other():
    alone, known = run({"a": noise(60)})
    together, both = run({"a": noise(60), "b": noise(40, seed=2, mean=5.0)})
    assert together["a"] == alone["a"]
    assert_frame_equal(both.filter(pl.col("name") == "a"), known)


def test_a_constant_is_never_surprising(hourly):
    assert max(hourly["flat"]) == 0.0


def test_what_is_kept_of_a_metric_is_bounded():
    settings = MetricSettings(largest=16)
    _, known = run({"long": noise(150)}, metric=Metric(settings))
    for name in ("season_largest", "level_largest", "shift_largest"):
        assert known[name].list.len().to_list() == [16]
        assert known[name].list.eval(pl.element().diff().fill_null(0) <= 0).list.all().all()
