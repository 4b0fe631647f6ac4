"""A LIMIT or a WHERE that leaves a relation whole."""

import pytest


@pytest.mark.parametrize(
    "sql",
    ["SELECT a FROM t LIMIT 1000000000", "SELECT a FROM t LIMIT 1e9",
     "SELECT a FROM t LIMIT '100001'",
     "SELECT a FROM t LIMIT 100001::bigint", "SELECT a FROM t LIMIT 1000 * 1000",
     "SELECT a FROM t LIMIT pow(10, 9)", "SELECT a FROM (SELECT a FROM t LIMIT 1000000) x",
     "SELECT a FROM t ORDER BY true FETCH FIRST ROW WITH TIES",
     "SELECT p.a FROM f, t p WHERE f.name = 'x'", "SELECT * FROM f, t p WHERE f.name = 'x'",
     "SELECT p.* FROM (SELECT 1 AS x) o, t p WHERE o.x = 1", "SELECT p FROM f, t p WHERE f.a = 1",
     "SELECT * FROM json_array_elements((SELECT json_agg(t) FROM t WHERE id > 0))",
     "SELECT max(a) FROM t GROUP BY id", "SELECT min(a), count(*) FROM t x GROUP BY x.ctid",
     "WITH c AS MATERIALIZED (SELECT a FROM t) SELECT * FROM c WHERE a LIKE 'S%'",
     "SELECT count(pg_notify('x', a)) FROM t", "SELECT max(public.dblink('x', a)) FROM t"],
)  # fmt: skip
def test_it_hands_out_everything(shape_of, sql):
    assert "unfiltered" in shape_of(sql).flags


@pytest.mark.parametrize(
    "sql",
    ["SELECT a FROM t LIMIT 100000", "SELECT a FROM t LIMIT $1", "SELECT a FROM t LIMIT '50'",
     "SELECT a FROM t LIMIT 50::bigint", "SELECT a FROM t LIMIT $1 * 10",
     "SELECT a FROM t ORDER BY a FETCH FIRST 3 ROWS WITH TIES",
     "SELECT a FROM t ORDER BY 1 FETCH FIRST 3 ROWS WITH TIES",
     "SELECT p.a FROM f, t p WHERE f.id = p.id AND f.name = 'x'",
     "SELECT p.a FROM f, t p WHERE name = 'x'", "SELECT f.a FROM f, t p WHERE f.name = 'x'",
     "SELECT p.a FROM f JOIN t p ON p.id = f.id WHERE f.name = 'x'",
     "SELECT * FROM json_array_elements((SELECT json_agg(t) FROM t WHERE id = 7))",
     "SELECT a, count(*) FROM t GROUP BY a", "SELECT max(a) FROM t GROUP BY customer_id",
     "SELECT count(o.id) FROM t JOIN o ON o.t = t.id GROUP BY t.id",
     "SELECT max(a) FROM t WHERE b = 1 GROUP BY id",
     "WITH c AS (SELECT a FROM t) SELECT * FROM c WHERE a LIKE 'S%'",
     "WITH c AS MATERIALIZED (SELECT a FROM t) SELECT count(*) FROM c WHERE a LIKE 'S%'",
     "WITH c AS MATERIALIZED (SELECT a FROM t WHERE b = 1) SELECT * FROM c WHERE a LIKE 'S%'",
     "SELECT count(lower(a)) FROM t"],
)  # fmt: skip
def test_it_hands_out_some(shape_of, sql):
    assert "unfiltered" not in shape_of(sql).flags
