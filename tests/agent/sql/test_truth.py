"""A condition that chooses no rows is no condition, whatever it looks like."""

import time

import pytest

from agent.sql.classify import classify
from agent.sql.shape import parse


@pytest.mark.parametrize(
    "where",
    ["true", "1=1", "2 > 1", "'x' = 'x'", "id = id", "id = 5 OR true", "NOT (1 = 2)", "1 IN (2, 1)",
     "'t'::boolean", "EXISTS (SELECT 1)", "id IS NOT DISTINCT FROM id", "name LIKE '%'", "$1 = $1",
     "1 IS NOT NULL", "true IS TRUE", "lower(a) = 'x' OR 1 < 2"],
)  # fmt: skip
def test_a_condition_that_is_true_for_every_row_is_trivial(shape_of, where):
    assert shape_of(f"DELETE FROM t WHERE {where}").flags == ("trivial_where",)


@pytest.mark.parametrize(
    "where",
    ["id = 1", "false", "id = 5 AND true", "id = other", "1 = 2", "NOT true", "name LIKE 'a%'",
     "random() = random()", "id IN (SELECT id FROM x)", "EXISTS (SELECT 1 FROM x WHERE x.a = t.b)",
     "$1 = id", "CURRENT OF c", "1 NOT IN (1)", "id NOT IN (id)"],
)  # fmt: skip
def test_a_condition_that_depends_on_the_row_is_not_trivial(shape_of, where):
    assert "trivial_where" not in shape_of(f"UPDATE t SET a = 1 WHERE {where}").flags


@pytest.mark.parametrize(
    "where",
    ["COALESCE(true)", "COALESCE(NULL, id = id, false)", "id IS NULL OR id IS NOT NULL",
     "id = 1 OR id <> 1", "id = 1 OR NOT (id = 1)", "id <> 1 OR id <> 2",
     "id < $1 OR name = 'a' OR id >= $1", "id > 0 OR id <= 5", "5 < id OR id < 7",
     "paid IS TRUE OR paid IS NOT TRUE", "(id IS NULL) IS NOT NULL", "NOT (id <> id)",
     "(id = id) IS NOT FALSE", "(1 = 2) IS NOT TRUE", "'a' LIKE 'a%'", "name ~ ''", "name ~ '.*'",
     "id < id + 1", "id <> id - 1", "id + 0 = id", "abs(id) >= 0", "length(name) > -1",
     "lower(name) = lower(name)", "id = ANY (ARRAY[1, id])", "id BETWEEN id AND id",
     "CASE WHEN true THEN true END", "CASE WHEN id > 5 THEN true ELSE 1 = 1 END", "t.id = id",
     "(id, name) = (id, name)", "$1", "$1 = 5 AND id = id", "current_user = 'app'",
     "now() > '2020-01-01'", "1 NOT IN (2, 3)", "(SELECT count(*) FROM x) > 0",
     "EXISTS (SELECT 1 FROM x WHERE x.a = 1)", "EXISTS (SELECT 1 FROM t)",
     "EXISTS (SELECT 1 FROM t t2 WHERE t2.id = t.id)", "id IN (SELECT id FROM t)",
     "ctid = ANY (SELECT x.ctid FROM t x)", "(id, name) IN (SELECT id, name FROM t)",
     "id IN (SELECT DISTINCT id FROM public.t)", "starts_with(name, '')", "name ^@ ''",
     "strpos(name, '') = 1", "position('' in name) > 0", "position($1 in name) >= 0",
     "name || '' = name", "name = concat('', name)", "(now(), now()) OVERLAPS (now(), now())",
     "(a, b) OVERLAPS (a, b)", "id = ALL ('{}')", "id <> ALL (ARRAY[]::int[])",
     "id < ALL ('{}'::int[])",
     "name SIMILAR TO '%'", "greatest(id, 1) >= id", "id >= least(7, id)", "nullif(id, id) IS NULL",
     "id - id = 0", "0 = id * 0", "tags @> tags", "tableoid = 't'::regclass",
     "tableoid = 'public.t'::regclass", "t.tableoid = '\"t\"'::pg_catalog.regclass"],
)  # fmt: skip
def test_nor_is_one_that_takes_a_closer_look(shape_of, where):
    assert shape_of(f"DELETE FROM t WHERE {where}").flags == ("trivial_where",)


@pytest.mark.parametrize(
    "where",
    ["COALESCE(paid, true)", "COALESCE(paid, false)", "name NOT LIKE '%'", "name ~ 'a'",
     "id = 1 OR id <> 2", "id > 5 OR id < 5", "id >= 7 OR id <= 5", "id = 1 OR id = 2",
     "id < $1 OR id > $1", "id IS NOT NULL",
     "id IS NULL OR name IS NOT NULL", "id > 1 OR id > 0 AND paid", "id < id - 1", "id = id + 1",
     "abs(id) > 0", "length(name) > 5", "lower(name) = upper(name)", "id = ANY (ARRAY[1, 2])",
     "id BETWEEN 1 AND id", "CASE WHEN id > 5 THEN true END", "CASE id WHEN 1 THEN true END",
     "$1 AND id = 5", "random() < 0.5", "chosen()", "chosen(id)", "(id = id) IS FALSE",
     "$1 IS NULL OR id = $1", "EXISTS (SELECT 1 FROM x WHERE a = id)",
     "EXISTS (SELECT 1 FROM t t2 WHERE t2.name = t.name AND t2.id < t.id)",
     "id IN (SELECT id FROM t ORDER BY id LIMIT 5)", "id IN (SELECT min(id) FROM t GROUP BY name)",
     "id IN (SELECT id FROM t WHERE paid)", "id IN (SELECT parent FROM t)",
     "id IN (SELECT DISTINCT ON (name) id FROM t)", "id NOT IN (SELECT id FROM t)",
     "id IN (SELECT id FROM other.t)", "id IN (SELECT id FROM t TABLESAMPLE SYSTEM (10))",
     "(id, name) IN (SELECT id, other FROM t)", "starts_with(name, 'a')", "starts_with('', name)",
     "name ^@ 'a'", "strpos(name, 'a') = 1", "strpos(name, '') = 2", "strpos(name, '') > id",
     "name || 'a' = name", "name || '' = other", "concat(name, other) = name",
     "(a, b) OVERLAPS (a, c)",
     "id = ALL ('{1}')", "id <> ALL (ARRAY[1])",
     "name NOT SIMILAR TO '%'", "name SIMILAR TO 'a%'", "greatest(id, 1) >= 2",
     "least(id, 1) >= id",
     "greatest(id, 1) <= id", "nullif(id, 1) IS NULL", "id - other = 0", "id * 0 = id",
     "id * 2 = 0", "tags && tags",
     "tags @> '{}'", "tableoid = 'u'::regclass", "tableoid = 'other.t'::regclass",
     "name LIKE name"],
)  # fmt: skip
def test_a_look_alike_that_chooses_rows_is_a_condition(shape_of, where):
    assert "trivial_where" not in shape_of(f"UPDATE public.t SET a = 1 WHERE {where}").flags


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE t SET a = 1 FROM t t2 WHERE t.id = t2.id",
        "UPDATE public.t x SET a = 1 FROM t y, v WHERE y.id = x.id AND true",
        "DELETE FROM t USING t AS t2 WHERE t2.id = t.id AND t.name = t2.name",
        "DELETE FROM t USING (SELECT id FROM t) x WHERE x.id = t.id",
        "WITH x AS (SELECT * FROM t) DELETE FROM t USING x WHERE x.id = t.id",
        "WITH x AS (SELECT id FROM t) DELETE FROM t WHERE id IN (SELECT id FROM x)",
        "MERGE INTO t USING t s ON t.id = s.id WHEN MATCHED THEN DELETE",
        "MERGE INTO t USING (SELECT id FROM t) s ON t.id = s.id WHEN MATCHED THEN DELETE",
    ],
)
def test_a_relation_that_is_joined_with_itself_row_by_row_is_all_of_it(shape_of, sql):
    assert "trivial_where" in shape_of(sql).flags


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE t SET a = 1 FROM u WHERE t.id = u.id",
        "UPDATE public.t SET a = 1 FROM staging.t s WHERE t.id = s.id",
        "DELETE FROM t a USING t b WHERE a.id < b.id AND a.name = b.name",
        "DELETE FROM t USING t b WHERE t.id = b.parent",
        "DELETE FROM t USING t b WHERE t.id = b.id AND b.gone",
        "DELETE FROM t USING (SELECT id FROM t WHERE gone) x WHERE x.id = t.id",
        "DELETE FROM t USING (SELECT parent AS id FROM t) x WHERE x.id = t.id",
        "DELETE FROM t USING (SELECT parent FROM t) x (id) WHERE x.id = t.id",
        "DELETE FROM t USING (SELECT id FROM t LIMIT 5) x WHERE x.id = t.id",
        "WITH t AS (SELECT 5 AS id) DELETE FROM public.t USING t x WHERE x.id = t.id",
        "WITH x AS (SELECT id FROM t WHERE gone) DELETE FROM t USING x WHERE x.id = t.id",
        "WITH x (id) AS (SELECT parent FROM t) DELETE FROM t USING x WHERE x.id = t.id",
        "MERGE INTO t USING u s ON t.id = s.id WHEN MATCHED THEN DELETE",
    ],
)
def test_another_relation_or_part_of_it_chooses_rows(shape_of, sql):
    assert not {"trivial_where", "missing_where"} & set(shape_of(sql).flags)


@pytest.mark.parametrize(
    "where",
    [
        " OR ".join(f"id = {number}" for number in range(5000)),
        " OR ".join(f"id = {number} OR id <> 1" for number in range(2500)),
        "NOT (" * 60 + f"id = 1 AND {' AND '.join(['1 < 2'] * 2000)}" + ")" * 60,
        "(" * 60 + "id = 1" + " IS TRUE) IS NOT UNKNOWN" * 60,
    ],
    ids=["list", "pairs", "negations", "tests"],
)
def test_long_conditions_take_no_longer_than_their_length(where):
    began = time.process_time()
    classify(parse(f"DELETE FROM t WHERE {where}"), parse)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    "sql",
    [
        "MERGE INTO t USING s ON s.x = 1 WHEN MATCHED THEN DELETE",
        "MERGE INTO t USING (SELECT 1 AS x) s ON s.x = 1 WHEN MATCHED THEN UPDATE SET a = 1",
        "MERGE INTO t USING s ON true WHEN MATCHED AND t.id = t.id THEN DELETE",
        "MERGE INTO t USING s ON false WHEN NOT MATCHED BY SOURCE THEN DELETE",
        "MERGE INTO t USING s ON 1 = 2 WHEN NOT MATCHED BY SOURCE THEN UPDATE SET a = 1",
        "DELETE FROM t USING s WHERE s.x = 1",
    ],
)
def test_a_condition_on_other_relations_alone_chooses_no_row(shape_of, sql):
    assert "trivial_where" in shape_of(sql).flags


@pytest.mark.parametrize(
    "sql",
    [
        "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN DELETE",
        "MERGE INTO t USING s ON true WHEN MATCHED AND t.id = s.id THEN DELETE",
        "MERGE INTO t USING s ON s.x = 1 WHEN MATCHED AND t.kept THEN DO NOTHING"
        " WHEN MATCHED THEN DELETE",
        "MERGE INTO t USING s ON t.id = s.id WHEN NOT MATCHED BY SOURCE THEN DELETE",
        "MERGE INTO t USING s ON false WHEN NOT MATCHED BY SOURCE AND t.id = 5 THEN DELETE",
        "MERGE INTO t USING s ON false WHEN NOT MATCHED THEN INSERT VALUES (1)",
        "MERGE INTO t USING s ON false WHEN MATCHED THEN DELETE",
        "DELETE FROM t USING s WHERE s.x = 1 AND t.y",
        "DELETE FROM t USING s WHERE x = 1",
    ],
)
def test_one_on_the_rows_themselves_does(shape_of, sql):
    assert "trivial_where" not in shape_of(sql).flags


@pytest.mark.parametrize(
    ("where", "folds"),
    [
        ("t.id = $1 OR $2", True),
        ("id = $1", True),
        ("x.id = $1 AND (t.id = $2 OR $3)", True),
        ("t.id = $1 AND ($2 OR x.a)", False),
        ("x.id = t.id", False),
        ("t.id IN (SELECT a FROM u)", True),
    ],
)
def test_a_where_may_fold_unless_a_column_of_the_relation_itself_is_compared(
    shape_of, where, folds
):
    changes = shape_of(f"DELETE FROM t USING x WHERE {where}").changes
    assert ("foldable" in changes) is folds
