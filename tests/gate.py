"""In which part of the gate a test file is played, and in which order (``./run test``).

Most wait for seconds, so several are played at a time, each file by one process: what its tests
share is started once (BESIDE). Those in ALONE measure milliseconds or memory, compile with bcc
within a bound, or must not see an alarm of ours that a busy machine rightly raises. They leave more
than half of the processors' time, and SPARE takes it: it runs only where nothing else wants to.
"""

from collections.abc import Iterable
from enum import StrEnum


class Part(StrEnum):
    """Each also is the mark by which pytest is asked for it."""

    BESIDE = "beside"
    ALONE = "alone"
    SPARE = "spare"


PLAYED = {
    "alone": {Part.ALONE},
    "beside": {Part.BESIDE},
    "spare": {Part.SPARE},
    "not alone": {Part.BESIDE, Part.SPARE},
}
"""What is asked for with ``-m``: the files of the other parts are not even read."""

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

SPARE = (
    "tests/agent/guard/test_redirect.py",
    "tests/agent/sources/test_pgaudit_formats.py",
    "tests/agent/test_parameters.py",
    "tests/agent/test_sessions_churn.py",
    "tests/agent/test_sessions_merging.py",
    "tests/agent/test_sessions_properties.py",
    "tests/agent/test_wire.py",
    "tests/analytics/",
    "tests/bench/",
    "tests/cli/test_replay.py",
    "tests/collector/drift/",
    "tests/collector/test_analysis.py",
    "tests/collector/test_drift_travel.py",
    "tests/model/",
    "tests/rules/",
)
"""Folders and files that only compute: no server, no program, no clock. However long others keep
them from the processors, they find the same."""

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


def part_of(file: str) -> Part:
    """``file``: its path from the root of the project."""
    if file in ALONE:
        return Part.ALONE
    return Part.SPARE if file.startswith(SPARE) else Part.BESIDE


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
