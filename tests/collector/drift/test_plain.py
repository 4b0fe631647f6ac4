"""Several people at one object within one look: each line is of a statement that can set it."""

from __future__ import annotations

import pytest

from model.catalog import CatalogKind
from tests.collector.drift.story import (
    AFTER_US,
    BEFORE_US,
    Changes,
    actor_of,
    difference,
    frame,
    ran,
    scope,
)

HEAD = ("owner: hr", "kind: table", "column i: integer", "column j: integer")
C1, C2 = (f"constraint {name}: CHECK ((i > 0))" for name in ("c1", "c2"))
Told = dict[str, str]


def oids(lines, numbers):
    """``numbers``: of columns and constraints, by name, where they are not in their order."""
    said = ["oid 16500"]
    for word in ("column", "constraint"):
        names = [x.split(":")[0].removeprefix(f"{word} ") for x in lines if x.startswith(word)]
        found = [str(numbers.get(name, at)) for at, name in enumerate(names, 1)]
        said += [f"{word} {','.join(found)}"] if found else []
    return "; ".join(said)


def told(statements, kind, before, after, numbers=({}, {}), name="hr.t") -> Told:
    """Who made each line that differs; ``-`` before a line that went."""
    changes = Changes()
    rows = [ran(10 + n, user, sql) for n, (user, sql) in enumerate(statements)]
    changes.observe(frame(rows))
    step = difference(name, "\n".join(before) or None, "\n".join(after))
    details = tuple(map(oids, (before, after), numbers))
    found = changes.cause(
        scope(kind), step._replace(details=details), AFTER_US, BEFORE_US, settled=True
    )
    if found is None:
        return {}
    differing = [f"-{line}" for line in before if line not in after]
    differing += [line for line in after if line not in before]
    keys = {line: line.removeprefix("-").partition(": ")[0] for line in differing}
    assert not found.others, found.others
    return {
        line: found.by_line.get(key, found.change).actor
        for line, key in keys.items()
        if key not in found.nobodys
    }


def with_(*lines, without=()):
    return [*(line for line in HEAD if line not in without), *lines]


def index(name, on="i"):
    return f"index {name}: CREATE INDEX {name} ON hr.t USING btree ({on})"


def view(column, query, *more, kind="view"):
    return [
        "owner: hr", f"kind: {kind}", column, f"definition: sha256:{query}", f"text: {query}", *more
    ]  # fmt: skip


DOMAIN = ("owner: hr", "kind: domain", "base: integer")
COMPOSITE = ("owner: hr", "kind: composite")
D1, D2, D3 = (f"constraint {name}: CHECK ((VALUE > 0))" for name in ("d1", "d2", "d3"))
NOT_NULL = "column j: integer not null"
KEY = "constraint t_j_fkey: FOREIGN KEY (j) REFERENCES hr.u(j)"
CASES = {
    "a constraint's name, and a new one": (
        [("alice", "ALTER TABLE hr.t RENAME CONSTRAINT c1 TO c2"),
         ("carol", "ALTER TABLE hr.t ADD CONSTRAINT c3 CHECK (j > 0)")],
        "table", with_(C1), with_(C2, "constraint c3: CHECK ((j > 0))"),
        ({"c1": 100}, {"c2": 100}),
        {f"-{C1}": "alice", C2: "alice", "constraint c3: CHECK ((j > 0))": "carol"},
    ),
    "a domain's": (
        [("alice", "ALTER DOMAIN hr.t RENAME CONSTRAINT d1 TO d2"),
         ("bob", "ALTER DOMAIN hr.t ADD CONSTRAINT d3 CHECK (value > 0)")],
        "type", [*DOMAIN, D1], [*DOMAIN, D2, D3], ({"d1": 100}, {"d2": 100, "d3": 101}),
        {f"-{D1}": "alice", D2: "alice", D3: "bob"},
    ),
    "an attribute's, and a new one": (
        [("carol", "ALTER TYPE hr.t RENAME ATTRIBUTE a TO aa"),
         ("dave", "ALTER TYPE hr.t ADD ATTRIBUTE c int")],
        "type", [*COMPOSITE, "column a: integer"],
        [*COMPOSITE, "column aa: integer", "column c: integer"], ({}, {}),
        {"-column a: integer": "carol", "column aa: integer": "carol", "column c: integer": "dave"},
    ),
    "an index's, and a new one": (
        [("bob", "CREATE UNIQUE INDEX i3 ON hr.t (i, j)"),
         ("carol", "ALTER INDEX hr.i2 RENAME TO i4")],
        "table", with_(index("i2")), with_(index("i3", "i, j"), index("i4")), ({}, {}),
        {f"-{index('i2')}": "carol", index("i3", "i, j"): "bob", index("i4"): "carol"},
    ),
    "a new index that somebody renames": (
        [("bob", "CREATE INDEX i2 ON hr.t (i)"), ("carol", "ALTER INDEX hr.i2 RENAME TO i4"),
         ("dave", "ALTER TABLE hr.t ADD CONSTRAINT c1 CHECK (i > 0)")],
        "table", with_(), with_(C1, index("i4")), ({}, {}), {C1: "dave", index("i4"): "bob"},
    ),
    "an index's, and a key": (
        [("alice", "ALTER INDEX hr.i2 RENAME TO i4"),
         ("bob", "ALTER TABLE hr.t ADD PRIMARY KEY (j)")],
        "table", with_(index("i2")),
        with_("constraint t_pkey: PRIMARY KEY (j)", NOT_NULL, index("i4"), without=HEAD[3:]),
        ({}, {}),
        {f"-{index('i2')}": "alice", index("i4"): "alice", "-column j: integer": "bob",
         NOT_NULL: "bob", "constraint t_pkey: PRIMARY KEY (j)": "bob"},
    ),
    "an index, and a materialized view's column": (
        [("alice", "CREATE INDEX i3 ON hr.t (i)"),
         ("carol", "ALTER MATERIALIZED VIEW hr.t RENAME COLUMN i TO k")],
        "table", view("column i: integer", "select i", kind="materialized view"),
        view("column k: integer", "select i as k", index("i3", "k"), kind="materialized view"),
        ({}, {}),
        {"-column i: integer": "carol", "column k: integer": "carol", index("i3", "k"): "alice",
         "-definition: sha256:select i": "carol", "definition: sha256:select i as k": "carol",
         "-text: select i": "carol", "text: select i as k": "carol"},
    ),
    "a view's column, and its default": (
        [("alice", "ALTER VIEW hr.t RENAME COLUMN i TO k"),
         ("carol", "ALTER VIEW hr.t ALTER COLUMN k SET DEFAULT 4")],
        "table", view("column i: integer", "select i"),
        view("column k: integer default 4", "select i as k"), ({}, {}),
        {"-column i: integer": "alice", "column k: integer default 4": "carol",
         "-definition: sha256:select i": "alice", "definition: sha256:select i as k": "alice",
         "-text: select i": "alice", "text: select i as k": "alice"},
    ),
    "what a constraint took": (
        [("bob", "ALTER TABLE hr.u DROP CONSTRAINT u_j_key CASCADE"),
         ("carol", "ALTER TABLE hr.t ALTER j SET NOT NULL")],
        "table", with_(KEY), with_(NOT_NULL, without=HEAD[3:]), ({}, {}),
        {f"-{KEY}": "bob", "-column j: integer": "carol", NOT_NULL: "carol"},
    ),
    "what a table took": (
        [("bob", "DROP TABLE hr.u CASCADE"), ("carol", "ALTER TABLE hr.t ADD COLUMN z int")],
        "table", with_(KEY), with_("column z: integer"), ({}, {}),
        {f"-{KEY}": "bob", "column z: integer": "carol"},
    ),
    "what a type took": (
        [("bob", "DROP TYPE hr.ty CASCADE"), ("carol", "ALTER TABLE hr.t ADD COLUMN z int")],
        "table", with_("column k: hr.ty"), with_("column z: integer"), ({}, {"z": 4}),
        {"-column k: hr.ty": "bob", "column z: integer": "carol"},
    ),
    "what a function took": (
        [("bob", "DROP FUNCTION hr.f() CASCADE"),
         ("carol", "ALTER TABLE hr.t ALTER j SET NOT NULL")],
        "table", with_("column k: integer default hr.f()"),
        ["owner: hr", "kind: table", HEAD[2], NOT_NULL, "column k: integer"], ({}, {}),
        {"-column k: integer default hr.f()": "bob", "column k: integer": "bob",
         "-column j: integer": "carol", NOT_NULL: "carol"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_each_line_is_of_who_can_have_set_it(case, turned):
    statements, *step, lines = CASES[case]
    # What was renamed goes by the new name afterwards.
    in_any_order = not any("k SET DEFAULT" in sql or "i2 RENAME" in sql for _, sql in statements)
    assert told(statements[::-1] if turned and in_any_order else statements, *step) == lines


PARTITION = ("owner: hr", "kind: table", "partition of: hr.u FOR VALUES FROM (20) TO (30)", HEAD[2])


@pytest.mark.parametrize("verb", ["DETACH PARTITION hr.other", "ATTACH PARTITION hr.x DEFAULT"])
def test_a_new_partition_is_of_who_made_it_whatever_becomes_of_others(verb):
    made = ("bob", "CREATE TABLE hr.t PARTITION OF hr.u FOR VALUES FROM (20) TO (30)")
    found = told([made, ("frank", f"ALTER TABLE hr.u {verb}")], "table", [], PARTITION)
    assert set(found.values()) == {"bob"}


ALONE = [
    ("ALTER DOMAIN hr.t RENAME CONSTRAINT d1 TO d2", "type", [*DOMAIN, D1], [*DOMAIN, D2]),
    ("ALTER DOMAIN hr.t DROP NOT NULL", "type", [*DOMAIN, "not null: yes"], DOMAIN),
    ("ALTER DOMAIN hr.t SET DEFAULT 7", "type", DOMAIN, [*DOMAIN, "default: 7"]),
    ("ALTER DOMAIN hr.t VALIDATE CONSTRAINT d1", "type", [*DOMAIN, f"{D1} NOT VALID"],
     [*DOMAIN, D1]),
    ("ALTER DOMAIN hr.t ADD CHECK (value > 0)", "type", DOMAIN, [*DOMAIN, D1]),
    ("ALTER TYPE hr.t RENAME ATTRIBUTE a TO b", "type", [*COMPOSITE, "column a: text"],
     [*COMPOSITE, "column b: text"]),
    ("ALTER TYPE hr.t ALTER ATTRIBUTE a TYPE text", "type", [*COMPOSITE, "column a: integer"],
     [*COMPOSITE, "column a: text"]),
    ("ALTER TYPE hr.t DROP ATTRIBUTE IF EXISTS a CASCADE", "type",
     [*COMPOSITE, "column a: text", "column b: text"], [*COMPOSITE, "column b: text"]),
    ("ALTER TYPE hr.t RENAME VALUE 'a' TO 'b'", "type", ["kind: enum", "labels: 'a'"],
     ["kind: enum", "labels: 'b'"]),
    ("ALTER TABLE IF EXISTS ONLY hr.t ADD COLUMN IF NOT EXISTS k int", "table", HEAD,
     with_("column k: integer")),
    ("ALTER TABLE t * DROP j", "table", with_(index("x", "j")), HEAD[:3]),
    ('ALTER TABLE hr.t RENAME i TO "I"', "table", with_(C1, index("x", "i")),
     ["owner: hr", "kind: table", 'column "I": integer', HEAD[3],
      'constraint c1: CHECK (("I" > 0))', index("x", '"I"')]),
    ("ALTER TABLE hr.t ADD k int CHECK (k > 0) UNIQUE", "table", HEAD,
     with_("column k: integer", "constraint t_k_check: CHECK ((k > 0))",
           "constraint t_k_key: UNIQUE (k)")),
    ("ALTER TABLE hr.t ADD CONSTRAINT k UNIQUE USING INDEX x", "table", with_(index("x")),
     with_("constraint k: UNIQUE (i)")),
    ("ALTER INDEX hr.t_pkey RENAME TO k", "table", with_("constraint t_pkey: PRIMARY KEY (i)"),
     with_("constraint k: PRIMARY KEY (i)")),
    ("ALTER INDEX hr.x SET (fillfactor = 70)", "table", with_(index("x")),
     with_(f"{index('x')} WITH (fillfactor='70')")),
    ("DROP INDEX CONCURRENTLY hr.x", "table", with_(index("x"), "replica identity: index x"),
     with_("replica identity: index (dropped)")),
    ("CREATE INDEX ON hr.t (i)", "table", HEAD, with_(index("t_i_idx"))),
    ("ALTER TABLE hr.t ADD CONSTRAINT n NOT NULL j", "table", HEAD,
     with_(NOT_NULL, without=HEAD[3:])),
    ("ALTER TABLE hr.t DROP CONSTRAINT n", "table", with_(NOT_NULL, without=HEAD[3:]), HEAD),
    ("ALTER TABLE hr.t ALTER CONSTRAINT c1 DEFERRABLE", "table", with_(C1),
     with_(f"{C1} DEFERRABLE")),
    ("ALTER TABLE hr.t DISABLE RULE r", "table", with_("rule r: AS ON INSERT"),
     with_("rule r: AS ON INSERT (disabled)")),
    ("ALTER TABLE hr.t INHERIT hr.u", "table", HEAD, with_("inherits: hr.u")),
    ("ALTER TABLE hr.u ATTACH PARTITION hr.t DEFAULT", "table", HEAD,
     with_("partition of: hr.u DEFAULT", C1)),
    ("ALTER TABLE hr.u RENAME COLUMN j TO jj", "table", with_(KEY), with_(KEY[:-2] + "jj)")),
    ("ALTER FOREIGN TABLE hr.t OPTIONS (SET a 'b')", "table", with_("foreign options: a 'x'"),
     with_("foreign options: a 'b'")),
    ("CREATE OR REPLACE VIEW hr.t AS SELECT 1 AS i", "table", view("column i: integer", "a"),
     view("column i: integer", "b")),
    ("ALTER VIEW hr.t SET (security_barrier)", "table", view("column i: integer", "a"),
     view("column i: integer", "a", "options: security_barrier=true")),
    ("ALTER TABLE hr.t ADD k int; ALTER TABLE hr.u ADD k int", "table", HEAD,
     with_("column k: integer")),
    ("DROP TABLE hr.t; CREATE TABLE hr.t (k int)", "table", HEAD,
     ["owner: hr", "kind: table", "column k: integer"]),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "kind", "before", "after"), ALONE)
def test_what_one_statement_can_have_done_is_its_own(sql, kind, before, after):
    assert {*told([("alice", sql)], kind, before, after).values()} == {"alice"}


ODD_NAMES = {
    "value": ("ALTER TABLE hr.t ADD value int", "column value: integer"),
    "attribute": ("ALTER TABLE hr.t ADD COLUMN attribute int", "column attribute: integer"),
    "beyond ASCII": (
        "ALTER TABLE hr.t ADD \u00c4nderung date", 'column "\u00c4nderung": date',
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ODD_NAMES)
def test_a_name_that_is_a_word_of_the_grammar_or_no_ascii_hides_nobody(what):
    sql, line = ODD_NAMES[what]
    beside = ("bob", "ALTER TABLE hr.t ADD z int")
    after = with_(line, "column z: integer")
    found = told([("alice", sql), beside], CatalogKind.TABLE, with_(), after)
    assert found == {line: "alice", "column z: integer": "bob"}


@pytest.mark.parametrize(
    ("sql", "after"),
    [
        ('ALTER TABLE hr.t DROP "constraint"', ""),
        ('ALTER TABLE hr.t ALTER "constraint" TYPE bigint', 'column "constraint": bigint'),
    ],
)
def test_a_column_may_be_called_constraint(sql, after):
    step = ("table", "hr.t", 'kind: table\ncolumn "constraint": integer', f"kind: table\n{after}")
    assert actor_of([ran(1, "alice", sql)], *step) == "alice"
