"""The thread that thinks: an error in one of its parts stops that part, and no other."""

import queue

import polars as pl
import pytest

from collector.after_losses import AfterLosses
from collector.drift.waiting import Source
from collector.earlier_statements import EarlierStatements
from collector.rows import finding_rows
from collector.segments import Committed
from collector.store import Store, frame_of
from collector.thinking import Thinking
from config.schema import CollectorConfig
from model.catalog import CatalogKind, Snapshot
from tests.analytics.gate.candidates import candidate
from tests.analytics.streams import START_US, frame, statement
from tests.collector.test_drift import GRANT, WORK_MEM, alter_system, by
from tests.collector.test_drift import snapshot as drift_snapshot


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "data", commit_seconds=0.01)
    store.start()
    yield store
    store.close()


@pytest.fixture
def asked():
    """Whole snapshots that agents were asked for."""
    return []


@pytest.fixture
def thinking(tmp_path, store, asked):
    config = CollectorConfig(data_dir=tmp_path / "data")
    words = {"now_us": lambda: START_US, "want_snapshot": asked.append}
    return Thinking(config, store, Alerts(), Metrics(), **words)


def broken(*_):
    raise KeyError("poison")


def test_an_error_in_drift_stops_neither_detectors_nor_alerts(thinking, monkeypatch):
    monkeypatch.setattr(thinking.drift, "on_commit", broken)
    monkeypatch.setattr(thinking.drift, "tick", broken)
    detected = []
    monkeypatch.setattr(
        thinking._analysis, "on_commit", lambda frames, seq, *_: detected.append(seq) or []
    )
    thinking._think(Committed(7, {"statements": frame([statement(1)])}))
    thinking._tick()
    assert detected == [7]
    assert thinking._alerts.ticks == 1
    assert thinking._metrics.failures == ["error_KeyError", "error_KeyError"]


def test_commits_that_wait_are_looked_at_together_and_thought_of_each(thinking, monkeypatch):
    seen = []
    analysis = thinking._analysis
    monkeypatch.setattr(
        analysis, "look_ahead", lambda some, _: seen.append([seq for seq, _ in some])
    )
    monkeypatch.setattr(analysis, "on_commit", lambda frames, seq, *_: seen.append(seq) or [])
    for seq in (1, 2, 3):
        thinking.offer(Committed(seq, {"statements": frame([statement(seq)])}))
    thinking.start()
    thinking.stop()
    assert seen == [[1, 2, 3], 1, 2, 3]


def test_a_trickle_is_thought_of_together_after_a_rest_that_what_is_urgent_ends(
    thinking, monkeypatch
):
    monkeypatch.setattr("collector.thinking.REST_TIMES", 1e9)
    monkeypatch.setattr("collector.thinking.REST_SECONDS", 600.0)
    seen, thought = [], queue.SimpleQueue()
    analysis = thinking._analysis
    monkeypatch.setattr(
        analysis, "look_ahead", lambda some, _: seen.append([seq for seq, _ in some])
    )
    monkeypatch.setattr(analysis, "on_commit", lambda frames, seq, *_: thought.put(seq) or [])
    thinking.start()
    for seq in (1, 2, 3):
        thinking.offer(Committed(seq, {"statements": frame([statement(seq)])}))
        if seq == 1:
            assert thought.get(timeout=30) == 1
    thinking.offer(Committed(4, {"losses": losses("host-a", "ebpf", "ring_full")}))
    assert [thought.get(timeout=30) for _ in range(3)] == [2, 3, 4]
    assert seen == [[2, 3, 4]]
    thinking.offer(Committed(5, {"statements": frame([statement(5)])}))
    thinking.stop()
    assert thought.get(timeout=30) == 5


def test_an_error_in_a_detector_stops_no_alerts(thinking, monkeypatch):
    monkeypatch.setattr(thinking._analysis, "tick", broken)
    thinking._tick()
    assert thinking._alerts.ticks == 1


def test_after_a_loss_at_an_agent_its_servers_are_asked_for_whole_snapshots(thinking, asked):
    roles = Snapshot(START_US, "5432", "shop", (CatalogKind.ROLE,), ())
    thinking._think(Committed(1, {}, (("host-a", roles), ("host-b", roles))))
    thinking._think(Committed(2, {"losses": losses("host-a", "ebpf", "ring_full")}))
    thinking._tick()
    assert asked == []
    for seq in (3, 4):
        thinking._think(Committed(seq, {"losses": losses("host-a", "spool", "spool_full")}))
        thinking._tick()
    assert asked == [Source("host-a", "5432", "")]


def test_who_lost_something_again_is_asked_again_a_minute_later():
    after, servers = AfterLosses(), lambda: [("host-a", "5432")]
    asked = []
    for second in range(200):
        if second < 10:
            after.observe({"losses": losses("host-a", "spool", "spool_full")})
        if after.due(servers, START_US + second * 1_000_000):
            asked.append(second)
    assert asked == [0, 60]


def test_a_finding_that_a_crash_kept_from_the_record_is_told_at_the_next_start(
    tmp_path, store, thinking
):
    stored, lost = candidate(9), candidate(9, identity="bob")
    keeper = thinking._analysis._gatekeeper
    keeper.judge([stored, lost], 1, stored.at_us)
    store.append("findings", finding_rows([stored]))
    assert store.segments.flush()
    keeper.save()
    config = CollectorConfig(data_dir=tmp_path / "data")
    again = Thinking(config, store, Alerts(), Metrics(), now_us=lambda: START_US)
    again._remember(again._analysis)
    assert store.segments.flush()
    assert store.query("SELECT count(*) FROM findings") == [(2,)]
    assert again._alerts.told == [lost.id]
    assert again._analysis.untold() == []


def test_where_the_gate_was_lost_the_record_knows_what_people_said(tmp_path, store, thinking):
    row = {
        "occurred_at": START_US, "finding_id": "f", "opinion": "dismissed", "author": "carol",
        "because": "x", "detector": "volume", "agent": "host-a", "cluster": "5432",
        "identity": "alice", "object": "rows", "bits": 5.0, "threshold": 2.0,
    }  # fmt: skip
    store.append("finding_feedback", [row])
    assert store.segments.flush()
    thinking._analysis.save()
    (tmp_path / "data/state/detectors/gate.json").write_text("{")
    config = CollectorConfig(data_dir=tmp_path / "data")
    again = Thinking(config, store, Alerts(), Metrics(), now_us=lambda: START_US)
    again._remember(again._analysis)
    assert list(again.gate().opinions.shifts().values()) == [3.0]


HOUR = 3600
WAITED = 4
"""Seconds after which a difference is told without a cause."""


class Restarted:
    """What ran, and was made durable, before this collector began."""

    def __init__(self, thinking, store, *before):
        self.thinking, self.store, self.seq = thinking, store, 0
        self.at = 0.0
        thinking._now_us = lambda: START_US + int(self.at * 1_000_000)
        if before:
            store.append("statements", before)
            assert store.segments.flush()
        self.commit(0, drift_snapshot(0))
        self.thinking._recall()

    def commit(self, second, *snapshots, statements=()):
        self.seq, self.at = self.seq + 1, second
        frames = {"statements": frame(statements, first_id=500)} if statements else {}
        told = tuple(("host-a", snapshot) for snapshot in snapshots)
        self.thinking._think(Committed(self.seq, frames, told))

    def blamed(self, second):
        self.at = second
        self.thinking._tick()
        assert self.store.segments.flush()
        return self.store.query("SELECT actor FROM drift ORDER BY occurred_at")


def test_an_alter_system_from_before_a_restart_explains_a_later_reload(thinking, store):
    before = alter_system("bob", -20 * HOUR, "work_mem") | {"id": 7}
    world = Restarted(thinking, store, before)
    world.commit(6, drift_snapshot(6, WORK_MEM))
    assert world.blamed(6 + WAITED) == [("bob",)]


def test_an_alter_system_that_explained_a_difference_before_a_restart_explains_no_second(
    thinking, store
):
    earlier = {
        "occurred_at": START_US - 19 * HOUR * 10**6, "agent": "host-a", "cluster": "5432",
        "kind": "setting", "database": "", "name": "work_mem", "actor": "bob", "statement_id": 7,
    }  # fmt: skip
    store.append("drift", [earlier])
    before = alter_system("bob", -20 * HOUR, "work_mem") | {"id": 7}
    world = Restarted(thinking, store, before)
    world.commit(6, drift_snapshot(6, WORK_MEM))
    assert world.blamed(6 + WAITED) == [("bob",), ("",)]


def test_a_transaction_that_was_open_at_a_restart_is_the_cause_once_it_commits(thinking, store):
    grant = by("bob", -60, "grant", objects=["table:hr.salaries"], roles=["analyst"])
    world = Restarted(thinking, store, grant | {"id": 7, "transaction": "TT"})
    end = statement(5, user_name="bob", operation="commit", tag="COMMIT")
    world.commit(5, statements=[end])
    world.commit(6, drift_snapshot(6, GRANT))
    assert world.blamed(6 + WAITED) == [("bob",)]


def test_a_transaction_that_was_rolled_back_after_a_restart_is_no_cause(thinking, store):
    grant = by("bob", -60, "grant", objects=["table:hr.salaries"], roles=["analyst"])
    world = Restarted(thinking, store, grant | {"id": 7, "transaction": "TT"})
    end = statement(5, user_name="bob", operation="rollback", tag="ROLLBACK")
    world.commit(5, statements=[end])
    world.commit(6, drift_snapshot(6, GRANT))
    assert world.blamed(6 + WAITED) == [("",)]


def test_a_record_that_takes_too_long_to_search_is_as_if_it_were_empty(store, monkeypatch):
    monkeypatch.setattr("collector.earlier_statements.SECONDS", 0.05)
    monkeypatch.setattr("collector.earlier_statements._ALTERED", SLOW)
    assert EarlierStatements(store).altered("host-a", "5432", 0, 1).height == 0


SLOW = "SELECT count(*) FROM range(100000000000) WHERE $1 || $2 || $3 || $4 <> range::TEXT"


def losses(agent, source, reason):
    row = {"agent": agent, "occurred_at": START_US, "source": source, "reason": reason, "count": 1}
    return frame_of("losses", [row])


class Alerts:
    def __init__(self):
        self.ticks = 0
        self.told = []

    def on_findings(self, findings, now_us):
        self.told += [finding.id for finding in findings]

    def tick(self, now_us):
        self.ticks += 1


class Metrics:
    def __init__(self):
        self.failures = []

    def lost(self, source, reason, count):
        self.failures.append(reason)

    def statements(self, statements: pl.DataFrame): ...
    def intake_lag(self, seconds): ...
    def finding(self, kind, severity, detector): ...
    def coverage(self, minutes): ...
