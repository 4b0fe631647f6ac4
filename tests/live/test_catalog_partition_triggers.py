"""Triggers that a partition has from its parent, on every version: before 15 they are internal."""

import pytest

from agent.catalog import take_snapshot
from agent.catalog.changes import changed_kinds, probe_database
from model.catalog import CatalogKind
from tests.conformance.servers import MAJORS, Server, installation

pytestmark = [pytest.mark.live, pytest.mark.slow]

SETUP = """
CREATE SCHEMA hr
CREATE TABLE hr.person (id int PRIMARY KEY)
CREATE TABLE hr.event (at date NOT NULL, n int REFERENCES hr.person, \
UNIQUE (at, n) DEFERRABLE) PARTITION BY RANGE (at)
CREATE TABLE hr.event_1 PARTITION OF hr.event FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') \
PARTITION BY RANGE (at)
CREATE TABLE hr.event_1a PARTITION OF hr.event_1 FOR VALUES FROM ('2024-01-01') TO ('2024-02-01')
CREATE FUNCTION hr.look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'
CREATE TRIGGER audit AFTER INSERT ON hr.event FOR EACH ROW EXECUTE FUNCTION hr.look()
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON hr.event DEFERRABLE FOR EACH ROW \
EXECUTE FUNCTION hr.look()
"""


@pytest.mark.parametrize("major", MAJORS)
def test_what_a_partition_disables_is_seen_and_nothing_else_that_it_has_from_its_parent(major):
    if not (installation(major) / "bin" / "postgres").exists():
        pytest.skip(f"PostgreSQL {major} is not installed: ./run conformance installs it")
    with Server(major=major, pgaudit=False) as server:
        with server.connect() as admin:
            admin.execute("CREATE DATABASE shop")
        with server.connect(dbname="shop") as admin:
            for statement in SETUP.strip().replace("\\\n", "").splitlines():
                admin.execute(statement)
            own = {"hr.event.audit": "origin", "hr.event.late": "origin"}
            assert _triggers(admin) == own
            before = probe_database(admin, None)
            admin.execute("ALTER TABLE hr.event_1a DISABLE TRIGGER audit")
            assert CatalogKind.TRIGGER in changed_kinds(before, probe_database(admin, before))
            assert _triggers(admin) == own | {"hr.event_1a.audit": "disabled"}
            before = probe_database(admin, None)
            admin.execute("ALTER TABLE hr.event_1a DISABLE TRIGGER ALL")
            assert CatalogKind.TRIGGER in changed_kinds(before, probe_database(admin, before))
            off = {"hr.event_1a.audit": "disabled", "hr.event_1a.late": "disabled"}
            found = _triggers(admin)
            keys = {name for name in found if name.startswith('hr.event_1a."RI_ConstraintTrigger')}
            assert keys, "the foreign key of the partition is not looked after any more"
            rest = {name: state for name, state in found.items() if "ConstraintTrigger" not in name}
            assert rest == own | off
            admin.execute("ALTER TABLE hr.event_1a ENABLE TRIGGER ALL")
            assert _triggers(admin) == own


def _triggers(connection):
    snapshot = take_snapshot(connection, "x", kinds=frozenset({CatalogKind.TRIGGER}))
    assert snapshot.problems == ()
    return {
        item.name: line.removeprefix("enabled: ")
        for item in snapshot.items
        for line in item.value.splitlines()
        if line.startswith("enabled: ")
    }
