"""Server messages keep their words and lose their values."""

import gettext
import re
from pathlib import Path

import psycopg
import pytest

from agent.sql.messages import WITHHELD, redact_message

SECRET = "s3cr3t"
LANGUAGES = sorted(Path("/usr/share/locale").glob("*/LC_MESSAGES/postgres-1[0-9].mo"))
"""What Debian's server can speak, where it is installed."""
_PLACE = re.compile(r"%(?:\d+\$)?[-+ #0]*\d*(?:\.\d+)?(?:ll|[lhz])?([a-zA-Z%])")


def filled(wording):
    """As C's printf does, with a secret in the place of every text."""
    return _PLACE.sub(lambda place: {"s": SECRET, "%": "%"}.get(place[1], "7"), wording)


@pytest.mark.parametrize(
    ("message", "redacted"),
    [
        ('relation "hr.salary" does not exist', 'relation "hr.salary" does not exist'),
        ("permission denied for table salary", "permission denied for table salary"),
        ('role "bob" does not exist', 'role "bob" does not exist'),
        (
            'duplicate key value violates unique constraint "users_email_key"',
            'duplicate key value violates unique constraint "users_email_key"',
        ),
        (
            'null value in column "a" of relation "t" violates not-null constraint',
            'null value in column "a" of relation "t" violates not-null constraint',
        ),
        ("Key (email)=(s3cr3t) already exists.", "Key (email)=(?) already exists."),
        ("Key (a, b)=(1, s3c)=(r3t) already exists.", "Key (a, b)=(?) already exists."),
        ("Key (lower(email))=(s3cr3t) already exists.", "Key (?)=(?) already exists."),
        ("Failing row contains (1, s3cr3t, a) b).", "Failing row contains (?)."),
        ('invalid input syntax for type uuid: "s3cr3t"', 'invalid input syntax for type uuid: "?"'),
        ('value "s3cr3t" is out of range for type int', 'value "?" is out of range for type int'),
        ('column "s3cr3t" does not exist', 'column "?" does not exist'),
        ('syntax error at or near "s3cr3t"', 'syntax error at or near "?"'),
        ('unterminated string at or near "\'s3cr3t"', 'unterminated string at or near "?"'),
        ('invalid value for parameter "a.b": "s3cr3t"', 'invalid value for parameter "a.b": "?"'),
        ("process 123 still waiting after 1000.5 ms", "process ? still waiting after ? ms"),
        ("canceling statement due to user request", "canceling statement due to user request"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_message_keeps_what_is_sure_to_be_a_name(message, redacted):
    assert redact_message(message, "", "SELECT * FROM hr.salary; DROP ROLE bob") == redacted


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT ?::regclass", f'relation "{SECRET}" does not exist'),
        ("SELECT ?::regclass", f'relation "class.{SECRET}" does not exist'),
        ("SET ROLE ?", f'role "{SECRET}" does not exist'),
        ("SELECT ?::regproc", f'function "{SECRET}" does not exist'),
        ("SELECT ?::regnamespace", f'schema "{SECRET}" does not exist'),
        ('SELECT t."?" FROM t', f"column t.{SECRET} does not exist"),
        ('INSERT INTO t ("?") VALUES (?)', f'column "{SECRET}" of relation "t" does not exist'),
        ("SELECT current_setting(?)", f'unrecognized configuration parameter "{SECRET}"'),
        ("SELECT set_config(?, ?)", f'permission denied to set parameter "{SECRET}"'),
        ("SELECT f(?)", f"function {SECRET}(unknown) does not exist"),
        ("SELECT ?::regtype", f"type {SECRET} does not exist"),
        ('TABLE (SELECT ? AS "a1")', f'column "{SECRET}" specified more than once'),
        ("SELECT f(?)", f'missing FROM-clause entry for table "{SECRET}"'),
    ],
)
def test_a_name_that_nothing_has_is_kept_only_if_the_text_beside_it_shows_it(query, message):
    redacted = redact_message(message, "", query)
    assert SECRET not in redacted
    assert '"?"' in redacted
    assert SECRET in redact_message(message, "", f'{query} class."{SECRET}" t'), "shown anyway"


@pytest.mark.parametrize(
    "message",
    [
        f'invalid input syntax for type json: "a" "{SECRET}" "b"',
        f'invalid input syntax for type integer: "x relation "{SECRET}" z"',
        f'relation "a" is "{SECRET}',
        f"time zone '{SECRET}' not recognized",
        f'function f(unknown, "{SECRET}") does not exist',
        f'syntax error at or near ""x" {SECRET}"',
        f"Key (a)=({SECRET}) is not present in table \"t\" ({SECRET}).",
        f'could not open file "/tmp/{SECRET}" for reading',
        f'role "{SECRET}@x" does not exist',
    ],
)  # fmt: skip
def test_no_value_survives(message):
    assert SECRET not in redact_message(message, "", "SELECT 1")


def test_what_a_function_raises_is_not_repeated():
    assert SECRET not in redact_message(f"token {SECRET} is invalid", "P0001", "")


@pytest.mark.parametrize(
    ("message", "sqlstate"),
    [
        (f"x {SECRET}", "42501"),
        (f"permission denied for {SECRET}", "42501"),
        (f"permission denied for table a {SECRET}", "42501"),
        (f"permission denied for table a\n{SECRET}", "42501"),
        (f"division by zero {SECRET}", "22012"),
        (f'invalid input syntax for type integer: "1" {SECRET}', "22P02"),
        (f"{SECRET} cannot run inside a transaction block", "25001"),
        (f"permission denied for database a (blocked by pgwarden: {SECRET})", "42501"),
        (f"permission denied for database a b (blocked by pgwarden: rule a: {SECRET})", "42501"),
    ],
)
def test_words_that_postgresql_does_not_use_are_withheld_under_any_code(message, sqlstate):
    assert redact_message(message, sqlstate, "") == WITHHELD


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda path: path.parts[4])
def test_no_wording_of_another_language_lets_anything_through(language):
    with language.open("rb") as compiled:
        wordings = gettext.GNUTranslations(compiled)._catalog.items()
    foreign = [said for english, said in wordings if isinstance(said, str) and said != english]
    shown = [text for text in map(filled, foreign) if SECRET in redact_message(text, "", "")]
    assert len(foreign) > 1000
    assert not shown


@pytest.mark.parametrize(
    ("message", "sqlstate"),
    [
        ("ungültige Eingabesyntax für Typ integer: »s3cr3t«", "22P02"),
        ("syntaxe en entrée invalide pour le type integer : « s3cr3t »", "22P02"),
        ("la sintaxis de entrada no es válida para tipo integer: «s3cr3t»", "22P02"),
        ('неверный синтаксис для типа integer: "s3cr3t"', "22P02"),
        ('"integer"型の入力構文が不正です: "s3cr3t"', "22P02"),
        ("Relation »s3cr3t« existiert nicht", "42P01"),
        ("doppelter Schlüsselwert verletzt Unique-Constraint »s3cr3t«", "23505"),
    ],
)
def test_what_a_server_says_in_another_language_is_withheld(message, sqlstate):
    assert redact_message(message, sqlstate, "") == WITHHELD


def test_a_wording_of_another_class_is_withheld():
    assert redact_message("division by zero", "22012", "") == "division by zero"
    assert redact_message("division by zero", "42501", "") == WITHHELD


def test_our_own_refusal_names_its_rule():
    refusal = "permission denied for database shop (blocked by pgwarden: rule ddl.drop"
    told = redact_message(f"{refusal}: No DROP here; ask {SECRET})", "42501", "")
    assert told == f"{refusal})"


@pytest.mark.live
@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1/0",
        "SELECT 'a'::int",
        "SELECT '2020-99-01'::date",
        "SELECT 'abc'::varchar(2)::int",
        "SELECT 2147483647 + 1",
        "SELECT * FROM nowhere",
        "SELECT nowhere FROM pg_class",
        "SELECT c.nowhere FROM pg_class c",
        "SELECT nowhere(1)",
        "SELECT 1 + true",
        "SELEC 1",
        "SELECT (",
        "SELECT 'a",
        "SELECT relname, count(*) FROM pg_class",
        "SELECT 1 WHERE 1",
        "SELECT oid FROM pg_class a, pg_class b",
        "SELECT x.oid FROM pg_class",
        "SELECT 1 UNION SELECT 1, 2",
        "SELECT (SELECT 1 UNION SELECT 2)",
        "SELECT $1",
        "DROP TABLE nowhere",
        "DROP ROLE nowhere",
        "CREATE ROLE postgres",
        "CREATE TABLE pg_temp.t (a int NOT NULL, b int UNIQUE); INSERT INTO t VALUES (NULL)",
        "CREATE TABLE pg_temp.t (b int UNIQUE); INSERT INTO t VALUES (1), (1)",
        "CREATE TABLE pg_temp.t (b varchar(2)); INSERT INTO t VALUES ('abc')",
        "CREATE TABLE pg_temp.t (b int CHECK (b > 1)); INSERT INTO t VALUES (1)",
        "CREATE TABLE pg_temp.t (b int); INSERT INTO t VALUES (1, 2)",
        "EXECUTE nowhere",
        "FETCH nowhere",
        "SET nowhere = 1",
        "SET work_mem = 'abc'",
        "SET LOCAL statement_timeout = 1; SELECT pg_sleep(9)",
        "SET TRANSACTION READ ONLY; CREATE TABLE t (a int)",
        "SET ROLE pg_monitor; SELECT * FROM pg_authid",
        "SET ROLE pg_monitor; CREATE ROLE x",
        "SET ROLE pg_monitor; DROP TABLE pg_class",
        "COPY pg_class FROM '/nowhere'",
    ],
)
def test_what_a_server_says_is_known(postgres, query):
    with postgres.connect() as connection, pytest.raises(psycopg.Error) as failure:
        connection.execute(query)
    primary = failure.value.diag.message_primary
    shown = redact_message(primary, failure.value.sqlstate, query)
    assert shown != WITHHELD, primary
