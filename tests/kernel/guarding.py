"""Capture and guard as the program wires them, around one cluster."""

from __future__ import annotations

import threading
import time

import psycopg

from agent.capture import Capture
from agent.catalog.relations import Relations
from agent.directory import Directory
from agent.discovery import cluster_at
from agent.guard.allowances import Allowances
from agent.guard.hold import Guard
from agent.guard.server import Server
from agent.guard.startup import StartupSettings
from agent.inbox import Inbox
from agent.judge import GuardJudge
from agent.judging import Held
from agent.parts import interchangeable
from agent.planned import Planned
from agent.probes.plan_layouts import PLAN_LAYOUTS
from agent.sources.ebpf import EbpfSource
from agent.sources.holding import HOLD_WINDOW_MS
from agent.sql.cache import ShapeCache
from agent.sql.client import ParserClient
from rules import Judge
from rules.ruleset import RuleSet
from tests.live.postgres import PostgresCluster

DEADLINE_MS = 2000


class Agent:
    """Without a recorder behind. ``namer``: the login that tells names of relations; ``calls``:
    functions whose calls are held."""

    def __init__(
        self,
        cluster: PostgresCluster,
        rules: RuleSet,
        *,
        nested: bool = False,
        namer: str = "",
        calls: frozenset[str] = frozenset(),
    ) -> None:
        judge, cache = Judge(rules), ShapeCache()
        self._parser = ParserClient(cache)
        self._source = EbpfSource(
            nested=nested, holds=True, hold_window_ms=DEADLINE_MS + HOLD_WINDOW_MS
        )
        self._source.watch_calls(calls)
        allowances = Allowances(self._source.holding, interchangeable(cache, lambda: judge))
        server = Server.running(cluster.postmaster_pid, cluster.major)
        startup = StartupSettings(lambda: [server])
        directory = Directory(lambda session: session, allowances.know, startup)
        self._cluster, self._namer = cluster, namer
        self.relations = Relations(
            self._connect,
            lambda: self._capture.run_soon(allowances.renew),
            patience_seconds=1.0,
        )
        planned = Planned(self.relations, lambda _: PLAN_LAYOUTS[cluster.major])
        guard_judge = GuardJudge(
            directory, self._parser, lambda: judge, planned=planned if namer else None
        )
        self._source.on_held = guard_judge.foresee
        self._guard = Guard(
            guard_judge,
            lambda: [server],
            at_once=guard_judge.at_once,
            afterwards=guard_judge.keep,
            is_held=self._source.holding.is_held,
            deadline_ms=DEADLINE_MS,
        )
        self._inbox = Inbox()
        self._capture = Capture(
            self._source,
            self._inbox,
            directory,
            self._guard,
            None,
            allowances,
            self._parser.known,
        )
        found = cluster_at(cluster.postmaster_pid)
        assert found is not None
        self._source.add(found)
        self._capture.start()
        self.events: list[object] = []

    def _connect(self, _: str, database: str) -> psycopg.Connection:
        connection = self._cluster.connect(user=self._namer, dbname=database)
        assert self._source.holding.never_hold(connection.info.backend_pid)
        return connection

    def close(self) -> None:
        self.relations.stop()
        self._capture.stop()
        self._source.close()
        self._guard.close()
        self._parser.close()

    def watch_calls(self, names: frozenset[str]) -> None:
        """As rules that were exchanged would have it; waits until it is so."""
        done = threading.Event()

        def watch() -> None:
            self._source.watch_calls(names)
            done.set()

        self._capture.run_soon(watch)
        assert done.wait(10)

    def held(self, text: str) -> int:
        """How often statements with exactly this text were held so far."""
        return len(self.holds(text))

    def hold_of(self, text: str) -> Held:
        """The one hold of just this text. Its client may have the answer before we hear of it."""
        end = time.monotonic() + 10
        while not (found := self.holds(text)) and time.monotonic() < end:
            time.sleep(0.02)
        [held] = found
        return held

    def holds(self, text: str) -> list[Held]:
        while (polled := self._inbox.take(0)) is not None:
            self.events += polled.events
        return [e for e in self.events if isinstance(e, Held) and e.event.text == text.encode()]
