"""The question what may have changed, on PostgreSQL 12 to 18, by a role without any right."""

import pytest

from agent.catalog.changes import (
    KINDS_OF,
    changed_cluster_kinds,
    changed_kinds,
    probe_cluster,
    probe_database,
)
from model.catalog import CatalogKind
from tests.conformance.servers import MAJORS, Server, fetch
from tests.live.test_catalog_watcher import CHANGES, SETUP

pytestmark = [pytest.mark.live, pytest.mark.slow]
K = CatalogKind
IN_THE_CLUSTER = [
    ("CREATE ROLE mallory", "DROP ROLE mallory", {K.ROLE}),
    ("GRANT pg_monitor TO analyst", "REVOKE pg_monitor FROM analyst", {K.MEMBERSHIP}),
    ("ALTER ROLE analyst SET work_mem = '7MB'", "ALTER ROLE analyst RESET ALL", {K.SETTING}),
    ("GRANT CREATE ON DATABASE shop TO analyst", "REVOKE CREATE ON DATABASE shop FROM analyst",
     {K.PRIVILEGE, K.DATABASE}),
]  # fmt: skip


@pytest.mark.parametrize("major", MAJORS)
def test_every_change_is_noticed_and_work_without_change_is_none(major):
    fetch()
    server = Server(major=major, pgaudit=False, settings={"wal_level": "logical"})
    with server:
        with server.connect() as admin:
            admin.execute("CREATE DATABASE shop")
        with (
            server.connect(dbname="shop") as admin,
            server.connect(dbname="shop") as worker,
        ):
            for statement in SETUP.replace("GRANT pg_monitor TO pgwarden;", "").split(";")[:-1]:
                admin.execute(statement)
            asker = server.connect(dbname="shop", user="pgwarden")
            with asker:
                for sql, undo, kinds in CHANGES:
                    if "TABLES IN SCHEMA hr" in sql and "PUBLICATION" in sql and major < 15:
                        continue
                    before = probe_database(asker, None)
                    admin.execute(sql)
                    after = probe_database(asker, before)
                    assert kinds <= changed_kinds(before, after), sql
                    admin.execute(undo)
                for sql, undo, kinds in IN_THE_CLUSTER:
                    before = probe_cluster(asker, None)
                    admin.execute(sql)
                    assert kinds <= changed_cluster_kinds(before, probe_cluster(asker, before))
                    admin.execute(undo)
                _work_changes_nothing(asker, worker)


def _work_changes_nothing(asker, worker):
    """Temporary tables, rows, sequences, statistics, vacuum."""
    before = probe_database(asker, None)
    assert before.parts.keys() == KINDS_OF.keys()
    worker.execute("CREATE TEMP TABLE passing (id serial PRIMARY KEY, t text)")
    worker.execute("CREATE TEMP VIEW looking AS SELECT * FROM passing")
    worker.execute("INSERT INTO hr.salaries SELECT n, 'x', n FROM generate_series(1, 1000) AS n")
    worker.execute("DELETE FROM hr.salaries")
    worker.execute("SELECT nextval('pg_temp.passing_id_seq')")
    worker.execute("VACUUM ANALYZE hr.salaries")
    worker.execute("VACUUM FREEZE pg_catalog.pg_class")
    after = probe_database(asker, before)
    assert after.moment.transactions != before.moment.transactions
    assert changed_kinds(before, after) == {K.SUBSCRIPTION, K.USER_MAPPING}
    worker.execute("DROP TABLE passing CASCADE")
