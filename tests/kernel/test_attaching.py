"""Servers with other programs come and go, and nobody who is held waits for that."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from agent.attaching import Attaching
from agent.discovery import cluster_at
from agent.guard.hold import Settled
from agent.judging import Held
from agent.probes.loader import Loaded, open_loader
from agent.sources.ebpf import EbpfSource
from tests.conformance.servers import Server, fetch
from tests.kernel.enforcing import Enforcing, enforcing
from tests.kernel.guard_stage import wait_until
from tests.live.postgres import PostgresCluster

pytestmark = [pytest.mark.kernel, pytest.mark.live]

DEADLINE_MS = 1500
SLOW_SECONDS = 4.0


class Slow:
    """As bcc on a busy host."""

    def __init__(self) -> None:
        self._loader = open_loader("libbpf")
        self.name = self._loader.name
        self.pause_seconds = 0.0
        self.unload = self._loader.unload

    def load(self, *arguments: object, **options: object) -> Loaded:
        time.sleep(self.pause_seconds)
        return self._loader.load(*arguments, **options)


@contextmanager
def dropping(cluster: PostgresCluster) -> Iterator[list[str]]:
    """One session that sends what is forbidden, again and again; the codes of what it read."""
    codes: list[str] = []
    over = threading.Event()

    def run() -> None:
        with cluster.connect() as connection:
            while not over.is_set():
                try:
                    connection.execute(f"DROP TABLE t{len(codes)}")
                except psycopg.Error as error:
                    codes.append(error.sqlstate or "")

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield codes
    finally:
        over.set()
        thread.join(20)


@contextmanager
def recording(guarded: Enforcing) -> Iterator[list[Held]]:
    """What is settled, taken as it comes: the inbox is bounded, and a fast host fills it."""
    told: list[Held] = []
    over = threading.Event()

    def take() -> None:
        while not over.wait(0.02):
            told.extend(guarded.held())

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield told
    finally:
        over.set()
        thread.join(20)


def is_held(server: PostgresCluster) -> bool:
    with server.connect() as connection:
        try:
            connection.execute("DROP TABLE another")
        except psycopg.Error as error:
            return error.sqlstate == "42501"
    return False


def assert_judged_in_time(guarded: Enforcing, told: list[Held], codes: list[str]) -> None:
    def settled() -> list[Settled]:
        return [held.settled for held in list(told) if b"DROP TABLE t" in held.event.text]

    assert len(codes) > 20
    assert set(codes) == {"42501"}
    assert not guarded.inbox.overflow
    # The last client may have its answer before we hear of it.
    wait_until(lambda: len(settled()) >= len(codes), 5, "every one of them is told")
    assert len(settled()) == len(codes)
    assert not [one for one in settled() if one.late]


def test_while_a_server_with_another_program_comes_and_goes_the_first_is_judged_in_time():
    fetch()
    slow = Slow()
    with (
        PostgresCluster() as first,
        Server(major=18) as second,
        enforcing(first, slow, DEADLINE_MS) as guarded,
    ):
        capture, source = guarded.capture, guarded.source
        new = guarded.guard(second)
        slow.pause_seconds = SLOW_SECONDS
        with recording(guarded) as told:
            with dropping(first) as codes:
                wait_until(lambda: codes, 10, "the first is judged")
                Attaching().attach(
                    source,
                    [guarded.first, new],
                    lambda wanted, refused: capture.run_soon(lambda: source.rescan(wanted)),
                )
                wait_until(lambda: source.knows(new), 30, "the second is attached")
                assert is_held(second)
                capture.run_soon(lambda: source.rescan([guarded.first]))
                wait_until(lambda: not source.knows(new), 10, "the second is left")
                time.sleep(1)
            assert not is_held(second)
            assert_judged_in_time(guarded, told, codes)


def test_a_server_that_ends_before_its_probes_are_used_leaves_none_behind(compiled_probes):
    with PostgresCluster() as server:
        cluster = cluster_at(server.postmaster_pid)
        assert cluster is not None
        with EbpfSource() as source:
            source.prepare(cluster)
            (instance,) = source._instances._built.values()
            assert instance.descriptors
            assert source.rescan([]) == {}
            assert not source._instances._built
            wait_until(lambda: not instance.descriptors, 5, "its probes are gone")
