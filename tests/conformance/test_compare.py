"""What counts as missing, duplicated, unexpected and wrong."""

from dataclasses import replace

from tests.conformance.compare import compare
from tests.conformance.expected import Captured, Expected, Nested, Outcome

ONE = Expected(
    text="SELECT 1",
    outcome=Outcome(1),
    user="conf",
    database="shop",
    application_name="a",
    client_address="local",
    at_least_us=0,
    at_most_us=1000,
)
ROW = Captured(1, 0, "SELECT 1", "conf", "shop", "a", "local", 500, 1, "00000", "query")


def test_the_same_on_both_sides_conforms():
    result = compare([ONE], [ROW])
    assert result.conforms
    assert (result.expected, result.captured) == (1, 1)


def test_a_statement_without_a_row_is_missing():
    assert compare([ONE, ONE], [ROW]).missing == ("SELECT 1",)


def test_a_second_row_for_one_statement_is_duplicated():
    assert compare([ONE], [ROW, replace(ROW, id=2)]).duplicated == ("SELECT 1",)


def test_a_row_that_nobody_sent_is_unexpected():
    assert compare([ONE], [ROW, replace(ROW, id=2, text="SELECT 2")]).unexpected == ("SELECT 2",)


def test_another_text_in_the_place_of_a_missing_one_is_a_wrong_text():
    result = compare([ONE], [replace(ROW, text="SELECT")])
    assert result.wrong_by_field == {"text": 1}
    assert not result.missing


def test_each_wrong_field_is_named():
    changes = {
        "user": "x", "database": "x", "application_name": "x", "client_address": "x",
        "rows": 2, "sqlstate": "42601", "protocol": "fastpath",
    }  # fmt: skip
    for field, value in changes.items():
        assert compare([ONE], [replace(ROW, **{field: value})]).kinds == {field}


def test_a_duration_is_above_zero_and_between_what_the_client_measured():
    for duration_us in (None, 0, 1001):
        assert compare([ONE], [replace(ROW, duration_us=duration_us)]).kinds == {"duration_us"}
    slept = replace(ONE, at_least_us=600)
    assert compare([slept], [ROW]).kinds == {"duration_us"}


def test_equal_texts_pair_in_the_order_of_their_start():
    both = [replace(ONE, outcome=Outcome(n)) for n in (1, 2)]
    rows = [replace(ROW, id=2, rows=2), ROW]
    assert compare(both, rows).conforms


def test_a_nested_statement_belongs_under_its_parent():
    parent = replace(ONE, outcome=Outcome(1, nested=(Nested("DELETE FROM t"),)))
    child = replace(ROW, id=2, parent_id=1, text="DELETE FROM t")
    assert compare([parent], [ROW, child]).conforms
    assert compare([parent], [ROW]).missing == ("DELETE FROM t",)
    at_top = compare([parent], [ROW, replace(child, parent_id=0)])
    assert at_top.kinds == {"missing", "unexpected"}
    assert compare([parent], [ROW, replace(child, parent_id=9)]).kinds == {"missing", "unexpected"}


def test_what_would_run_inside_a_missing_statement_is_missing_too():
    parent = replace(ONE, outcome=Outcome(1, nested=(Nested("DELETE FROM t"),)))
    result = compare([parent], [])
    assert (result.expected, result.missing) == (2, ("SELECT 1", "DELETE FROM t"))


def test_nested_statements_that_nobody_expects_are_unexpected():
    child = replace(ROW, id=2, parent_id=1, text="DELETE FROM t")
    assert compare([ONE], [ROW, child]).unexpected == ("DELETE FROM t",)
