"""Which statements make the agent look at the catalog, and where."""

from dataclasses import dataclass

import pytest

from agent.catalog.touched import MOST_OPEN, SETTINGS, WATCHED, Touched, Touches
from agent.clusters import superusers_after
from agent.shown import shown_with
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


SHOWN = shown_with(b"k")


def of(sql, touches=None, session=ALICE, transaction="II"):
    shape = SHOWN(answer(sql), sql.encode())
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
        ("BEGIN; CREATE ROLE eve SUPERUSER; COMMIT", {ANYTHING}),
        ("SET statement_timeout = '60s'; CREATE ROLE eve SUPERUSER", {ANYTHING}),
        ("SELECT 1; ALTER ROLE eve RENAME TO adam", {ANYTHING}),
        ("SELECT pg_reload_conf(); CREATE ROLE eve", {ANYTHING}),
        ("DO $$ BEGIN PERFORM set_config('a.b', '', true); CREATE ROLE eve; END $$", {ANYTHING}),
        ("BEGIN; INSERT INTO flags VALUES (1); COMMIT", {FLAGS}),
        ("BEGIN; SET work_mem = '1MB'; SELECT 1; COMMIT", set()),
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


def test_a_string_that_begins_a_transaction_is_looked_at_again_when_that_ends():
    touches = Touches()
    assert of("BEGIN; CREATE ROLE eve", touches, transaction="IT") == {ANYTHING}
    assert of("SELECT 1", touches, transaction="TT") == set()
    assert of("COMMIT", touches, transaction="TI") == {ANYTHING}
    assert of("COMMIT", touches, transaction="TI") == set()


@pytest.mark.parametrize("commit", ["COMMIT AND CHAIN", "COMMIT; BEGIN", "SELECT 1; END; BEGIN"])
def test_a_commit_that_begins_another_transaction_ends_the_one_before_it(commit):
    touches = Touches()
    of("CREATE ROLE eve", touches, transaction="TT")
    assert of(commit, touches, transaction="TT") == {ANYTHING}
    assert of("COMMIT", touches, transaction="TI") == set()


def test_what_comes_after_a_commit_in_one_string_waits_for_the_next():
    touches = Touches()
    of("DELETE FROM pg_class", touches, transaction="TT")
    assert of("COMMIT; BEGIN; CREATE ROLE eve", touches, transaction="TT") == {ANYTHING}
    assert of("COMMIT", touches, transaction="TI") == {ANYTHING}


def test_what_a_function_did_is_looked_at_again_when_its_transaction_ends():
    touches = Touches()
    assert of("CREATE ROLE eve", touches, transaction="") == {ANYTHING}
    assert of("SELECT make()", touches, transaction="TT") == set()
    assert of("COMMIT", touches, transaction="TI") == {ANYTHING}


BOB = Session(BackendKey(8, 1), "5432", "bob", "shop")


def prepared(touches, *statements, name="x"):
    of("BEGIN", touches, transaction="IT")
    for sql in statements:
        of(sql, touches, transaction="TT")
    of(f"PREPARE TRANSACTION '{name}'", touches, transaction="TI")


def test_what_was_prepared_is_looked_at_when_any_session_commits_it():
    touches = Touches([Table("flags", "public.flags")])
    prepared(touches, "GRANT SELECT ON t TO bob", "DELETE FROM flags")
    prepared(touches, "INSERT INTO orders VALUES (1)", name="y")
    assert of("COMMIT PREPARED 'y'", touches, BOB) == set()
    assert of("COMMIT PREPARED 'x'", touches, BOB) == {ANYTHING, FLAGS}


def test_a_string_that_prepares_is_looked_at_when_that_is_committed():
    touches = Touches([Table("flags", "public.flags")])
    of("DELETE FROM flags", touches, transaction="TT")
    string = "CREATE ROLE eve; PREPARE TRANSACTION 'x'"
    for _ in range(2):  # each statement of it is told
        of(string, touches, transaction="TI")
    assert of("COMMIT PREPARED 'x'", touches, BOB) == {ANYTHING, FLAGS}


def test_what_is_prepared_and_rolled_back_is_no_reason_to_look():
    touches = Touches()
    prepared(touches, "CREATE ROLE eve")
    assert of("ROLLBACK PREPARED 'x'", touches, BOB) == set()
    prepared(touches, "SELECT 1")
    assert of("COMMIT PREPARED 'x'", touches, BOB) == set()


@pytest.mark.parametrize("sql", ["COMMIT PREPARED 'x'", "COMMIT PREPARED E'x'"])
def test_what_nobody_was_seen_to_prepare_may_have_changed_anything(sql):
    assert of(sql, Touches(), BOB) == {ANYTHING}


def test_prepared_transactions_that_never_end_are_forgotten_at_last():
    touches = Touches()
    for number in range(MOST_OPEN + 10):
        touches.of(SHOWN(PREPARING, b"PREPARE TRANSACTION '%d'" % number), ALICE, "TI")
    assert len(touches._prepared) == MOST_OPEN


PREPARING = answer("PREPARE TRANSACTION 'x'")


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
