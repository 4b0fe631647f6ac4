"""At what hour somebody is active."""

import random

from analytics import week
from analytics.detectors.activity_time import ActivityTime
from tests.analytics.streams import batches, frame, statement

DAY = 86_400
START_HOUR = 8.9
THURSDAY = 3
"""The stream begins on a Thursday at 08:53 UTC."""


def at(day, hour):
    """``hour`` UTC of the ``day``-th day."""
    return day * DAY + (hour - START_HOUR) * 3600


def one(day, hour, who, kind="human"):
    return statement(at(day, hour), user_name=who, identity_kind=kind)


def office(days=28, people=8, ends=17):
    """People from nine to five on weekdays, a service round the clock, and a nightly job."""
    dice = random.Random(3)
    rows = []
    for day in range(days):
        rows += [one(day, hour + 0.95, "web", "service") for hour in range(24)]
        rows += [one(day, 2.5 + 24, "nightly", "service")]
        if (day + THURSDAY) % 7 < 5:
            rows += [
                one(day, hour + dice.random(), f"person{n}")
                for n in range(people)
                for hour in range(9, ends)
                if dice.random() < 0.8
            ]
    return rows


def told(rows):
    rows = sorted((row for row in rows), key=lambda row: row["started_at"])
    detector = ActivityTime()
    state, found = detector.empty_state(), []
    for part in batches(frame(rows), 400):
        state, news = detector.observe(state, part)
        found += news
    return found


def of(rows, who):
    return max(
        (f for f in told(rows) if f.identity == who and f.at_us >= at_us(24)),
        key=lambda finding: finding.score,
        default=None,
    )


def at_us(day):
    return statement(at(day, 0))["started_at"]


def test_the_first_sunday_night_of_an_office_worker_is_told_as_such():
    sunday = 27 - THURSDAY
    found = of([*office(), one(sunday, 3.2, "person1")], "person1")
    assert found.sentence.startswith("person1 was active the first Sunday 03h (UTC) in 24 days")
    assert found.score > 1.5


def test_a_late_evening_surprises_less_than_the_middle_of_the_night():
    late = of([*office(), one(26, 17.5, "person1")], "person1")
    night = of([*office(), one(26, 3.2, "person1")], "person1")
    assert (late.score if late else 0) < night.score - 0.3


def test_who_is_there_round_the_clock_never_surprises():
    assert of([*office(), one(26, 3.3, "web", "service")], "web") is None


def test_the_least_likely_hour_of_somebody_who_is_nearly_always_there_says_nothing():
    mostly = [one(day, hour + 0.5, "busy") for day in range(28) for hour in range(24)
              if (day + hour) % 12]  # fmt: skip
    assert of([*office(), *mostly], "busy") is None


def test_a_nightly_job_that_runs_an_hour_late_surprises_little():
    found = of([*office(), one(26, 3.7, "nightly", "service")], "nightly")
    assert found is None or found.score < 2


def test_a_second_night_of_the_same_person_is_a_little_more_usual():
    nights = [one(day, 3.2, "person1") for day in (20, 21, 22, 26)]
    again = of(office() + nights, "person1")
    first = of([*office(), one(26, 3.2, "person1")], "person1")
    assert again.score < first.score


def test_one_night_is_one_finding():
    hours = [one(26, 3.2 + n / 10, "person1") for n in range(9)]
    night = [f for f in told(office() + hours) if f.identity == "person1" and f.at_us >= at_us(26)]
    assert len({finding.id for finding in night}) == len(night) == 1


def test_failed_logins_in_the_night_are_nobodys_activity():
    login = one(26, 3.2, "person1") | {"operation": "login", "sqlstate": "28P01"}
    assert of([*office(), login], "person1") is None


def test_the_kernel_gives_each_hour_of_activity_a_weight_of_one():
    assert (
        week.KERNEL.group_by("hour").agg(week.pl.col("weight").sum())["weight"].round(9).eq(1).all()
    )
