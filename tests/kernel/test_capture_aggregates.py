"""Executions that the kernel counts together: their number, rows, bytes and the histogram of their
durations, against what the client measured of each."""

import time

import pytest

from agent.probes.layout import DURATION_CLASSES, Aggregation
from agent.probes.loader import open_loader
from agent.sources.ebpf import EbpfSource
from model.event import ApplicationNamed, StatementsCounted

pytestmark = [pytest.mark.kernel, pytest.mark.live]

SLEEP = "SELECT generate_series(1, 3), pg_sleep(%s::float8)"
ROWS = 3
MIX_SECONDS = {0.0: 40, 0.0007: 30, 0.003: 20, 0.02: 8, 0.09: 2}
"""How long an execution sleeps for each row, and how many of these there are."""
TEXT_MET = 2
"""Executions after which the kernel knows a text by its number."""


def class_of(us: float) -> int:
    """The first class whose bound, 2**class microseconds, is above it."""
    return min(int(us).bit_length(), DURATION_CLASSES - 1)


@pytest.fixture(scope="module")
def told(compiled_probes, cluster, postgres):
    """What was counted, and for each execution what the server slept and the client waited (us)."""
    spans = []
    with (
        EbpfSource(loader=open_loader("libbpf"), aggregate=Aggregation.ALWAYS) as source,
        postgres.connect() as connection,
    ):
        source.add(cluster)
        for _ in range(TEXT_MET):
            connection.execute(SLEEP, (0,), prepare=True)
            source.poll(100)
        for seconds, times in MIX_SECONDS.items():
            for _ in range(times):
                began = time.monotonic_ns()
                connection.execute(SLEEP, (seconds,), prepare=True)
                spans.append((ROWS * seconds * 1e6, (time.monotonic_ns() - began) / 1000))
        counted, until = [], time.monotonic() + 10
        while sum(one.count for one in counted) < len(spans) and time.monotonic() < until:
            for event in source.poll(100):
                if isinstance(event, StatementsCounted) and b"pg_sleep" in event.text:
                    counted.append(event)
        assert not source.losses()
    return counted, spans


def test_each_execution_is_counted_once_with_its_rows(told):
    counted, spans = told
    assert sum(one.count for one in counted) == len(spans)
    assert sum(one.rows for one in counted) == ROWS * len(spans)


def test_the_histogram_is_that_of_what_the_server_slept_and_the_client_waited(told):
    """An execution's duration lies between the two, so its class does: for every bound, as many lie
    below it as must and no more than can."""
    counted, spans = told
    total = [sum(each) for each in zip(*(one.durations for one in counted), strict=True)]
    assert sum(total) == len(spans)
    for bound in range(DURATION_CLASSES):
        below = sum(total[: bound + 1])
        must = sum(class_of(waited) <= bound for _, waited in spans)
        can = sum(class_of(slept) <= bound for slept, _ in spans)
        assert must <= below <= can, (bound, total)
    # The mix is one that tells classes apart.
    assert sum(count > 0 for count in total) >= len(MIX_SECONDS)


def test_the_sum_of_durations_lies_between_the_two_sums(told):
    counted, spans = told
    duration_us = sum(one.duration_us for one in counted)
    assert sum(slept for slept, _ in spans) <= duration_us <= sum(waited for _, waited in spans)


def test_a_row_says_when_the_first_and_the_last_ran_and_the_mean_fits_the_histogram(told):
    for one in told[0]:
        assert one.first_at_us <= one.last_at_us
        assert sum(one.durations) == one.count
        least = sum(n * (1 << max(at - 1, 0)) * (at > 0) for at, n in enumerate(one.durations))
        most = sum(n << at for at, n in enumerate(one.durations))
        assert least <= one.duration_us + one.count
        assert one.duration_us <= most


def test_what_ran_under_another_name_is_counted_by_itself(compiled_probes, cluster, postgres):
    counts: dict[int, int] = {}
    namings: list[int] = []
    text = b"SELECT 'by name'"
    with (
        EbpfSource(loader=open_loader("libbpf"), aggregate=Aggregation.ALWAYS) as source,
        postgres.connect(application_name="first") as connection,
    ):
        source.add(cluster)
        for _ in range(TEXT_MET):
            connection.execute(text)
            source.poll(100)
        for name, times in (("first", 20), ("second", 10)):
            connection.execute(f"SET application_name = {name}".encode())
            for _ in range(times):
                connection.execute(text)
        until = time.monotonic() + 10
        while sum(counts.values()) < 30 and time.monotonic() < until:
            for event in source.poll(100):
                if isinstance(event, ApplicationNamed):
                    namings.append(event.naming)
                if isinstance(event, StatementsCounted) and event.text == text:
                    counts[event.naming] = counts.get(event.naming, 0) + event.count
    assert [counts.get(naming) for naming in namings] == [20, 10]
