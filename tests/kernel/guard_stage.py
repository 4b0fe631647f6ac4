"""A small agent for the guard's tests: probes, guard and watchdog around one real cluster."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.discovery import cluster_at
from agent.guard.decision import ALLOW, Decision, DecisionKind
from agent.guard.hold import Guard, Judge, OnTimeout, Settled
from agent.guard.server import Server
from agent.sources.ebpf import EbpfSource
from model.event import StatementStarted
from tests.live.postgres import PostgresCluster

ROOT = Path(__file__).parents[2]
HOLD_WINDOW_MS = 500
CONTACT = "dba@example.com"
DENY = Decision(DecisionKind.DENY, "ddl.drop", "DROP on a protected schema", "shop")


def deny_drops(event: StatementStarted) -> Decision:
    return DENY if b"DROP" in event.text.upper() else ALLOW


class Stage:
    """Settles every held statement of ``cluster`` on a thread of its own while in use."""

    def __init__(
        self,
        cluster: PostgresCluster,
        judge: Judge,
        beat: Callable[[int], None] = lambda held_ns: None,
        hold_window_ms: int = HOLD_WINDOW_MS,
        calls: frozenset[str] = frozenset(),
        **options: object,
    ) -> None:
        """``beat``: the sign of life for watchdogs, given as the agent gives it. ``calls``:
        functions whose calls are held."""
        self._beat = beat
        self.server = Server.running(cluster.postmaster_pid, cluster.major)
        self.settled: list[tuple[bytes, Settled]] = []
        self.seen: list[StatementStarted] = []
        self.errors: list[BaseException] = []
        self.source = EbpfSource(hold_window_ms=hold_window_ms, holds=True)
        self.source.watch_calls(calls)
        self._guard = Guard(
            judge,
            lambda: [self.server],
            contact=CONTACT,
            is_held=self.source.holding.is_held,
            **options,
        )
        found = cluster_at(cluster.postmaster_pid)
        assert found is not None
        self.source.holding.set_hold(True)
        self.source.add(found)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stage")

    def __enter__(self) -> Stage:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.source.close()
        self._guard.close()
        assert self.errors == []

    def of(self, text: bytes) -> list[Settled]:
        return [settled for seen, settled in self.settled if text in seen]

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.source.holding.beat()
                self._beat(0)
                for event in self.source.poll(20):
                    if isinstance(event, StatementStarted):
                        self._observe(event)
            except BaseException as error:  # noqa: BLE001 - the test must see it
                self.errors.append(error)

    def _observe(self, event: StatementStarted) -> None:
        self.seen.append(event)
        if event.held:
            self._beat(time.time_ns() - event.at_ns)
            self.settled.append((event.text, self._guard.settle(event)))


def states(server: Server) -> dict[int, str]:
    """Every child of the postmaster with its process state."""
    found = {}
    children = Path(f"/proc/{server.postmaster_pid}/task/{server.postmaster_pid}/children")
    for word in children.read_text().split():
        try:
            found[int(word)] = Path(f"/proc/{word}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
    return found


def stopped(server: Server) -> list[int]:
    return [pid for pid, state in states(server).items() if state == "T"]


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"not within {seconds} s: {what}"
        time.sleep(0.005)


@contextmanager
def hanging_agent(
    cluster: PostgresCluster, on_timeout: OnTimeout = OnTimeout.ALLOW, watchdog_ms: int = 200
) -> Iterator[subprocess.Popen[str]]:
    """An agent in a process of its own with a watchdog and a judge that never answers in time."""
    process = subprocess.Popen(
        [
            sys.executable, "-m", "tests.kernel.guard_agent",
            str(cluster.postmaster_pid), str(cluster.major), on_timeout.value, str(watchdog_ms),
        ],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
