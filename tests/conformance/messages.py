"""The words of PostgreSQL's errors as they may be recorded: ``?`` stands for every value."""

import re

from tests.conformance.expected import Outcome

WITHHELD = "(message withheld)"
SHAPES = {
    "22012": "division by zero",
    "22P02": 'invalid input syntax for type integer: "?"',
    "23505": 'duplicate key value violates unique constraint "guarded_pkey"',
    "25P02": "current transaction is aborted, commands ignored until end of transaction block",
    "26000": 'prepared statement "?" does not exist',
    "42501": "permission denied for table pg_authid",
    "42601": 'syntax error at or near "?"',
    "42703": 'column "?" does not exist',
    "42883": "function no_such_function(?) does not exist",
    "42P01": 'relation "no_such_table" does not exist',
    "55P03": "canceling statement due to lock timeout",
    "57014": "canceling statement due to user request",
    "57P01": "terminating connection due to administrator command",
    "P0099": WITHHELD,
}
"""Of the errors that scenarios cause; an Outcome says where its own differs."""


def shape_of(outcome: Outcome) -> str:
    """Empty where it succeeded, and where nobody told how it ended."""
    return outcome.message or SHAPES.get(outcome.sqlstate, "")


def has_shape(message: str, shape: str) -> bool:
    """Whether the client's message is the one that the shape was made from."""
    if shape == WITHHELD:
        return True
    return re.fullmatch(re.escape(shape).replace(r"\?", ".*"), message, re.DOTALL) is not None
