"""Nobody is named for what the text of his statement shows that it did not do."""

import pytest

from tests.collector.drift.story import cause_of, ran

ROLE = "superuser=false login=true"
SUPER = ("role", "g2", ROLE, "superuser=true login=true")
TABLE = "owner: postgres\nkind: table\ncolumn i: integer"
OF_ETL, OF_OWN1 = (TABLE.replace("postgres", role) for role in ("etl", "own1"))
GUARDED = TABLE.replace("kind: table", "kind: table\nrow security: on")
FUNCTION = "owner: bob\nkind: function\nbody: sha256:1"
DEFINER = FUNCTION.replace("body", "security: definer\nbody")
TRIGGER = "enabled: origin\ndefinition: CREATE TRIGGER tb"
GIVEN = ("table", "hr.w3", TABLE, OF_OWN1)
OFF = ("table", "hr.t", GUARDED, TABLE)

OF_PARENT = (
    "trigger", "hr.pt.tb", "from: parent\nenabled: origin", "from: parent\nenabled: disabled",
)  # fmt: skip


def named(statements, *step, **words):
    """Who is named, and who else may have been it."""
    rows = [ran(10 + n, user, sql) for n, (user, sql) in enumerate(statements)]
    found = cause_of(rows, *step, **words)
    if found is None:
        return "", set()
    assert not found.shares
    return found.change.actor, {other.actor for other in found.others}


def off(trigger):
    return ("trigger", f"hr.tg.{trigger}", TRIGGER, TRIGGER.replace("origin", "disabled"))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("innocent", "guilty", "step"),
    [
        ("CREATE SCHEMA zz2; GRANT g2 TO g1", "ALTER ROLE g2 SUPERUSER", SUPER),
        ("CREATE SCHEMA zz2; GRANT g2 TO g1", "CREATE SCHEMA y2; ALTER ROLE g2 SUPERUSER", SUPER),
        ("CREATE SCHEMA a; ALTER ROLE g2 CREATEDB", "SET a = 1; ALTER ROLE g2 SUPERUSER", SUPER),
        ("CREATE ROLE g3; GRANT g2 TO g3", "ALTER ROLE g2 SUPERUSER", SUPER),
        ("ALTER ROLE g3 SUPERUSER; GRANT g2 TO g3", "ALTER ROLE g2 SUPERUSER", SUPER),
        ("CREATE ROLE g3; GRANT g2 TO g3", "CREATE ROLE g2", ("role", "g2", None, ROLE)),
        (
            "CREATE TABLE hr.n (i int); GRANT SELECT ON hr.t TO x", "CREATE TABLE hr.t (i int)",
            ("table", "hr.t", None, TABLE),
        ),
        (
            "DROP TABLE hr.n; COMMENT ON TABLE hr.t IS 'x'", "DROP TABLE hr.t",
            ("table", "hr.t", TABLE, None),
        ),
        ("ALTER TABLE hr.tg ENABLE TRIGGER ta", "ALTER TABLE hr.tg DISABLE TRIGGER ALL", off("tb")),
        ("ALTER TABLE hr.tg DISABLE TRIGGER ta", "ALTER TABLE hr.tg DISABLE TRIGGER tb", off("tb")),
        ("ALTER TABLE tg ENABLE TRIGGER tb", "ALTER TABLE hr.tg DISABLE TRIGGER USER", off("tb")),
        ("ALTER TABLE tg ADD j int", "ALTER TABLE tg ADD k int, DISABLE TRIGGER tb", off("tb")),
        (
            "ALTER TABLE hr.t NO FORCE ROW LEVEL SECURITY",
            "ALTER TABLE hr.t DISABLE ROW LEVEL SECURITY", OFF,
        ),
        (
            "ALTER TABLE hr.u DISABLE ROW LEVEL SECURITY; ALTER TABLE hr.t ADD j int",
            "ALTER TABLE hr.t DISABLE ROW LEVEL SECURITY", OFF,
        ),
        (
            "ALTER FUNCTION hr.f() SECURITY INVOKER", "ALTER FUNCTION hr.f() SECURITY DEFINER",
            ("function", "hr.f()", FUNCTION, DEFINER),
        ),
        (
            "ALTER FUNCTION hr.f() SECURITY DEFINER", "ALTER ROUTINE hr.f() SECURITY INVOKER",
            ("function", "hr.f()", DEFINER, FUNCTION),
        ),
        ("ALTER TABLE hr.w3 OWNER TO eve", "ALTER TABLE hr.w3 OWNER TO own1", GIVEN),
        (
            "ALTER EVENT TRIGGER e ENABLE REPLICA", "ALTER EVENT TRIGGER e DISABLE",
            ("event_trigger", "e", "enabled: origin", "enabled: disabled"),
        ),
    ],
)  # fmt: skip
def test_whose_text_says_something_else_is_not_named(innocent, guilty, step, turned):
    both = [("vera", innocent), ("mona", guilty)]
    assert named(both[::-1] if turned else both, *step) == ("mona", set())


@pytest.mark.parametrize(
    ("sql", "step"),
    [
        ("CREATE SCHEMA s; DO $$ BEGIN EXECUTE 'x'; END $$; GRANT g2 TO g1", SUPER),
        ("CREATE SCHEMA s; SELECT hr.grow('g2'); GRANT g2 TO g1", SUPER),
        ("CREATE SCHEMA s; ALTER ROLE CURRENT_USER SUPERUSER; GRANT g2 TO g1", SUPER),
        ("DROP ROLE g2; CREATE ROLE g2 SUPERUSER", SUPER),
        ("ALTER TABLE hr.w3 OWNER TO CURRENT_USER", GIVEN),
        ("ALTER TABLE hr.pt DISABLE TRIGGER tb",
         OF_PARENT),
    ],
)  # fmt: skip
def test_what_a_text_does_not_show_it_may_have_done(sql, step):
    assert named([("vera", sql)], *step)[0] == "vera"


@pytest.mark.parametrize(
    ("kind", "name", "alter"),
    [
        ("table", "hr.w3", "ALTER TABLE hr.w3 OWNER TO etl"),
        ("table", "hr.w3", "ALTER TABLE w3 OWNER TO etl"),
        ("function", "hr.rf()", "ALTER FUNCTION hr.rf() OWNER TO etl"),
        ("schema", "hr", "ALTER SCHEMA hr OWNER TO etl"),
    ],
)
def test_the_last_owner_is_of_who_gave_it_on(kind, name, alter):
    statements = [("nina", alter), ("paul", "REASSIGN OWNED BY etl TO own1")]
    assert named(statements, kind, name, TABLE, OF_OWN1) == ("paul", set())


def test_it_is_given_on_several_times():
    statements = [
        ("nina", "ALTER TABLE hr.w3 OWNER TO own1"),
        ("vera", "ALTER TABLE hr.w3 OWNER TO a"),
        ("carl", "REASSIGN OWNED BY a TO etl"),
        ("paul", "REASSIGN OWNED BY etl TO own1"),
    ]
    assert named(statements, *GIVEN)[0] == "paul"


def test_who_reassigns_what_is_another_roles_took_over_nothing():
    statements = [
        ("nina", "ALTER TABLE hr.w3 OWNER TO own1"), ("paul", "REASSIGN OWNED BY etl TO own1"),
    ]  # fmt: skip
    assert named(statements, *GIVEN) == ("nina", set())


def test_what_was_another_roles_was_not_given_on():
    statements = [
        ("frank", "UPDATE pg_class SET relowner = 10"), ("paul", "REASSIGN OWNED BY etl TO own1"),
    ]  # fmt: skip
    assert named(statements, *GIVEN)[0] == "frank"


def test_what_was_set_back_in_between_is_over():
    off_and_given = TABLE.replace("postgres", "own1")
    statements = [
        ("bot", "ALTER TABLE hr.t DISABLE ROW LEVEL SECURITY"),
        ("eve", "ALTER TABLE hr.t ENABLE ROW LEVEL SECURITY"),
        ("mona", "ALTER TABLE hr.t DISABLE ROW LEVEL SECURITY"),
        ("zoe", "ALTER TABLE hr.t OWNER TO own1"),
    ]
    rows = [ran(10 + n, user, sql) for n, (user, sql) in enumerate(statements)]
    found = cause_of(rows, "table", "hr.t", GUARDED, off_and_given)
    assert {found.change.actor, *(share.actor for share in found.shares)} == {"mona", "zoe"}
    assert found.by_line["owner"].actor == "zoe"


COLUMN = "owner: bob\nkind: table\ncolumn n: integer\ncolumn o: integer"
NOT_NULL = COLUMN.replace("n: integer", "n: integer not null")


@pytest.mark.parametrize(
    "other",
    [
        "ALTER TABLE y.g ADD CONSTRAINT gc CHECK (n > 0) NOT VALID",
        "ALTER TABLE y.g ALTER COLUMN o SET NOT NULL, ADD UNIQUE (n)",
        "ALTER TABLE y.g ADD COLUMN p int CHECK (p > n), VALIDATE CONSTRAINT c, DROP COLUMN q",
        "ALTER TABLE y.g SET (fillfactor = 70), NO FORCE ROW LEVEL SECURITY, OWNER TO x",
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_column_is_of_who_changed_that_one(other, turned):
    both = [("alice", other), ("carol", "ALTER TABLE y.g ALTER n SET NOT NULL")]
    step = ("table", "y.g", COLUMN, NOT_NULL)
    assert named(both[::-1] if turned else both, *step) == ("carol", set())


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE y.g ADD PRIMARY KEY (n)",
        "ALTER TABLE y.g ADD CONSTRAINT k PRIMARY KEY (n)",
        "ALTER TABLE y.g ADD CONSTRAINT k PRIMARY KEY USING INDEX i",
        "ALTER TABLE ONLY y.g ADD o2 int, ALTER COLUMN n SET NOT NULL",
        "ALTER TABLE y.g DROP n, ADD n int NOT NULL",
        "ALTER TABLE y.g INHERIT y.parent",
        "CREATE SCHEMA s; ALTER TABLE y.g ALTER n SET NOT NULL",
        "ALTER TABLE y.g ALTER o SET NOT NULL; DROP SEQUENCE y.s CASCADE",
    ],
)
def test_whatever_may_change_a_column_is_its_cause(sql):
    assert named([("alice", sql)], "table", "y.g", COLUMN, NOT_NULL)[0] == "alice"


def test_a_column_has_the_new_name_of_its_type():
    before, after = (COLUMN.replace("integer", f"y.{name}") for name in ("mood", "temper"))
    sql = "ALTER TYPE y.mood RENAME TO temper"
    assert named([("alice", sql)], "table", "y.g", before, after)[0] == "alice"


def test_of_several_at_one_table_each_has_the_line_that_is_theirs():
    statements = [
        ("alice", "ALTER TABLE y.g ADD CONSTRAINT gc CHECK (n > 0) NOT VALID"),
        ("carol", "ALTER TABLE y.g ALTER n SET NOT NULL"),
        ("erin", "ALTER TABLE y.g ALTER o TYPE text"),
    ]
    after = NOT_NULL.replace("o: integer", "o: text") + "\nconstraint gc: CHECK ((n > 0))"
    rows = [ran(10 + n, user, sql) for n, (user, sql) in enumerate(statements)]
    found = cause_of(rows, "table", "y.g", COLUMN, after)
    told = {key: found.by_line.get(key, found.change).actor for key in
            ("column n", "column o", "constraint gc")}  # fmt: skip
    assert told == {"column n": "carol", "column o": "erin", "constraint gc": "alice"}
    assert found.others == ()
