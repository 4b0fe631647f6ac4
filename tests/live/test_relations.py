"""Names of relations by oid, from a real catalog."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg
import pytest

from agent.catalog.relations import FUNCTION, IN_C, Place, Relation, Relations
from tests.live.postgres import PostgresCluster

pytestmark = pytest.mark.live

PLACE = Place("main", "postgres")
SECONDS = 10.0


@dataclass
class Names:
    cluster: PostgresCluster
    relations: Relations
    admin: psycopg.Connection
    renamed: list[float] = field(default_factory=list)

    def oid(self, name: str) -> int:
        [(oid,)] = self.admin.execute("SELECT %s::regclass::oid::bigint", [name]).fetchall()
        return oid

    def name(self, oid: int) -> Relation | None:
        return self.relations.find(PLACE, [oid]).get(oid)

    def until(self, condition) -> None:
        limit = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < limit
            time.sleep(0.02)


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    with PostgresCluster() as running, running.connect() as admin:
        admin.execute("CREATE ROLE plain LOGIN")
        yield running


@pytest.fixture
def names(cluster) -> Iterator[Names]:
    renamed: list[float] = []
    relations = Relations(
        lambda _, database: cluster.connect(user="plain", dbname=database),
        lambda: renamed.append(time.monotonic()),
        patience_seconds=SECONDS,
    )
    with cluster.connect() as admin:
        admin.execute("DROP SCHEMA IF EXISTS hr CASCADE; DROP SCHEMA IF EXISTS s CASCADE")
        admin.execute("CREATE SCHEMA hr; CREATE SCHEMA s; CREATE TABLE hr.salaries (id int)")
        yield Names(cluster, relations, admin, renamed)
    relations.stop()


def test_a_role_without_any_rights_learns_every_name(names):
    assert names.name(names.oid("hr.salaries")) == Relation("hr.salaries", "r")
    assert names.name(names.oid("pg_catalog.pg_authid")) == Relation("pg_catalog.pg_authid", "r")


def test_a_table_that_was_made_since_is_asked_for(names):
    names.name(names.oid("hr.salaries"))
    names.admin.execute('CREATE TABLE hr."Odd Name" (id int)')
    assert names.name(names.oid('hr."Odd Name"')).name == "hr.Odd Name"


def test_a_function_of_a_library_has_its_own_name_too(names):
    names.admin.execute(
        "DROP EXTENSION IF EXISTS pageinspect; CREATE EXTENSION pageinspect SCHEMA s"
    )
    names.admin.execute("CREATE FUNCTION s.one() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    rows = names.admin.execute(
        "SELECT proname, oid::bigint FROM pg_proc WHERE pronamespace = 's'::regnamespace"
        " AND proname IN ('bt_metap', 'one')"
    )
    oids = dict(rows.fetchall())
    in_c = names.name(FUNCTION + oids["bt_metap"])
    assert (in_c.name, in_c.kind) == ("s.bt_metap", IN_C)
    assert in_c.ancestors == ("bt_metap",)
    assert names.name(FUNCTION + oids["one"]) == Relation("s.one", "-")
    assert names.name(oids["one"]) is None


def test_who_may_not_read_functions_still_learns_relations(names):
    names.admin.execute("REVOKE SELECT ON pg_proc FROM PUBLIC")
    try:
        assert names.name(names.oid("hr.salaries")) == Relation("hr.salaries", "r")
        assert names.name(FUNCTION + 20_000) is None
        assert "pg_proc" in names.relations.problems()[0]
    finally:
        names.admin.execute("GRANT SELECT ON pg_proc TO PUBLIC")


def test_a_toast_table_goes_by_its_owner_and_what_that_is_a_part_of(names):
    names.admin.execute("CREATE TABLE hr.notes (year int, note text) PARTITION BY LIST (year)")
    names.admin.execute("CREATE TABLE hr.notes_2025 PARTITION OF hr.notes FOR VALUES IN (2025)")
    [(oid,)] = names.admin.execute(
        "SELECT reltoastrelid::bigint FROM pg_class WHERE oid = 'hr.notes_2025'::regclass"
    ).fetchall()
    toast = names.name(oid)
    assert (toast.kind, toast.ancestors) == ("t", ("hr.notes_2025", "hr.notes"))


def test_a_temporary_table_lies_in_pg_temp(names):
    names.admin.execute("CREATE TEMP TABLE IF NOT EXISTS salaries (id int)")
    assert names.name(names.oid("pg_temp.salaries")).name == "pg_temp.salaries"


def test_a_table_of_an_open_transaction_has_no_name(names):
    names.admin.execute("BEGIN")
    names.admin.execute("CREATE TABLE hr.secret (id int)")
    oid = names.oid("hr.secret")
    assert names.relations.find(PLACE, [oid], "maker") == {}
    assert names.relations.known(PLACE, [oid], "maker") == {}, "nobody is asked again at once"
    assert names.relations.known(PLACE, [oid], "other") is None, "it may be committed by now"
    names.admin.execute("ROLLBACK")


def test_a_table_that_its_maker_asked_for_in_vain_has_a_name_for_others_at_once(names):
    names.admin.execute("BEGIN")
    names.admin.execute("CREATE TABLE s.ch () INHERITS (hr.salaries)")
    oid = names.oid("s.ch")
    assert names.relations.find(PLACE, [oid], "maker") == {}
    names.admin.execute("COMMIT")
    found = names.relations.find(PLACE, [oid], "other")
    assert found[oid].ancestors == ("hr.salaries",)


def test_what_may_get_another_parent_is_asked_for_until_that_has_been_read(names):
    names.admin.execute("CREATE TABLE s.top (id int); CREATE TABLE s.leaf () INHERITS (s.top)")
    top, leaf, other = map(names.oid, ("s.top", "s.leaf", "hr.salaries"))
    names.relations.find(PLACE, [top, leaf, other])
    alter = b"ALTER TABLE s.top INHERIT hr.more"
    names.relations.doubt(PLACE, alter)
    assert names.relations.known(PLACE, [leaf]) is None, "by way of its parent"
    assert names.relations.known(PLACE, [other]) is not None
    names.admin.execute("CREATE TABLE hr.more (id int)")
    names.admin.execute(alter)
    assert names.name(leaf).ancestors == ("s.top", "hr.more")
    names.relations.poke()
    names.until(lambda: names.relations.known(PLACE, [leaf]) is not None)
    assert names.name(leaf).ancestors == ("s.top", "hr.more")


def test_a_rename_in_an_open_transaction_changes_nothing(names):
    oid = names.oid("hr.salaries")
    names.name(oid)
    names.admin.execute("BEGIN")
    names.admin.execute("ALTER TABLE hr.salaries SET SCHEMA s")
    names.relations.poke()
    time.sleep(0.3)
    assert names.name(oid).name == "hr.salaries"
    names.admin.execute("ROLLBACK")


def test_a_rename_is_learned_and_told(names):
    oid = names.oid("hr.salaries")
    names.name(oid)
    assert names.renamed == []
    names.admin.execute("ALTER TABLE hr.salaries RENAME TO wages")
    names.relations.poke()
    names.until(lambda: names.renamed)
    assert names.name(oid).name == "hr.wages"


def test_new_tables_are_no_rename(names):
    names.name(names.oid("hr.salaries"))
    names.admin.execute("CREATE TABLE hr.more (id int)")
    names.name(names.oid("hr.more"))
    assert names.renamed == []


def test_partitions_and_children_know_all_their_ancestors(names):
    names.admin.execute(
        "CREATE TABLE hr.p (id int) PARTITION BY RANGE (id);"
        "CREATE TABLE hr.p1 PARTITION OF hr.p FOR VALUES FROM (0) TO (9) PARTITION BY RANGE (id);"
        "CREATE TABLE hr.p11 PARTITION OF hr.p1 FOR VALUES FROM (0) TO (5)"
    )
    assert names.name(names.oid("hr.p11")).ancestors == ("hr.p1", "hr.p")
    names.admin.execute("CREATE TABLE hr.a (id int); CREATE TABLE hr.b (id int)")
    names.admin.execute("CREATE TABLE hr.c () INHERITS (hr.a, hr.b)")
    assert names.name(names.oid("hr.c")).ancestors == ("hr.a", "hr.b")


def test_a_server_that_does_not_answer_is_a_problem_and_no_hang(cluster):
    def refuse(*_: str) -> psycopg.Connection:
        raise psycopg.OperationalError("no login")

    relations = Relations(refuse, patience_seconds=SECONDS)
    began = time.monotonic()
    assert relations.find(PLACE, [16384]) == {}
    assert time.monotonic() - began < SECONDS
    assert relations.problems() == ["main/postgres: no login"]
    relations.stop()


def test_an_answer_is_not_waited_for_longer_than_patience(cluster):
    def sleep(*_: str) -> psycopg.Connection:
        time.sleep(3)
        raise psycopg.OperationalError("too late")

    relations = Relations(sleep, patience_seconds=0.05)
    began = time.monotonic()
    assert relations.find(PLACE, [16384]) is None
    assert time.monotonic() - began < 2
    relations.stop()


def test_a_database_can_be_dropped_soon_after(names):
    names.admin.execute("CREATE DATABASE brief")
    names.relations.expect(Place("main", "brief"))
    place = Place("main", "brief")
    names.until(lambda: names.relations.known(place, [1259]))
    names.until(
        lambda: (
            not names.admin.execute(
                "SELECT 1 FROM pg_stat_activity WHERE datname = 'brief'"
            ).fetchall()
        )
    )
    names.admin.execute("DROP DATABASE brief")
