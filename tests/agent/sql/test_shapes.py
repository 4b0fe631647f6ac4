"""What statements do and touch: the table in golden/, and the finer points."""

import dataclasses
import hashlib
from pathlib import Path

import pytest
import yaml

from model.statement import ParseStatus, Shape

GOLDEN = Path(__file__).parent / "golden"
CASES = [
    case
    for file in sorted(GOLDEN.glob("*.yaml"))
    for case in yaml.load(file.read_text(), Loader=yaml.CSafeLoader)
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["sql"][:60])
def test_a_statement_has_the_shape_of_the_golden_table(shape_of, case):
    shape = shape_of(case["sql"])
    digested = shape.redacted_text if "password" in case.get("flags", ()) else case["sql"]
    expected = Shape(
        status=ParseStatus.PARSED,
        digest=hashlib.sha256(digested.encode()).hexdigest(),
        redacted_text=case.get("redacted_text", case["sql"]),
        statements=case.get("statements", 1),
        fingerprint=shape.fingerprint,
        **{
            field.name: tuple(case[field.name])
            if isinstance(case[field.name], list)
            else case[field.name]
            for field in dataclasses.fields(Shape)
            if field.name in case and field.name not in ("redacted_text", "statements")
        },
    )
    assert dataclasses.replace(shape, parts=(), starts=()) == expected
    assert bool(shape.fingerprint) is case.get("fingerprinted", True)


def test_the_golden_table_is_large_enough_to_mean_something():
    assert len(CASES) >= 100


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT x.* FROM (SELECT * FROM users) x",
        "WITH x AS (SELECT * FROM users) SELECT id FROM x",
        "SELECT * FROM users UNION SELECT * FROM users WHERE id = 1",
        "SELECT string_agg(email, ',') FROM users",
        "SELECT DISTINCT email FROM users",
        "SELECT sum(1) OVER (), email FROM users",
        "SELECT * FROM a JOIN b ON a.id = b.id",
        "CREATE TABLE x AS TABLE users",
        "PREPARE p AS SELECT * FROM users",
        "SELECT * FROM users OFFSET 5",
        "SELECT * FROM users FOR UPDATE",
        "SELECT * FROM users TABLESAMPLE system (100)",
    ],
)
def test_a_read_of_a_whole_relation_is_unfiltered(shape_of, sql):
    assert "unfiltered" in shape_of(sql).flags


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT now()",
        "SELECT * FROM users WHERE id = 1",
        "WITH x AS (SELECT * FROM users WHERE id = 1) SELECT * FROM x",
        "SELECT max(id) FROM users",
        "SELECT * FROM generate_series(1, 10)",
        "SELECT * FROM users LIMIT 10",
        "SELECT id FROM a WHERE id IN (SELECT id FROM b)",
        "CREATE VIEW v AS SELECT * FROM users",
    ],
)
def test_a_read_of_a_part_or_of_nothing_is_not(shape_of, sql):
    assert "unfiltered" not in shape_of(sql).flags


def test_a_cte_name_hides_a_relation_only_where_it_is_visible(shape_of):
    assert shape_of("WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a, b").reads == (
        "b",
    )
    assert shape_of("WITH a AS (SELECT 1) SELECT * FROM public.a").reads == ("public.a",)
    assert shape_of("WITH a AS (SELECT 1) DELETE FROM a").writes == ("a",)
    assert shape_of("SELECT (WITH a AS (SELECT 1) SELECT 1 FROM a), x FROM a").reads == ("a",)


def test_a_quoted_name_is_the_name_without_its_quotes(shape_of):
    shape = shape_of('SELECT "u"."Full Name" FROM "HR"."Users" AS "u"')
    assert shape.reads == ("HR.Users",)
    assert shape.columns == ("HR.Users.Full Name",)


def test_comments_and_spaces_change_the_digest_but_not_the_fingerprint(shape_of):
    one, other = shape_of("SELECT a FROM t"), shape_of("SELECT  a /* x */ FROM t")
    assert one.fingerprint == other.fingerprint
    assert one.digest != other.digest
    assert one.redacted_text == other.redacted_text


def test_the_body_of_a_do_block_does_not_show_in_its_fingerprint(shape_of):
    one = shape_of("DO $$ BEGIN PERFORM 'secret one'; END $$")
    other = shape_of("DO $$ BEGIN PERFORM 'secret two'; END $$")
    assert one.fingerprint == other.fingerprint


def test_code_within_code_is_followed_three_levels_down(shape_of):
    inner = "DROP TABLE t"
    for level in range(4):
        inner = f"DO $a{level}$ BEGIN EXECUTE $b{level}${inner}$b{level}$; END $a{level}$"
        flags = shape_of(inner).flags
        assert ("drop" in shape_of(inner).verbs) or "dynamic" in flags
    assert "dynamic" in flags


def test_more_names_than_anyone_reads_are_cut(shape_of):
    sql = "SELECT " + ", ".join(f"c{i}" for i in range(5000)) + " FROM t"
    shape = shape_of(sql)
    assert len(shape.columns) == 500
    assert len(shape.summary) <= 255


def test_a_long_chain_of_operators_is_still_understood(shape_of):
    sql = "SELECT 'a'" + " || 'b'" * 800 + " FROM t WHERE id = 1"
    shape = shape_of(sql)
    assert shape.status is ParseStatus.PARSED
    assert shape.reads == ("t",)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ('UPDATE users SET password = "s3cr3tPw" WHERE id = 1', {"id", "password"}),
        ("SELECT name FROM users WHERE password = s3cr3tPw", {"name", "password"}),
        ('SELECT U&"x" FROM t', set()),
        ("SELECT id, password FROM t WHERE password = password", {"id", "password"}),
        ('SELECT "Odd name" FROM t', {"Odd name"}),
    ],
)
def test_what_the_text_hides_is_no_column_of_it(shape_of, text, columns):
    found = shape_of(text)
    assert {*found.columns} == columns
    assert "s3cr3t" not in f"{found.columns}{found.redacted_text}"
