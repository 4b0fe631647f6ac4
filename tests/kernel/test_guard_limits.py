"""Limits and windows reach statements that the kernel already lets pass by itself."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import psycopg
import pytest

from agent.capture import Capture
from agent.directory import Directory
from agent.discovery import cluster_at
from agent.guard.allowances import Allowances
from agent.guard.changes import Changes
from agent.guard.hold import Guard
from agent.guard.server import Server
from agent.inbox import Inbox
from agent.judge import GuardJudge
from agent.judging import Held
from agent.parts import interchangeable
from agent.pipeline import Pipeline
from agent.sessions import SessionTracker
from agent.sources.ebpf import EbpfSource
from agent.sql.cache import ShapeCache
from agent.sql.client import ParserClient
from agent.sql.messages import redact_message
from model.session import Identity, IdentityKind, Session
from model.verdict import Mode, Outcome, Verdict
from rules import Judge, RuleSet, Usage
from tests.kernel.guard_stage import wait_until
from tests.live.postgres import PostgresCluster

pytestmark = [pytest.mark.kernel, pytest.mark.live]

RULES = """
windows:
  maintenance: {from: "01:00", to: "02:00"}
rules:
  - id: no-purge
    title: Purges wait for the maintenance window
    severity: high
    when: "'delete' in statement.verbs && !('maintenance' in time.windows)"
    action: deny
limits:
  - id: budget
    title: Rows of an agent
    for: identity.kind == 'ai_agent'
    rows_per_hour: 500
    severity: high
    action: deny
    message: the budget is used up
"""
WINDOW_SECONDS = 4.0
QUERY = "SELECT id FROM t"


def identified(session: Session) -> Session:
    kind = IdentityKind.AI_AGENT if session.application_name == "bot" else IdentityKind.HUMAN
    return replace(session, identity=Identity(kind, "n", 0.9, proven=True))


class Agent:
    """Capture, guard and record as the program wires them, with a short hour and our clock."""

    def __init__(self, cluster: PostgresCluster, rules: RuleSet) -> None:
        self.offset_us = 0
        cache = ShapeCache()
        judge = self.judge = Judge(rules, usage=Usage(WINDOW_SECONDS))
        self._parser, self._recording = ParserClient(cache), ParserClient(cache)
        self._source = source = EbpfSource()
        allowances = Allowances(
            source.holding, interchangeable(cache, lambda: judge), exhausted=judge.usage.exhausted
        )
        directory = Directory(identified, allowances.know)
        guard_judge = GuardJudge(directory, self._parser, lambda: judge, clock_us=self.now_us)
        server = Server.running(cluster.postmaster_pid, cluster.major)
        self._source.on_held = guard_judge.foresee
        self._guard = Guard(
            guard_judge,
            lambda: [server],
            at_once=guard_judge.at_once,
            afterwards=guard_judge.keep,
            is_held=source.holding.is_held,
            deadline_ms=2000,
        )
        changes = Changes(lambda: judge, allowances, directory.tell, clock_us=self.now_us)
        inbox = self._inbox = Inbox()
        self._capture = Capture(
            source,
            inbox,
            directory,
            self._guard,
            None,
            allowances,
            self._parser.known,
            on_turn=changes.turn,
        )
        self.verdicts: list[Verdict] = []
        self._held: Counter[bytes] = Counter()
        self._told: set[bytes] = set()
        self._marks = count()
        self._pipeline = Pipeline(
            tracker=SessionTracker(1, 0, identified),
            parser=self._recording,
            judges=lambda at_us: (judge,),
            mode=Mode.ENFORCE,
            redact_message=redact_message,
            on_change=lambda touched: None,
            on_verdict=self.verdicts.append,
            on_statement=lambda statement, _: self._told.add(statement.text),
            on_run=lambda *_: None,
            on_lost=lambda _: None,
            on_held=lambda _: None,
        )
        found = cluster_at(cluster.postmaster_pid)
        assert found is not None
        source.add(found)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._record, daemon=True)
        self._capture.start()
        self._thread.start()

    def now_us(self) -> int:
        return time.time_ns() // 1000 + self.offset_us

    def set_clock(self, hour: int) -> None:
        """To half past ``hour``, UTC."""
        day_us, hour_us = 86_400_000_000, 3_600_000_000
        today_us = time.time_ns() // 1000 // day_us * day_us
        wanted_us = today_us + hour * hour_us + hour_us // 2
        self.offset_us = wanted_us - time.time_ns() // 1000

    def close(self) -> None:
        self._capture.stop()
        self._stop.set()
        self._thread.join(10)
        self._source.close()
        self._guard.close()
        self._parser.close()
        self._recording.close()

    def held(self, client: psycopg.Connection, text: str) -> int:
        """How often statements with this text were held so far."""
        mark = f"SELECT 'mark {next(self._marks)}'"
        client.execute(mark)
        wait_until(lambda: mark.encode() in self._told, 5, "what came before it is known as well")
        return self._held[text.encode()]

    def _record(self) -> None:
        while not self._stop.is_set():
            polled = self._inbox.take(0.02)
            if polled is not None:
                self._held.update(e.event.text for e in polled.events if isinstance(e, Held))
                self._pipeline.take(polled.events, time.time_ns() // 1000)
            self._pipeline.tick(time.time_ns() // 1000)
            self._pipeline.payloads()


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    with PostgresCluster() as running:
        running.psql("CREATE TABLE t (id int)")
        running.psql("INSERT INTO t SELECT generate_series(1, 100)")
        yield running


@pytest.fixture
def agent(cluster, compiled_probes, tmp_path) -> Iterator[Agent]:
    (tmp_path / "rules.yaml").write_text(RULES)
    running = Agent(cluster, RuleSet.load([tmp_path / "rules.yaml"]))
    yield running
    running.close()


def refusal(client: psycopg.Connection, text: str) -> str:
    """What the server said; empty where it did as it was told."""
    try:
        client.execute(text)
    except psycopg.errors.InsufficientPrivilege as error:
        return str(error)
    return ""


def refused(client: psycopg.Connection, text: str) -> bool:
    return bool(refusal(client, text))


def passes_unheld(agent: Agent, client: psycopg.Connection, text: str) -> bool:
    """Runs it once: whether it came through, and without being held."""
    before = agent.held(client, text)
    return not refused(client, text) and agent.held(client, text) == before


def test_a_limit_refuses_what_the_kernel_lets_pass_and_lets_go_again(agent, cluster):
    with cluster.connect(application_name="bot") as bot, cluster.connect() as person:
        for _ in range(3):
            assert not refused(bot, QUERY)
            assert not refused(person, QUERY)
        held = agent.held(person, QUERY)
        assert not refused(bot, QUERY)
        assert agent.held(person, QUERY) == held, "the kernel lets it pass"
        assert not refused(bot, QUERY)
        wait_until(lambda: refused(bot, QUERY), 3, "500 rows were read")
        said = refusal(bot, QUERY)
        assert "rule budget: the budget is used up: " in said
        assert "of 500 rows in the last 4 s; free again in" in said
        assert not refused(person, QUERY), "another identity is not concerned"
        wait_until(lambda: not refused(bot, QUERY), WINDOW_SECONDS + 4, "it is free again")
        wait_until(lambda: passes_unheld(agent, bot, QUERY), 2, "the kernel lets it pass as before")
    wait_until(
        lambda: {v.outcome for v in agent.verdicts} == {Outcome.PREVENTED}, 3, "on the record"
    )
    assert all("of 500 rows" in verdict.reason for verdict in agent.verdicts)


def test_a_window_that_opens_and_closes_changes_the_answer_within_a_second(agent, cluster):
    purge = "DELETE FROM t WHERE id < 0"
    with cluster.connect() as client:
        for hour, open_ in ((1, True), (3, False), (1, True), (0, False)):
            agent.set_clock(hour)
            wait_until(lambda o=open_: refused(client, purge) is not o, 1, f"it is {hour}:30")
            for _ in range(5):
                assert refused(client, purge) is not open_
            if open_:
                # Whether the kernel heard of it before the window's turn or after is left open.
                wait_until(
                    lambda: passes_unheld(agent, client, purge), 3, "the kernel lets it pass"
                )
