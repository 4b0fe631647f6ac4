"""Which statements make the agent look at the catalog, and where."""

from dataclasses import dataclass

import pytest

from agent.catalog.touched import MOST_OPEN, SETTINGS, WATCHED, Touched, Touches
from agent.clusters import superusers_after
from agent.sql.shape import answer
from model.catalog import CatalogItem, CatalogKey, CatalogKind, Snapshot
from model.session import BackendKey, Session

ALICE = Session(BackendKey(7, 1), "5432", "alice", "shop")
ANYTHING = Touched("5432", "shop")


@dataclass(frozen=True)
class Table:
    name: str
    table: str


FLAGS = Touched("5432", "shop", WATCHED, "flags")


def of(sql, touches=None, session=ALICE, transaction="II"):
    shape = answer(sql)
    return set((touches or Touches([Table("flags", 'public."Flags"')])).of(
        shape, session, transaction
    ))  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "touched"),
    [
        ("GRANT SELECT ON t TO bob", {ANYTHING}),
        ("CREATE TABLE t (a int)", {ANYTHING}),
        ("DO $$ BEGIN END $$", {ANYTHING}),
        ("UPDATE pg_catalog.pg_class SET relname = 'x'", {ANYTHING}),
        ("UPDATE pg_class SET relacl = '{=r/postgres}'", {ANYTHING}),
        ("ALTER SYSTEM SET work_mem = '1MB'", {Touched("5432", "shop", SETTINGS)}),
        ("SELECT pg_reload_conf()", {Touched("5432", "shop", SETTINGS)}),
        ("INSERT INTO public.flags VALUES (1)", {FLAGS}),
        ('UPDATE "flags" SET a = 1', {FLAGS}),
        ("DELETE FROM flags", {FLAGS}),
        ("TRUNCATE flags", {FLAGS, ANYTHING}),
        ("COPY flags FROM STDIN", {FLAGS}),
        ("SELECT * FROM flags", set()),
        ("INSERT INTO orders SELECT * FROM flags", set()),
        ("BEGIN", set()),
    ],
)
def test_what_a_statement_may_have_changed(sql, touched):
    assert of(sql) == touched


SLOTS = Touched("5432", "shop", frozenset((CatalogKind.SLOT,)))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT pg_create_physical_replication_slot('s')",
        "SELECT pg_catalog.pg_create_logical_replication_slot('s', 'pgoutput')",
        "SELECT pg_copy_logical_replication_slot('s', 't')",
        "SELECT pg_drop_replication_slot('s')",
        'CREATE_REPLICATION_SLOT "s" PHYSICAL RESERVE_WAL',
        "drop_replication_slot s",
    ],
)
def test_who_makes_or_drops_a_slot_makes_the_agent_look_at_slots(sql):
    assert of(sql) == {SLOTS}


def test_a_call_of_a_function_that_is_not_built_in_makes_the_agent_look_at_watched_tables():
    touches = Touches([Table("flags", "public.flags")])
    items = (
        CatalogItem(CatalogKind.FUNCTION, "shop", "public.switch(text)", "owner: eve"),
        CatalogItem(CatalogKind.FUNCTION, "shop", "pg_catalog.lower(text)", "owner: postgres"),
        CatalogItem(CatalogKind.WATCHED, "shop", "flags", "watched"),
    )
    calls = {Touched("5432", "shop", WATCHED)}
    assert of("SELECT switch('x')", touches) == set()
    kinds = (CatalogKind.FUNCTION, CatalogKind.WATCHED)
    touches.learn(Snapshot(1, "5432", "shop", kinds, items))
    assert of("SELECT switch('x')", touches) == calls
    assert of("SELECT public.unheard_of(1)", touches) == calls
    assert of("SELECT pg_catalog.now(), lower('A')", touches) == set()
    elsewhere = Session(BackendKey(8, 1), "5432", "bob", "other")
    assert of("SELECT public.switch('x')", touches, elsewhere) == set()


def test_a_write_to_what_a_watched_query_reads_makes_the_agent_look_at_the_query():
    touches = Touches([Table("models", "")])
    items = (
        CatalogItem(CatalogKind.WATCHED, "shop", "models", "watched", 'reads ml."Model", ml.stage'),
        CatalogItem(CatalogKind.WATCHED, "shop", "models[1]", "watched", "reads ml.nothing"),
    )
    assert of("UPDATE ml.stage SET x = 1", touches) == set()
    touches.learn(Snapshot(1, "5432", "shop", (CatalogKind.WATCHED,), items[:1]))
    models = Touched("5432", "shop", WATCHED, "models")
    assert of("UPDATE ml.stage SET x = 1", touches) == {models}
    assert of('INSERT INTO "Model" VALUES (1)', touches) == {models}
    assert of("UPDATE ml.nothing SET x = 1", touches) == set()
    assert of("SELECT * FROM ml.stage", touches) == set()


def test_what_an_open_transaction_touched_is_looked_at_again_when_it_ends():
    touches = Touches([Table("flags", "public.flags")])
    other = Session(BackendKey(8, 1), "5432", "bob", "shop")
    assert of("BEGIN", touches, transaction="IT") == set()
    assert of("GRANT SELECT ON t TO bob", touches, transaction="TT") == {ANYTHING}
    assert of("DELETE FROM flags", touches, transaction="TT") == {FLAGS}
    assert of("SELECT 1", touches, transaction="TT") == set()
    assert of("COMMIT", touches, other, "TI") == set()
    assert of("COMMIT", touches, transaction="TI") == {ANYTHING, FLAGS}
    assert of("COMMIT", touches, transaction="TI") == set()


def test_transactions_that_never_end_are_forgotten_at_last():
    touches = Touches()
    shape = answer("CREATE TABLE t (a int)")
    for pid in range(MOST_OPEN + 10):
        touches.of(shape, Session(BackendKey(pid, 1), "5432", "a", "shop"), "IT")
    assert len(touches._open) == MOST_OPEN


def roles(base_at_us=0, removed=(), **attributes):
    items = tuple(
        CatalogItem(CatalogKind.ROLE, "", name, f"login=true superuser={value}")
        for name, value in attributes.items()
    )
    gone = tuple(CatalogKey(CatalogKind.ROLE, "", name) for name in removed)
    kinds = (CatalogKind.ROLE,)
    return Snapshot(9, "5432", "shop", kinds, items, base_at_us=base_at_us, removed=gone)


def test_superusers_are_known_from_whole_snapshots_and_from_changes():
    known = superusers_after(None, roles(postgres="true", alice="false", eve="true"))
    assert known == {"postgres", "eve"}
    known = superusers_after(known, roles(5, alice="true", postgres="false"))
    assert known == {"alice", "eve"}
    assert superusers_after(known, roles(9, ["eve"], bob="false")) == {"alice"}
    assert superusers_after(known, roles(bob="true")) == {"bob"}
