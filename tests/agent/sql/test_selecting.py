"""Conditions that ask a query of the very rows that are changed, and NOT in front of one."""

import pytest


@pytest.mark.parametrize(
    "where",
    ["id IN (SELECT max(id) FROM t GROUP BY id)",
     "id = ANY (SELECT min(x.id) FROM t x GROUP BY 1, x.id)",
     "id IN (SELECT min(id) FROM t GROUP BY ctid)",
     "id IN (SELECT first_value(id) OVER (PARTITION BY id) FROM t)",
     "id IN (SELECT unnest(array_agg(id)) FROM t)",
     "id = ANY ((SELECT array_agg(id) FROM t)::int[])",
     "id IN (WITH a AS (SELECT id FROM t) SELECT id FROM a)", "id <= ANY (SELECT id FROM t)",
     "id = (SELECT b.id FROM t b WHERE b.id = t.id)",
     "EXISTS (SELECT count(*) FROM x WHERE x.id = t.id)",
     "(SELECT count(*) FROM x WHERE x.id = t.id) >= 0", "EXISTS (SELECT x.a FROM x)",
     "NOT ctid < '(0,0)'", "NOT (ctid = '(0,0)')", "NOT (id > 5 AND id <= 5)",
     "NOT (id < 5 OR NOT id < 5) OR id = id", "NOT (note = ANY ('{}'))", "NOT NOT id = id",
     "id NOT BETWEEN 1 AND 0", "NOT (id BETWEEN 1 AND 0)",
     "note ILIKE ANY (ARRAY['a%', '%'])", "note ~ '[0-9]*'", "note ~ 'x|'", "note ~ '(x)?'",
     "ARRAY[id] = ARRAY[id]", "id IS DISTINCT FROM id + 1", "COALESCE(id, 0) IS NOT NULL",
     "COALESCE(a, b, 0) IS DISTINCT FROM NULL", "id * id >= 0", "@ id >= 0", "id | id = id",
     "during && '(,)'::daterange", "NOT (id IS DISTINCT FROM id)",
     "NOT int4range(1, 1) @> id", "NOT (during <@ 'empty'::daterange)"],
)  # fmt: skip
def test_a_condition_that_chooses_no_rows_is_trivial(shape_of, where):
    assert "trivial_where" in shape_of(f"DELETE FROM t WHERE {where}").flags


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM t WHERE EXISTS (TABLE x)", "DELETE FROM t WHERE (TABLE x)",
     "DELETE FROM t USING generate_series(1, 1) g WHERE g = 1",
     "DELETE FROM t USING (VALUES (1)) v(x) WHERE x = 1",
     "WITH a AS (SELECT * FROM t ORDER BY 1 FOR UPDATE) DELETE FROM t USING a WHERE a.id = t.id"],
)  # fmt: skip
def test_what_stands_beside_the_rows_chooses_none_of_them(shape_of, statement):
    assert "trivial_where" in shape_of(statement).flags


@pytest.mark.parametrize(
    "where",
    ["id IN (SELECT max(id) FROM t GROUP BY customer)",
     "id NOT IN (SELECT min(id) FROM t GROUP BY email)",
     "id IN (SELECT first_value(id) OVER (PARTITION BY email ORDER BY id) FROM t)",
     "id IN (SELECT max(id) OVER () FROM t)", "id IN (SELECT unnest(ids) FROM batches)",
     "id = ANY ((SELECT array_agg(id) FROM t WHERE note = 'x')::int[])",
     "id IN (WITH a AS (SELECT id FROM t WHERE note = 'x') SELECT id FROM a)",
     "id = (SELECT max(id) FROM t)", "id = (SELECT id FROM t WHERE note = 'x' LIMIT 1)",
     "EXISTS (SELECT x.id FROM x WHERE x.id = t.id GROUP BY x.id)",
     "EXISTS (SELECT count(*) FROM x WHERE x.id = t.id HAVING count(*) > 1)",
     "(SELECT count(*) FROM x WHERE x.id = t.id) > 0", "NOT ctid < '(5,1)'", "NOT ctid = '(0,1)'",
     "NOT (id < 5 AND note = 'x')", "NOT (id < 5 OR note = 'x')", "NOT (id = ANY ('{1,2}'))",
     "NOT (note LIKE 'x%')", "id NOT BETWEEN 1 AND 9", "note LIKE ANY (ARRAY['a%', 'b%'])",
     "note ~ '[0-9]+'", "note ~ 'a|b'", "note ~ '^x*$'", "note !~ 'x*'", "id IS DISTINCT FROM 5",
     "COALESCE(closed, false)", "COALESCE(a, b) IS NOT NULL", "id * 2 >= 10", "id & 4 = 4",
     "during && '[2020-01-01,)'::daterange", "tags && ARRAY['x']",
     "NOT int4range(1, 9) @> id", "int4range(1, 1) @> id"],
)  # fmt: skip
def test_what_looks_like_them_chooses(shape_of, where):
    assert "trivial_where" not in shape_of(f"DELETE FROM t WHERE {where}").flags


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM t USING generate_series(1, 9) g WHERE id = g",
     "DELETE FROM t USING (VALUES (1), (2)) v(x) WHERE t.id = x",
     "DELETE FROM t USING unnest($1::int[]) g(x) WHERE id = x",
     "DELETE FROM t WHERE EXISTS (SELECT x.* FROM x WHERE x.id = id)",
     "WITH a AS (SELECT * FROM t WHERE old FOR UPDATE) DELETE FROM t USING a WHERE a.id = t.id"],
)  # fmt: skip
def test_what_stands_beside_the_rows_may_choose_them(shape_of, statement):
    assert "trivial_where" not in shape_of(statement).flags


def test_a_not_of_a_not_is_looked_at_once_each(shape_of):
    where = "NOT (" * 60 + "id = 1 AND a = 2" + ")" * 60
    assert shape_of(f"DELETE FROM t WHERE {where}").flags == ()
