"""What the gate plays again, and what it does not."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.again import MOST, failed, once_more

TESTS = """
from pathlib import Path

PLAYED = Path(__file__).with_name("played")


def test_right():
    assert True


def test_wrong():
    assert False


def test_right_the_second_time():
    before = PLAYED.exists()
    PLAYED.touch()
    assert before
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "test_it.py").write_text(TESTS)
    return tmp_path


def play(project: Path, *tests: str) -> int:
    return once_more([f"test_it.py::{test}" for test in tests], project)


def test_what_passes_alone_is_named_and_fails_nothing(project, capfd):
    assert play(project, "test_right_the_second_time") == 1
    assert play(project, "test_right_the_second_time") == 0
    told = capfd.readouterr().out
    assert "1 of the gate's tests failed among others and passed alone:" in told
    assert told.endswith("  test_it.py::test_right_the_second_time\n")


def test_what_fails_again_fails_the_gate(project):
    assert play(project, "test_right", "test_wrong") != 0


def test_many_failures_are_no_matter_of_load(project, capfd):
    assert once_more(["test_it.py::test_right"] * (MOST + 1), project) == 1
    assert "not played again" in capfd.readouterr().out


def test_a_part_that_broke_off_is_no_success(project, tmp_path):
    assert failed(tmp_path / "no cache") == []
    assert once_more([], project) == 1


def test_what_failed_is_read_from_the_cache_of_pytest(project):
    subprocess.run(
        [sys.executable, "-m", "pytest", "-o", "cache_dir=kept"], cwd=project, check=False
    )
    assert failed(project / "kept") == [
        "test_it.py::test_right_the_second_time",
        "test_it.py::test_wrong",
    ]
