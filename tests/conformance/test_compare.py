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
    text_bytes=8,
    received=60,
    watch_us=1000,
)
ROW = Captured(
    id=1,
    parent_id=0,
    text="SELECT 1",
    user="conf",
    database="shop",
    application_name="a",
    client_address="local",
    duration_us=500,
    rows=1,
    sqlstate="00000",
    protocol="query",
    transaction="II",
    text_bytes=8,
    bytes_sent=60,
    error_message="",
    preparation_us=100,
)
ANOTHER = replace(ONE, round_trip=1, watch=1)


def test_the_same_on_both_sides_conforms():
    result = compare([ONE], [ROW])
    assert result.conforms
    assert (result.expected, result.captured) == (1, 1)


def test_a_statement_without_a_row_is_missing():
    assert compare([ONE, ANOTHER], [ROW]).missing == ("SELECT 1",)


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
        "rows": 2, "sqlstate": "42601", "protocol": "fastpath", "transaction": "TT",
        "text_bytes": 9, "bytes_sent": 59, "error_message": "no", "preparation_us": None,
    }  # fmt: skip
    for field, value in changes.items():
        assert compare([ONE], [replace(ROW, **{field: value})]).kinds == {field}


def test_a_duration_is_above_zero_and_between_what_the_client_measured():
    for duration_us in (None, 0, 1001):
        row = replace(ROW, duration_us=duration_us, preparation_us=0)
        assert compare([ONE], [row]).kinds == {"duration_us"}
    slept = replace(ONE, at_least_us=600)
    assert compare([slept], [ROW]).kinds == {"duration_us"}


def test_preparation_is_a_part_of_the_duration_and_told_of_the_first_of_a_message():
    for told in (None, 501):
        assert compare([ONE], [replace(ROW, preparation_us=told)]).kinds == {"preparation_us"}
    later = replace(ONE, prepared=False)
    assert compare([later], [replace(ROW, preparation_us=None)]).conforms
    slow = replace(ONE, outcome=Outcome(1, preparing_seconds=0.0002))
    assert compare([slow], [ROW]).kinds == {"preparation_us"}


def test_of_several_in_one_round_trip_the_end_of_the_transaction_may_be_unknown():
    shared, unknown = replace(ONE, shared=True), replace(ROW, transaction="I?")
    assert compare([shared], [unknown]).conforms
    assert compare([ONE], [unknown]).kinds == {"transaction"}
    assert compare([shared], [replace(ROW, transaction="T?")]).kinds == {"transaction"}


def test_an_error_keeps_the_shape_of_its_message_and_no_value():
    failed = replace(ONE, outcome=Outcome(None, "22P02"), prepared=False)
    row = replace(ROW, rows=None, sqlstate="22P02")
    shape = 'invalid input syntax for type integer: "?"'
    assert compare([failed], [replace(row, error_message=shape)]).conforms
    quoted = replace(row, error_message=shape.replace("?", "geheim"))
    assert compare([failed], [quoted]).kinds == {"error_message"}


def test_what_one_answer_told_of_several_is_compared_in_all():
    both = [ONE, replace(ONE, prepared=False)]
    rows = [replace(ROW, bytes_sent=None), replace(ROW, id=2)]
    assert compare(both, rows).conforms
    assert compare(both, [ROW, replace(ROW, id=2)]).kinds == {"bytes_sent"}


def test_statements_one_after_the_other_take_no_longer_than_their_client_waited():
    long, short = (replace(ROW, id=2, duration_us=us) for us in (1501, 500))
    in_turn = [replace(ANOTHER, watch=7), replace(ANOTHER, watch=7, round_trip=2)]
    in_turn = [replace(one, at_most_us=2000) for one in in_turn]
    assert compare(in_turn, [ROW, short]).conforms
    assert compare(in_turn, [ROW, long]).kinds == {"duration_us"}
    failed = replace(in_turn[1], outcome=Outcome(None, "22012"), prepared=False)
    row = replace(long, rows=None, sqlstate="22012", error_message="division by zero")
    assert compare([in_turn[0], failed], [ROW, row]).conforms
    side_by_side = [replace(one, watch_us=None) for one in in_turn]
    assert compare(side_by_side, [ROW, long]).conforms


def test_equal_texts_pair_in_the_order_of_their_start():
    both = [replace(one, outcome=Outcome(n)) for n, one in ((1, ONE), (2, ANOTHER))]
    rows = [replace(ROW, id=2, rows=2), ROW]
    assert compare(both, rows).conforms


def test_a_nested_statement_belongs_under_its_parent():
    parent = replace(ONE, outcome=Outcome(1, nested=(Nested("DELETE FROM t"),)))
    child = replace(ROW, id=2, parent_id=1, text="DELETE FROM t", text_bytes=13)
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
