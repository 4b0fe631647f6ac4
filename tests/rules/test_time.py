"""Rules may ask for the hour, the day and the windows that are open, by the zone's wall clock."""

from datetime import UTC, datetime

import pytest

from rules import Judge, Tuning
from tests.rules.rule_files import load, problems, rule, shape, view

MAINTENANCE = """\
timezone: Europe/Berlin
windows:
  maintenance: {days: [sat, sun], from: "01:00", to: "05:00"}
  night:
    - {days: [fri], from: "22:00", to: "04:00"}
  always: {from: "00:00", to: "24:00"}
rules:
"""


def at(text, **facts):
    """UTC."""
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return view(shape(), **facts)._replace(at_us=int(moment.timestamp()) * 1_000_000)


@pytest.mark.parametrize(
    ("when", "moment", "matches"),
    [
        ("time.hour == 3", "2026-01-05T02:59", True),
        ("time.hour == 3", "2026-01-05T03:00", False),
        ("time.weekday == 'mon'", "2026-01-04T22:59", False),
        ("time.weekday == 'mon'", "2026-01-04T23:00", True),
        ("time.date == '2026-01-01'", "2025-12-31T23:00", True),
        ("time.date >= '2026-01-02'", "2026-01-01T12:00", False),
        ("'maintenance' in time.windows", "2026-01-03T00:00", True),
        ("'maintenance' in time.windows", "2026-01-02T23:59", False),
        ("'maintenance' in time.windows", "2026-01-03T03:59", True),
        ("'maintenance' in time.windows", "2026-01-03T04:00", False),
        ("'maintenance' in time.windows", "2026-01-05T01:00", False),
        ("'night' in time.windows", "2026-01-02T21:00", True),
        ("'night' in time.windows", "2026-01-03T02:59", True),
        ("'night' in time.windows", "2026-01-03T03:00", False),
        ("'night' in time.windows", "2026-01-02T02:00", False),
        ("'always' in time.windows", "2026-01-02T22:59", True),
    ],
)
def test_time_is_the_wall_clock_of_the_zone(tmp_path, when, moment, matches):
    rules = load(tmp_path, MAINTENANCE + rule(when))
    assert bool(rules.judge(at(moment))) is matches


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        # On 29 March 2026 the clocks of Berlin go from 02:00 to 03:00 at 01:00 UTC.
        ("2026-03-29T00:00", True),
        ("2026-03-29T00:59", True),
        ("2026-03-29T02:59", True),
        ("2026-03-29T03:00", False),
        # On 25 October 2026 they go from 03:00 back to 02:00 at 01:00 UTC: one hour longer.
        ("2026-10-24T23:00", True),
        ("2026-10-25T00:30", True),
        ("2026-10-25T01:30", True),
        ("2026-10-25T03:59", True),
        ("2026-10-25T04:00", False),
    ],
)
def test_a_window_opens_and_closes_by_the_wall_clock_when_summer_time_begins_and_ends(
    tmp_path, moment, is_open
):
    rules = load(tmp_path, MAINTENANCE + rule("'maintenance' in time.windows"))
    assert bool(rules.judge(at(moment))) is is_open


def test_a_remembered_judgement_is_not_used_at_another_time(tmp_path):
    judge = Judge(load(tmp_path, MAINTENANCE + rule("'maintenance' in time.windows")))
    for moment in ("2026-01-03T00:00", "2026-01-03T04:00", "2026-01-03T01:00"):
        assert bool(judge.judge(at(moment))) is (moment != "2026-01-03T04:00")
    assert judge.counts().cached == 1, "the window is open both times"


def test_the_time_makes_no_difference_where_no_rule_asks_for_it(tmp_path):
    judge = Judge(load(tmp_path, rule("session.local")))
    judge.judge(at("2026-01-03T00:00"))
    judge.judge(at("2026-06-03T10:00"))
    assert judge.counts().cached == 1


def test_only_what_rules_ask_for_tells_moments_apart(tmp_path):
    rules = load(tmp_path, MAINTENANCE + rule("time.weekday == 'sun'"))
    one, other = (at(f"2026-01-04T{hour}:00").at_us for hour in ("08", "20"))
    assert rules.moment(one) == rules.moment(other)


def test_the_configuration_names_zone_and_windows(tmp_path):
    opening = {"days": ["sat"], "from": "01:00", "to": "02:00", "timezone": "Asia/Kathmandu"}
    tuning = Tuning(timezone="America/New_York", windows={"patch": [opening]})
    text = rule("'patch' in time.windows || time.hour == 20")
    rules = load(tmp_path, text, tuning=tuning)
    assert rules.judge(at("2026-01-02T19:15"))  # 01:00 in Kathmandu
    assert not rules.judge(at("2026-01-02T20:15"))
    assert rules.judge(at("2026-01-03T01:00"))  # 20:00 in New York


MISTAKES = {
    "zone": ("timezone: Europe/Berln\nrules: []", "1: timezone: the time zone 'Europe/Berln' is"),
    "zone's path": ("timezone: ../../etc/passwd\nrules: []", "1: timezone: the time zone"),
    "day": (
        "windows:\n  w: {days: [sta], from: '01:00', to: '02:00'}\nrules: []",
        "2: windows.w: the day 'sta' is unknown; did you mean 'sat'?",
    ),
    "hour": (
        "windows:\n  w: {from: '1:00', to: '02:00'}\nrules: []",
        "2: windows.w: from: '1:00' is no time of day",
    ),
    "end": (
        "windows:\n  w: {from: '01:00', to: '24:01'}\nrules: []",
        "2: windows.w: to: '24:01' is no time of day",
    ),
    "empty": (
        "windows:\n  w: {from: '01:00', to: '01:00'}\nrules: []",
        "2: windows.w: it opens and closes at the same time",
    ),
    "no day": (
        "windows:\n  w: {days: [], from: '01:00', to: '02:00'}\nrules: []",
        "2: windows.w: it never opens: days is empty",
    ),
    "missing": ("windows:\n  w: {from: '01:00'}\nrules: []", "2: windows.w: the field 'to' is"),
    "field": (
        "windows:\n  w: {from: '01:00', to: '02:00', zone: x}\nrules: []",
        "2: unknown field 'zone' in windows.w",
    ),
    "name": ("windows:\n  W x: {from: '01:00', to: '02:00'}\nrules: []", "2: windows: the name"),
    "no list": ("windows:\n  w: nights\nrules: []", "2: a window must be a list"),
    "unknown window": (
        "windows:\n  night: {from: '01:00', to: '02:00'}\nrules:\n"
        + rule("'nihgt' in time.windows"),
        "5: rule r: when: unknown window 'nihgt'; did you mean 'night'?",
    ),
    "no window": (
        rule("'night' in time.windows"),
        "2: rule r: when: unknown window 'night'; none is defined",
    ),
}


@pytest.mark.parametrize(("text", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_about_time_has_its_place(tmp_path, text, expected):
    found = problems(tmp_path, text)
    assert any(each.startswith(f"rules.yaml:{expected}") for each in found), found


def test_a_problem_names_its_column(tmp_path):
    file = tmp_path / "w.yaml"
    file.write_text("windows:\n  w: {days: [sta], from: '01:00', to: '02:00'}\nrules: []")
    from rules import RuleError, RuleSet

    with pytest.raises(RuleError, match=r"w\.yaml:2:14: windows\.w: the day"):
        RuleSet.load([file])


def test_two_files_cannot_disagree_about_zone_and_windows(tmp_path):
    from rules import RuleError, RuleSet

    window = "windows: {w: {from: '01:00', to: '02:00'}}\n"
    (tmp_path / "a.yaml").write_text(f"timezone: UTC\n{window}rules: []")
    (tmp_path / "b.yaml").write_text(f"timezone: Asia/Tokyo\n{window}rules: []")
    with pytest.raises(RuleError) as caught:
        RuleSet.load([tmp_path])
    assert [p.message for p in caught.value.problems] == [
        "timezone is UTC in another file",
        "windows.w stands in another file too",
    ]


def test_a_bad_window_of_the_configuration_is_named(tmp_path):
    tuning = Tuning(timezone="Nowhere", windows={"w": [{"from": "25:00", "to": "01:00"}]})
    assert [each.partition(" is ")[0] for each in problems(tmp_path, rule(), tuning=tuning)] == [
        "configuration: rules.timezone: the time zone 'Nowhere'",
        "configuration: rules.windows.w: '25:00'",
    ]
