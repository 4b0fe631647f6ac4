"""A transaction's status, followed by texts and SQLSTATEs."""

import pytest

from tests.conformance.transactions import after

OK = "00000"


@pytest.mark.parametrize(
    ("before", "statements", "wanted"),
    [
        ("I", [("SELECT 1", OK)], "I"),
        ("I", [("BEGIN;", OK)], "T"),
        ("T", [("SELECT 1/0", "22012")], "E"),
        ("E", [("SELECT 1", "25P02")], "E"),
        ("E", [("ROLLBACK TO SAVEPOINT one", OK)], "T"),
        ("E", [("COMMIT", OK)], "I"),
        ("T", [("COMMIT", "23505")], "I"),
        ("I", [("SELECT 1", OK), (" SELECT 1/0", "22012")], "I"),
        ("I", [("BEGIN", OK), (" SELECT 1/0", "22012")], "E"),
        ("I", [("BEGIN", OK), (" INSERT INTO t VALUES (1)", OK), (" ROLLBACK", OK)], "I"),
    ],
)
def test_the_status_behind_a_round_trip(before, statements, wanted):
    assert after(before, statements) == wanted
