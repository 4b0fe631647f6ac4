"""In which part of the gate a test file is played, and in which order (``./run test``).

Most wait for seconds, so several are played at a time, each file by one process: what its tests
share is started once. Those in ALONE measure milliseconds or memory, compile with bcc within a
bound, or must not see an alarm of ours that a busy machine rightly raises.
"""

from collections.abc import Iterable

ALONE = (
    "tests/kernel/test_attaching.py",
    "tests/kernel/test_attachment.py",
    "tests/kernel/test_capture_hold.py",
    "tests/kernel/test_capture_losses.py",
    "tests/kernel/test_exact_losses.py",
    "tests/kernel/test_guard.py",
    "tests/kernel/test_guard_by_plan.py",
    "tests/kernel/test_guard_closed.py",
    "tests/kernel/test_guard_harmless.py",
    "tests/kernel/test_guard_release.py",
    "tests/kernel/test_guard_server_work.py",
    "tests/kernel/test_guard_watchdog.py",
    "tests/agent/sql/test_hostile.py",
    "tests/faults/test_network.py",
    "tests/faults/test_shutdown.py",
    "tests/guard/test_flood.py",
    "tests/guard/test_shipped_deadline.py",
    "tests/live/test_bcc.py",
    "tests/live/test_exact_losses.py",
    "tests/live/test_guard_frozen.py",
    "tests/live/test_overload.py",
    "tests/live/test_peers_end_to_end.py",
)
"""Their deadlines hold only on a machine that does nothing else."""

LONG = (
    "tests/guard/test_corpus.py",
    "tests/live/test_doctor.py",
    "tests/guard/test_reasons.py",
    "tests/kernel/test_guard_allowances.py",
    "tests/live/test_bad_input.py",
)
"""Begun first: what takes a minute must not be what all others wait for at the end."""

WAITING = ("tests/guard/", "tests/kernel/", "tests/conformance/", "tests/live/", "tests/faults/")
"""Folders whose tests wait for servers and programs, in the order in which they are played; the
others compute. Conformance compares durations: not while the corpus is played on two servers."""


def is_alone(file: str) -> bool:
    """``file``: its path from the root of the project."""
    return file in ALONE


def ordered(files: Iterable[str]) -> list[str]:
    """Long ones first; then what waits spread evenly over what computes, so that neither the
    processors stand idle for minutes nor all that has a deadline meets at once."""
    files = list(dict.fromkeys(files))
    first = [file for file in LONG if file in files]
    waiting = [file for folder in WAITING for file in files if file.startswith(folder)]
    computing = [file for file in files if not file.startswith(WAITING)]
    places = {
        file: place / len(part) for part in (waiting, computing) for place, file in enumerate(part)
    }
    return first + sorted(places.keys() - set(first), key=lambda file: (places[file], file))
