"""What a plan says of tables that hold data, hang on others, or guard rows."""

from __future__ import annotations

import time

import pytest

from collector.drift.plan import make, script
from model.catalog import CatalogKind as Kind
from tests.collector.drift.facts import named

T = Kind.TABLE


def planned(before, after, **kinds):
    """``before`` and ``after`` are tables by name; ``kinds``: name -> the same two of another."""
    desired, observed = {(T, "shop"): named(before)}, {(T, "shop"): named(after)}
    for kind, (one, other) in kinds.items():
        desired[Kind(kind), "shop"], observed[Kind(kind), "shop"] = named(one), named(other)
    return make(desired, observed)


def sql(made):
    return [("by hand: " if step.by_hand else "") + step.text for step in made.steps]


HEAP = "owner: o\nkind: table\ncolumn id: integer"
KEYED = "owner: o\nkind: table\ncolumn id: integer not null\nconstraint a_pkey: PRIMARY KEY (id)"
REFERS = (
    "owner: o\nkind: table\ncolumn a: integer\n"
    "constraint b_a_fkey: FOREIGN KEY (a) REFERENCES s.a(id)"
)


def test_a_column_that_is_gone_is_made_anew_and_the_one_like_it_dropped_as_a_loss():
    made = planned(
        {"s.t": f"{HEAP}\ncolumn salary: integer"}, {"s.t": f"{HEAP}\ncolumn badge: integer"}
    )
    assert sql(made) == [
        "ALTER TABLE s.t DROP COLUMN badge",
        "ALTER TABLE s.t ADD COLUMN salary integer",
    ]
    assert [step.loses for step in made.steps] == [True, False]
    said = "if it is salary renamed, then instead: ALTER TABLE s.t RENAME COLUMN badge TO salary"
    assert said in made.steps[0].note
    careful = script(made, title="t").splitlines()
    assert [line for line in careful if "RENAME" in line and not line.startswith("-- ")] == []


def test_a_table_that_is_gone_is_made_anew_and_the_one_like_it_dropped_as_a_loss():
    made = planned({"s.audit_2025": HEAP}, {"s.audit_2026": HEAP})
    assert [(step.text, step.loses) for step in made.steps] == [
        ("DROP TABLE s.audit_2026", True),
        ("CREATE TABLE s.audit_2025 (id integer)", False),
        ('ALTER TABLE s.audit_2025 OWNER TO "o"', False),
    ]
    assert "if it is s.audit_2025 renamed, then instead: ALTER TABLE" in made.steps[0].note


def test_a_relation_that_is_made_anew_gets_its_rules():
    rule = "CREATE RULE keep AS ON DELETE TO s.{} DO INSTEAD NOTHING"
    view = "owner: o\nkind: view\ncolumn id: integer\nview text: SELECT s.t.id FROM s.t;"
    wanted = {
        name: f"{lines}\nrule keep: {rule.format(name)};"
        for name, lines in (("t", HEAP), ("v", view))
    }
    made = planned({f"s.{name}": lines for name, lines in wanted.items()}, {})
    assert sql(made)[-2:] == [rule.format("t"), rule.format("v")]
    disabled = planned({"s.t": f"{wanted['t']} (disabled)"}, {})
    assert sql(disabled)[-2:] == [rule.format("t"), "ALTER TABLE s.t DISABLE RULE keep"]


PARTED = f"{HEAP}\npartition by: RANGE (id)"


@pytest.mark.parametrize("bounds", ["FOR VALUES FROM (1) TO (5)", "DEFAULT"])
def test_a_partition_that_was_detached_is_attached_with_its_bounds(bounds):
    part = f"{HEAP}\npartition of: s.p {bounds}"
    detached = planned({"s.p": PARTED, "s.p1": part}, {"s.p": PARTED, "s.p1": HEAP})
    assert sql(detached) == [f"ALTER TABLE s.p ATTACH PARTITION s.p1 {bounds}"]
    attached = planned({"s.p": PARTED, "s.p1": HEAP}, {"s.p": PARTED, "s.p1": part})
    assert sql(attached) == ["ALTER TABLE s.p DETACH PARTITION s.p1"]
    assert not any(step.loses for step in (*detached.steps, *attached.steps))


def test_a_partition_with_other_bounds_is_for_a_person():
    one, other = (f"{HEAP}\npartition of: s.p FOR VALUES IN ({n})" for n in (1, 2))
    made = planned({"s.p": PARTED, "s.p1": one}, {"s.p": PARTED, "s.p1": other})
    assert [step.by_hand for step in made.steps] == [True]


def test_a_domain_gets_its_constraints_back():
    domain = "owner: o\nkind: domain\nbase: integer"
    positive = f"{domain}\nconstraint pos: CHECK ((VALUE > 0))"
    dropped = planned({}, {}, type=({"s.d": positive}, {"s.d": domain}))
    assert sql(dropped) == ["ALTER DOMAIN s.d ADD CONSTRAINT pos CHECK ((VALUE > 0))"]
    added = planned({}, {}, type=({"s.d": domain}, {"s.d": positive}))
    assert sql(added) == ["ALTER DOMAIN s.d DROP CONSTRAINT pos"]
    changed = planned({}, {}, type=({"s.d": positive}, {"s.d": positive.replace("0", "-9")}))
    assert sql(changed) == [*sql(added), *sql(dropped)]


def test_a_table_whose_name_is_none_is_for_a_person_and_stops_nothing():
    made = planned({"s.a b": HEAP}, {"s.c d": HEAP})
    assert [step.by_hand for step in made.steps] == [True, True]


def test_thousands_of_tables_that_are_alike_are_planned_in_a_moment():
    started = time.process_time()
    made = planned(
        {f"s.old_{n}": KEYED for n in range(2000)}, {f"s.new_{n}": KEYED for n in range(2000)}
    )
    assert len(made.steps) >= 4000
    assert time.process_time() - started < 20


def test_a_new_column_that_no_row_could_have_is_said_to_be_refused():
    for text, refused in (("integer not null", True), ("integer not null default 1", False),
                          ("integer", False)):  # fmt: skip
        [step] = planned({"s.t": f"{HEAP}\ncolumn x: {text}"}, {"s.t": HEAP}).steps
        assert ("it is refused" in step.note) is refused


def test_what_stands_on_a_column_goes_before_it():
    more = "column x: integer\nindex by_x: CREATE INDEX by_x ON s.t USING btree (x)"
    made = planned({"s.t": HEAP}, {"s.t": f"{HEAP}\n{more}"})
    assert sql(made) == ["DROP INDEX s.by_x", "ALTER TABLE s.t DROP COLUMN x"]


def test_a_key_by_another_name_with_all_that_follows_it_is_for_a_person_to_decide():
    """Neither the constraint nor the foreign key on it is dropped: the rename brings them back."""
    seen = {
        "s.a": KEYED.replace("id", "ident"),
        "s.b": REFERS.replace("a(id)", "a(ident)"),
        "s.v": "owner: o\nkind: view\ncolumn id: integer\ndefinition: sha256:2\n"
               "text: SELECT ident AS id FROM s.a WHERE a.ident > 1",
    }  # fmt: skip
    wanted = {
        "s.a": KEYED,
        "s.b": REFERS,
        "s.v": "owner: o\nkind: view\ncolumn id: integer\ndefinition: sha256:1\n"
               "text: SELECT id FROM s.a WHERE a.id > 1",
    }  # fmt: skip
    made = planned(
        wanted, seen,
        sequence=({"s.a_id_seq": "owned by: s.a.id"}, {"s.a_id_seq": "owned by: s.a.ident"}),
        policy=({"s.a.ident": "using: (id > 0)"}, {"s.a.ident": "using: (ident > 0)"}),
        privilege=({"column:s.a.id<-x": "SELECT"}, {"column:s.a.ident<-x": "SELECT"}),
    )  # fmt: skip
    assert sql(made) == ["by hand: ALTER TABLE s.a RENAME COLUMN ident TO id"]
    assert "if not, drop it" in made.steps[0].note
    assert made.differences == 1


def test_what_is_too_much_goes_before_it_is_decided_and_what_is_missing_waits():
    """By the names that there are, so that the rest of the script runs."""
    made = planned(
        {"s.a": KEYED}, {"s.z": KEYED},
        privilege=(
            {"table:s.a<-x": "SELECT", "table:s.a<-y": "SELECT", "column:s.a.id<-x": "UPDATE"},
            {"table:s.z<-x": "SELECT", "table:s.z<-y": "INSERT", "table:s.z<-eve": "SELECT"},
        ),
        policy=({"s.a.own": "using: (id > 0)"}, {"s.z.open": "using: true"}),
    )  # fmt: skip
    assert sql(made) == [
        "by hand: ALTER TABLE s.z RENAME TO a",
        'REVOKE SELECT ON TABLE s.z FROM "eve"',
        'REVOKE INSERT ON TABLE s.z FROM "y"',
        "DROP POLICY open ON s.z",
        "by hand: CREATE POLICY own ON s.a USING ((id > 0))",
        'by hand: GRANT UPDATE (id) ON TABLE s.a TO "x"',
        'by hand: GRANT SELECT ON TABLE s.a TO "y"',
    ]


def test_what_only_looks_like_the_renamed_column_elsewhere_is_still_planned():
    made = planned(
        {"s.a": KEYED, "s.z": f"{HEAP}\ncolumn x: text"},
        {"s.a": KEYED.replace("id", "ident"), "s.z": HEAP.replace("id", "ident")},
    )
    assert sql(made) == [
        "by hand: ALTER TABLE s.a RENAME COLUMN ident TO id",
        "ALTER TABLE s.z DROP COLUMN ident",
        "ALTER TABLE s.z ADD COLUMN id integer",
        "ALTER TABLE s.z ADD COLUMN x text",
    ]


def test_a_key_that_is_another_takes_the_foreign_keys_on_it_down_and_up_again():
    other = KEYED.replace("(id)", "(id, at)") + "\ncolumn at: date\nconstraint u: UNIQUE (id)"
    made = planned({"s.a": other, "s.b": REFERS}, {"s.a": KEYED + "\ncolumn at: date",
                                                   "s.b": REFERS})  # fmt: skip
    assert sql(made) == [
        "ALTER TABLE s.b DROP CONSTRAINT b_a_fkey",
        "ALTER TABLE s.a DROP CONSTRAINT a_pkey",
        "ALTER TABLE s.a ADD CONSTRAINT a_pkey PRIMARY KEY (id, at)",
        "ALTER TABLE s.a ADD CONSTRAINT u UNIQUE (id)",
        "ALTER TABLE s.b ADD CONSTRAINT b_a_fkey FOREIGN KEY (a) REFERENCES s.a(id)",
    ]


VIEW = "owner: o\nkind: view\noptions: {}\ncolumn i: integer\ndefinition: sha256:{}\ntext: {}"
GUARDED = "security_invoker=true, security_barrier=true, check_option=cascaded"


def test_a_view_whose_query_is_put_back_keeps_what_guards_its_rows():
    made = planned(
        {"s.v": VIEW.format(GUARDED, 1, "SELECT i FROM s.t WHERE k = 1;")},
        {"s.v": VIEW.format("security_barrier=true", 2, "SELECT i FROM s.t;")},
    )
    assert sql(made) == [
        f"CREATE OR REPLACE VIEW s.v WITH ({GUARDED}) AS SELECT i FROM s.t WHERE k = 1"
    ]


def test_a_view_that_only_lost_its_guard_gets_it_back_before_anything_is_opened():
    made = planned(
        {"s.v": VIEW.format("security_invoker=true", 1, "SELECT 1")},
        {"s.v": VIEW.format("security_invoker=false", 1, "SELECT 1")},
    )
    [step] = made.steps
    assert (step.text, step.phase.name) == ("ALTER VIEW s.v SET (security_invoker=true)", "GUARD")


def test_a_view_s_column_has_its_name_from_the_query_and_loses_nothing_with_it():
    view = VIEW.replace("options: {}\n", "")
    made = planned(
        {"s.v": view.format(1, "SELECT i FROM s.t")},
        {"s.v": view.format(2, "SELECT i AS j FROM s.t").replace("column i", "column j")},
    )
    assert sql(made) == [
        "ALTER VIEW s.v RENAME COLUMN j TO i",
        "CREATE OR REPLACE VIEW s.v AS SELECT i FROM s.t",
    ]


WHOLE = "owner: o\nkind: partitioned table\npartition by: RANGE (at)\ncolumn id: integer"
PIECE = (
    "owner: o\nkind: table\npartition of: s.ev FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')\n"
    "column id: integer"
)
OF_WHOLE = "index sneaky: CREATE INDEX sneaky ON ONLY s.ev USING btree (id)"
OF_PIECE = "index ev_26_id_idx: CREATE INDEX ev_26_id_idx ON s.ev_26 USING btree (id)"


@pytest.mark.parametrize(
    ("whole", "piece", "dropped", "made_again"),
    [
        (OF_WHOLE, OF_PIECE, "DROP INDEX s.sneaky", "CREATE INDEX sneaky ON s.ev USING btree (id)"),
        ("column x: integer", "column x: integer", "ALTER TABLE s.ev DROP COLUMN x",
         "ALTER TABLE s.ev ADD COLUMN x integer"),
        ("constraint c: CHECK ((id > 0))", "constraint c: CHECK ((id > 0))",
         "ALTER TABLE s.ev DROP CONSTRAINT c",
         "ALTER TABLE s.ev ADD CONSTRAINT c CHECK ((id > 0))"),
        ("constraint ev_pkey: PRIMARY KEY (id)", "constraint ev_26_pkey: PRIMARY KEY (id)",
         "ALTER TABLE s.ev DROP CONSTRAINT ev_pkey",
         "ALTER TABLE s.ev ADD CONSTRAINT ev_pkey PRIMARY KEY (id)"),
    ],
)  # fmt: skip
def test_what_a_partition_has_from_its_table_is_planned_there_alone(
    whole, piece, dropped, made_again
):
    plain = {"s.ev": WHOLE, "s.ev_26": PIECE}
    more = {"s.ev": f"{WHOLE}\n{whole}", "s.ev_26": f"{PIECE}\n{piece}"}
    assert sql(planned(plain, more)) == [dropped]
    assert sql(planned(more, plain)) == [made_again]


def test_what_only_the_partition_has_is_planned_there():
    made = planned(
        {"s.ev": WHOLE, "s.ev_26": PIECE}, {"s.ev": WHOLE, "s.ev_26": f"{PIECE}\n{OF_PIECE}"}
    )
    assert sql(made) == ["DROP INDEX s.ev_26_id_idx"]


def test_an_index_by_another_name_is_named_back_because_it_holds_nothing_of_its_own():
    both = {"s.ev": f"{WHOLE}\n{OF_WHOLE}"}
    made = planned(
        {**both, "s.ev_26": f"{PIECE}\n{OF_PIECE.replace('ev_26_id_idx', 'by_id')}"},
        {**both, "s.ev_26": f"{PIECE}\n{OF_PIECE}"},
    )
    assert sql(made) == ["ALTER INDEX s.ev_26_id_idx RENAME TO by_id"]


def test_a_partition_in_the_place_of_another_is_for_a_person_whatever_its_indexes_are_called():
    made = planned(
        {"s.ev": WHOLE, "s.ev_26": f"{PIECE}\n{OF_PIECE}"},
        {"s.ev": WHOLE, "s.other": f"{PIECE}\n{OF_PIECE.replace('ev_26', 'other')}"},
    )
    assert sql(made) == [
        "by hand: ALTER TABLE s.other RENAME TO ev_26",
        "by hand: ALTER INDEX s.other_id_idx RENAME TO ev_26_id_idx",
    ]


def test_plain_inheritance_hands_down_columns_and_checks_but_no_keys():
    parent, child = HEAP, f"{HEAP}\ninherits: s.p"
    more = "column x: date\nconstraint c: CHECK ((id > 0))\nconstraint own: CHECK (true) NO INHERIT"
    made = planned(
        {"s.p": parent, "s.c": child},
        {"s.p": f"{parent}\n{more}\nconstraint k: PRIMARY KEY (id)",
         "s.c": f"{child}\n{more}\nconstraint k2: PRIMARY KEY (id)"},
    )  # fmt: skip
    assert {*sql(made)} == {
        "ALTER TABLE s.p DROP COLUMN x", "ALTER TABLE s.p DROP CONSTRAINT c",
        "ALTER TABLE s.p DROP CONSTRAINT own", "ALTER TABLE s.c DROP CONSTRAINT own",
        "ALTER TABLE s.p DROP CONSTRAINT k", "ALTER TABLE s.c DROP CONSTRAINT k2",
    }  # fmt: skip


def test_a_foreign_key_to_a_partition_is_the_server_s_own():
    """Beside the one to the whole table; it comes and goes with that."""
    one = "constraint b_fkey: FOREIGN KEY (a) REFERENCES s.ev(id)"
    copy = "constraint b_fkey1: FOREIGN KEY (a) REFERENCES s.ev_26(id)"
    tables = {"s.ev": WHOLE, "s.ev_26": PIECE}
    made = planned({**tables, "s.b": HEAP}, {**tables, "s.b": f"{HEAP}\n{one}\n{copy}"})
    assert sql(made) == ["ALTER TABLE s.b DROP CONSTRAINT b_fkey"]
    made = planned(tables, {**tables, "s.b": f"{HEAP}\n{one}\n{copy}"})
    assert sql(made) == ["ALTER TABLE s.b DROP CONSTRAINT b_fkey", "DROP TABLE s.b"]


@pytest.mark.parametrize("copy", ["", "\nconstraint b_1: FOREIGN KEY (a) REFERENCES s.ev_26(id)"])
def test_a_partition_that_foreign_keys_reach_is_taken_out_before_it_is_dropped(copy):
    b = f"{HEAP}\nconstraint b_fkey: FOREIGN KEY (a) REFERENCES s.ev(id)"
    made = planned({"s.ev": WHOLE, "s.b": b},
                   {"s.ev": WHOLE, "s.ev_26": PIECE, "s.b": f"{b}{copy}"})  # fmt: skip
    assert sql(made) == ["ALTER TABLE s.ev DETACH PARTITION s.ev_26", "DROP TABLE s.ev_26"]
    assert [step.loses for step in made.steps] == [True, True]


def test_columns_of_a_foreign_table_are_for_a_person():
    table = HEAP.replace("kind: table", "kind: foreign table")
    dropped, made = planned({"s.f": table}, {"s.f": table.replace("id", "ident")}).steps
    assert (dropped.text, dropped.by_hand) == ("ALTER TABLE s.f DROP COLUMN ident", False)
    assert made.by_hand  # with options that nobody keeps


def test_a_default_of_a_views_column_is_set_and_dropped():
    view = "owner: o\nkind: view\ncolumn id: integer{}\nview text: SELECT t.id FROM s.t;"
    plain, five = view.format(""), view.format(" default 5")
    alter = "ALTER VIEW s.v ALTER COLUMN id"
    assert sql(planned({"s.v": five}, {"s.v": plain})) == [f"{alter} SET DEFAULT 5"]
    assert sql(planned({"s.v": plain}, {"s.v": five})) == [f"{alter} DROP DEFAULT"]
    assert sql(planned({"s.v": five}, {}))[-1] == f"{alter} SET DEFAULT 5"


def test_a_rule_of_a_view_is_dropped_and_made():
    view = "owner: o\nkind: view\ncolumn id: integer\nview text: SELECT t.id FROM s.t;"
    rule = "CREATE RULE r AS ON INSERT TO s.v DO INSTEAD NOTHING"
    ruled = f"{view}\nrule r: {rule};"
    assert sql(planned({"s.v": ruled}, {"s.v": view})) == [rule]
    assert sql(planned({"s.v": view}, {"s.v": ruled})) == ["DROP RULE r ON s.v"]


def test_a_child_is_made_with_what_its_parents_do_not_have():
    parent = f"{HEAP}\nconstraint c: CHECK ((id > 0))"
    child = f"{parent}\ninherits: s.p\ncolumn z: integer\nreplica identity: full"
    assert sql(planned({"s.p": parent, "s.c": child}, {"s.p": parent})) == [
        "CREATE TABLE s.c (z integer) INHERITS (s.p)",
        'ALTER TABLE s.c OWNER TO "o"',
        "ALTER TABLE s.c REPLICA IDENTITY FULL",
    ]
