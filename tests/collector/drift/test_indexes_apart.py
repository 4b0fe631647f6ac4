"""Indexes, keys and tablespaces: what statements do to a table that they do not name."""

from __future__ import annotations

import pytest

from tests.collector.drift.story import actor_of, ran
from tests.collector.drift.test_renamed_after import World
from tests.collector.drift.test_renamed_beside import played, seen

PARTITION = (
    "owner: hr\nkind: table\npartition of: hr.p FOR VALUES FROM (0) TO (10)\ncolumn at: integer"
)
AT = "index p_1_at_idx: CREATE INDEX p_1_at_idx ON hr.p_1 USING btree (at)"
OWN = "index own_k: CREATE INDEX own_k ON hr.p_1 USING btree (k)"
UNNAMED = OWN.replace("own_k", "p_1_k_idx")


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def lines_by(world):
    found = {}
    for row in world.drift.status().rows:
        mine = {*row["observed"].split("\n")} ^ {*row["desired"].split("\n")}
        found.setdefault(row["actor"], set()).update(mine)
    return found


@pytest.mark.parametrize(
    ("own", "made"),
    [("CREATE INDEX own_k ON hr.p_1 (k)", OWN), ("CREATE INDEX ON hr.p_1 (k)", UNNAMED)],
)
def test_an_index_of_a_partition_is_of_who_made_it_on_the_whole_table(world, own, made):
    done = [
        ran(1, "alice", "CREATE INDEX p_at ON hr.p (at)"),
        ran(2, "bob", "ALTER TABLE hr.p_1 ALTER at SET DEFAULT 7"),
        ran(3, "carol", own),
        ran(4, "dave", "ALTER TABLE hr.p ADD w int"),
    ]
    after = f"{PARTITION} default 7\ncolumn w: integer\n{made}\n{AT}"
    played(world, seen("hr.p_1", PARTITION), seen("hr.p_1", after, 2), *done)
    assert lines_by(world) == {
        "alice": {AT}, "carol": {made}, "dave": {"column w: integer"},
        "bob": {"column at: integer", "column at: integer default 7"},
    }  # fmt: skip


IDENTITY = "kind: table\nreplica identity: index ri_id\ncolumn id: integer not null\n"
GONE = IDENTITY.replace("ri_id", "(dropped)")
INDEX = "index ri_id: CREATE UNIQUE INDEX ri_id ON hr.t USING btree (id)"


@pytest.mark.parametrize(
    ("line", "sql", "other"),
    [
        (INDEX, "DROP INDEX hr.ri_id", "DROP INDEX hr.other"),
        ("constraint ri_id: PRIMARY KEY (id)", "ALTER TABLE hr.t DROP CONSTRAINT ri_id",
         "ALTER TABLE hr.t DROP CONSTRAINT other"),
    ],
)  # fmt: skip
def test_a_replica_identity_goes_with_its_index(world, line, sql, other):
    done = [
        ran(1, "alice", sql),
        ran(2, "bob", "ALTER TABLE hr.t ADD w int"),
        ran(3, "carol", other),
    ]
    after = f"{GONE}column w: integer"
    played(world, seen("hr.t", f"{IDENTITY}{line}"), seen("hr.t", after, 2), *done)
    found = lines_by(world)
    assert found.pop("bob") == {"column w: integer"}
    assert {*found} == {"alice"}


@pytest.mark.parametrize("sql", [
    "REINDEX INDEX hr.u", "REINDEX INDEX CONCURRENTLY u", "REINDEX TABLE hr.t",
    "REINDEX SCHEMA hr", "REINDEX (VERBOSE) DATABASE shop",
])  # fmt: skip
def test_an_index_that_was_invalid_is_there_again_by_who_built_it_anew(sql):
    done = [ran(1, "bob", "REINDEX INDEX hr.other"), ran(2, "alice", sql)]
    line = "index u: CREATE UNIQUE INDEX u ON hr.t USING btree (id)"
    assert actor_of(done, "table", "hr.t", "kind: table", f"kind: table\n{line}") == "alice"
    assert actor_of(done, "table", "hr.t", f"kind: table\n{line}", "kind: table") == ""


@pytest.mark.parametrize(
    ("line", "sql", "other"),
    [
        ("not null: yes", "ALTER DOMAIN hr.d DROP CONSTRAINT d_not_null",
         "ALTER DOMAIN hr.d DROP CONSTRAINT few"),
        ("not null: yes", "ALTER DOMAIN hr.d DROP NOT NULL",
         "ALTER DOMAIN hr.d DROP CONSTRAINT few"),
    ],
)  # fmt: skip
def test_a_domain_loses_its_not_null_by_its_name_too(line, sql, other):
    few = "constraint few: CHECK (VALUE < 9)"
    step = ("type", "hr.d", f"kind: domain\n{line}\n{few}", f"kind: domain\n{few}")
    assert actor_of([ran(1, "alice", sql), ran(2, "bob", other)], *step) == "alice"


@pytest.mark.parametrize("kind", ["table", "materialized view"])
@pytest.mark.parametrize(("before", "after"), [("a", "b"), ("a", ""), ("", "b")])
def test_all_that_is_in_a_tablespace_is_moved_by_who_says_so(kind, before, after):
    first, last = before or "pg_default", after or "pg_default"
    sql = f"ALTER {kind} ALL IN TABLESPACE {first} SET TABLESPACE {last}"
    of_others = "table" if "view" in kind else "materialized view"
    other = f"ALTER {of_others} ALL IN TABLESPACE {first} SET TABLESPACE {last}"
    lines = [
        f"owner: hr\nkind: {kind}" + (f"\ntablespace: {each}" if each else "")
        for each in (before, after)
    ]
    others = [ran(1, "bob", other), ran(3, "dave", sql.replace(" SET", " OWNED BY etl SET"))]
    if before:
        others.append(ran(2, "carol", sql.replace(f"{first} ", "c ")))
    assert actor_of(others, "table", "hr.t", *lines) == ""
    for mine in (sql, sql.replace(" SET", " OWNED BY etl, hr SET"), f"{sql} NOWAIT"):
        assert actor_of([*others, ran(4, "alice", mine)], "table", "hr.t", *lines) == "alice"
