"""The reader of a catalog gets over errors of our own code, and names them. No server is asked."""

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent import clusters
from agent.catalog import SnapshotWatcher, watcher
from agent.catalog.changes import Database, Digests, Moment
from agent.catalog.moments import Moments
from agent.clusters import Clusters, Watched
from agent.discovery import Cluster
from config.schema import AgentConfig
from model.catalog import CatalogItem, CatalogKind, Snapshot

K = CatalogKind


class Server:
    """What the watcher asks of a server, from memory. ``poison``: kinds at which our code fails."""

    def __init__(self, poison=()):
        self.poison = frozenset(poison)
        self.at_us = 0
        self.roles = ["alice"]
        self.sent = []

    @contextmanager
    def connect(self, database):
        yield SimpleNamespace(info=SimpleNamespace(dbname=database or "shop"))

    def take(self, connection, cluster, *, kinds, **_):
        if self.poison & kinds:
            raise KeyError("a row that says too much")
        self.at_us += 1
        items = [CatalogItem(K.ROLE, "", role, "login=true") for role in self.roles]
        found = tuple(item for item in items if item.kind in kinds)
        return Snapshot(self.at_us, cluster, connection.info.dbname, tuple(sorted(kinds)), found)

    def watcher(self, send=None):
        return SnapshotWatcher(self.connect, "5432", send or self.sent.append, take=self.take)


@pytest.fixture(autouse=True)
def answers(monkeypatch):
    """Every probe finds everything changed."""
    moments = iter(range(1, 1000))

    def probe(*_):
        number = next(moments)
        return Digests(Moment(number, str(number)))

    monkeypatch.setattr(watcher, "moment_of", lambda _: Moment(1, "1"))
    monkeypatch.setattr(watcher, "all_databases", lambda _: [Database(1, "shop", "")])
    monkeypatch.setattr(watcher, "probe_cluster", probe)
    monkeypatch.setattr(watcher, "probe_database", probe)
    monkeypatch.setattr(watcher, "changed_cluster_kinds", lambda *_: frozenset((K.ROLE, K.HBA)))
    monkeypatch.setattr(watcher, "changed_kinds", lambda *_: frozenset((K.TABLE,)))


def test_an_error_at_one_kind_is_its_problem_and_the_others_are_read():
    server = Server(poison={K.TABLE})
    reader = server.watcher()
    reader.look()
    assert {kind for snapshot in server.sent for kind in snapshot.kinds} == {K.ROLE, K.HBA}
    [problem] = reader.problems
    assert problem == (
        "the table of 5432/shop cannot be read: an error in pgwarden (KeyError); please report it"
    )
    server.poison = frozenset()
    reader.look()
    assert reader.problems == ()
    assert K.TABLE in {kind for snapshot in server.sent for kind in snapshot.kinds}


def test_what_could_not_be_sent_is_read_and_sent_at_the_next_look(monkeypatch):
    server = Server(poison={K.TABLE})
    full = []

    def send(snapshot):
        if full:
            raise OSError("no room")
        server.sent.append(snapshot)

    reader = server.watcher(send)
    reader.look()
    server.poison = frozenset()
    monkeypatch.setattr(watcher, "changed_kinds", lambda *_: frozenset())
    full.append(True)
    reader.look()
    del full[:], server.sent[:]
    reader.look()
    assert K.TABLE in {kind for snapshot in server.sent for kind in snapshot.kinds}


def test_a_kind_that_cannot_be_read_was_last_looked_at_before(monkeypatch):
    """What is new once it can be read again came after the last look that read it."""
    server = Server()
    monkeypatch.setattr(watcher, "moment_of", lambda _: Moment(server.at_us, str(server.at_us)))
    reader = server.watcher()
    server.at_us = 100
    reader.look()
    [read_us] = {each.at_us for each in server.sent if K.ROLE in each.kinds}
    server.poison = frozenset((K.ROLE,))
    for moment_us in (200, 300):
        server.at_us = moment_us
        reader.look()
        monkeypatch.setattr(watcher, "changed_cluster_kinds", lambda *_: frozenset())
    server.poison, server.at_us = frozenset(), 400
    server.roles.append("mallory")
    del server.sent[:]
    reader.look()
    [change] = [each for each in server.sent if K.ROLE in each.kinds]
    assert change.since_us == read_us


def test_a_clock_that_was_set_back_is_named_and_what_changes_then_is_still_told(monkeypatch):
    server, hour_us, seconds = Server(), 3_600_000_000, [0.0]
    monkeypatch.setattr(watcher, "moment_of", lambda _: Moment(server.at_us, str(server.at_us)))
    reader = SnapshotWatcher(
        server.connect, "5432", server.sent.append, clock=lambda: seconds[0], take=server.take
    )
    server.at_us = 10 * hour_us
    reader.look()
    before = max(snapshot.at_us for snapshot in server.sent)
    assert reader.problems == ()

    del server.sent[:]
    server.at_us, seconds[0] = 9 * hour_us + 60_000_000, 60.0
    server.roles.append("mallory")
    reader.look()
    [change] = server.sent
    assert change.at_us > before
    assert 9 * hour_us <= change.since_us < 9 * hour_us + 60_000_000
    [problem] = reader.problems
    assert problem.startswith("5432: the server's clock was set back (3540 s behind)")

    server.at_us, seconds[0] = 11 * hour_us, 7200.0
    reader.look()
    assert reader.problems == ()


def test_a_clock_that_was_set_back_while_the_agent_was_down_is_named_and_all_is_told(
    monkeypatch, tmp_path
):
    server, hour_us, seconds = Server(), 3_600_000_000, [50.0]
    monkeypatch.setattr(watcher, "moment_of", lambda _: Moment(server.at_us, str(server.at_us)))

    def started():
        moments = Moments(tmp_path / "moments.json")
        return SnapshotWatcher(
            server.connect, "5432", server.sent.append, clock=lambda: seconds[0],
            take=server.take, moments=moments,
        )  # fmt: skip

    server.at_us = 10 * hour_us
    started().look()
    before = max(snapshot.at_us for snapshot in server.sent)

    del server.sent[:]
    server.at_us, seconds[0] = 9 * hour_us, 80.0
    reader = started()
    reader.look()
    assert all(snapshot.at_us > before for snapshot in server.sent)
    assert {snapshot.since_us for snapshot in server.sent} == {9 * hour_us - 30_000_000}
    assert reader.problems[0].startswith("5432: the server's clock was set back (3600 s behind)")

    del server.sent[:]
    reader.resend()
    reader.look()
    assert {snapshot.since_us for snapshot in server.sent} == {9 * hour_us - 30_000_000}

    del server.sent[:]
    server.at_us, seconds[0] = 11 * hour_us, 7280.0
    reader = started()
    reader.look()
    assert {snapshot.since_us for snapshot in server.sent} == {0}
    assert reader.problems == ()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"given_us": "x"}'])
def test_a_damaged_file_of_moments_is_as_none(tmp_path, text):
    (tmp_path / "moments.json").write_text(text)
    moments = Moments(tmp_path / "moments.json")
    assert moments.set_back(5, 1.0) == 0
    assert moments.of(5) == 5
    assert Moments(tmp_path / "moments.json").of(3) == 6


def test_an_error_that_nobody_expected_ends_a_look_and_not_the_thread(monkeypatch):
    server = Server()
    reader = server.watcher()

    def broken(_):
        reader.stop()
        raise ValueError("a value")

    monkeypatch.setattr(watcher, "moment_of", broken)
    reader.run()
    assert reader.problems == ("5432: an error in pgwarden (ValueError); please report it",)


def test_a_reader_that_ends_by_an_error_begins_again_and_is_named(monkeypatch):
    monkeypatch.setattr(clusters, "CATALOG_AGAIN_SECONDS", 0.0)
    found = Clusters(AgentConfig(), None, lambda snapshot: None, None, None)
    watched = Watched(Cluster("5432", 1, 1, Path("/exe"), 0, 0, Path("/data"), 5432, (), 15), None)
    runs = []

    def run():
        runs.append(1)
        if len(runs) == 1:
            raise RuntimeError("a value")

    watched.catalog = SimpleNamespace(run=run)
    found._watch_catalog(watched)
    assert len(runs) == 2
    assert watched.problems["catalog"].startswith("reading its catalog failed (RuntimeError)")
    found._take_snapshot(watched, Snapshot(1, "5432", "shop", (K.ROLE,), ()))
    assert watched.problems == {}
