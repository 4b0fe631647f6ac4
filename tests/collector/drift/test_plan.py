"""What a plan says, and what it refuses to say. That it works: tests/live/test_drift_plan.py."""

from __future__ import annotations

import pytest

from collector.drift.declaration.keys import KEYS
from collector.drift.lines import lines_of, text_of
from collector.drift.plan import make, script
from collector.drift.plan.quoting import NotSqlError, name
from model.catalog import CatalogKind as Kind
from tests.collector.drift.facts import SALARY, SERVER, changed, named

AUTO, FILE = "configuration file /d/postgresql.auto.conf:1", "configuration file /d/x.conf:7"


DECLARED = changed(SERVER, Kind.ROLE, "", {"pg_monitor": None})
"""As a declaration says it: without predefined roles."""


def statements(kind, items, database=""):
    made = make(DECLARED, changed(SERVER, kind, database, items))
    return [f"-- {step.text}" if step.by_hand else step.text for step in made.steps]


def test_the_same_server_needs_no_plan():
    made = make(SERVER, SERVER)
    assert (made.steps, made.differences, made.not_observed) == ((), 0, ())


def test_what_everybody_needs_of_the_systems_schemas_is_never_taken_away():
    """A file that says nothing of it once made a plan after which nobody could call a function."""
    names = [f"schema:{name}<-PUBLIC" for name in ("pg_catalog", "information_schema")]
    assert statements(Kind.PRIVILEGE, dict.fromkeys(names, "USAGE"), "shop") == []
    opened = {"schema:pg_catalog<-PUBLIC": "CREATE, USAGE"}
    assert statements(Kind.PRIVILEGE, opened, "shop")


CASES = [
    (Kind.SETTING, "", {"work_mem": ("9MB", AUTO)}, ["ALTER SYSTEM SET work_mem TO '8MB'"]),
    (Kind.SETTING, "", {"jit": ("off", AUTO)}, ["ALTER SYSTEM RESET jit"]),
    (Kind.SETTING, "", {"jit": ("off", FILE)}, [f"-- remove jit where it comes from: {FILE}"]),
    (Kind.SETTING, "", {"jit": ("on (restart pending)", "default")}, ["ALTER SYSTEM RESET jit"]),
    (Kind.SETTING, "", {"log_statement@analyst": None},
     ["""ALTER ROLE "analyst" SET log_statement TO 'all'"""]),
    (Kind.SETTING, "", {"search_path@shop": None},
     ["""ALTER DATABASE "shop" SET search_path TO '$user', 'hr'"""]),
    (Kind.SETTING, "", {"jit@analyst/shop": ("off", "of a role")},
     ['ALTER ROLE "analyst" IN DATABASE "shop" RESET jit']),
    (Kind.SETTING, "", {"x; DROP TABLE y": ("1", AUTO)},
     ["-- setting x; DROP TABLE y: 'x; DROP TABLE y' is not the name of a setting"]),
    (Kind.HBA, "", {"host all all 10.0.0.0/255.0.0.0": ("trust", "/data/pg_hba.conf:3")},
     ["-- /data/pg_hba.conf:3: change the line: host all all 10.0.0.0/255.0.0.0 trust to:"
      " host all all 10.0.0.0/255.0.0.0 scram-sha-256"]),
    (Kind.ROLE, "", {"analyst": "superuser=true login=true"}, ['ALTER ROLE "analyst" NOSUPERUSER']),
    (Kind.ROLE, "", {"analyst": "superuser=false login=true valid_until=2030-01-01 00:00:00"},
     ["""ALTER ROLE "analyst" VALID UNTIL 'infinity'"""]),
    (Kind.MEMBERSHIP, "", {"owner<-analyst": ("admin", "granted by bob")},
     ['REVOKE ADMIN OPTION FOR "owner" FROM "analyst" GRANTED BY "bob" CASCADE']),
    (Kind.MEMBERSHIP, "", {"owner<-analyst": "admin noinherit"},
     ['REVOKE ADMIN OPTION FOR "owner" FROM "analyst" CASCADE',
      'GRANT "owner" TO "analyst" WITH INHERIT TRUE']),
    (Kind.MEMBERSHIP, "", {"pg_monitor<-analyst": "member"},
     ['REVOKE "pg_monitor" FROM "analyst"']),
    (Kind.PRIVILEGE, "shop", {"table:hr.salary<-analyst": "INSERT*, SELECT"},
     ['REVOKE INSERT ON TABLE hr.salary FROM "analyst" CASCADE']),
    (Kind.PRIVILEGE, "shop", {'table:hr."odd\\x0aname"<-PUBLIC': "SELECT"},
     ['-- REVOKE SELECT ON TABLE hr."odd\\x0aname" FROM PUBLIC'
      " -- holds a backslash or the end of a line; look at it first"]),
    (Kind.PRIVILEGE, "shop", {"column:hr.salary.amount<-PUBLIC": "SELECT"},
     ["REVOKE SELECT (amount) ON TABLE hr.salary FROM PUBLIC"]),
    (Kind.PRIVILEGE, "shop", {"default:tables of owner in hr<-PUBLIC": "SELECT"},
     ['ALTER DEFAULT PRIVILEGES FOR ROLE "owner" IN SCHEMA hr REVOKE SELECT ON TABLES'
      " FROM PUBLIC"]),
    (Kind.PRIVILEGE, "shop", {"type:hr.mood<-PUBLIC": "(revoked)"},
     ["GRANT USAGE ON TYPE hr.mood TO PUBLIC"]),
    (Kind.PRIVILEGE, "shop", {"language:plv8<-PUBLIC": "(revoked)"},
     ["GRANT USAGE ON LANGUAGE plv8 TO PUBLIC"]),
    (Kind.PRIVILEGE, "shop", {"function:hr.secret()<-PUBLIC": "(revoked)"},
     ["GRANT EXECUTE ON ROUTINE hr.secret() TO PUBLIC"]),
    (Kind.PRIVILEGE, "shop", {"default:types of owner<-PUBLIC": "(revoked)"},
     ['ALTER DEFAULT PRIVILEGES FOR ROLE "owner" GRANT USAGE ON TYPES TO PUBLIC']),
    (Kind.TABLE, "shop", {"hr.salary": SALARY.replace("row security: forced\n", "")},
     ["ALTER TABLE hr.salary ENABLE ROW LEVEL SECURITY",
      "ALTER TABLE hr.salary FORCE ROW LEVEL SECURITY"]),
    (Kind.TABLE, "shop", {"hr.salary": SALARY.replace("amount: numeric(10,2)", "amount: text")},
     ["ALTER TABLE hr.salary ALTER COLUMN amount TYPE numeric(10,2) USING amount::numeric(10,2)"]),
    (Kind.TABLE, "shop", {"hr.salary": SALARY.replace("column amount", "column pay")},
     ["ALTER TABLE hr.salary DROP COLUMN pay",
      "ALTER TABLE hr.salary ADD COLUMN amount numeric(10,2)"]),
    (Kind.TABLE, "shop",
     {"hr.salary": SALARY.replace("column amount", "column pay").replace("(amount)", "(pay)")},
     ["-- ALTER TABLE hr.salary RENAME COLUMN pay TO amount"]),
    (Kind.POLICY, "shop", {"hr.salary.own": None},
     ["CREATE POLICY own ON hr.salary FOR ALL TO PUBLIC USING ((id > 0))"]),
    (Kind.PUBLICATION, "shop", {"p": "operations: insert\ngenerated columns: stored"},
     ["ALTER PUBLICATION p SET (publish = 'insert', publish_generated_columns = none)"]),
    (Kind.SCHEMA, "shop", {"hr": "owner: analyst"}, ['ALTER SCHEMA hr OWNER TO "owner"']),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "database", "items", "expected"), CASES)
def test_a_difference_has_its_statement(kind, database, items, expected):
    assert statements(kind, items, database) == expected


PLAIN = {
    Kind.TABLE: "kind: table", Kind.TYPE: "kind: composite", Kind.POLICY: "command: all",
    Kind.EVENT_TRIGGER: "event: ddl_command_end\nfunction: hr.f",
    Kind.TRIGGER: "definition: CREATE TRIGGER p AFTER INSERT ON hr.t EXECUTE FUNCTION hr.f()",
}  # fmt: skip
NAMED = {
    Kind.FUNCTION: "hr.f()", Kind.POLICY: "hr.t.p", Kind.TRIGGER: "hr.t.p", Kind.TABLE: "hr.t",
    Kind.CAST: "integer AS hr.m", Kind.OPERATOR: "hr.+(integer,integer)", Kind.SEQUENCE: "hr.s",
    Kind.USER_MAPPING: "s<-r", Kind.TYPE: "hr.m",
}  # fmt: skip


@pytest.mark.parametrize(("before", "after"), [("1", "2"), ("1", None), (None, "2")])
@pytest.mark.parametrize("kind", KEYS)
def test_a_plan_passes_over_no_line_in_silence(kind, before, after):
    database = "" if kind in (Kind.DATABASE, Kind.TABLESPACE, Kind.SLOT) else "shop"
    keys = KEYS[kind]
    silent = []
    for key in [*keys.whole.split(","), *(f"{w} x" for w in keys.named.split(",") if w)]:
        plain = {**lines_of(PLAIN.get(kind, "")), key: None}
        sides = (
            text_of({name: text for name, text in {**plain, key: each}.items() if text})
            for each in (before, after)
        )
        wanted, seen = ({(kind, database): named({NAMED.get(kind, "x"): v})} for v in sides)
        if not make(wanted, seen).steps:
            silent.append(key)
    assert silent == []


def test_a_table_that_was_renamed_is_for_a_person_with_all_that_hangs_on_it():
    seen = changed(
        SERVER, Kind.TABLE, "shop",
        {"hr.salary": None, "hr.pay": SALARY.replace("hr.salary", "hr.pay")},
    )  # fmt: skip
    seen = changed(
        seen, Kind.POLICY, "shop",
        {"hr.salary.own": None, "hr.pay.own": SERVER[Kind.POLICY, "shop"]["hr.salary.own"].value},
    )  # fmt: skip
    seen = changed(
        seen, Kind.PRIVILEGE, "shop",
        {"table:hr.salary<-analyst": None, "table:hr.pay<-analyst": "SELECT"},
    )  # fmt: skip
    made = make(SERVER, seen)
    [step] = made.steps
    assert (step.text, step.by_hand) == ("ALTER TABLE hr.pay RENAME TO salary", True)


def test_a_membership_goes_with_what_hangs_on_it_and_what_is_declared_of_that_comes_back():
    """From 16 on the server refuses to take away what was granted on."""
    declared = changed(DECLARED, Kind.MEMBERSHIP, "", {"owner<-carol": "member noinherit"})
    seen = changed(
        declared, Kind.MEMBERSHIP, "",
        {"owner<-bob": ("admin", "granted by postgres"), "owner<-dave": ("admin", "granted by bob"),
         "owner<-carol": ("member noinherit", "granted by dave")},
    )  # fmt: skip
    made = make(declared, seen)
    assert [step.text for step in made.steps] == [
        'REVOKE "owner" FROM "bob" GRANTED BY "postgres" CASCADE',
        'REVOKE "owner" FROM "dave" GRANTED BY "bob" CASCADE',
        'GRANT "owner" TO "carol" WITH INHERIT FALSE',
    ]


def test_a_role_that_goes_leaves_the_memberships_that_others_have_from_it():
    declared = changed(DECLARED, Kind.MEMBERSHIP, "", {"owner<-analyst": "member"})
    seen = changed(declared, Kind.ROLE, "", {"eve": "superuser=false login=true"})
    seen = changed(
        seen, Kind.MEMBERSHIP, "",
        {"owner<-eve": ("admin", "granted by postgres"),
         "owner<-analyst": ("member", "granted by eve")},
    )  # fmt: skip
    assert [step.text for step in make(declared, seen).steps] == [
        'REVOKE "owner" FROM "eve" GRANTED BY "postgres" CASCADE',
        'GRANT "owner" TO "analyst"',
        'DROP ROLE "eve"',
    ]


def test_what_loses_data_is_a_comment_unless_that_is_allowed():
    made = make(SERVER, changed(SERVER, Kind.TABLE, "shop", {"hr.copy": "owner: a\nkind: table"}))
    careful = script(made, title="t")
    assert "\nDROP TABLE hr.copy;\n" not in careful
    assert "-- loses data (--allow-loss writes it out): DROP TABLE hr.copy;" in careful
    assert "\nDROP TABLE hr.copy;\n" in script(made, title="t", allow_loss=True)


@pytest.mark.parametrize(
    ("kind", "database", "items", "text"),
    [
        (Kind.EXTENSION, "shop", {"postgis": "owner: a\nschema: hr"}, "DROP EXTENSION postgis"),
        (Kind.FUNCTION, "shop", {"hr.f(integer)": "body: sha256:1"}, "DROP ROUTINE hr.f(integer)"),
        (Kind.FUNCTION, "shop", {"hr.g(integer)": "kind: aggregate\nbody: sha256:1"},
         "DROP AGGREGATE hr.g(integer)"),
        (Kind.SLOT, "", {"standby": "kind: physical"},
         "SELECT pg_drop_replication_slot('standby')"),
        (Kind.SUBSCRIPTION, "shop", {"feed": "owner: a"}, "DROP SUBSCRIPTION feed"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_again_from_what_is_kept_is_a_comment(kind, database, items, text):
    desired = SERVER | {(kind, database): {}}
    made = make(desired, changed(desired, kind, database, items))
    assert [(step.text, step.loses) for step in made.steps] == [(text, True)]
    assert f"-- loses data (--allow-loss writes it out): {text};" in script(made, title="t")


def test_a_type_stays_with_a_function_that_stays():
    desired = SERVER | {(Kind.FUNCTION, "shop"): {}, (Kind.TYPE, "shop"): {}}
    seen = changed(desired, Kind.TYPE, "shop", {"hr.m2": "owner: a\nkind: enum\nlabels: 'a'"})
    seen = changed(seen, Kind.FUNCTION, "shop", {"hr.f(hr.m2)": "body: sha256:1"})
    made = make(desired, seen)
    assert [(step.text, step.loses) for step in made.steps] == [
        ("DROP ROUTINE hr.f(hr.m2)", True),
        ("DROP TYPE hr.m2", True),
    ]


def test_a_schema_goes_only_with_what_is_in_it():
    seen = changed(SERVER, Kind.SCHEMA, "shop", {"tmp": "owner: owner"})
    [alone] = make(SERVER, seen).steps
    assert (alone.text, alone.loses) == ("DROP SCHEMA tmp", False)
    seen = changed(seen, Kind.FUNCTION, "shop", {"tmp.f()": "body: sha256:1"})
    assert [step.loses for step in make(SERVER, seen).steps] == [True, True]


@pytest.mark.parametrize(
    ("is_now", "wanted"),
    [
        ("text", "character varying(3)"),
        ("character varying(9)", "character(3)"),
        ("bigint", "integer"),
        ("integer", "numeric(10,2)"),
        ("numeric(10,2)", "numeric(8,4)"),
        ("numeric(10,2)", "numeric"),
        ("real", "double precision"),
        ("hr.mood", "text"),
        ("text", 'text collate "C"'),
        ("integer generated always as (1) stored", "smallint generated always as (1) stored"),
    ],
)
def test_a_change_of_type_that_keeps_or_refuses_values_is_an_assignment(is_now, wanted):
    [step] = retyped(is_now, wanted)
    assert not step.loses
    assert " USING " not in step.text
    assert "refused where a value does not fit" in step.note


@pytest.mark.parametrize(
    ("is_now", "wanted"),
    [
        ("numeric(10,2)", "integer"),
        ("numeric(10,2)", "numeric(10,1)"),
        ("numeric", "numeric(10,2)"),
        ("integer", "numeric(10,-2)"),
        ("bigint", "double precision"),
        ("double precision", "integer"),
        ("text", "integer"),
        ("timestamp with time zone", "date"),
        ("json", "jsonb"),
        ("character varying(9)", '"char"'),
    ],
)
def test_a_change_of_type_that_may_round_or_cut_values_loses_data(is_now, wanted):
    steps = retyped(f"{is_now} default '1'", f"{wanted} default '2'")
    assert [step.loses for step in steps] == [True, True, True]
    assert f"USING x::{wanted}" in steps[1].text
    assert "refused" not in steps[1].note


def retyped(is_now, wanted):
    desired, seen = (
        changed(SERVER, Kind.TABLE, "shop", {"hr.salary": f"{SALARY}\ncolumn x: {text}"})
        for text in (wanted, is_now)
    )
    return make(desired, seen).steps


def test_rights_go_first_and_roles_are_dropped_last():
    seen = changed(SERVER, Kind.ROLE, "", {"eve": "superuser=false login=false"})
    seen = changed(seen, Kind.PRIVILEGE, "shop", {"schema:hr<-eve": "USAGE"})
    seen = changed(seen, Kind.TABLE, "shop", {"hr.salary": SALARY + "\ncolumn x: text"})
    text = script(make(SERVER, seen), title="t", allow_loss=True)
    places = [text.index(words) for words in ("REVOKE USAGE", "DROP COLUMN", "DROP ROLE")]
    assert places == sorted(places)


def test_a_default_that_is_more_than_an_expression_is_left_to_a_person():
    desired = changed(
        SERVER, Kind.TABLE, "shop",
        {"hr.salary": SALARY + "\ncolumn x: text default ''; DROP TABLE hr.salary; --"},
    )  # fmt: skip
    [step] = make(desired, SERVER).steps
    assert step.by_hand
    assert "is more than one statement" in step.text
    lines = script(make(desired, SERVER), title="t").splitlines()
    assert [line for line in lines if "DROP TABLE" in line and not line.startswith("--")] == []


@pytest.mark.parametrize("text", ["a b", "a;b", 'a"b', '"a', "a.", "", "a--b", "A", 'a"."b"c'])
def test_what_is_not_a_name_is_refused(text):
    with pytest.raises(NotSqlError):
        name(text)


@pytest.mark.parametrize("text", ["a", "hr.salary", '"A b"."c""d"', '"x\ny".z', 'U&"a\\003A b"'])
def test_names_as_the_server_quotes_them_are_taken(text):
    assert name(text) == text


def test_a_comment_stays_on_its_line():
    seen = changed(SERVER, Kind.HBA, "", {"x\nDROP ROLE y;": ("trust", "f\n:1")})
    text = script(make(SERVER, seen), title="t\nDROP ROLE z;")
    assert [line for line in text.splitlines() if line.startswith("DROP")] == []


def test_a_database_with_an_odd_name_is_connected_to_safely():
    key = (Kind.SCHEMA, "a'b\"c")
    made = make({key: SERVER[Kind.SCHEMA, "shop"]}, {key: {}})
    text = script(made, title="t")
    assert '\\connect -reuse-previous=on "dbname=\'a\\\'b""c\'"' in text


def test_a_kind_that_was_not_read_is_said_and_never_taken_for_dropped():
    seen = {key: items for key, items in SERVER.items() if key[0] is not Kind.TABLE}
    made = make(SERVER, seen)
    assert made.steps == ()
    assert made.not_observed == ((Kind.TABLE, "shop"),)
    assert "-- not observed, nothing planned: table of shop" in script(made, title="t")


def test_the_functions_of_a_range_type_go_and_come_with_it():
    """The server refuses to drop them."""
    own = "owner: owner\nlanguage: internal\nreturns: "
    functions = {
        "hr.r(integer, integer)": f"{own}hr.r",
        "hr.r_multirange()": f"{own}hr.r_multirange",
        "hr.own(integer)": f"{own}integer",
    }
    without = changed(SERVER, Kind.TYPE, "shop", {})
    more = changed(without, Kind.TYPE, "shop", {"hr.r": "owner: owner\nkind: range"})
    more = changed(more, Kind.FUNCTION, "shop", functions)
    texts = [step.text for step in make(without, more).steps]
    assert texts == ["DROP ROUTINE hr.own(integer)", "DROP TYPE hr.r"]
    by_hand = [step.text.partition(" again")[0] for step in make(more, without).steps]
    assert sorted(by_hand) == ["create function hr.own(integer)", "create type hr.r"]
