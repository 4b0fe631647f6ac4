"""A star is one of a relation where a relation stands beside it, and not where queries alone do."""

import pytest

from agent.sql.client import ParserClient


@pytest.fixture(scope="module")
def shape_of():
    with ParserClient() as parser:
        yield lambda sql: parser.shapes([sql.encode()], [len(sql.encode())])[0]


NAMED = [
    "WITH w AS (SELECT a FROM t) SELECT * FROM w",
    "SELECT * FROM (SELECT a FROM t) x",
    "SELECT * FROM (SELECT a FROM t) x JOIN (SELECT b FROM u) y ON true",
    "WITH RECURSIVE r AS (SELECT a FROM t UNION SELECT * FROM r) SELECT * FROM r",
    "WITH t AS (SELECT 1 AS a) SELECT * FROM t",
    "SELECT * FROM (VALUES (1)) v",
    "WITH w AS (SELECT a FROM t) SELECT w.* FROM w",
    "WITH w AS (SELECT a FROM t) SELECT x.*, u.b FROM w x, u",
    "SELECT x.* FROM (SELECT a FROM t) x JOIN u ON true",
]
STARS = [
    "SELECT * FROM t",
    "SELECT * FROM (SELECT * FROM t) x",
    "SELECT * FROM (SELECT t FROM t) x",
    "WITH w AS (TABLE t) SELECT * FROM w",
    "WITH w AS (SELECT 1) SELECT * FROM w, t",
    "WITH w AS (SELECT 1) SELECT * FROM w JOIN t ON true",
    "WITH w AS (SELECT 1) SELECT * FROM (w CROSS JOIN t) j",
    "WITH w AS (SELECT 1) SELECT * FROM public.w",
    "WITH t AS (SELECT * FROM t) SELECT * FROM t",
    "WITH w AS (SELECT 1), d AS (UPDATE t SET a = 1 FROM w RETURNING *) SELECT 1",
    "INSERT INTO t SELECT * FROM (SELECT a FROM s) x RETURNING *",
    "SELECT FROM (SELECT 1) q WHERE EXISTS (SELECT * FROM t)",
    "SELECT * FROM f()",
    "SELECT f.* FROM f() f",
    "WITH w AS (SELECT a FROM t) SELECT u.* FROM w, u",
    "WITH w AS (SELECT a FROM t) SELECT w.* FROM public.t w",
    "WITH w AS (SELECT 1) DELETE FROM t w RETURNING w.*",
    "SELECT FROM (SELECT 1) w, LATERAL (SELECT w.* FROM t w) x",
]


@pytest.mark.parametrize("sql", NAMED)
def test_what_queries_have_named_is_no_star(shape_of, sql):
    shape = shape_of(sql)
    assert "star" not in shape.flags
    assert "*" not in shape.columns


@pytest.mark.parametrize("sql", STARS)
def test_what_a_relation_hands_over_is_one(shape_of, sql):
    assert "star" in shape_of(sql).flags
