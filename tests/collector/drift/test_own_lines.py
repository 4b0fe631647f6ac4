"""Two commands at one object between two looks: each line is of who says it, whatever the kind."""

from __future__ import annotations

import pytest

from collector.drift.clauses import describe
from model.catalog import CatalogKind
from tests.collector.drift.story import cause_of, difference, ran

BEFORE: dict[str, tuple[str, tuple[str, ...]]] = {
    "database": ("src", ("owner: hr", "allow connections: yes", "tablespace: pg_default")),
    "event_trigger": ("evt", ("owner: hr", "event: ddl_command_end", "enabled: origin")),
    "type": ("pr.x", ("owner: hr", "kind: any", "labels: 'a'", "column p: integer")),
    "publication": ("pp", ("owner: hr", "operations: insert, update", "table pr.t: all columns")),
    "policy": ("pr.t.p", ("command: all", "roles: PUBLIC", "kind: permissive", "using: false")),
    "schema": ("pr", ("owner: hr", "collation co: icu de, owner hr")),
    "subscription": ("su", ("owner: hr", "enabled: yes", "slot: su", "publications: pp")),
    "sequence": ("pr.s", ("owner: hr", "type: bigint", "increment: 1", "cache: 1")),
    "function": ("pr.f()", ("owner: hr", "volatility: volatile", "body: sha256:aa")),
    "foreign_server": ("fs", ("owner: hr", "wrapper: postgres_fdw", "foreign options: host 'a'")),
    "table": ("pr.t", ("owner: hr", "kind: table", "column i: integer")),
}
STEPS: list[tuple[str, str, str, str, str]] = [
    ("database", "ALTER DATABASE src ALLOW_CONNECTIONS false", "allow connections: no",
     "ALTER DATABASE src CONNECTION LIMIT 9", "connection limit: 9"),
    ("database", "ALTER DATABASE src IS_TEMPLATE true", "template: yes",
     "ALTER DATABASE src OWNER TO etl", "owner: etl"),
    ("event_trigger", "ALTER EVENT TRIGGER evt DISABLE", "enabled: disabled",
     "ALTER EVENT TRIGGER evt OWNER TO alice", "owner: alice"),
    ("type", "ALTER DOMAIN pr.x SET NOT NULL", "not null: yes",
     "ALTER DOMAIN pr.x ADD CHECK (value > 3)", "constraint x_check: CHECK ((VALUE > 3))"),
    ("type", "ALTER DOMAIN pr.x SET DEFAULT 1", "default: 1",
     "ALTER DOMAIN pr.x SET NOT NULL", "not null: yes"),
    ("type", "ALTER TYPE pr.x ADD VALUE 'b'", "labels: 'a', 'b'",
     "ALTER TYPE pr.x OWNER TO etl", "owner: etl"),
    ("type", "ALTER TYPE pr.x ADD ATTRIBUTE q text", "column q: text",
     "ALTER TYPE pr.x OWNER TO etl", "owner: etl"),
    ("publication", "ALTER PUBLICATION pp ADD TABLE pr.u", "table pr.u: all columns",
     "ALTER PUBLICATION pp SET (publish = 'insert')", "operations: insert"),
    ("schema", "ALTER COLLATION pr.co OWNER TO etl", "collation co: icu de, owner etl",
     "ALTER SCHEMA pr OWNER TO own1", "owner: own1"),
    ("policy", "ALTER POLICY p ON pr.t USING (true)", "using: true",
     "ALTER POLICY p ON pr.t TO etl", "roles: etl"),
    ("subscription", "ALTER SUBSCRIPTION su DISABLE", "enabled: no",
     "ALTER SUBSCRIPTION su SET PUBLICATION qq", "publications: qq"),
    ("sequence", "ALTER SEQUENCE pr.s INCREMENT 5", "increment: 5",
     "ALTER SEQUENCE pr.s CACHE 20", "cache: 20"),
    ("function", "ALTER FUNCTION pr.f() SECURITY DEFINER", "security: definer",
     "ALTER FUNCTION pr.f() IMMUTABLE", "volatility: immutable"),
    ("function", "ALTER FUNCTION pr.f() SET search_path = pr", "set search_path: pr",
     "ALTER FUNCTION pr.f() OWNER TO etl", "owner: etl"),
    ("foreign_server", "ALTER SERVER fs OPTIONS (SET host 'b')", "foreign options: host 'b'",
     "ALTER SERVER fs OWNER TO etl", "owner: etl"),
    ("table", "ALTER TABLE pr.t SET UNLOGGED", "persistence: unlogged",
     "ALTER TABLE pr.t REPLICA IDENTITY FULL", "replica identity: full"),
]  # fmt: skip


def with_line(lines: list[str], line: str) -> list[str]:
    key = line.partition(": ")[0]
    kept = [each for each in lines if each.partition(": ")[0] != key]
    return [*kept, line]


def actors(kind: str, rows: list[dict], *new: str) -> dict[str, str]:
    """Who made each of the lines ``new``."""
    name, lines = BEFORE[kind]
    after = [*lines]
    for line in new:
        after = with_line(after, line)
    # The order is that of the catalog, whoever came first.
    keys = [each.partition(": ")[0] for each in lines]
    after.sort(key=lambda line: [*keys, line.partition(": ")[0]].index(line.partition(": ")[0]))
    found = cause_of(rows, kind, name, "\n".join(lines), "\n".join(after), detail="oid 16500")
    if found is None:
        return {}
    assert not found.others
    keys = [line.partition(": ")[0] for line in new]
    return {
        line: "" if key in found.nobodys else found.by_line.get(key, found.change).actor
        for key, line in zip(keys, new, strict=True)
    }


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("kind", "first", "one", "second", "other"), STEPS)
def test_each_of_two_is_named_for_what_his_command_says(kind, first, one, second, other, swapped):
    begin, end = (20, 10) if swapped else (10, 20)
    rows = [ran(begin, "alice", first), ran(end, "bob", second)]
    assert actors(kind, rows, one, other) == {one: "alice", other: "bob"}


CATALOGS = {
    "database": "pg_database", "event_trigger": "pg_event_trigger", "type": "pg_type",
    "publication": "pg_publication", "policy": "pg_policy", "schema": "pg_namespace",
    "subscription": "pg_subscription", "sequence": "pg_sequence", "function": "pg_proc",
    "foreign_server": "pg_foreign_server", "table": "pg_class",
}  # fmt: skip


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("kind", "first", "one", "second", "other"), STEPS)
def test_what_no_command_says_is_of_who_wrote_the_catalog_or_of_nobody(
    kind, first, one, second, other, swapped
):
    begin, end = (20, 10) if swapped else (10, 20)
    command = ran(begin, "alice", first)
    by_hand = ran(end, "frank", f"UPDATE pg_catalog.{CATALOGS[kind]} SET oid = oid")
    assert actors(kind, [command], one, other) == {one: "alice", other: ""}
    assert actors(kind, [command, by_hand], one, other) == {one: "alice", other: "frank"}
    assert actors(kind, [command], other) in ({}, {other: ""})


OPENED = "owner: postgres\nlanguage: internal\nkind: function\nsecurity: definer\nbody: sha256:aa"
READS = "pg_catalog.pg_read_file(text)"


@pytest.mark.parametrize("by", ["pg_read_file(text)", "pg_catalog.pg_read_file(text)"])
@pytest.mark.parametrize("back", [False, True])
def test_a_function_of_postgresql_is_of_who_altered_it_and_was_not_created(by, back):
    word = "INVOKER" if back else "DEFINER"
    rows = [
        ran(10, "quinn", f"ALTER FUNCTION {by} SECURITY {word}"),
        ran(20, "dave", "UPDATE pg_proc SET prosrc = 'select 7' WHERE proname = 'f6'"),
    ]
    sides = (OPENED, None) if back else (None, OPENED)
    found = cause_of(rows, "function", READS, *sides, detail="oid 2624")
    assert (found.change.actor, found.shares, found.others) == ("quinn", (), ())
    said = describe(CatalogKind.FUNCTION, difference(READS, *sides, detail="oid 2624"))
    told = "is as it came again" if back else "is no longer as it came: it belongs to postgres,"
    assert said.startswith(f"function {READS}, which PostgreSQL comes with, {told}")


def test_a_function_that_somebody_made_there_was_created():
    step = difference(READS, None, OPENED, detail="oid 16700")
    assert describe(CatalogKind.FUNCTION, step).startswith(f"function {READS} was created")
    altered = [ran(10, "quinn", "ALTER FUNCTION pg_read_file(text) SECURITY DEFINER")]
    assert cause_of(altered, "function", READS, None, OPENED, detail="oid 16700") is None


def test_who_says_nothing_of_a_line_is_not_taken_before_others_may_have_come():
    name, lines = BEFORE["table"]
    before, line = "\n".join(lines), "column q: integer"
    sides = (before, f"{before}\n{line}")
    carol = ran(95, "carol", "ALTER TABLE pr.t ADD y int")
    assert cause_of([carol], "table", name, *sides, settled=False) is None
    nested = [
        ran(90, "bob", "DO $$ BEGIN EXECUTE 'x'; END $$"),
        ran(91, "bob", "ALTER TABLE pr.t ADD q int", parent_id=1, transaction=""),
    ]
    both = (before, f"{before}\n{line}\ncolumn y: integer")
    assert cause_of([carol], "table", name, *both, settled=False) is None
    found = cause_of([*nested, carol], "table", name, *both, settled=False)
    assert (found.change.actor, found.by_line["column q"].actor) == ("carol", "bob")


def test_what_a_do_block_ran_is_its_own_and_nothing_else_is():
    before, after = (
        f"superuser={is_so} createdb={is_so} login=true" for is_so in ("false", "true")
    )
    rows = [
        ran(10, "bob", "DO $$ BEGIN ALTER ROLE r SUPERUSER; END $$"),
        ran(11, "bob", "ALTER ROLE r SUPERUSER", parent_id=1, transaction=""),
        ran(20, "frank", "ALTER ROLE r CREATEDB"),
    ]
    found = cause_of(rows, "role", "r", before, after, detail="oid 10")
    assert (found.change.actor, found.by_line["createdb"].actor) == ("bob", "frank")
    assert not found.others
