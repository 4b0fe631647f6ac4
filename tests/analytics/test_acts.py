"""Acts that read and write nothing, done for the first time."""

import pytest

from analytics.detectors.first_act import FirstAct, FirstActSettings
from bench.world.book import parsed
from tests.analytics.streams import batches, frame, statement

QUICK = FirstAct(FirstActSettings(day_seconds=5))
ETL = {"user_name": "etl", "identity_kind": "service"}
DBA = {"user_name": "dba", "identity_kind": "human"}


def ran(at, text, **who):
    """As the agent's parser understands the text."""
    known = parsed(text)
    names = ("operation", "summary", "verbs", "objects", "reads", "writes", "functions",
             "settings", "roles", "flags", "fingerprint")  # fmt: skip
    return statement(at, **who, **{name: known[name] for name in names})


def told(*news):
    rows = [
        row
        for n in range(40)
        for row in (
            ran(n, "SELECT a FROM shop.orders", **ETL),
            ran(n, "GRANT SELECT ON shop.orders TO etl", **DBA),
            ran(n, "SET statement_timeout = 0", **ETL),
        )
    ]
    state, found = QUICK.empty_state(), []
    for part in batches(frame([*rows, *news]), 20):
        state, some = QUICK.observe(state, part)
        found += some
    return [each.sentence.partition(" for the first")[0] for each in found]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("ALTER SYSTEM SET log_statement = 'none'", "etl changed log_statement"),
        ("SET pgaudit.log = 'none'", "etl changed pgaudit.log"),
        ("SET ROLE owner", "etl changed role"),
        ("DROP TABLE shop.orders", "etl ran drop table"),
        ("CREATE ROLE x LOGIN", "etl ran create role"),
        ("GRANT SELECT ON shop.orders TO PUBLIC", "etl gave rights to everybody"),
        ("COPY shop.orders TO PROGRAM 'curl'", "etl used COPY with a program"),
        ("SELECT pg_read_file('/etc/passwd')", "etl called pg_read_file"),
        ("SELECT set_config('log_' || 'statement', 'none', false)", "etl called set_config"),
        ("SELECT set_config('role', 'owner', false)", "etl changed role"),
        ("DELETE FROM shop.orders", "etl changed whole relations"),
    ],
)
def test_an_act_that_an_identity_never_did_is_told(text, sentence):
    assert sentence in told(ran(40, text, **ETL))


def test_a_first_write_is_an_act_of_a_person_and_the_release_of_a_service():
    update = "UPDATE shop.orders SET a = 1 WHERE id = 2"
    assert "dba ran update" in told(ran(40, update, **DBA))
    assert told(ran(40, update, **ETL)) == []


def test_what_somebody_does_in_another_database_is_no_first_act():
    known = DBA | {"identity_name": "dana"}
    acted = [ran(n, "CREATE ROLE x LOGIN", **known) for n in range(40)]
    people = [known, *(DBA | {"user_name": f"person{n}"} for n in range(6))]
    there = [
        ran(n, "SELECT a FROM dw.facts", **who, database="dw") for n in range(40) for who in people
    ]
    again = ran(40, "CREATE ROLE y LOGIN", **known, database="dw")
    assert told(*there, again).count("dana ran create role") == 1
    assert "dana ran create role" not in told(*acted, *there, again)


def test_what_it_dropped_is_named():
    assert "etl dropped table shop.orders" in told(ran(40, "DROP TABLE shop.orders", **ETL))


def test_what_it_made_itself_it_may_drop():
    made = ran(40, "CREATE TABLE scratch.mine AS SELECT a FROM shop.orders", **ETL)
    dropped = ran(41, "DROP TABLE scratch.mine", **ETL)
    assert told(made, dropped) == ["etl ran create table", "etl ran drop table"]


def test_who_is_often_refused_has_no_more_reason_to_take_another_role():
    def strangest(*rows):
        state, found = QUICK.empty_state(), []
        work = [ran(n, "SELECT a FROM shop.orders", **who) for n in range(60) for who in (ETL, DBA)]
        rows = sorted([*work, *rows], key=lambda row: row["started_at"])
        for part in batches(frame(rows), 20):
            state, some = QUICK.observe(state, part)
            found += some
        return max(each.score for each in found if dict(each.details)["act"] == "set")

    refused = [
        ran(n, f"SELECT a FROM hr.t{n}", **ETL) | {"sqlstate": "42501"} for n in range(2, 55)
    ]
    role = ran(57, "SET ROLE postgres", **ETL)
    assert strangest(*refused, role) >= strangest(role)


@pytest.mark.parametrize(
    "text",
    [
        "SET statement_timeout = 5",
        "SET application_name = 'x'",
        "SET search_path = shop",
        "SELECT pg_catalog.set_config('search_path', '', false)",
        "SELECT count(a), now() FROM shop.orders",
        "BEGIN",
    ],
)
def test_what_drivers_do_is_no_act(text):
    assert told(ran(40, text, **ETL)) == []


def test_what_somebody_always_does_is_no_news():
    assert told(ran(40, "GRANT SELECT ON shop.orders TO bob", **DBA)) == []


def test_a_refused_read_is_told_as_what_it_is():
    read = ran(40, "SELECT a FROM hr.salaries", **ETL) | {"sqlstate": "42501"}
    assert told(read) == ["etl was refused hr.salaries"]


def test_a_read_that_failed_otherwise_is_no_act():
    read = ran(40, "SELECT a FROM hr.salaries", **ETL) | {"sqlstate": "42P01"}
    assert told(read) == []


def test_work_in_another_database_is_an_act():
    read = ran(40, "SELECT a FROM shop.orders", **ETL) | {"database": "payroll"}
    assert told(read) == ["etl worked in database payroll"]


@pytest.mark.parametrize(
    ("relation", "about"),
    [
        ("pg_catalog.pg_class", "structure"),
        ("information_schema.columns", "structure"),
        ("pg_roles", "rights"),
        ("information_schema.role_table_grants", "rights"),
    ],
)
def test_a_first_look_at_the_catalog_is_told_once(relation, about):
    looks = [ran(40 + n, f"SELECT * FROM {relation}", **ETL) for n in range(5)]
    assert told(*looks) == [f"etl looked at the catalog's {about}"]
