"""View drift_observed: what was so, and what we believed at the time."""

import time
from datetime import datetime, timedelta

import pytest

from collector.drift.engine import Drift
from collector.drift.waiting import Source
from collector.store import Store
from collector.thinking import Thinking
from config.schema import CollectorConfig
from model.catalog import CatalogItem, CatalogKind, Snapshot
from tests.waiting import wait_until

MARCH = datetime(2026, 3, 1)
PLACE = {"agent": "h", "cluster": "5432", "database": "shop", "kind": "privilege"}
SALARY = "table:hr.salary<-analyst"
AS_KNOWN_THEN = """
    SELECT name, value FROM drift_observed
    WHERE kind = 'privilege' AND name LIKE '%<-analyst'
      AND valid_from <= $1::TIMESTAMP AND (valid_to IS NULL OR valid_to > $1::TIMESTAMP)
      AND known_from <= $2::TIMESTAMP AND (known_to IS NULL OR known_to > $2::TIMESTAMP)
"""


def day(number, hours=0):
    return MARCH + timedelta(days=number - 1, hours=hours)


def change(name, change, value, at, known_at):
    words = {"name": name, "change": change, "occurred_at": at, "known_at": known_at}
    return {**PLACE, **words, "after": value, "before": "", "detail": "owned by hr"}


@pytest.fixture
def ask(tmp_path):
    """A grant on the 2nd, told on the 4th (the agent was cut off), and revoked on the 7th."""
    store = Store(tmp_path, commit_seconds=0.01)
    store.start()
    rows = [
        change(SALARY, "added", "SELECT", day(2), day(4)),
        change("schema:hr<-analyst", "added", "USAGE", day(5), day(5, 1)),
        change(SALARY, "changed", "INSERT, SELECT", day(6), day(6, 1)),
        change(SALARY, "removed", "", day(7), day(7, 1)),
    ]
    for row in [*rows, rows[0]]:  # a row that is told twice is one
        store.append("catalog_changes", [row])
        assert store.segments.flush()
    yield lambda at, known_at: sorted(store.query(AS_KNOWN_THEN, [at, known_at]))
    store.close()


def test_what_was_so_and_what_we_knew_of_it_at_the_time_are_two_questions(ask):
    third = day(3)
    assert ask(third, third) == []
    assert ask(third, day(4)) == [(SALARY, "SELECT")]
    assert ask(third, day(30)) == [(SALARY, "SELECT")]


def test_what_we_believed_changes_with_what_we_learn(ask):
    assert ask(day(6, 2), day(6)) == [("schema:hr<-analyst", "USAGE"), (SALARY, "SELECT")]
    known = [("schema:hr<-analyst", "USAGE"), (SALARY, "INSERT, SELECT")]
    assert ask(day(6, 2), day(6, 2)) == ask(day(6, 2), day(30)) == known
    assert ask(day(8), day(7)) == known
    assert ask(day(8), day(8)) == [("schema:hr<-analyst", "USAGE")]


def test_what_drift_saw_is_in_the_view_and_leaves_its_outbox_once_it_is_durable(tmp_path):
    store = Store(tmp_path / "data", commit_seconds=0.01)
    wanted = []
    config = CollectorConfig(data_dir=tmp_path / "data", analytics={"enabled": False})
    thinking = Thinking(config, store, Alerts(), Metrics(), want_snapshot=wanted.append)
    store.start()
    thinking.start()
    try:
        at_us = time.time_ns() // 1000
        items = (CatalogItem(CatalogKind.ROLE, "", "bob", "login=true"),)
        whole = Snapshot(at_us, "5432", "shop", (CatalogKind.ROLE,), items, "15.4")
        lost = Snapshot(at_us + 9, "5432", "shop", (CatalogKind.TABLE,), (), "15.4", base_at_us=7)
        news = thinking.drift.on_commit({}, [("h", whole), ("h", lost)], 1, at_us)
        thinking._publish_drift(news)
        rows = "SELECT name, value, known_to FROM drift_observed"
        wait_until(lambda: store.query(rows) == [("bob", "login=true", None)])
        assert wanted == [Source("h", "5432", "shop")]
        wait_until(lambda: not Drift(config.data_dir / "state").tick(0).changes)
    finally:
        thinking.stop()
        store.close()


class Alerts:
    def on_findings(self, findings, now_us): ...
    def tick(self, now_us): ...


class Metrics:
    def finding(self, kind, severity, detector): ...
