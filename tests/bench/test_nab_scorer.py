"""The benchmark's score against cases counted by hand."""

import math

import pytest

from bench.nab import windowed_gaussian
from bench.nab_scorer import (
    NEVER,
    Profile,
    Series,
    normalised,
    optimise,
    position_value,
    score_file,
    worths,
)

STANDARD = Profile(true_positive=1.0, false_positive=0.11, false_negative=1.0)
LOW_MISS = Profile(true_positive=1.0, false_positive=0.11, false_negative=2.0)
ROWS = 100
"""The first 15 are probation."""


def series(*windows: tuple[int, int], name: str = "one", rows: int = ROWS) -> Series:
    return Series(name, [0.0] * rows, windows)


def scores(*alarms: int, rows: int = ROWS) -> list[float]:
    return [1.0 if row in alarms else 0.0 for row in range(rows)]


def normal(corpus, given, profile=STANDARD) -> float:
    return optimise(corpus, given, profile).score


def test_a_detector_that_never_speaks_gets_0_under_every_profile():
    for profile in (STANDARD, LOW_MISS):
        silent = score_file(series((40, 49), (70, 79)), scores(), 0.5, profile)
        assert normalised(silent.score, 2, profile) == 0.0
        assert (silent.detected, silent.missed, silent.false_positives) == (0, 2, 0)


def test_the_first_row_of_every_window_and_nothing_else_gets_100():
    corpus = [series((40, 49), (70, 79))]
    for profile in (STANDARD, LOW_MISS):
        assert normal(corpus, {"one": scores(40, 70)}, profile) == pytest.approx(100.0)


def test_a_detector_whose_every_threshold_costs_more_than_it_earns_is_silenced():
    result = optimise([series((90, 99))], {"one": [1.0] * ROWS}, STANDARD)
    assert result.threshold == NEVER
    assert result.score == 0.0


def test_a_false_positive_before_any_window_costs_the_whole_weight():
    file = score_file(series((40, 49)), scores(20, 40), 0.5, STANDARD)
    assert file.score == pytest.approx(1.0 - 0.11)
    assert file.false_positives == 1


def test_a_false_positive_costs_less_the_closer_it_follows_a_window():
    # Nine rows from the first to the last row of the window: its width as the benchmark has it.
    for row, position in ((50, 1 / 9), (58, 1.0), (67, 2.0)):
        file = score_file(series((40, 49)), scores(40, row), 0.5, STANDARD)
        expected = 2 / (1 + math.exp(5 * position)) - 1
        assert file.score == pytest.approx(1.0 + 0.11 * expected)
    assert position_value(3.1) == -1.0


def test_a_late_detection_earns_less_than_an_early_one():
    for row, position in ((40, -1.0), (45, -0.5), (49, -0.1)):
        file = score_file(series((40, 49)), scores(row), 0.5, STANDARD)
        value = (2 / (1 + math.exp(5 * position)) - 1) / (2 / (1 + math.exp(-5)) - 1)
        assert file.score == pytest.approx(value)


def test_more_detections_in_a_window_neither_earn_nor_cost():
    once = score_file(series((40, 49)), scores(42), 0.5, STANDARD)
    often = score_file(series((40, 49)), scores(42, 43, 44, 49), 0.5, STANDARD)
    assert once == often


def test_rows_of_the_probation_count_for_nothing():
    assert score_file(series((40, 49)), scores(3, 14, 40), 0.5, STANDARD).score == 1.0
    assert series(rows=10_000).probation == 750
    assert series(rows=1000).probation == 150


def test_a_missed_window_costs_the_weight_of_the_profile():
    assert score_file(series((40, 49)), scores(), 0.5, LOW_MISS).score == -2.0


def test_one_threshold_serves_the_whole_corpus_and_is_the_best():
    corpus = [series((40, 49)), series((40, 49), name="two")]
    given = {
        "one": [0.9 if row == 40 else 0.4 if row % 2 else 0.0 for row in range(ROWS)],
        "two": [0.6 if row == 40 else 0.5 if row == 20 else 0.0 for row in range(ROWS)],
    }
    result = optimise(corpus, given, STANDARD)
    assert result.threshold == 0.6
    assert result.score == pytest.approx(100.0)
    assert {name: file.detected for name, file in result.files.items()} == {"one": 1, "two": 1}


def test_rows_of_one_score_are_taken_together():
    # The row inside the window could be had alone only by a threshold that does not exist.
    given = [0.7 if row in (20, 21, 40) else 0.0 for row in range(ROWS)]
    result = optimise([series((40, 49))], {"one": given}, STANDARD)
    assert result.raw == pytest.approx(1.0 - 2 * 0.11)


def test_the_files_add_up_to_the_corpus():
    corpus = [series((40, 49)), series((60, 69), name="two")]
    given = {"one": scores(41, 90), "two": scores(30, 60)}
    result = optimise(corpus, given, STANDARD)
    assert sum(file.score for file in result.files.values()) == pytest.approx(result.raw)


def test_the_last_row_of_a_window_is_worth_something_and_the_next_one_costs():
    inside, outside = worths(series((40, 49)))[49:51]
    assert inside[0] > 0
    assert inside[1] == 0
    assert outside[0] < 0
    assert outside[1] is None


def test_scores_of_another_length_are_refused():
    with pytest.raises(ValueError, match="99 scores for 100 rows"):
        score_file(series(), [0.0] * 99, 0.5, STANDARD)


def test_the_windowed_gaussian_is_sure_of_a_spike_and_unmoved_by_the_usual():
    values = [float(n % 7) for n in range(200)] + [100.0, 3.0]
    *_, spike, usual = windowed_gaussian(values)
    assert spike > 0.999999
    assert usual < 0.9
