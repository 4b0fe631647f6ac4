"""Expressions of PL/pgSQL are read for what they do, though they are no statements."""

import pytest

from agent.sql.client import ParserClient
from agent.sql.fastpath import name_of, shape_of_call, text_of_call
from agent.sql.reader import read, recall
from model.event import Protocol
from model.statement import ParseStatus


@pytest.fixture(scope="module")
def parser():
    with ParserClient() as client:
        yield client


def shape(parser, text, *, nested=True):
    return read(parser, text.encode(), len(text.encode()), Protocol.QUERY, nested=nested)


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("x := (SELECT max(id) FROM t)", ("t",)),
        ("x = (SELECT max(id) FROM t)", ("t",)),
        ("r.field := (SELECT 1 FROM t)", ("t",)),
        ('"Odd Name"."F" := (SELECT 1 FROM t)', ("t",)),
        ("b[i + 1] := (SELECT 1 FROM t)", ("t",)),
        ("b[f((SELECT 1 FROM u))] := (SELECT 1 FROM t)", ("u", "t")),
        ("x := count(*) FROM t WHERE id > 1", ("t",)),
        ("EXISTS (SELECT 1 FROM t) AND NOT a", ("t",)),
        ("NOT EXISTS (SELECT 1 FROM t WHERE what = 'delete')", ("t",)),
        ("a := NOT EXISTS (SELECT 1 FROM t)", ("t",)),
        ("(SELECT count(*) FROM t) > n", ("t",)),
        ("CASE WHEN a THEN (SELECT 1 FROM t) END", ("t",)),
        ("copy := (SELECT 1 FROM t)", ("t",)),
    ],
)
def test_what_an_expression_reads_is_known(parser, text, reads):
    found = shape(parser, text)
    assert found.status is ParseStatus.PARSED
    assert set(found.reads) == set(reads)


def test_what_a_client_sends_is_no_expression(parser):
    assert shape(parser, "x := (SELECT 1)", nested=False).status is ParseStatus.INVALID


def test_functions_in_the_target_of_an_assignment_are_seen(parser):
    assert "pg_sleep" in shape(parser, "b[pg_sleep(1)] := (SELECT 1)").functions


def test_what_neither_reading_understands_stays_not_understood(parser):
    assert shape(parser, "DELETE FROM (").status is ParseStatus.INVALID


def test_what_was_read_once_is_remembered(parser):
    text = b"y := (SELECT min(id) FROM remembered)"
    assert recall(parser, text, len(text), Protocol.QUERY, nested=True) is None
    first = read(parser, text, len(text), Protocol.QUERY, nested=True)
    assert recall(parser, text, len(text), Protocol.QUERY, nested=True) == first


@pytest.mark.parametrize(
    ("number", "names"),
    [
        (1574, ("nextval",)),
        (964, ("lo_unlink",)),
        (2096, ("pg_terminate_backend",)),
        (16401, ("oid:16401",)),
    ],
)
def test_a_fastpath_call_is_known_by_the_functions_name(number, names):
    found = shape_of_call(text_of_call(number))
    assert (found.operation, found.functions) == ("fastpath", names)


def test_a_number_that_versions_give_to_two_functions_stands_for_both():
    both = [number for number in range(10_000) if "|" in name_of(number)]
    assert both
    assert len(shape_of_call(text_of_call(both[0])).functions) == 2
