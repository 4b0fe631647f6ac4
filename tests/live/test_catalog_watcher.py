"""The watcher beside a real server: it reads what changed, and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from agent.catalog import SnapshotWatcher, Watched, take_snapshot
from agent.catalog.changes import KINDS_OF, changed_kinds, probe_database
from agent.catalog.schedule import EVERYTHING, Target
from collector.drift.engine import Drift
from model.catalog import CatalogKind, Snapshot
from tests.live.postgres import PostgresCluster, server_folder

pytestmark = pytest.mark.live

SETUP = """
CREATE ROLE pgwarden LOGIN;
GRANT pg_monitor TO pgwarden;
CREATE ROLE analyst;
CREATE SCHEMA hr;
CREATE TABLE hr.salaries (id int PRIMARY KEY, person text, amount numeric);
CREATE TABLE hr.flags (name text PRIMARY KEY, enabled boolean);
GRANT USAGE ON SCHEMA hr TO pgwarden;
GRANT SELECT ON hr.flags TO pgwarden;
INSERT INTO hr.flags VALUES ('beta', false);
CREATE FUNCTION hr.raise(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
"""
K = CatalogKind
CHANGES = [
    ("CREATE TABLE hr.t (a int)", "DROP TABLE hr.t", {K.TABLE, K.FUNCTION}),
    ("ALTER TABLE hr.flags ADD c int", "ALTER TABLE hr.flags DROP c", {K.TABLE}),
    ("ALTER TABLE hr.flags ENABLE ROW LEVEL SECURITY",
     "ALTER TABLE hr.flags DISABLE ROW LEVEL SECURITY", {K.TABLE}),
    ("CREATE POLICY p ON hr.flags", "DROP POLICY p ON hr.flags", {K.POLICY}),
    ("CREATE OR REPLACE FUNCTION hr.raise(int) RETURNS int LANGUAGE sql AS 'SELECT 2'",
     "CREATE OR REPLACE FUNCTION hr.raise(int) RETURNS int LANGUAGE sql AS 'SELECT $1'",
     {K.FUNCTION}),
    ("ALTER FUNCTION hr.raise(int) SECURITY DEFINER",
     "ALTER FUNCTION hr.raise(int) SECURITY INVOKER", {K.FUNCTION}),
    ("ALTER FUNCTION hr.raise(int) RENAME TO lift",
     "ALTER FUNCTION hr.lift(int) RENAME TO raise",
     {K.FUNCTION, K.TABLE, K.TRIGGER, K.POLICY}),
    ("ALTER SCHEMA hr RENAME TO people", "ALTER SCHEMA people RENAME TO hr",
     {K.SCHEMA, K.TABLE, K.FUNCTION, K.POLICY, K.PRIVILEGE}),
    ("CREATE TYPE hr.mood AS ENUM ('a')", "DROP TYPE hr.mood", {K.TYPE}),
    ("CREATE SEQUENCE hr.s", "DROP SEQUENCE hr.s", {K.SEQUENCE}),
    ("CREATE INDEX i ON hr.salaries (person)", "DROP INDEX hr.i", {K.TABLE}),
    ("ALTER TABLE hr.salaries ADD CONSTRAINT c CHECK (amount > 0)",
     "ALTER TABLE hr.salaries DROP CONSTRAINT c", {K.TABLE}),
    ("CREATE VIEW hr.v AS SELECT 1 AS a", "DROP VIEW hr.v", {K.TABLE}),
    ("CREATE PUBLICATION p FOR TABLE hr.flags", "DROP PUBLICATION p", {K.PUBLICATION}),
    ("CREATE PUBLICATION q FOR TABLES IN SCHEMA hr", "DROP PUBLICATION q", {K.PUBLICATION}),
    ("CREATE FOREIGN DATA WRAPPER w", "DROP FOREIGN DATA WRAPPER w", {K.FOREIGN_SERVER}),
    ("ALTER DEFAULT PRIVILEGES IN SCHEMA hr GRANT SELECT ON TABLES TO analyst",
     "ALTER DEFAULT PRIVILEGES IN SCHEMA hr REVOKE SELECT ON TABLES FROM analyst",
     {K.PRIVILEGE}),
    ("GRANT SELECT (name) ON hr.flags TO analyst",
     "REVOKE SELECT (name) ON hr.flags FROM analyst",
     {K.PRIVILEGE}),
]  # fmt: skip
"""What somebody does, how it is undone, and kinds that are to be read then."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    if not server_folder().exists():
        pytest.skip("PostgreSQL 15 is not installed: ./run setup installs it")
    with PostgresCluster() as cluster:
        with cluster.connect() as connection:
            connection.execute("CREATE DATABASE shop")
            connection.execute("CREATE DATABASE other")
        with cluster.connect(dbname="shop") as connection:
            connection.execute(SETUP)
        yield cluster


class Reads:
    """A watcher without its thread; notes what it connects to, reads and sends."""

    def __init__(self, cluster, user="postgres", **words):
        self.cluster, self.user = cluster, user
        self.connected: list[str] = []
        self.read: list[tuple[str, frozenset[CatalogKind]]] = []
        self.sent: list[Snapshot] = []
        self.watcher = SnapshotWatcher(
            self.connect, "5432", self.sent.append, 600.0, take=self.take, **words
        )

    def connect(self, database):
        self.connected.append(database)
        return self.cluster.connect(
            user=self.user, dbname=database or "shop", application_name="pgwarden"
        )

    def take(self, connection, cluster, **words):
        self.read.append((connection.info.dbname, words["kinds"]))
        return take_snapshot(connection, cluster, **words)

    def look(self, *targets):
        for notes in (self.connected, self.read, self.sent):
            del notes[:]
        self.watcher.look(targets or (EVERYTHING,))
        return self.sent


def execute(cluster, *statements, dbname="shop"):
    with cluster.connect(dbname=dbname) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_quiet_server_is_asked_one_cheap_question_and_other_databases_none(cluster):
    reads = Reads(cluster)
    assert {snapshot.database for snapshot in reads.look()} == {"shop", "postgres", "other"}
    assert all(snapshot.base_at_us == 0 for snapshot in reads.sent)
    assert reads.look() == []
    assert reads.connected == [""]
    assert reads.read == [("shop", frozenset((K.HBA, K.IDENT, K.SLOT)))]


def test_transactions_without_ddl_and_temporary_tables_read_no_schema(cluster):
    reads = Reads(cluster)
    reads.look()
    execute(
        cluster,
        "INSERT INTO hr.salaries VALUES (1, 'x', 1)",
        "DELETE FROM hr.salaries",
        "CREATE TEMP TABLE passing (id serial PRIMARY KEY, t text)",
        "ANALYZE hr.salaries",
    )
    assert reads.look() == []
    small = {K.HBA, K.IDENT, K.SLOT, K.SUBSCRIPTION, K.USER_MAPPING}
    assert {kind for _, kinds in reads.read for kind in kinds} <= small


def test_a_grant_is_a_change_with_nothing_but_itself(cluster):
    reads = Reads(cluster)
    reads.look()
    base = {s.at_us for s in reads.sent if s.database == "shop"}
    execute(cluster, "GRANT SELECT ON hr.salaries TO analyst")
    try:
        [change] = reads.look()
    finally:
        execute(cluster, "REVOKE SELECT ON hr.salaries FROM analyst")
    assert [(item.name, item.value) for item in change.items] == [
        ("table:hr.salaries<-analyst", "SELECT")
    ]
    assert change.base_at_us in base
    assert change.base_at_us < change.at_us
    assert change.since_us >= change.base_at_us
    [back] = reads.look()
    assert [key.name for key in back.removed] == ["table:hr.salaries<-analyst"]
    assert back.base_at_us == change.at_us


@pytest.mark.parametrize(("sql", "undo", "kinds"), CHANGES)
def test_each_kind_of_change_is_seen_by_the_probe_of_a_role_with_least_rights(
    cluster, sql, undo, kinds
):
    with cluster.connect(user="pgwarden", dbname="shop") as connection:
        before = probe_database(connection, None)
        execute(cluster, sql)
        try:
            after = probe_database(connection, before)
        finally:
            execute(cluster, undo)
        assert kinds <= changed_kinds(before, after)
        again = probe_database(connection, None)
        assert before.parts.keys() == again.parts.keys() >= KINDS_OF.keys()


def test_a_change_of_the_whole_cluster_is_found_from_the_home_database(cluster):
    reads = Reads(cluster)
    reads.look()
    execute(cluster, "CREATE ROLE mallory", "ALTER ROLE analyst SET work_mem = '7MB'")
    try:
        changes = reads.look()
    finally:
        execute(cluster, "DROP ROLE mallory", "ALTER ROLE analyst RESET work_mem")
    assert {item.name for change in changes for item in change.items} == {
        "mallory",
        "work_mem@analyst",
    }
    assert {name for name, _ in reads.read if name != "shop"} <= {"postgres", "other"}


def test_a_role_that_was_renamed_makes_all_databases_be_read_again(cluster):
    execute(cluster, "CREATE ROLE first", "GRANT SELECT ON hr.salaries TO first")
    reads = Reads(cluster)
    reads.look()
    execute(cluster, "ALTER ROLE first RENAME TO second")
    try:
        changes = reads.look()
    finally:
        execute(cluster, "DROP OWNED BY second", "DROP ROLE second")
    names = {item.name for change in changes for item in change.items}
    assert {"second", "table:hr.salaries<-second"} <= names


def test_a_poke_at_a_database_leaves_the_others_alone(cluster):
    reads = Reads(cluster)
    reads.look()
    execute(cluster, "CREATE SCHEMA s", dbname="other")
    reads.look(Target("shop"))
    assert reads.sent == []
    assert "other" not in reads.connected
    [change] = reads.look(Target("other"))
    assert change.database == "other"
    execute(cluster, "DROP SCHEMA s", dbname="other")


def test_a_poke_at_a_watched_table_reads_that_table_alone(cluster):
    flags = Watched("flags", "hr.flags")
    pay = Watched("pay", "hr.salaries", database="shop")
    count = Watched("count", query="SELECT count(*) AS n FROM hr.salaries", key=("n",))
    reads = Reads(cluster, watched=(flags, pay, count))
    reads.look()
    assert [item.name for s in reads.sent for item in s.items if item.kind is K.WATCHED] == [
        "count", "count[0]", "flags", "flags[beta]", "pay",
    ]  # fmt: skip
    execute(cluster, "UPDATE hr.flags SET enabled = true")
    [change] = reads.look(Target("shop", frozenset((K.WATCHED,)), "flags"))
    assert reads.read == [("shop", frozenset((K.WATCHED,)))]
    assert [item.name for item in change.items] == ["flags[beta]"]
    assert "enabled: t" in change.items[0].value
    assert change.removed == ()
    execute(cluster, "UPDATE hr.flags SET enabled = false")
    [change] = reads.look()
    assert "enabled: f" in change.items[0].value
    execute(cluster, "INSERT INTO hr.salaries VALUES (1, 'x', 1)")
    try:
        [change] = reads.look()
    finally:
        execute(cluster, "DELETE FROM hr.salaries")
    assert [item.name for item in change.items] == ["count[1]", "pay[1]"]
    assert [key.name for key in change.removed] == ["count[0]"]


def test_a_database_that_refuses_connections_is_a_problem_and_one_that_is_gone_is_none(cluster):
    execute(cluster, "CREATE DATABASE passing")
    reads = Reads(cluster)
    reads.look()
    execute(cluster, "ALTER DATABASE passing ALLOW_CONNECTIONS false")
    changes = reads.look()
    assert [s for s in changes if s.database == "passing"] == []
    assert reads.watcher.problems == (
        "5432/passing: it accepts no connections: ALTER DATABASE ... ALLOW_CONNECTIONS true",
    )
    execute(cluster, "DROP DATABASE passing")
    reads.look()
    assert reads.watcher.problems == ()
    execute(cluster, "CREATE DATABASE passing")
    try:
        whole = [s for s in reads.look() if s.database == "passing"]
    finally:
        execute(cluster, "DROP DATABASE passing")
    assert [s.base_at_us for s in whole] == [0]


def test_what_the_collector_asks_for_comes_whole(cluster):
    reads = Reads(cluster)
    reads.look()
    reads.watcher.resend("other")
    [whole] = reads.look()
    assert (whole.database, whole.base_at_us) == ("other", 0)
    reads.watcher.resend()
    assert {(s.database, s.base_at_us) for s in reads.look()} == {
        ("shop", 0), ("other", 0), ("postgres", 0),
    }  # fmt: skip


def test_a_locked_catalog_is_read_later_and_loses_nothing(cluster):
    reads = Reads(cluster)
    reads.look()
    with cluster.connect(dbname="shop") as admin:
        with admin.transaction():
            admin.execute("ALTER DEFAULT PRIVILEGES IN SCHEMA hr GRANT SELECT ON TABLES TO analyst")
            admin.execute("LOCK pg_catalog.pg_default_acl IN ACCESS EXCLUSIVE MODE")
            # Nothing has ended since: there is nothing to ask, and nobody waits for the lock.
            assert reads.look() == []
            assert reads.watcher.problems == ()
            execute(cluster, "INSERT INTO hr.salaries VALUES (1, 'x', 1)")
            assert reads.look() == []
            assert "lock timeout" in " ".join(reads.watcher.problems)
        [change] = reads.look()
        assert [item.name for item in change.items] == ["default:tables of postgres in hr<-analyst"]
        assert reads.watcher.problems == ()
        admin.execute("ALTER DEFAULT PRIVILEGES IN SCHEMA hr REVOKE SELECT ON TABLES FROM analyst")
        admin.execute("DELETE FROM hr.salaries")


def test_from_poke_to_finding_it_takes_less_than_5_seconds_even_beside_a_storm_of_ddl(
    cluster, tmp_path
):
    drift, told, lock = Drift(tmp_path), {}, threading.Lock()
    seq = iter(range(1, 10**6))

    def send(snapshot):
        with lock:
            now = time.time_ns() // 1000
            news = drift.on_commit({}, [("host-a", snapshot)], next(seq), now)
            for row in news.changes.values():
                told[row["name"]] = time.monotonic()

    watcher = SnapshotWatcher(
        lambda dbname: cluster.connect(dbname=dbname or "shop"), "5432", send, 600.0
    )
    thread = threading.Thread(target=watcher.run)
    thread.start()
    try:
        while not watcher.taken:
            time.sleep(0.01)
        did = {}
        with cluster.connect(dbname="shop") as connection:
            for n in range(40):
                connection.execute(f"CREATE TABLE hr.storm_{n} (id int)")
                connection.execute(f"GRANT SELECT ON hr.storm_{n} TO analyst")
                did[f"table:hr.storm_{n}<-analyst"] = time.monotonic()
                watcher.poke(None, "shop")
                time.sleep(0.1)
            deadline = time.monotonic() + 10
            while not did.keys() <= told.keys() and time.monotonic() < deadline:
                time.sleep(0.05)
        took = max(told[name] - moment for name, moment in did.items())
        print(f"from statement to change known, worst of 40: {took:.2f} s")
        assert took < 5.0
    finally:
        watcher.stop()
        thread.join(10)
        execute(cluster, "DROP SCHEMA hr CASCADE")
        execute(cluster, *SETUP.split(";")[3:-1])


def test_a_role_without_any_right_is_told_apart_from_an_empty_server(cluster):
    reads = Reads(cluster, user="pgwarden")
    reads.look()
    assert any("hba" in problem for problem in reads.watcher.problems)
    assert reads.look() == []
    assert any("hba" in problem for problem in reads.watcher.problems)


def test_a_server_that_does_not_answer_is_a_problem_until_it_does(cluster):
    reads = Reads(cluster)
    answer, reads.watcher._connect = reads.watcher._connect, refuse
    assert reads.look() == []
    assert reads.watcher.problems == ("5432: connection refused",)
    reads.watcher._connect = answer
    assert {snapshot.database for snapshot in reads.look()} == {"shop", "postgres", "other"}
    assert reads.watcher.problems == ()


def refuse(database):
    raise psycopg.OperationalError("connection refused")
