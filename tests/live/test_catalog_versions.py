"""Every query of the catalog on PostgreSQL 12 to 18."""

from __future__ import annotations

import time
from importlib.resources import files
from pathlib import Path

import pytest

from agent.approvals.catalog import ApprovalCatalog
from agent.catalog import HostFiles, fingerprint, take_snapshot
from agent.catalog.access_files import AccessFiles
from agent.catalog.items import hba, ident
from agent.catalog.rights import grants, grants_for
from collector.drift.declaration.keys import KEYS, key_mistakes
from collector.drift.lines import lines_of
from model.approval import Bound, Grant, Term
from model.catalog import CatalogKind
from tests.conformance.servers import MAJORS, Server, installation
from tests.live.catalog_world import world_for

pytestmark = [pytest.mark.live, pytest.mark.slow]

SETTINGS = {"wal_level": "logical", "max_prepared_transactions": "2"}
SECRET = "canary-5ecret"
NUMBERED = {
    CatalogKind.ROLE, CatalogKind.DATABASE, CatalogKind.TABLESPACE, CatalogKind.SCHEMA,
    CatalogKind.TABLE, CatalogKind.SEQUENCE, CatalogKind.FUNCTION, CatalogKind.TYPE,
    CatalogKind.POLICY, CatalogKind.TRIGGER, CatalogKind.EVENT_TRIGGER, CatalogKind.LANGUAGE,
    CatalogKind.FOREIGN_SERVER, CatalogKind.PUBLICATION, CatalogKind.CAST, CatalogKind.OPERATOR,
}  # fmt: skip
"""Whose items say which object they are, under any name."""


@pytest.fixture(scope="module", params=MAJORS)
def server(request):
    major = request.param
    if not (installation(major) / "bin" / "postgres").exists():
        pytest.skip(f"PostgreSQL {major} is not installed: ./run conformance installs it")
    with Server(major=major, pgaudit=False, settings=SETTINGS) as server:
        with server.connect() as admin:
            admin.execute("CREATE DATABASE shop")
            admin.execute("CREATE DATABASE granted")
        with server.connect(dbname="shop") as admin:
            for statement in [*world_for(major), *grants("pgwarden", major)]:
                admin.execute(statement)
            for statement in grants_for(("subscriptions", "user_mappings"), "pgwarden", major):
                admin.execute(statement)
        yield server


def test_every_kind_is_read_with_the_printed_rights(server):
    host = HostFiles(Path("/"), server.data)
    with server.connect(dbname="shop", user="pgwarden") as connection:
        first, second = (
            take_snapshot(connection, "x", files=host, function_bodies=bodies)
            for bodies in (False, False)
        )
    with server.connect(dbname="shop", user="postgres") as connection:
        whole = take_snapshot(connection, "x", files=host)
    assert first.problems == ()
    assert set(first.kinds) == set(CatalogKind) - {CatalogKind.WATCHED}
    assert {item.kind for item in first.items} >= set(first.kinds) - {CatalogKind.IDENT}
    assert fingerprint(first) == fingerprint(second) == fingerprint(whole)
    assert SECRET not in repr(first)
    unknown = [
        (item.name, mistake)
        for item in first.items
        if item.kind in KEYS
        for key in lines_of(item.value)
        for mistake in key_mistakes(item.kind, key)
    ]
    assert unknown == []
    assert {item.kind for item in first.items if item.detail.startswith("oid ")} >= NUMBERED
    _files_say_the_same(server, host, first)


GRANTED = Grant(
    "g", "CODE", Bound("h", "main", "granted", "app", "", ""), 1, Term(0, 0, ""),
    relations=("public.far", "seen"), functions=("made", "total"),
)  # fmt: skip
GRANTED_WORLD = """
CREATE FOREIGN DATA WRAPPER w;
CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (dbname 'staging');
CREATE FOREIGN TABLE far (id int) SERVER s;
CREATE TABLE near (id int);
CREATE VIEW seen AS SELECT id FROM near;
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
CREATE TRIGGER audit BEFORE DELETE ON near FOR EACH ROW EXECUTE FUNCTION audit();
CREATE FUNCTION made() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0')
"""
NO_CHANGES = [
    "ANALYZE near",
    "GRANT SELECT ON near TO PUBLIC",
    "REVOKE EXECUTE ON FUNCTION made() FROM PUBLIC",
]
CHANGES = [
    "ALTER SERVER s OPTIONS (SET dbname 'production')",
    "ALTER FOREIGN TABLE far OPTIONS (ADD table_name 'other')",
    "ALTER FOREIGN TABLE far ALTER COLUMN id OPTIONS (ADD column_name 'other')",
    "ALTER FOREIGN DATA WRAPPER w OPTIONS (ADD host 'other')",
    "CREATE USER MAPPING FOR app SERVER s OPTIONS (user 'one')",
    "ALTER USER MAPPING FOR app SERVER s OPTIONS (SET user 'other')",
    "ALTER VIEW seen SET (security_barrier = true)",
    "CREATE OR REPLACE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
    "ALTER FUNCTION audit() SET work_mem = '1MB'",
    "CREATE OR REPLACE FUNCTION made() RETURNS int LANGUAGE sql AS 'SELECT 2'",
    "CREATE INDEX ON near (abs(id))",
    "CREATE INDEX ON near (id) WHERE id > 0",
    "ALTER TABLE near ALTER id SET NOT NULL, ALTER id ADD GENERATED ALWAYS AS IDENTITY",
]
ATOMIC = "CREATE OR REPLACE FUNCTION made() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT {}; END"


def test_what_changes_under_a_grant_changes_its_fingerprint(server):
    changes = CHANGES if server.major < 14 else [*CHANGES, ATOMIC.format(1), ATOMIC.format(2)]
    with server.connect(dbname="granted") as admin:
        admin.execute("CREATE ROLE app")
        admin.execute(GRANTED_WORLD)
        catalog = ApprovalCatalog(lambda cluster, database: server.connect(dbname=database))
        found = [catalog.fingerprint(GRANTED)]
        for statement in NO_CHANGES:
            admin.execute(statement)
            assert catalog.fingerprint(GRANTED) == found[0], statement
        for statement in changes:
            admin.execute(statement)
            found.append(catalog.fingerprint(GRANTED))
            assert found[-1] != found[-2], statement
        catalog.close()
    assert len(set(found)) == len(found)


def test_a_login_without_rights_can_take_the_fingerprint(server):
    catalog = ApprovalCatalog(
        lambda cluster, database: server.connect(dbname=database, user="pgwarden")
    )
    assert catalog.fingerprint(GRANTED)
    catalog.close()


def test_a_login_without_rights_sees_which_transactions_are_open_and_what_they_may_define(server):
    def open_now():
        found = {each.pid: each for each in catalog.open_transactions(GRANTED)}
        return found.get(session.info.backend_pid), found.get(0)

    catalog = ApprovalCatalog(
        lambda cluster, database: server.connect(dbname=database, user="pgwarden")
    )
    with server.connect(dbname="granted") as session:
        session.execute("CREATE TABLE written (id int)")
        assert open_now() == (None, None)
        session.execute("BEGIN; SELECT FROM written")
        reading, _ = open_now()
        assert not reading.defines
        session.execute("ALTER TABLE written SET (fillfactor = 90)")
        writing, _ = open_now()
        assert writing.defines
        assert writing.number == reading.number
        session.execute("PREPARE TRANSACTION 'change'")
        began_us = time.time_ns() // 1000
        running, prepared = open_now()
        assert (running, prepared.defines) == (None, True)
        assert abs(prepared.prepared_us - began_us) < 5_000_000
        session.execute("COMMIT PREPARED 'change'")
        session.execute("BEGIN; DELETE FROM written; PREPARE TRANSACTION 'rows'")
        assert not open_now()[1].defines
        session.execute("ROLLBACK PREPARED 'rows'")
        session.execute("BEGIN")
        assert open_now()[0].number != reading.number
        session.execute("ROLLBACK")
    with server.connect(dbname="shop") as elsewhere:
        elsewhere.execute("BEGIN; SELECT txid_current()")
        assert not catalog.open_transactions(GRANTED)
    catalog.close()


def _files_say_the_same(server, host, snapshot):
    """Our own reading of the rules agrees with the server's."""
    own = AccessFiles(host, server.major)
    data = str(server.data)
    for kind, items in (
        ("hba", hba(own.hba(f"{data}/pg_hba.conf"))),
        ("ident", ident(own.ident(f"{data}/pg_ident.conf"))),
    ):
        seen = {(item.name, item.value) for item in snapshot.items if item.kind == kind}
        assert seen == {(item.name, item.value) for item in items}


def test_every_text_of_a_query_names_a_version_that_is_supported():
    names = [each.name for each in files("agent.catalog.queries").iterdir()]
    for name in names:
        if name.endswith(".sql"):
            assert int(name.removesuffix(".sql").rpartition("_")[2]) in MAJORS
