"""A letter right behind a number does not hide what PostgreSQL 12 to 14 run."""

import time

import pytest

from agent.sql.junk import without_junk


@pytest.mark.parametrize(
    ("text", "spaced"),
    [
        ("SELECT 1a; SET x = 1", "SELECT 1 a; SET x = 1"),
        ("SELECT 1.5e3x, .5y, 1.z, 2_", "SELECT 1.5e3 x, .5 y, 1. z, 2 _"),
        ("SELECT 1e, 1e+x", "SELECT 1 e, 1 e+x"),
        ("SELECT 0xyz", "SELECT 0 xyz"),
        ("SELECT 1a, '1a', '''1a', e'\\'1a', \"1a\", $$1a$$, $x$ $$1a $x$", None),
        ("SELECT 1a -- 1a'\n, 1a /* 1a' */, 1a", "SELECT 1 a -- 1a'\n, 1 a /* 1a' */, 1 a"),
        ("SELECT 1é, é1a, a1a, a$1a", "SELECT 1 é, é1a, a1a, a$1a"),
    ],
)
def test_a_space_goes_behind_numbers_outside_of_strings_and_names(text, spaced):
    assert without_junk(text) == (spaced or text.replace("1a", "1 a", 1))


@pytest.mark.parametrize("text", ["SELECT 1", "SELECT a1, $1", "/* /* */ ' */ SELECT 1a"])
def test_a_text_that_needs_none_or_could_be_misread_stays(text):
    assert without_junk(text) is None


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1a; SET session_replication_role = replica",
        "SELECT 1e; SET session_replication_role = replica",
        "SELECT 0x; SET session_replication_role = replica",
        "SELECT 1_a, 'it''s 1a'; SET session_replication_role = replica",
    ],
)
def test_what_follows_is_known(shape_of, sql):
    shape = shape_of(sql)
    assert (shape.status, shape.verbs) == ("parsed", ("select", "set"))
    assert shape.settings == ("session_replication_role",)


def test_no_literal_of_it_survives(shape_of):
    assert "hunter" not in shape_of("SELECT 1a, 'hunter', 'hunter2'").redacted_text


def test_what_is_no_sql_with_a_space_either_is_still_not_parsed(shape_of):
    assert shape_of("SELECT 1a FROM WHERE").status == "invalid"


@pytest.mark.parametrize("words", ["$a$ ", "1a ", "/* ", "' ", "1e", '"', "$", "e'\\", "9"])
def test_it_takes_no_longer_than_the_text_is_long(words):
    text = "SELECT 1a " + words * (64_000 // len(words))
    begun = time.thread_time()
    without_junk(text)
    assert time.thread_time() - begun < 0.5
