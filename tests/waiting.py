"""Waiting for something to become true, in place of sleeping and hoping."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], seconds: float = 10.0, what: str = "") -> None:
    """Return once ``condition`` holds; fail the test, saying ``what``, when time runs out."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds:g} s: {what or condition}")
