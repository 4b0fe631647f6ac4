"""DDL, roles and what the guard spoke of have reserved room, with what explains them."""

import re

import pytest

from agent.probes.loader import SOURCE
from agent.sessions.logins import LOGIN
from agent.sql.client import ParserClient
from agent.sql.command_table import TABLE
from agent.urgency import EVERYDAY as EVERYDAY_WORDS
from agent.urgency import Urgency, is_urgent
from model.event import Executed, Protocol
from model.session import BackendKey, Session
from model.statement import ParseStatus, Shape, Source, Statement, StatementRun

LETTER = r"'(.)'"
SHORT = re.compile(rf"case WORD\({LETTER}, {LETTER}, {LETTER}, {LETTER}\):")
LONG = re.compile(
    rf"WORD\({LETTER}, {LETTER}, {LETTER}, {LETTER}\) \| \(__u64\){LETTER} << 32 \| "
    rf"\(__u64\){LETTER} << 40"
)
SESSION, OTHER = (Session(BackendKey(pid, 1), "main", "ann") for pid in (7, 8))
EVERYDAY = (
    "SELECT 1",
    "WITH gone AS (DELETE FROM t RETURNING 1) SELECT count(*) FROM gone",
    "INSERT INTO t VALUES (1)",
    "UPDATE t SET a = 1",
    "VALUES (1)",
    "BEGIN",
    "START TRANSACTION",
    "COMMIT",
    "END",
    "ROLLBACK TO SAVEPOINT s",
    "SET work_mem = '4MB'",
    "SHOW work_mem",
    "COPY t FROM STDIN",
    "EXPLAIN SELECT 1",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "DECLARE c CURSOR FOR SELECT 1",
    "FETCH 1 FROM c",
    "LISTEN news",
    "LOCK TABLE t",
    "SELEC 1",
)
URGENT = (
    "CREATE TABLE t (id int)",
    "CREATE TABLE t AS SELECT 1",
    "ALTER TABLE t ADD COLUMN b int",
    "DROP TABLE t",
    "TRUNCATE t",
    "CREATE ROLE r",
    "ALTER ROLE r SUPERUSER",
    "GRANT a TO b",
    "REVOKE SELECT ON t FROM b",
    "SET ROLE boss",
    "ALTER SYSTEM SET work_mem = '4MB'",
    "COPY t TO PROGRAM 'cat'",
    "COMMENT ON TABLE t IS 'x'",
    "DO $$ BEGIN DROP TABLE t; END $$",
    "CALL p()",
    "SELECT 1; DROP TABLE t",
    "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1",
)


@pytest.fixture(scope="module")
def shape():
    with ParserClient() as parser:
        yield lambda text: parser.shapes([text.encode()], [len(text)])[0]


def statement(number=1, transaction="II", session=SESSION, **more):
    return Statement(
        id=number, session=session, text=b"", text_bytes=0, started_at_us=1, source=Source.EBPF,
        transaction=transaction, **more,
    )  # fmt: skip


@pytest.mark.parametrize("text", EVERYDAY)
def test_reading_dml_and_the_traffic_of_transactions_is_everyday(shape, text):
    assert not is_urgent(statement(), shape(text))


@pytest.mark.parametrize("text", URGENT)
def test_all_else_is_urgent(shape, text):
    assert is_urgent(statement(), shape(text))


def test_what_could_not_be_read_is_urgent_but_not_what_postgresql_refuses():
    for status, urgent in ((ParseStatus.FAILED, True), (ParseStatus.INVALID, False)):
        assert is_urgent(statement(), Shape(status, "", "")) is urgent


def test_a_long_text_is_what_its_first_word_says():
    cut = Shape(ParseStatus.CUT, "", "", operation="insert")
    assert not is_urgent(statement(), cut)


def test_what_a_rule_decided_is_urgent_and_a_refused_login_or_what_was_only_held_is_not(shape):
    select = shape("SELECT 1")
    assert not is_urgent(statement(hold_id=5), select)
    assert Urgency().of(statement(), select, rule="no-bulk-reads")
    assert not is_urgent(statement(protocol=Protocol.STARTUP), LOGIN)


def test_the_end_of_a_transaction_with_something_urgent_is_urgent_too(shape):
    asked = Urgency()
    said = [
        asked.of(statement(number, transaction, session), shape(text))
        for number, (text, transaction, session) in enumerate(
            (
                ("BEGIN", "IT", SESSION),
                ("BEGIN", "IT", OTHER),
                ("DROP TABLE t", "TT", SESSION),
                ("SELECT 1", "TT", SESSION),
                ("ROLLBACK TO SAVEPOINT s", "TT", SESSION),
                ("ROLLBACK TO SAVEPOINT s", "TT", OTHER),
                ("COMMIT", "TI", OTHER),
                ("COMMIT", "TI", SESSION),
                ("BEGIN", "IT", SESSION),
                ("COMMIT", "TI", SESSION),
            )
        )
    ]
    assert said == [False, False, True, False, True, False, False, True, False, False]


def test_a_run_of_commits_ends_a_transaction_as_well(shape):
    asked = Urgency()
    asked.of(statement(1, "TT"), shape("DROP TABLE t"))
    one = [Executed(1, 1, 1, -1, 1)]
    commit = StatementRun(2, SESSION, b"COMMIT", "COMMIT", "TI", one)
    assert asked.of(commit, shape("COMMIT"))
    assert not asked.of(commit._replace(first_id=3), shape("COMMIT"))


def test_the_statement_that_ran_something_urgent_is_urgent(shape):
    asked = Urgency()
    select = shape("SELECT f()")
    assert asked.of(statement(3, "", parent_id=2), shape("DROP TABLE t"))
    assert asked.of(statement(2, "", parent_id=1), select)
    assert asked.of(statement(1, "II"), select)
    assert not asked.of(statement(4, "II"), select)


def kernel_words(function):
    """The beginnings of words that a function of the kernel program compares with."""
    text = SOURCE.with_name("urgency.bpf.h").read_text()
    body = text.split(f"INLINE int {function}(")[1].split("\n}")[0]
    return {"".join(letters) for letters in (*SHORT.findall(body), *LONG.findall(body))}


def test_the_kernel_has_the_same_words():
    beginnings = kernel_words("is_everyday") | kernel_words("is_everyday_long")
    assert len(beginnings) > 20
    words = {word + " " for word in EVERYDAY_WORDS - {"fastpath"}} | {"end;"}
    assert {word for word in words if not word.startswith(tuple(beginnings))} == set()
    assert {each for each in beginnings if not any(w.startswith(each) for w in words)} == set()
    others = {verb for verb, _ in TABLE.values()} - EVERYDAY_WORDS
    assert {verb for verb in others if verb.startswith(tuple(beginnings))} == set()
