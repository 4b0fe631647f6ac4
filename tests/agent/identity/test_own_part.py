"""Each statement of a string has the comment within its own part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.identity import Claims
from agent.identity.own_part import MAX_BYTES, own_part

CLAIMS = Claims()


def named(text, count):
    clues = [CLAIMS.of(text.encode(), number)[0] for number in range(1, count + 1)]
    return [clue and clue.name for clue in clues]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("SELECT 1 /*user='a'*/; SELECT 2 /*user='b'*/", ["a", "b"]),
        ("SELECT 1 /*user='a'*/; SELECT 2 /*user='b'*/;", ["a", "b"]),
        ("SELECT 1 /*user='a'*/; SELECT 2", ["a", None]),
        ("SELECT 1; SELECT 2 /*user='b'*/", ["b", "b"]),
        ("SELECT 1; SELECT 2; /*user='b'*/", ["b", "b"]),
        ("/*user='a'*/ SELECT 1; SELECT 2", [None, None]),
        ("SELECT 1 /* why */; ; SELECT 2 /*user='b'*/", ["b", "b"]),
        ("SELECT 1 /*user='a'*/", ["a"]),
    ],
)
def test_whom_the_statements_of_a_string_name(text, names):
    assert named(text, len(names)) == names


@pytest.mark.parametrize(
    "first",
    [
        "SELECT ';'", "SELECT ';;''; '", r"SELECT E'\';'", 'SELECT 1 AS ";"', "SELECT $$;$$",
        "SELECT $a$;$$;$a$", "SELECT 1 -- ;", "SELECT 1 /* ; /* ; */ ; */", "SELECT a$$, b$$",
        "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)",
    ],
)  # fmt: skip
def test_what_only_looks_like_an_end_is_none(first):
    text = f"{first}\n; SELECT 2;".encode()
    assert own_part(text, 1) == f"{first}\n".encode()
    assert own_part(text, 2) == b" SELECT 2"
    assert own_part(text, 3) == b""


def test_what_cannot_be_told_apart_has_no_part():
    body = b"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; SELECT 3"
    assert own_part(body, 1) == own_part(b"SELECT 1; SELECT 2", 0) == b""
    assert own_part(b"SELECT 1; SELECT '" + b"x" * MAX_BYTES + b"'", 1) == b""


@given(st.text("ab1;'\"$/*-() eE\\\n", max_size=60).map(str.encode), st.integers(0, 5))
def test_parts_stand_in_their_text(text, number):
    assert own_part(text, number) in text
