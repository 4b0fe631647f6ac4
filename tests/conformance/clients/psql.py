"""psql: simple queries, each ``-c`` one message; as a script it sends statement by statement."""

import os
import re
import subprocess

from tests.conformance.expected import SUCCESS
from tests.conformance.place import Diary, Place, Step, agree

BASE = ("psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align",
        "--set", "VERBOSITY=sqlstate")  # fmt: skip
_ERROR = re.compile(r"^(?:ERROR|FATAL):  (\w{5})$", re.MULTILINE)


def commands(place: Place, *steps: Step, stdin: str = "") -> Diary:
    diary = Diary(place)
    words = [word for one in steps for word in ("-c", one.sql)]
    with diary.doing(*steps):
        errors = _run(place, words, stdin)
    _check(steps, errors)
    return diary


def script(place: Place, *steps: Step) -> Diary:
    """psql reads a file and sends each statement with its semicolon. ``sql`` ends with one."""
    diary = Diary(place)
    with diary.doing(*steps):
        errors = _run(place, [], "\n".join(one.sql for one in steps) + "\n")
    _check(steps, errors)
    return diary


def _run(place: Place, words: list[str], stdin: str) -> list[str]:
    """SQLSTATEs of the errors, in order."""
    done = subprocess.run(
        [*BASE, *words], input=stdin, capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | place.environment(),
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise RuntimeError(f"psql ended with {done.returncode}: {done.stderr}")
    return _ERROR.findall(done.stderr)


def _check(steps: tuple[Step, ...], errors: list[str]) -> None:
    wanted = [
        outcome.sqlstate for one in steps for outcome in one.outcomes if outcome.sqlstate != SUCCESS
    ]
    agree(steps[0], wanted, errors)
