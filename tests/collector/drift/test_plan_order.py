"""Each step of a plan finds what it needs, and what is dropped is used by nothing any more."""

from __future__ import annotations

from collector.drift.plan import make, script
from model.catalog import CatalogKind as Kind
from tests.collector.drift.facts import named

NO_SCHEMA = {"s": "owner: o"}
TABLE = "owner: o\nkind: table\ncolumn id: integer"
MOOD = "owner: o\nkind: enum\nlabels: 'good', 'bad'"
FUNCTION = "owner: o\nlanguage: plpgsql\nkind: function\nreturns: boolean\nbody: sha256:1"
KINDS = (
    Kind.SCHEMA, Kind.EXTENSION, Kind.TYPE, Kind.SEQUENCE, Kind.FUNCTION, Kind.CAST, Kind.OPERATOR,
    Kind.TABLE, Kind.POLICY, Kind.TRIGGER, Kind.EVENT_TRIGGER, Kind.FOREIGN_SERVER,
    Kind.SUBSCRIPTION, Kind.PUBLICATION, Kind.PRIVILEGE,
)  # fmt: skip


def whole(facts):
    return {(kind, "shop"): named(facts.get(kind, {})) for kind in KINDS}


def planned(desired, observed):
    return make(
        whole({Kind.SCHEMA: NO_SCHEMA} | desired), whole({Kind.SCHEMA: NO_SCHEMA} | observed)
    )


def told(made):
    return [f"-- {step.text}" if step.by_hand else step.text for step in made.steps]


def dropped(observed):
    """As they follow one another, without what only says that it goes."""
    return told(planned({}, observed))


def view(text, kind="view"):
    return f"owner: o\nkind: {kind}\ncolumn id: integer\ntext: SELECT {text};"


def test_a_view_goes_before_the_one_that_it_reads():
    views = {"s.a": view("1 AS id"), "s.b": view("a.id FROM s.a"), "s.c": view("b.id FROM s.b")}
    assert dropped({Kind.TABLE: views}) == ["DROP VIEW s.c", "DROP VIEW s.b", "DROP VIEW s.a"]
    stored = {name: text.replace("kind: ", "kind: materialized ") for name, text in views.items()}
    assert [text.rpartition(" ")[2] for text in dropped({Kind.TABLE: stored})] == [
        "s.c", "s.b", "s.a",
    ]  # fmt: skip


def test_a_sub_partition_goes_before_its_partition():
    tables = {
        "s.p": f"{TABLE.replace('table', 'partitioned table')}\npartition by: RANGE (id)",
        "s.p1": f"{TABLE}\npartition by: HASH (id)\npartition of: s.p DEFAULT",
        "s.p1a": f"{TABLE}\npartition of: s.p1 FOR VALUES WITH (modulus 2, remainder 0)",
    }
    tables["s.p1"] = tables["s.p1"].replace("kind: table", "kind: partitioned table")
    assert dropped({Kind.TABLE: tables}) == [
        "DROP TABLE s.p1a", "DROP TABLE s.p1", "DROP TABLE s.p",
    ]  # fmt: skip


def test_what_holds_each_other_by_a_rule_and_a_policy_is_let_go_first():
    rule = "rule r: CREATE RULE r AS ON DELETE TO s.a DO ALSO DELETE FROM s.b;"
    tables = {"s.a": f"{TABLE}\n{rule}", "s.b": f"{TABLE}\ninherits: s.a"}
    policies = {"s.b.p": "command: all\nkind: permissive\nusing: (EXISTS (SELECT 1 FROM s.a))"}
    made = planned({}, {Kind.TABLE: tables, Kind.POLICY: policies})
    assert told(made) == [
        "DROP RULE r ON s.a", "DROP POLICY p ON s.b", "DROP TABLE s.b", "DROP TABLE s.a",
    ]  # fmt: skip
    assert all(step.loses for step in made.steps)  # a table that stays keeps what guards it


def test_what_a_policy_of_a_table_that_stays_reads_goes_after_it():
    policy = {"s.t.p": "command: all\nkind: permissive\nusing: (EXISTS (SELECT 1 FROM s.v))"}
    made = planned(
        {Kind.TABLE: {"s.t": TABLE}},
        {Kind.TABLE: {"s.t": TABLE, "s.v": view("1 AS id")}, Kind.POLICY: policy},
    )
    assert told(made) == ["DROP POLICY p ON s.t", "DROP VIEW s.v"]


def test_what_a_view_read_goes_once_it_reads_something_else():
    made = planned(
        {Kind.TABLE: {"s.v": view("1 AS id")}},
        {Kind.TABLE: {"s.v": view("t.id FROM s.t"), "s.t": TABLE}},
    )
    assert told(made) == ["CREATE OR REPLACE VIEW s.v AS SELECT 1 AS id", "DROP TABLE s.t"]


def test_what_only_goes_after_a_loss_is_a_loss():
    """Without it a table that stays would keep the type, and the script would stop."""
    tables = {"s.t": f"{TABLE}\ncolumn m: s.mood"}
    made = planned({}, {Kind.TABLE: tables, Kind.TYPE: {"s.mood": MOOD}})
    assert [(step.text, step.loses) for step in made.steps] == [
        ("DROP TABLE s.t", True), ("DROP TYPE s.mood", True),
    ]  # fmt: skip
    assert "\nDROP" not in script(made, title="t")


def test_a_body_in_sql_goes_before_what_it_may_read():
    sql = FUNCTION.replace("plpgsql", "sql")
    facts = {Kind.TABLE: {"s.v": view("1 AS id"), "s.w": view("s.g() AS id")},
             Kind.FUNCTION: {"s.f()": sql, "s.g()": sql}}  # fmt: skip
    assert dropped(facts) == [
        "DROP ROUTINE s.f()", "DROP VIEW s.v", "DROP VIEW s.w", "DROP ROUTINE s.g()",
    ]  # fmt: skip


def test_an_extension_goes_after_the_server_of_its_wrapper():
    facts = {
        Kind.EXTENSION: {"far_fdw": "owner: o\nversion: 1.0\nschema: s"},
        Kind.FOREIGN_SERVER: {"srv": "owner: o\nwrapper: far_fdw"},
    }
    assert dropped(facts) == ["DROP SERVER srv", "DROP EXTENSION far_fdw"]


def test_a_schema_goes_with_collations_and_text_search_in_it():
    lines = "owner: o\ncollation c: icu de, owner o\ntext search configuration t: sha256:1, owner o"
    tables = {"x.t": f"{TABLE}\ncolumn c: text collate c"}
    made = planned({}, {Kind.SCHEMA: NO_SCHEMA | {"x": lines}, Kind.TABLE: tables})
    assert told(made) == [
        "DROP TABLE x.t", "DROP TEXT SEARCH CONFIGURATION x.t", "DROP COLLATION x.c",
        "DROP SCHEMA x",
    ]  # fmt: skip


def test_a_subscription_goes_without_its_publisher():
    made = planned({}, {Kind.SUBSCRIPTION: {"feed": "owner: o\nenabled: yes\nslot: sl"}})
    assert told(made) == [
        "-- at the publisher of feed: SELECT pg_drop_replication_slot('sl'); until then it keeps"
        " what was written",
        "ALTER SUBSCRIPTION feed DISABLE", "ALTER SUBSCRIPTION feed SET (slot_name = NONE)",
        "DROP SUBSCRIPTION feed",
    ]  # fmt: skip
    assert not any(step.alone for step in made.steps)


def test_a_setting_of_a_role_that_goes_is_reset_before():
    facts = {(Kind.ROLE, ""): named({"r": "login=true"}),
             (Kind.SETTING, ""): named({"jit@r": ("off", "of a role")})}  # fmt: skip
    made = make({key: {} for key in facts}, facts)
    assert told(made) == ['ALTER ROLE "r" RESET jit', 'DROP ROLE "r"']


def test_what_is_missing_is_made_before_what_needs_it():
    desired = {
        Kind.SCHEMA: NO_SCHEMA | {"a": "owner: o"},
        Kind.TYPE: {"a.comp": "owner: o\nkind: composite\ncolumn m: a.mood", "a.mood": MOOD},
        Kind.TABLE: {"a.t": f"{TABLE}\ncolumn c: a.comp", "s.u": TABLE},
        Kind.POLICY: {"s.u.p": "command: all\nroles: PUBLIC\nkind: permissive\n"
                               "using: (EXISTS (SELECT 1 FROM a.t))"},
        Kind.PRIVILEGE: {"type:a.comp<-PUBLIC": "(revoked)"},
    }  # fmt: skip
    policy = {"s.u.p": "command: all\nroles: PUBLIC\nkind: permissive\nusing: true"}
    texts = told(planned(desired, {Kind.TABLE: {"s.u": TABLE}, Kind.POLICY: policy}))
    order = [
        'CREATE SCHEMA a AUTHORIZATION "o"', "CREATE TYPE a.mood AS ENUM ('good', 'bad')",
        "CREATE TYPE a.comp AS (m a.mood)",
        "CREATE TABLE a.t (id integer, c a.comp)",
        "ALTER POLICY p ON s.u USING ((EXISTS (SELECT 1 FROM a.t)))",
    ]  # fmt: skip
    assert [text for text in texts if text in order] == order
    assert texts.index("REVOKE USAGE ON TYPE a.comp FROM PUBLIC") > texts.index(order[2])


def test_what_hangs_on_what_a_person_has_to_make_waits_for_it():
    """Of a function only a hash is known."""
    desired = {
        Kind.TYPE: {"s.mood": MOOD},
        Kind.FUNCTION: {"s.same(s.mood, s.mood)": FUNCTION, "s.ev()": FUNCTION, "s.tf()": FUNCTION},
        Kind.OPERATOR: {"s.===(s.mood, s.mood)": "owner: o\nfunction: s.same(s.mood,s.mood)"},
        Kind.TABLE: {"s.t": TABLE, "s.v": view("t.id FROM s.t WHERE s.t.m OPERATOR(s.===) 'good'")},
        Kind.TRIGGER: {"s.t.tr": "definition: CREATE TRIGGER tr BEFORE INSERT ON s.t FOR EACH ROW"
                                 " EXECUTE FUNCTION s.tf()\nenabled: disabled"},
        Kind.EVENT_TRIGGER: {"et": "owner: o\nevent: sql_drop\nenabled: origin\nfunction: s.ev"},
        Kind.PRIVILEGE: {"function:s.tf()<-PUBLIC": "(revoked)", "function:s.tf()<-o": "EXECUTE",
                         "large_object:4711<-o": "SELECT"},
    }  # fmt: skip
    made = planned(desired, {Kind.TABLE: {"s.t": TABLE}})
    assert [step.text for step in made.steps if not step.by_hand] == [
        "CREATE TYPE s.mood AS ENUM ('good', 'bad')", 'ALTER TYPE s.mood OWNER TO "o"',
    ]  # fmt: skip
    notes = {step.text.partition(" (")[0]: step.note for step in made.steps if step.by_hand}
    assert notes["CREATE OPERATOR s.==="] == "waits for function s.same(s.mood, s.mood)"
    assert notes['ALTER EVENT TRIGGER et OWNER TO "o"'] == "waits for event_trigger et"
    assert notes["REVOKE EXECUTE ON ROUTINE s.tf() FROM PUBLIC"] == "waits for function s.tf()"
    assert notes["ALTER TABLE s.t DISABLE TRIGGER tr"] == "waits for trigger s.t.tr"
    assert any(text.startswith("CREATE VIEW s.v") for text in notes)
    assert any(text.startswith("grant SELECT on large object 4711") for text in notes)


def test_what_waits_for_nothing_is_done():
    """A function of the same name with other arguments says nothing of an ACL on this one."""
    functions = {"s.f(integer)": FUNCTION}
    made = planned(
        {Kind.FUNCTION: functions | {"s.g()": FUNCTION},
         Kind.PRIVILEGE: {"function:s.f(integer)<-PUBLIC": "(revoked)"}},
        {Kind.FUNCTION: functions},
    )  # fmt: skip
    assert [step.text for step in made.steps if not step.by_hand] == [
        "REVOKE EXECUTE ON ROUTINE s.f(integer) FROM PUBLIC"
    ]


def test_a_collation_that_is_missing_is_told_and_waited_for():
    lines = "owner: o\ncollation c: icu de-DE, owner o"
    made = planned(
        {Kind.SCHEMA: {"s": lines}, Kind.TABLE: {"s.t": f"{TABLE}\ncolumn c: text collate c"}}, {}
    )
    assert made.steps[0].text == "create collation s.c again: icu de-DE, owner o"
    assert all(step.by_hand for step in made.steps)


def test_another_owner_of_a_collation_is_a_statement():
    lines = "owner: o\ncollation c: icu de-DE, owner {}"
    made = planned({Kind.SCHEMA: {"s": lines.format("o")}}, {Kind.SCHEMA: {"s": lines.format("p")}})
    assert told(made) == ['ALTER COLLATION s.c OWNER TO "o"']


def test_other_publications_of_a_subscription_are_a_statement():
    lines = "owner: o\nenabled: yes\npublications: "
    made = planned(
        {Kind.SUBSCRIPTION: {"feed": f"{lines}one, two"}},
        {Kind.SUBSCRIPTION: {"feed": f"{lines}one"}},
    )
    assert told(made) == [
        'ALTER SUBSCRIPTION feed SET PUBLICATION "one", "two" WITH (refresh = false)'
    ]


def test_a_label_that_is_another_in_its_place_was_renamed():
    other = MOOD.replace("'bad'", "'worse'")
    made = planned({Kind.TYPE: {"s.mood": MOOD}}, {Kind.TYPE: {"s.mood": other}})
    assert told(made) == ["ALTER TYPE s.mood RENAME VALUE 'worse' TO 'bad'"]


def test_a_collation_that_is_there_is_named_with_its_schema():
    """A snapshot names that of a column without it."""
    schema = {Kind.SCHEMA: {"x": "owner: o\ncollation c: icu de-DE, owner o"}}
    wanted = f"{TABLE}\ncolumn c: text collate c default 'd'::text"
    made = planned(schema | {Kind.TABLE: {"s.t": wanted}}, schema)
    create = "CREATE TABLE s.t (id integer, c text collate x.c default 'd'::text)"
    assert told(made)[0] == create
    changed = planned(
        schema | {Kind.TABLE: {"s.t": wanted}},
        schema | {Kind.TABLE: {"s.t": f"{TABLE}\ncolumn c: text"}},
    )
    assert "ALTER TABLE s.t ALTER COLUMN c TYPE text collate x.c" in told(changed)
