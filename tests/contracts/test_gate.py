"""Where the gate plays which test: each file once, the long ones first."""

from pathlib import Path

from tests.gate import ALONE, LONG, WAITING, is_alone, ordered

ROOT = Path(__file__).parents[2]
FILES = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("tests/**/test_*.py"))]


def test_every_file_that_is_named_is_there():
    assert set(ALONE) <= set(FILES)
    assert set(LONG) <= set(FILES)
    assert not set(LONG) & set(ALONE)


def test_every_file_has_one_place_whatever_order_they_come_in():
    played = [file for file in FILES if not is_alone(file)]
    assert sorted(ordered(played)) == played
    assert ordered(reversed(played))[: len(LONG)] == ordered(played)[: len(LONG)] == list(LONG)
    assert ordered(name for file in played for name in [file] * 2) == ordered(played)


def test_no_file_names_itself_for_a_part_that_would_not_read_it():
    mark = "mark." + "alone"
    assert not [file for file in FILES if mark in (ROOT / file).read_text()]


def test_what_waits_is_spread_over_what_computes():
    played = ordered(file for file in FILES if not is_alone(file))[len(LONG) :]
    half = len(played) // 2
    waiting = [
        sum(file.startswith(WAITING) for file in part) for part in (played[:half], played[half:])
    ]
    assert abs(waiting[0] - waiting[1]) <= len(LONG)


def test_a_part_of_the_files_may_be_played():
    assert ordered(["tests/rules/test_time.py"]) == ["tests/rules/test_time.py"]
    assert ordered([]) == []
