"""Where the gate plays which test: each file once, the long ones first."""

from pathlib import Path

import pytest

from tests.gate import ALONE, LONG, PLAYED, SPARE, WAITING, Part, ordered, part_of

ROOT = Path(__file__).parents[2]
CLOCKS = (
    "perf_counter", "monotonic(", ".sleep(", ".time(", "wait_until", "import subprocess",
    "import grpc", "PostgresCluster",
)  # fmt: skip
FILES = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("tests/**/test_*.py"))]


def test_every_file_that_is_named_is_there():
    assert set(ALONE) <= set(FILES)
    assert set(LONG) <= set(FILES)
    assert all(any(file.startswith(name) for file in FILES) for name in SPARE)
    assert {part_of(file) for file in LONG} == {Part.BESIDE}


def test_the_parts_that_the_gate_plays_are_all_files():
    assert {part_of(file) for file in FILES} == set(Part)
    assert set.union(*(PLAYED[part] for part in ("beside", "alone", "spare"))) == set(Part)
    played = (ROOT / "run").read_text()
    assert [part for part in Part if f"-m {part} " in played] == list(Part)


@pytest.mark.parametrize("file", [file for file in FILES if part_of(file) is Part.SPARE])
def test_what_is_played_in_spare_time_asks_no_clock_and_waits_for_no_program(file):
    assert not [word for word in CLOCKS if word in (ROOT / file).read_text()]


def test_every_file_has_one_place_whatever_order_they_come_in():
    played = [file for file in FILES if part_of(file) is Part.BESIDE]
    assert sorted(ordered(played)) == played
    assert ordered(reversed(played))[: len(LONG)] == ordered(played)[: len(LONG)] == list(LONG)
    assert ordered(name for file in played for name in [file] * 2) == ordered(played)


def test_no_file_names_itself_for_a_part_that_would_not_read_it():
    marks = ["mark." + part for part in Part]
    assert not [file for file in FILES for mark in marks if mark in (ROOT / file).read_text()]


def test_what_waits_is_spread_over_what_computes():
    played = ordered(file for file in FILES if part_of(file) is Part.BESIDE)[len(LONG) :]
    half = len(played) // 2
    waiting = [
        sum(file.startswith(WAITING) for file in part) for part in (played[:half], played[half:])
    ]
    assert abs(waiting[0] - waiting[1]) <= len(LONG)


def test_a_part_of_the_files_may_be_played():
    assert ordered(["tests/rules/test_time.py"]) == ["tests/rules/test_time.py"]
    assert ordered([]) == []
