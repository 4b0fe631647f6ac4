"""In which shares an identity runs which statements."""

import random

from analytics.detectors.workload_mix import WorkloadMix, WorkloadMixSettings
from tests.analytics.streams import batches, frame, statement

DAY = 86_400
SHARES = {"f0": 40, "f1": 25, "f2": 15, "f3": 10, "f4": 10}


def day_of(day, who, shares=SHARES, count=150, seed=0):
    dice = random.Random(f"{day} {who} {seed}")
    picked = dice.choices(list(shares), weights=list(shares.values()), k=count)
    return [
        statement(
            day * DAY + 3600 * 8 * n / count, user_name=who, fingerprint=shape,
            summary=f"SELECT of {shape}",
        )
        for n, shape in enumerate(picked)
    ]  # fmt: skip


def ordinary(days=12, people=6):
    return [row for day in range(days) for n in range(people) for row in day_of(day, f"u{n}")]


def told(rows, **settings):
    detector = WorkloadMix(WorkloadMixSettings(**settings))
    state, found = detector.empty_state(), []
    rows = sorted(rows, key=lambda row: row["started_at"])
    for part in batches(frame(rows), 700):
        state, news = detector.observe(state, part)
        found += news
    return found


def of(rows, who, day=12):
    since = statement(day * DAY)["started_at"]
    return max(
        (f for f in told(rows) if f.identity == who and f.at_us >= since),
        key=lambda finding: finding.score,
        default=None,
    )


def test_a_workload_of_other_statements_is_told_with_what_makes_it():
    other = day_of(12, "u1", {"dump1": 2, "dump2": 1, "dump3": 1})
    found = of(ordinary() + other, "u1")
    assert found.score > 4
    assert found.sentence.startswith("u1's mix moved 1.00 over 50 statements")
    assert "SELECT of dump1" in found.sentence
    assert float(dict(found.details)["p_of_a_day"]) < 1e-4


def test_an_ordinary_day_surprises_nobody_much():
    scores = [f.score for f in told(ordinary(days=14))]
    assert len(scores) <= 0.15 * 6 * 14
    assert max(scores, default=0) < 3


def test_the_same_statements_in_other_shares_score_between_the_two():
    shifted = of(ordinary() + day_of(12, "u1", {"f0": 1, "f4": 9}), "u1")
    foreign = of(ordinary() + day_of(12, "u1", {"dump": 1}), "u1")
    assert 2 < shifted.score < foreign.score


def test_a_release_that_adds_one_statement_scores_less_than_a_theft():
    release = of(ordinary() + day_of(12, "u1", SHARES | {"new": 12}), "u1")
    theft = of(ordinary() + day_of(12, "u1", {"dump": 1}), "u1")
    assert (release.score if release else 0) < theft.score / 2


def test_what_stays_becomes_usual():
    moved = [row for day in range(12, 40) for row in day_of(day, "u1", {"g0": 3, "g1": 2, "g2": 1})]
    rest = [row for day in range(12, 40) for row in day_of(day, "u2")]
    rows = ordinary() + moved + rest
    first, last = of(rows, "u1"), of(rows, "u1", 38)
    assert first.score > 4
    assert last is None or last.score < 2


def test_an_identity_without_a_day_behind_it_is_not_compared():
    assert told(day_of(0, "u1") + day_of(0, "u1", {"dump": 1}, seed=1)) == []


def test_one_identity_with_ever_new_statements_keeps_a_bounded_state():
    detector = WorkloadMix(WorkloadMixSettings(top_shapes=10))
    rows = [statement(n * 20, user_name="u1", fingerprint=f"x{n}") for n in range(20_000)]
    state = detector.empty_state()
    for part in batches(frame(rows), 5_000):
        state, _ = detector.observe(state, part)
    assert state["usual_shapes"].list.len().max() <= 10
    assert state["today_shapes"].list.len().max() <= 10
    assert state["block_shapes"].list.len().max() <= 50
