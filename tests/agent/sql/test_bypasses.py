"""Ways round a rule that the corpus found in reading texts, each closed here."""

import pytest

from agent.sql.client import LONG_BYTES
from model.statement import ParseStatus


def shape_of(parser, text: str):
    (shape,) = parser.shapes([text.encode()], [len(text.encode())])
    return shape


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT set_config('ROW_Security', 'off', false)",
        "SELECT set_config('row_security'::text, 'off', false)",
        "SELECT set_config(is_local => false, new_value => 'off', setting_name => 'row_security')",
        "SELECT pg_catalog.set_config(E'\\x72ow_security', 'off', false)",
        "DO $$ DECLARE x text; BEGIN x := set_config('row_security', 'off', false); END $$",
        "DO $$ BEGIN IF set_config('row_security', 'off', false) = '' THEN NULL; END IF; END $$",
    ],
)
def test_the_name_of_a_setting_is_read_however_it_is_written(parser, sql):
    assert shape_of(parser, sql).settings == ("row_security",)


@pytest.mark.parametrize("name", ["'row_' || 'security'", "$1", "n"])
def test_a_setting_whose_name_is_computed_is_a_question_mark(parser, name):
    sql = f"SELECT set_config({name}, 'off', false) FROM t"
    assert shape_of(parser, sql).settings == ("?",)


@pytest.mark.parametrize(
    "body",
    [
        "x := secret FROM hr.salaries LIMIT 1;",
        "x = (SELECT secret FROM hr.salaries);",
        "RAISE NOTICE '%', (SELECT secret FROM hr.salaries LIMIT 1);",
        "WHILE (SELECT true FROM hr.salaries) LOOP NULL; END LOOP;",
        "FOR r IN SELECT 1 LOOP x := max(secret) FROM hr.salaries; END LOOP;",
    ],
)
def test_what_a_do_block_evaluates_is_read(parser, body):
    assert "hr.salaries" in shape_of(parser, f"DO $$ BEGIN {body} END $$").reads


@pytest.mark.parametrize(
    "body",
    ["x := lo_export(1, 'a');", "x := lo_export((SELECT 1), 'a');", "RETURN lo_export(1, 'a');"],
)
def test_functions_that_a_do_block_calls_in_expressions_are_named(parser, body):
    assert "lo_export" in shape_of(parser, f"DO $$ BEGIN {body} END $$").functions


def test_a_loop_over_what_a_delete_returns_deletes(parser):
    sql = "DO $$ BEGIN FOR r IN DELETE FROM t RETURNING * LOOP NULL; END LOOP; END $$"
    shape = shape_of(parser, sql)
    assert "delete" in shape.verbs
    assert "missing_where" in shape.flags


def test_a_condition_that_may_be_an_escape_for_true_counts_as_true(parser):
    assert "trivial_where" in shape_of(parser, "DELETE FROM t WHERE '\\164'::bool").flags


def test_a_long_read_is_parsed(parser):
    sql = f"/*{'x' * LONG_BYTES}*/ SELECT secret FROM hr.salaries"
    assert shape_of(parser, sql).reads == ("hr.salaries",)


def test_a_long_insert_of_rows_is_not(parser):
    sql = "INSERT INTO t VALUES " + ", ".join(["('select', 'set')"] * (LONG_BYTES // 10))
    assert shape_of(parser, sql).status is ParseStatus.TOO_LONG


def test_a_function_in_another_language_names_it(parser):
    sql = "CREATE FUNCTION f() RETURNS int LANGUAGE 'C' AS 'lib', 'f'"
    assert "language:c" in shape_of(parser, sql).objects


def test_comment_is_a_statement_of_a_do_block_too(parser):
    shape = shape_of(parser, "DO $$ BEGIN COMMENT ON TABLE hr.salaries IS NULL; END $$")
    assert "comment" in shape.verbs
    assert "table:hr.salaries" in shape.objects


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT ARRAY(SELECT card FROM customers)",
        "SELECT (SELECT json_agg(c) FROM customers c)",
        "SELECT array_to_string(ARRAY(SELECT card FROM customers), ',') LIMIT 1",
        "SELECT string_agg(card, ',') FROM customers LIMIT 1",
    ],
)
def test_a_relation_in_one_value_is_handed_out_as_a_whole(parser, sql):
    assert "unfiltered" in shape_of(parser, sql).flags


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT (SELECT max(id) FROM customers)",
        "SELECT ARRAY(SELECT card FROM customers WHERE id = 1)",
        "SELECT ARRAY(SELECT card FROM customers LIMIT 3)",
        "SELECT string_agg(card, ',') FROM customers WHERE id = 3",
    ],
)
def test_a_part_of_it_is_not(parser, sql):
    assert "unfiltered" not in shape_of(parser, sql).flags


def test_a_role_is_assumed_by_set_config_too(parser):
    shape = shape_of(parser, "SELECT set_config('role', 'postgres', false)")
    assert "set" in shape.verbs
    assert shape.roles == ("postgres",)
