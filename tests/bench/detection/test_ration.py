"""A baseline's score becomes alerts within a budget."""

from bench.detection.candidate import Candidate, Step
from bench.detection.ration import alerts_within
from bench.detection.scoring import DAY_US, HISTORY_DAYS, HOUR_US

START_US = 20_000 * DAY_US


def run(days: dict[int, list[tuple[str, float]]], budget: float, identities: int = 100):
    """Candidates of each day come in one step, an hour apart."""
    length = max([*days, HISTORY_DAYS]) + 1
    steps, said = [], []
    for day in range(length):
        begin_us = START_US + day * DAY_US
        steps.append(Step(begin_us + DAY_US - 1, identities, 1))
        found = [
            Candidate(who, begin_us + hour * HOUR_US, score)
            for hour, (who, score) in enumerate(days.get(day, []))
        ]
        said.append((day, found))
    return [
        ((alert.at_us - START_US) // DAY_US, alert.identity)
        for alert in alerts_within(budget, steps, said)
    ]


def history(scores: list[float]) -> dict[int, list[tuple[str, float]]]:
    return {
        day: [(f"user{n}", score) for n, score in enumerate(scores)] for day in range(HISTORY_DAYS)
    }


def test_history_raises_nothing():
    assert run(history([9.0, 8.0]), budget=5) == []


def test_what_is_above_all_history_passes_and_the_usual_does_not():
    days = history([float(n) for n in range(10)]) | {7: [("eve", 50.0), ("user3", 3.0)]}
    assert run(days, budget=1) == [(7, "eve")]


def test_a_larger_budget_lets_more_through():
    today = {7: [(f"user{n}", n + 0.5) for n in range(10)]}
    few = run(history([float(n) for n in range(10)]) | today, budget=2)
    many = run(history([float(n) for n in range(10)]) | today, budget=5)
    assert few == [(7, f"user{n}") for n in (7, 8, 9)]
    assert len(many) > len(few)


def test_an_identity_has_one_alert_a_day():
    days = history([1.0]) | {7: [("eve", 50.0), ("eve", 60.0)], 8: [("eve", 70.0)]}
    assert run(days, budget=5) == [(7, "eve"), (8, "eve")]


def test_scores_that_are_all_alike_are_neither_silent_nor_beyond_the_budget():
    days = {day: [(f"user{n}", 1.0) for n in range(10)] for day in range(27)}
    alerts = run(days, budget=2)
    assert len(alerts) == 2 * 20
    assert {day for day, _ in alerts} == set(range(HISTORY_DAYS, 27))


def test_the_budget_follows_the_number_of_identities():
    days = history([float(n) for n in range(10)]) | {7: [("eve", 8.5)]}
    assert run(days, budget=2, identities=100) == [(7, "eve")]
    assert run(days, budget=2, identities=20) == []
