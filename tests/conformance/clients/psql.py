"""psql: simple queries, each ``-c`` one message; as a script it sends statement by statement."""

import os
import re
import subprocess

from tests.conformance.diary import Diary
from tests.conformance.expected import SUCCESS
from tests.conformance.place import Place, Step, agree

BASE = ("psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align",
        "--set", "VERBOSITY=sqlstate")  # fmt: skip
TIMED = ("\\timing on", "\\o /dev/null")
"""What psql itself measures of each message, without what it prints of the results."""
_TIME = re.compile(r"^Time: ([\d.]+) ms", re.MULTILINE)
_ERROR = re.compile(r"^(?:ERROR|FATAL):  (\w{5})$", re.MULTILINE)


def commands(place: Place, *steps: Step, stdin: str = "") -> Diary:
    words = [word for text in (*TIMED, *(one.sql for one in steps)) for word in ("-c", text)]
    return _noted(place, steps, _run(place, words, stdin))


def script(place: Place, *steps: Step) -> Diary:
    """psql reads a file and sends each statement with its semicolon. ``sql`` ends with one."""
    lines = (*TIMED, *(one.sql for one in steps), "")
    return _noted(place, steps, _run(place, [], "\n".join(lines)))


def _noted(place: Place, steps: tuple[Step, ...], done: subprocess.CompletedProcess[str]) -> Diary:
    _check(steps, _ERROR.findall(done.stderr))
    diary = Diary(place)
    times = [int(float(ms) * 1000) for ms in _TIME.findall(done.stdout)]
    for one, wall_us in zip(steps, times, strict=True):
        diary.note(one, wall_us)
    return diary


def _run(place: Place, words: list[str], stdin: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*BASE, *words], input=stdin, capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | place.environment(),
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise RuntimeError(f"psql ended with {done.returncode}: {done.stderr}")
    return done


def _check(steps: tuple[Step, ...], errors: list[str]) -> None:
    wanted = [
        outcome.sqlstate for one in steps for outcome in one.outcomes if outcome.sqlstate != SUCCESS
    ]
    agree(steps[0], wanted, errors)
