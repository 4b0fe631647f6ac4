"""What a statement's text says of relations that get other parents."""

import pytest

from agent.catalog.doubts import MOST_WORDS, Doubts, ties


@pytest.mark.parametrize(
    "text",
    [
        b"ALTER TABLE s.t INHERIT hr.salaries",
        b'alter table "s"."t" inherit hr.salaries',
        b"alter/**/table s./**/t inherit/**/hr.salaries",
        b"ALTER TABLE hr.reviews ATTACH PARTITION s.t DEFAULT",
        b"ALTER FOREIGN TABLE s.t\nINHERIT hr.salaries",
    ],
)
def test_what_ties_a_relation_to_another_puts_it_in_doubt(text):
    doubts = Doubts()
    assert ties(text)
    doubts.add(text)
    assert doubts.of(["s.t"])
    assert doubts.of(["s.child_of_t", "s.t"])
    assert not doubts.of(["s.other"])


@pytest.mark.parametrize(
    "text",
    [
        b'ALTER TABLE U&"\\0074" INHERIT hr.salaries',
        "ALTER TABLE für INHERIT hr.salaries".encode("latin-1"),
        b"ALTER TABLE a INHERIT b" + b" " * 5000,
        b'ALTER TABLE /*"*/ s.t /*"*/ INHERIT hr.salaries',
        b'ALTER TABLE "x" INHERIT p; --"',
    ],
)
def test_where_names_cannot_be_read_plainly_everything_is_in_doubt(text):
    doubts = Doubts()
    doubts.add(text)
    assert doubts.of(["s.anything"])


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ('"a.b"', "s.a%2Eb"),
        ('"Odd ""Name"', 's.Odd "Name'),
        ("UPPER", "s.upper"),
        ("t" * 70, "s." + "t" * 63),
        ('"' + "t" * 70 + '"', "s." + "t" * 63),
        ("t$1", "s.t$1"),
    ],
)
def test_a_name_is_known_however_it_is_written(written, name):
    doubts = Doubts()
    doubts.add(f"ALTER TABLE s.{written} INHERIT hr.salaries".encode())
    assert doubts.of([name])
    assert not doubts.of(["s.other"])


def test_other_statements_tie_nothing():
    assert not ties(b"ALTER TABLE t ADD inherited int")
    assert not ties(b"CREATE TABLE t () INHERITS (p)"), "nobody knows it yet"


def test_too_many_words_are_everything():
    doubts = Doubts()
    doubts.add(b" ".join(b"w%d" % number for number in range(MOST_WORDS // 2)))
    assert not doubts.of(["s.t"])
    doubts.add(b" ".join(b"v%d" % number for number in range(MOST_WORDS // 2 + 1)))
    assert doubts.of(["s.t"])


def test_a_doubt_that_came_after_what_was_seen_stays():
    doubts = Doubts()
    doubts.add(b"ALTER TABLE t INHERIT p")
    doubts.settle(0.0)
    assert doubts.of(["s.t"])
    doubts.settle(float("inf"))
    assert not doubts.of(["s.t"])
