"""What is sent of a statement that names a prepared transaction, or sets a value of the server: no
literal, and a hash that says which it is."""

import re

import pytest

from agent.catalog.items.secrets import keyed
from agent.catalog.items.system_value import of_line
from agent.shown import as_it_is, shown_with, without_strangers
from agent.sql.shape import answer
from model.statement import ParseStatus, Shape

KEY = b"k" * 32


def objects(text, operation, key=KEY):
    shape = Shape(ParseStatus.PARSED, "d", "redacted", operation)
    return shown_with(key)(shape, text).objects


PREPARED = objects(b"PREPARE TRANSACTION 'it''s pay 7'", "prepare transaction")


@pytest.mark.parametrize(
    ("text", "operation"),
    [
        (b"commit prepared 'it''s pay 7'", "commit prepared"),
        (b"ROLLBACK  PREPARED'it''s pay 7' ;\n", "rollback prepared"),
        (b"/* app */ COMMIT PREPARED 'it''s pay 7' /* trace */", "commit prepared"),
        (b"-- ends it\nCOMMIT PREPARED 'it''s pay 7'", "commit prepared"),
    ],
)
def test_both_ends_have_the_same_name(text, operation):
    assert objects(text, operation) == PREPARED


def test_the_name_stays_on_the_host_and_nobody_without_the_key_can_try_one():
    [told] = PREPARED
    assert "pay" not in told
    assert objects(b"PREPARE TRANSACTION 'it''s pay 7'", "prepare transaction", b"x") != PREPARED


@pytest.mark.parametrize(
    "text",
    [b"COMMIT PREPARED E'a\\'b'", b"COMMIT PREPARED U&'a'", b"COMMIT PREPARED 'a'; SELECT 'b'",
     b"COMMIT PREPARED 'a"],
)  # fmt: skip
def test_what_is_written_in_another_way_has_none(text):
    assert objects(text, "commit prepared") == ()


def test_other_statements_are_sent_as_they_are():
    shape = Shape(ParseStatus.PARSED, "d", "SELECT ?", "select")
    assert shown_with(KEY)(shape, b"SELECT 'PREPARE TRANSACTION'") is shape
    assert as_it_is(shape, b"x") is shape
    assert shown_with(KEY, full_text=True)(shape, b"SELECT 1").redacted_text == "SELECT 1"


def value_of(text, key=KEY):
    shape = answer(text.decode())
    told = shown_with(b"another", catalog_key=key)(shape, text).objects
    return [entry.removeprefix("set to:") for entry in told if entry.startswith("set to:")]


def in_file(name, text, key=KEY):
    with keyed(key):
        return [of_line(name, text)]


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        (b"ALTER SYSTEM SET work_mem = '64MB'", "64MB"),
        (b"alter system  set WORK_MEM to 65536 ;", "65536"),
        (b"ALTER SYSTEM SET work_mem=-1", "-1"),
        (b"ALTER SYSTEM SET work_mem = 0.10", "0.10"),
        (b"ALTER SYSTEM SET work_mem = ON", "on"),
        (b"ALTER SYSTEM SET work_mem TO 'it''s'", "it's"),
    ],
)
def test_a_value_that_is_set_has_the_hash_of_the_line_that_comes_of_it(statement, line):
    assert value_of(statement) == in_file("work_mem", line)


def test_of_the_value_only_a_keyed_hash_leaves_the_host():
    [told] = value_of(b"ALTER SYSTEM SET work_mem = '64MB'")
    assert re.fullmatch(r"[0-9a-f]{4}-[0-9a-f]{12}", told)
    assert value_of(b"ALTER SYSTEM SET work_mem = '64MB'", b"x") != [told]
    assert value_of(b"ALTER SYSTEM SET work_mem = '65MB'") != [told]
    assert value_of(b"ALTER SYSTEM SET temp_buffers = '64MB'") != [told]


@pytest.mark.parametrize(
    "text",
    [
        b"ALTER SYSTEM SET work_mem TO DEFAULT",
        b"ALTER SYSTEM RESET work_mem",
        b"ALTER SYSTEM SET search_path = a, b",
        b"ALTER SYSTEM SET search_path = 'a, b'",
        b"ALTER SYSTEM SET work_mem = E'64\\x4d'",
        b"ALTER SYSTEM SET work_mem = 064",
        "ALTER SYSTEM SET work_mem = 'ü'".encode(),
        b"ALTER SYSTEM SET work_mem = 1; SELECT 1",
        b"SET work_mem = '64MB'",
    ],
)
def test_what_is_spelled_in_another_way_or_is_none_has_no_hash(text):
    assert value_of(text) == []


@pytest.mark.parametrize(
    "text",
    [
        b"SET ROLE 's3cr3tpw'",
        b"SET LOCAL ROLE 's3cr3tpw'",
        b"SET SESSION AUTHORIZATION 's3cr3tpw'",
        b"SELECT set_config('role', 's3cr3tpw', false)",
    ],
)
def test_what_stands_for_a_role_and_is_none_stays_here_as_other_literals_do(text):
    shape = answer(text.decode())
    assert shape.roles == ("s3cr3tpw",)
    assert without_strangers(shape, "22023").roles == ()
    assert without_strangers(shape, "42704").roles == ()
    for ran_or_was_refused in ("00000", "42501", "25P02", ""):
        assert without_strangers(shape, ran_or_was_refused) is shape
    assert without_strangers(answer("GRANT app TO bot"), "42704").roles == ("app", "bot")
