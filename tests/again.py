"""What failed in the gate, once more with the machine to itself (docs/decisions/0098).

``python -m tests.again FOLDER...``: the folders are pytest's caches of the parts that failed. Ends
with 0 only if all that failed passes now, and names it either way.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

MOST = 3
"""Tests that may fail for the load beside them. More have one cause, and that is no load."""


def failed(cache: Path) -> list[str]:
    """Node ids of what failed last, from pytest's cache in this folder."""
    try:
        return sorted(json.loads((cache / "v/cache/lastfailed").read_text()))
    except FileNotFoundError:
        return []


def once_more(tests: Sequence[str], folder: Path) -> int:
    """Play these in this folder; the exit status, 1 where nothing could be played."""
    if not tests:
        print("What failed is not known by name: nothing is played again.")
        return 1
    if len(tests) > MOST:
        print(f"{len(tests)} tests failed: more than {MOST} are not played again.")
        return 1
    status = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *tests], cwd=folder, check=False
    ).returncode
    said = "failed among others and passed alone" if status == 0 else "did not all pass alone, too"
    print(f"{len(tests)} of the gate's tests {said}:")
    for test in tests:
        print(f"  {test}")
    return status


if __name__ == "__main__":
    caches = [Path(argument) for argument in sys.argv[1:]]
    sys.exit(once_more([test for cache in caches for test in failed(cache)], Path.cwd()))
