"""Server messages keep their words and lose their values."""

import pytest

from agent.sql.messages import redact_message

SECRET = "s3cr3t"


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
    assert redact_message(message) == redacted


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
    assert SECRET not in redact_message(message)


def test_what_a_function_raises_is_not_repeated():
    assert SECRET not in redact_message(f"token {SECRET} is invalid", sqlstate="P0001")
