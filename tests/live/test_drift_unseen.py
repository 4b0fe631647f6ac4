"""No actor is invented where the record cannot show who did it: what a function undid inside, and
what came while no agent ran."""

from __future__ import annotations

import os

import pytest

from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import Running

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]
BASELINE = "SELECT 1 FROM findings WHERE detector = 'drift.baseline'"
ROLES = [f"r{n}" for n in range(8)]
SETUP = """
CREATE ROLE pgwarden LOGIN IN ROLE pg_monitor; CREATE ROLE g;
CREATE TABLE t (i int); CREATE TABLE u (i int); CREATE TABLE v (i int); CREATE TABLE w (i int);
CREATE FUNCTION f(x text) RETURNS void LANGUAGE plpgsql AS $$
  BEGIN EXECUTE x; RAISE EXCEPTION 'undo'; EXCEPTION WHEN others THEN NULL; END $$;
CREATE PROCEDURE p(x text) LANGUAGE plpgsql AS $$ BEGIN EXECUTE x; ROLLBACK; END $$;
"""
UNDONE = (
    ("SELECT f('{}')", "ALTER ROLE g SUPERUSER", "role", "g"),
    ("SELECT f('{}')", "GRANT SELECT ON t TO g", "privilege", "table:public.t<-g"),
    ("SELECT f('{}')", "ALTER TABLE u ADD COLUMN more int", "table", "public.u"),
    ("CALL p('{}')", "GRANT UPDATE ON v TO g", "privilege", "table:public.v<-g"),
    (
        "DO $$ BEGIN EXECUTE '{}'; RAISE EXCEPTION 'x'; EXCEPTION WHEN others THEN NULL; END $$",
        "GRANT DELETE ON w TO g",
        "privilege",
        "table:public.w<-g",
    ),
)


@pytest.fixture
def cluster():
    with PostgresCluster() as cluster:
        with cluster.connect() as connection:
            connection.execute(SETUP)
            for name in ("alice", "bob", "carol", "grace", "ivan", "judy"):
                connection.execute(f"CREATE ROLE {name} LOGIN SUPERUSER")
            for name in ROLES:
                connection.execute(f"CREATE ROLE {name}")
        yield cluster


def did(cluster, who, *sql):
    with cluster.connect(user=who, application_name=f"{who}-tool") as connection:
        for text in sql:
            connection.execute(text)


def test_what_a_function_undid_is_of_who_did_it_for_good(cluster):
    with Running(cluster) as running:
        running.wait_sql(BASELINE, 30)
        for call, sql, _, _ in UNDONE:
            did(cluster, "ivan", call.format(sql))
            did(cluster, "bob", sql)
        told = f"SELECT kind, name, actor FROM drift HAVING count(*) OVER () >= {len(UNDONE)}"
        told = f"SELECT * FROM ({told.replace('HAVING', 'QUALIFY')})"
        rows = running.wait_sql(told, 30)
    assert {(row["kind"], row["name"], row["actor"]) for row in rows} == {
        (kind, name, "bob") for _, _, kind, name in UNDONE
    }


def test_what_came_while_no_agent_ran_is_not_of_who_repeats_it(cluster):
    """By the probes alone: pgaudit's log would tell of it afterwards."""
    with Running(cluster, {"agent": {"capture": {"pgaudit": False}}}) as running:
        running.wait_sql(BASELINE, 30)
        did(cluster, "judy", "CREATE ROLE made")
        running.wait_sql("SELECT 1 FROM drift WHERE name = 'made' AND actor = 'judy'", 30)
        assert running.pgwarden("drift", "accept", "--reason", "hers").returncode == 0
        running.stop()
        did(cluster, "carol", *[f"ALTER ROLE {name} CREATEDB" for name in (*ROLES, "made")])
        running.start(wait=False)
        while not running.sql("SELECT 1 FROM drift WHERE name = 'r7'"):
            did(cluster, "grace", *[f"ALTER ROLE {name} CREATEDB" for name in (*ROLES, "made")])
        ours = "kind = 'role' AND change = 'changed'"
        told = f"SELECT * FROM drift WHERE {ours} QUALIFY count(*) OVER () = {len(ROLES) + 1}"
        rows = running.wait_sql(told, 30)
        status = running.pgwarden("drift", "status").stdout
    assert {(row["actor"], row["attribution"]) for row in rows} == {("", "unattributed")}
    assert all("nobody watched from 20" in row["note"] for row in rows), rows
    assert "nobody seen: nobody watched from 20" in status
