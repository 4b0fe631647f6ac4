"""Snapshots of a real server, with and without rights, and what drift makes of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from agent.catalog import SnapshotWatcher, fingerprint, take_snapshot
from agent.catalog.queries import query
from agent.catalog.rights import grants
from agent.catalog.snapshot import SnapshotError, list_databases
from agent.sql.shape import answer
from collector.drift.engine import Drift
from model.catalog import DATABASE_KINDS, CatalogKind
from tests.analytics.streams import frame, statement
from tests.live.postgres import PostgresCluster, server_folder

pytestmark = pytest.mark.live

SETUP = """
CREATE ROLE pgwarden LOGIN;
GRANT pg_monitor TO pgwarden;
CREATE ROLE analyst LOGIN;
CREATE ROLE bob LOGIN SUPERUSER;
CREATE SCHEMA hr;
CREATE TABLE hr.salaries (person text, amount numeric);
CREATE TABLE hr."Odd ""name" (n int);
CREATE FUNCTION hr.raise(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
"""

READ = set(CatalogKind) - {CatalogKind.WATCHED}
SHOWN_TO_FEW = {CatalogKind.HBA, CatalogKind.IDENT}


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    """A cluster of its own: these tests grant, reload and edit files."""
    if not server_folder().exists():
        pytest.skip("PostgreSQL 15 is not installed: ./run setup installs it")
    with PostgresCluster() as cluster:
        with cluster.connect() as connection:
            connection.execute("CREATE DATABASE shop")
        with cluster.connect(dbname="shop") as connection:
            connection.execute(SETUP)
        yield cluster


def agent(cluster, user="pgwarden", dbname="shop"):
    return cluster.connect(user=user, dbname=dbname or "shop", application_name="pgwarden")


def snap(cluster, **words):
    with agent(cluster, **words) as connection:
        return take_snapshot(connection, "5432")


def facts(snapshot, kind):
    return {item.name: item.value for item in snapshot.items if item.kind == kind}


@contextmanager
def changed(cluster, sql, undo):
    with cluster.connect(dbname="shop", user="bob") as bob:
        for word in sql:
            bob.execute(word)
        try:
            yield
        finally:
            for word in undo:
                bob.execute(word)


def reloaded(cluster, name, value):
    """SIGHUP reaches a backend soon, not at once."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with cluster.connect() as connection:
            if connection.execute(f"SHOW {name}").fetchone() == (value,):
                return
        time.sleep(0.02)
    raise AssertionError(f"{name} did not become {value}")


def test_a_superuser_sees_every_kind(cluster):
    snapshot = snap(cluster, user="postgres")
    assert snapshot.problems == ()
    assert set(snapshot.kinds) == READ
    assert snapshot.server_version.startswith("15")
    assert facts(snapshot, "privilege")["database:shop<-PUBLIC"] == "CONNECT, TEMPORARY"


def test_a_role_with_pg_monitor_sees_all_but_the_hba_rules_and_says_what_is_missing(cluster):
    snapshot = snap(cluster)
    assert set(snapshot.kinds) == READ - SHOWN_TO_FEW
    problems = "\n".join(snapshot.problems)
    assert "hba of 5432/shop cannot be read (permission denied" in problems
    assert "GRANT EXECUTE ON FUNCTION pg_catalog.pg_hba_file_rules() TO pgwarden" in problems
    sources = {item.detail for item in snapshot.items if item.name == "port"}
    assert "postgresql.conf:" in sources.pop()


def test_the_printed_grants_are_all_that_is_needed(cluster):
    grant = grants("pgwarden", 15)[2:]
    undo = [word.replace("GRANT", "REVOKE").replace(" TO ", " FROM ") for word in grant]
    with changed(cluster, grant, undo):
        snapshot = snap(cluster)
    assert snapshot.problems == ()
    rules = facts(snapshot, "hba")
    assert rules["local all all"] == "trust"
    assert rules["(order)"].startswith("local all all > host all all 127.0.0.1")


def test_two_snapshots_of_an_idle_server_are_identical(cluster):
    with agent(cluster) as one, agent(cluster) as other:
        other.execute("SET work_mem = '99MB'")
        other.execute("SET application_name = 'something else'")
        first, second, third = (take_snapshot(c, "5432") for c in (one, one, other))
    assert first.items == second.items
    assert fingerprint(first) == fingerprint(second)
    values = [[(item.name, item.value) for item in s.items] for s in (first, third)]
    assert values[0] == values[1]


def test_a_snapshot_leaves_the_session_as_it_was(cluster):
    with agent(cluster) as connection:
        take_snapshot(connection, "5432")
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)


@pytest.mark.parametrize(
    ("grant", "item", "value"),
    [
        ("SELECT ON hr.salaries TO analyst", "table:hr.salaries<-analyst", "SELECT"),
        (
            "SELECT, INSERT ON hr.salaries TO analyst WITH GRANT OPTION",
            "table:hr.salaries<-analyst",
            "INSERT*, SELECT*",
        ),
        (
            "SELECT (amount) ON hr.salaries TO analyst",
            "column:hr.salaries.amount<-analyst",
            "SELECT",
        ),
        (
            'SELECT ON hr."Odd ""name" TO analyst',
            'table:hr."Odd ""name"<-analyst',
            "SELECT",
        ),
        ("USAGE ON SCHEMA hr TO PUBLIC", "schema:hr<-PUBLIC", "USAGE"),
        (
            "EXECUTE ON FUNCTION hr.raise(int) TO analyst",
            "function:hr.raise(integer)<-analyst",
            "EXECUTE",
        ),
        (
            "EXECUTE ON FUNCTION pg_read_file(text) TO analyst",
            "function:pg_catalog.pg_read_file(text)<-analyst",
            "EXECUTE",
        ),
        ("CREATE ON DATABASE shop TO analyst", "database:shop<-analyst", "CREATE"),
    ],
)
def test_a_grant_shows_up_as_one_item_and_a_revoke_removes_it(cluster, grant, item, value):
    before = set(snap(cluster).items)
    revoke = f"REVOKE {grant.removesuffix(' WITH GRANT OPTION')}".replace(" TO ", " FROM ")
    with changed(cluster, [f"GRANT {grant}"], [revoke]):
        new = set(snap(cluster).items) - before
    assert [(i.name, i.value) for i in new] == [(item, value)]
    assert {(i.name, i.value) for i in snap(cluster).items} == {(i.name, i.value) for i in before}


def test_a_function_that_the_public_may_no_longer_run_says_so(cluster):
    revoke = "REVOKE EXECUTE ON FUNCTION hr.raise(int) FROM PUBLIC"
    with changed(cluster, [revoke], [revoke.replace("REVOKE", "GRANT").replace("FROM", "TO")]):
        assert (
            facts(snap(cluster), "privilege")["function:hr.raise(integer)<-PUBLIC"] == "(revoked)"
        )
    assert "function:hr.raise(integer)<-PUBLIC" not in facts(snap(cluster), "privilege")


def test_default_privileges_roles_and_their_settings_are_items(cluster):
    did = [
        "ALTER DEFAULT PRIVILEGES IN SCHEMA hr GRANT SELECT ON TABLES TO analyst",
        "ALTER ROLE analyst CREATEROLE",
        "ALTER ROLE analyst IN DATABASE shop SET log_statement = 'none'",
        "GRANT pg_read_all_data TO analyst",
    ]
    undo = [
        "ALTER DEFAULT PRIVILEGES IN SCHEMA hr REVOKE SELECT ON TABLES FROM analyst",
        "ALTER ROLE analyst NOCREATEROLE",
        "ALTER ROLE analyst IN DATABASE shop RESET log_statement",
        "REVOKE pg_read_all_data FROM analyst",
    ]
    before = {(i.name, i.value) for i in snap(cluster).items}
    with changed(cluster, did, undo):
        snapshot = snap(cluster)
    assert facts(snapshot, "privilege")["default:tables of bob in hr<-analyst"] == "SELECT"
    assert "createrole=true" in facts(snapshot, "role")["analyst"]
    assert facts(snapshot, "setting")["log_statement@analyst/shop"] == "none"
    assert facts(snapshot, "membership")["pg_read_all_data<-analyst"] == "member"
    assert {(i.name, i.value) for i in snap(cluster).items} == before


def test_secrets_in_settings_stay_on_the_host(cluster):
    secret = "host=primary password=canary-5ecret"
    did = [f"ALTER SYSTEM SET primary_conninfo = '{secret}'", "SELECT pg_reload_conf()"]
    with changed(cluster, did, ["ALTER SYSTEM RESET primary_conninfo", "SELECT pg_reload_conf()"]):
        reloaded(cluster, "primary_conninfo", secret)
        snapshot = snap(cluster)
    assert "canary-5ecret" not in repr(snapshot)
    assert facts(snapshot, "setting")["primary_conninfo"].startswith("hidden ")


def test_a_setting_that_waits_for_a_restart_says_so(cluster):
    did = ["ALTER SYSTEM SET max_connections = 150", "SELECT pg_reload_conf()"]
    undo = ["ALTER SYSTEM RESET max_connections", "SELECT pg_reload_conf()"]
    with changed(cluster, did, undo):
        deadline = time.monotonic() + 10
        while "pending" not in (value := facts(snap(cluster), "setting")["max_connections"]):
            assert time.monotonic() < deadline, value
            time.sleep(0.02)


def test_databases_are_listed_without_templates(cluster):
    with agent(cluster) as connection:
        assert list_databases(connection) == ["postgres", "shop"]


def test_a_connection_in_a_transaction_is_refused(cluster):
    refused = pytest.raises(SnapshotError, match="transaction")
    with agent(cluster) as connection, connection.transaction(), refused:
        take_snapshot(connection, "5432")


def test_a_connection_that_died_is_an_error_and_not_an_empty_snapshot(cluster):
    connection = agent(cluster)
    with cluster.connect() as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
    with pytest.raises(SnapshotError, match="cannot read the catalog of 5432"):
        take_snapshot(connection, "5432")


def test_a_locked_catalog_leaves_a_kind_out(cluster):
    with cluster.connect(dbname="shop") as admin, admin.transaction():
        admin.execute("LOCK pg_catalog.pg_default_acl IN ACCESS EXCLUSIVE MODE")
        snapshot = snap(cluster)
    assert CatalogKind.PRIVILEGE not in snapshot.kinds
    assert CatalogKind.ROLE in snapshot.kinds
    assert not [item for item in snapshot.items if item.kind == "privilege"]
    assert any("lock timeout" in problem for problem in snapshot.problems)


def test_queries_are_chosen_by_version():
    assert query("hba", 15) == query("hba", 12) != query("hba", 16) == query("hba", 18)
    assert query("roles", 9) == query("roles", 18)
    with pytest.raises(LookupError):
        query("nonsense", 15)


class Watching:
    """A watcher in its thread, and what it sent."""

    def __init__(self, cluster, interval_seconds=600.0):
        self.sent = []
        self.watcher = SnapshotWatcher(
            lambda dbname: agent(cluster, dbname=dbname), "5432", self.sent.append, interval_seconds
        )
        self.thread = threading.Thread(target=self.watcher.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.watcher.stop()
        self.thread.join(10)
        assert not self.thread.is_alive()

    def until(self, true, seconds=10.0):
        deadline = time.monotonic() + seconds
        while not true(self):
            assert time.monotonic() < deadline, self.watcher.problems
            time.sleep(0.01)


def test_the_watcher_sends_every_database_at_the_start_and_nothing_while_all_is_quiet(cluster):
    with Watching(cluster, interval_seconds=0.05) as watching:
        watching.until(lambda w: w.watcher.taken >= 4)
        sent = list(watching.sent)
    assert [s.database for s in sent] == ["shop", "postgres"]
    assert CatalogKind.ROLE in sent[0].kinds
    assert set(sent[1].kinds) == DATABASE_KINDS - {CatalogKind.WATCHED}
    assert any("hba" in problem for problem in watching.watcher.problems)


def test_a_poke_shows_a_change_at_once_even_if_its_transaction_commits_later(cluster):
    with Watching(cluster) as watching, cluster.connect(dbname="shop", user="bob") as bob:
        watching.until(lambda w: w.watcher.taken >= 1)
        del watching.sent[:]
        with bob.transaction():
            bob.execute("GRANT SELECT ON hr.salaries TO analyst")
            watching.watcher.poke()
            watching.until(lambda w: w.watcher.taken >= 2)
            assert watching.sent == []
        watching.until(lambda w: w.sent)
        bob.execute("REVOKE SELECT ON hr.salaries FROM analyst")
    assert facts(watching.sent[0], "privilege")["table:hr.salaries<-analyst"] == "SELECT"


def test_the_watcher_outlives_a_server_that_does_not_answer(cluster):
    def refuse(dbname):
        raise psycopg.OperationalError("connection refused")

    watcher = SnapshotWatcher(refuse, "5432", lambda _: None)
    assert watcher.look() == 0
    assert watcher.problems == ("5432: connection refused",)


class Story:
    """Bob's statements as the agent would report them, snapshots and a Drift."""

    def __init__(self, cluster, folder):
        self.cluster, self.seq, self.now_us = cluster, 0, 1
        self.drift = Drift(folder)
        self.commit()

    def commit(self, *rows):
        self.seq += 1
        self.now_us += 1_000_000
        frames = {"statements": frame(rows, first_id=self.seq * 100)} if rows else {}
        seen = [("host-a", snap(self.cluster, user="postgres"))]
        return self.drift.on_commit(frames, seen, self.seq, self.now_us)

    def did(self, sql):
        at = time.time()
        with self.cluster.connect(dbname="shop", user="bob") as bob:
            bob.execute(sql)
        shape = answer(sql)
        row = statement(
            0, agent="host-a", user_name="bob", operation=shape.operation, summary=shape.summary,
            verbs=shape.verbs, objects=shape.objects, settings=shape.settings, roles=shape.roles,
            flags=shape.flags, text=shape.redacted_text,
        )  # fmt: skip
        return row | {"started_at": int(at * 1e6)}

    def settled(self):
        self.now_us += 10_000_000
        return self.drift.tick(self.now_us)


@pytest.fixture
def story(cluster, tmp_path):
    return Story(cluster, tmp_path)


def test_alter_system_in_sql_is_drift_by_bob_and_its_reset_resolves_it(cluster, story):
    rows = [story.did("ALTER SYSTEM SET work_mem = '64MB'"), story.did("SELECT pg_reload_conf()")]
    reloaded(cluster, "work_mem", "64MB")
    [found] = story.commit(*rows).findings
    assert found.sentence.startswith("ALTER SYSTEM SET work_mem = ? by bob at ")
    assert found.sentence.endswith(": setting work_mem is 64MB, was 4MB")
    rows = [story.did("ALTER SYSTEM RESET work_mem"), story.did("SELECT pg_reload_conf()")]
    reloaded(cluster, "work_mem", "4MB")
    [found] = story.commit(*rows).findings
    assert found.resolved_at_us


@pytest.mark.parametrize(
    ("sql", "undo", "sentence"),
    [
        (
            "GRANT SELECT ON hr.salaries TO analyst",
            "REVOKE SELECT ON hr.salaries FROM analyst",
            "analyst may SELECT on table hr.salaries",
        ),
        (
            "GRANT SELECT ON ALL TABLES IN SCHEMA hr TO PUBLIC",
            "REVOKE SELECT ON ALL TABLES IN SCHEMA hr FROM PUBLIC",
            'PUBLIC may SELECT on table hr."Odd ""name"; PUBLIC may SELECT on table hr.salaries',
        ),
        (
            "GRANT pg_write_all_data TO analyst",
            "REVOKE pg_write_all_data FROM analyst",
            "analyst is now a member of pg_write_all_data",
        ),
        (
            "ALTER ROLE analyst SUPERUSER",
            "ALTER ROLE analyst NOSUPERUSER",
            "role analyst became superuser=true",
        ),
        (
            "ALTER ROLE analyst SET log_statement = 'none'",
            "ALTER ROLE analyst RESET log_statement",
            "setting log_statement@analyst is none, was not set",
        ),
        (
            "ALTER DEFAULT PRIVILEGES IN SCHEMA hr GRANT INSERT ON TABLES TO analyst",
            "ALTER DEFAULT PRIVILEGES IN SCHEMA hr REVOKE INSERT ON TABLES FROM analyst",
            "analyst may INSERT on new tables of bob in hr",
        ),
        ("CREATE ROLE mallory LOGIN", "DROP ROLE mallory", "role mallory was created"),
    ],
)
def test_what_bob_did_is_said_in_one_finding_and_undone_by_its_opposite(story, sql, undo, sentence):
    try:
        [found] = story.commit(story.did(sql)).findings
    finally:
        back = story.did(undo)
    assert found.identity == "bob"
    assert sentence in found.sentence
    assert [bool(f.resolved_at_us) for f in story.commit(back).findings] == [True]


def test_an_edit_of_the_file_is_nobodys_and_its_return_resolves_it(cluster, story):
    conf = cluster.data / "postgresql.conf"
    before = conf.read_text()
    try:
        conf.write_text(f"{before}\nlog_connections = on\n")
        cluster.reload()
        reloaded(cluster, "log_connections", "on")
        assert story.commit().findings == []
        [found] = story.settled().findings
        assert found.sentence == (
            "Nobody on the wire did it: setting log_connections is on, was off"
        )
        assert found.severity == "medium"
    finally:
        conf.write_text(before)
        cluster.reload()
        reloaded(cluster, "log_connections", "off")
    assert [bool(f.resolved_at_us) for f in story.commit().findings] == [True]


def test_an_edit_of_the_hba_file_is_nobodys(cluster, story):
    hba = cluster.data / "pg_hba.conf"
    before = hba.read_text()
    try:
        hba.write_text(f"host all all 0.0.0.0/0 trust\n{before}")
        story.commit()
        [found] = story.settled().findings
    finally:
        hba.write_text(before)
    assert "hba rule 'host all all 0.0.0.0/0.0.0.0' (trust) was added" in found.sentence


def test_a_right_that_pgwarden_lost_is_not_read_as_a_removal(cluster, story, tmp_path):
    weaker = snap(cluster)
    assert CatalogKind.HBA not in weaker.kinds
    news = story.drift.on_commit({}, [("host-a", weaker)], 99, story.now_us)
    assert (news.rows, story.settled().rows) == ([], [])
