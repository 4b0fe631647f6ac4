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
     "id IN (VALUES (t.id))", "id IN (VALUES (1), (id))", "id = ANY (SELECT id)",
     "id = (SELECT t.id)",
     "name LIKE name", "name ILIKE name", "name LIKE '%' || name", "name LIKE concat(name, '%')",
     "name SIMILAR TO name", "name ~ name", "starts_with(name, name)", "name ^@ name", "name >= ''",
     "ctid >= '(0,0)'", "ctid > '(0,0)'::tid", "ctid >= '(0,1)'", "'(0, 0)' < t.ctid",
     "ctid IS NOT NULL", "xmin IS NOT NULL", "tableoid > 0", "tableoid::regclass = 't'::regclass",
     "tableoid = (SELECT 't'::regclass)", "ARRAY[id] @> '{}'", "'{}' <@ ARRAY[id]",
     "tags @> ARRAY[]::text[]", "'(,)'::int4range @> id", "id <@ '[,)'::int4range",
     "ARRAY[id] IS NOT NULL", "concat(name) IS NOT NULL",
     "num_nulls(id) >= 0", "(id > 5) IN (true, false)", "id = ANY (ARRAY(SELECT id FROM t))",
     "id >= (SELECT min(id) FROM t)", "(SELECT max(x.id) FROM t x) >= t.id",
     "id >= ALL (SELECT id FROM x WHERE false)", "id NOT IN (SELECT id FROM x WHERE 1 = 2)",
     "id IN (1) OR id NOT IN (1)", "name LIKE 'a%' OR name NOT LIKE 'a%'",
     "id NOT BETWEEN 1 AND 5 OR id BETWEEN 1 AND 5", "name !~ 'x' OR name ~ 'x'",
     "CASE id WHEN 1 THEN true ELSE true END", "clock_timestamp() > '2000-01-01'",
     "id # id = 0", "id & 0 = 0",
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
     "id IN (VALUES (1), (2))", "id IN (VALUES (other))", "id = (SELECT other)", "id = (SELECT 1)",
     "name LIKE other", "name LIKE name || 'x'", "name LIKE 'a' || '%'",
     "name LIKE concat(name, x)",
     "name ~ other", "starts_with(name, other)", "name > ''", "ctid >= '(4,0)'", "ctid > '(0,1)'",
     "ctid = '(0,1)'", "ctid >= '(0,0)' AND ctid < '(100,0)'", "tableoid = 0", "tableoid > 16384",
     "ARRAY[id] @> '{1}'", "data @> '{}'", "'[1,5)'::int4range @> id", "id::text IS NOT NULL",
     "(id > 5) IN (true)", "id = ANY (ARRAY(SELECT id FROM other))", "id > (SELECT min(id) FROM t)",
     "id >= (SELECT min(id) FROM u)", "id >= (SELECT max(id) FROM t)",
     "id = (SELECT max(id) FROM t)",
     "id >= (SELECT min(other) FROM t)", "id >= (SELECT min(id) FROM t WHERE a = 1)",
     "id IN (SELECT id FROM x WHERE false)", "name LIKE 'a%' OR name NOT LIKE 'b%'",
     "id IN (1) OR id NOT IN (2)", "id IN (1) OR other NOT IN (1)", "name !~ 'x' OR other ~ 'x'",
     "created_at < clock_timestamp()", "id & 1 = 0",
     "CASE id WHEN 1 THEN true ELSE false END",
     "created_at::date = created_at", "md5(a) = b"],
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
        "MERGE INTO t USING (SELECT 1 AS id WHERE false) s ON t.id = s.id"
        " WHEN NOT MATCHED BY SOURCE THEN DELETE",
        "MERGE INTO t USING (SELECT id FROM u LIMIT 0) s ON t.id = s.id"
        " WHEN NOT MATCHED BY SOURCE THEN UPDATE SET a = 1",
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
        "MERGE INTO t USING (SELECT count(*) AS id FROM u WHERE false) s ON t.id = s.id"
        " WHEN NOT MATCHED BY SOURCE THEN DELETE",
        "MERGE INTO t USING (SELECT id FROM u LIMIT 10) s ON t.id = s.id"
        " WHEN NOT MATCHED BY SOURCE THEN DELETE",
        "MERGE INTO t USING (SELECT 1 AS id WHERE false) s ON t.id = s.id WHEN MATCHED THEN DELETE",
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


@pytest.mark.parametrize(
    "where",
    ["id * 1 = id", "1 * id = id", "id = id / 1", "id - 0 >= id", "id | 0 = id", "id & -1 = id",
     "-(-id) = id", "+id = id", "(id + 0) * 1 = id", "id << 0 <= id", "t.id = 0 + id",
     "id ^ 1 = id"],
)  # fmt: skip
def test_arithmetic_that_comes_to_nothing_chooses_no_row(shape_of, where):
    assert shape_of(f"DELETE FROM t WHERE {where}").flags == ("trivial_where",)


@pytest.mark.parametrize(
    "where",
    ["id * 2 = id", "id * $1 = id", "1 - id = id", "1 / id = id", "-id = id", "id * 1 = other",
     "id * 1 <> id", "id & 1 = id", "id * 1 > 5", "2 ^ id = id", "~id = id", "id * 1 * 2 = id"],
)  # fmt: skip
def test_arithmetic_that_comes_to_something_may_choose(shape_of, where):
    assert shape_of(f"DELETE FROM t WHERE {where}").flags == ()


@pytest.mark.parametrize(
    ("clause", "told"),
    [
        ("WHEN NOT MATCHED BY SOURCE THEN DELETE", True),
        ("WHEN NOT MATCHED BY SOURCE AND t.id = t.id THEN UPDATE SET a = 1", True),
        ("WHEN NOT MATCHED BY SOURCE AND t.old THEN DELETE", False),
        ("WHEN NOT MATCHED BY SOURCE THEN DO NOTHING", False),
        ("WHEN NOT MATCHED BY TARGET THEN INSERT VALUES (1)", False),
        ("WHEN MATCHED THEN DELETE", False),
    ],
)
def test_a_merge_says_that_it_changes_what_its_source_lacks(shape_of, clause, told):
    shape = shape_of(f"MERGE INTO t USING s ON t.id = s.id {clause}")
    assert ("by_source" in shape.flags) is told


@pytest.mark.parametrize(
    ("merge", "changes"),
    [
        ("ON t.a = s.a OR $1 WHEN MATCHED THEN DELETE", ("merge t", "foldable")),
        ("ON t.a = s.a WHEN MATCHED THEN UPDATE SET b = 1", ("merge t",)),
        ("ON t.a = s.a OR $1 WHEN MATCHED AND t.b THEN DELETE", ()),
        ("ON t.a = s.a OR $1 WHEN NOT MATCHED THEN INSERT VALUES (1)", ()),
        ("ON true WHEN MATCHED THEN DELETE", ()),
    ],
)
def test_a_merge_says_whether_its_on_is_all_that_chooses(shape_of, merge, changes):
    assert shape_of(f"MERGE INTO t USING s {merge}").changes == changes


@pytest.mark.parametrize(
    "where",
    ["ctid <= '(4294967295,65535)'", "ctid BETWEEN '(0,0)' AND '(4294967295,0)'", "random() < 2",
     "random() >= 0", "random() <= 1.0", "(id = 1) IS NOT NULL", "(id > 5) IS NOT UNKNOWN",
     "(id < 10) >= false", "true >= (id < 10)", "CASE id WHEN id THEN true END", "int4eq(id, id)",
     "NOT int4ne(id, id)", "textlike(name, '%')", "regexp_like(name, '')",
     "name LIKE '%%' ESCAPE '#'",
     "id BETWEEN SYMMETRIC id AND 7", "pg_typeof(id) = 'int'::regtype", "id % 1 = 0",
     "NOT EXISTS (SELECT 1 FROM u WHERE u.a = t.a AND false)",
     "id <> ALL (SELECT a FROM u LIMIT 0)",
     "id IN (SELECT id FROM t OFFSET 0)", "id = SOME (SELECT id FROM t LIMIT ALL)",
     "id IN (SELECT id FROM t UNION SELECT a FROM u)", "id IN (SELECT id FROM t GROUP BY id)",
     "strpos('abc', 'b') = 2 AND ctid >= '(0,0)'", "md5($1) = substr('abc', 2)"],
)  # fmt: skip
def test_other_spellings_of_what_chooses_nothing(shape_of, where):
    assert shape_of(f"DELETE FROM t WHERE {where}").flags == ("trivial_where",)


@pytest.mark.parametrize(
    "where",
    ["ctid <= '(5,1)'", "ctid BETWEEN '(0,0)' AND '(5,0)'", "random() < 0.5", "random() > 0.9",
     "(id = 1) IS NULL", "(id = a) IS NOT NULL", "(id < 10) >= true",
     "CASE id WHEN 1 THEN true END",
     "int4eq(id, 5)", "textlike(name, 'a%')", "name LIKE '%%' ESCAPE '%'", "regexp_like(name, 'a')",
     "id BETWEEN SYMMETRIC 3 AND 7", "id % 2 = 0", "id % 1 = 1",
     "EXISTS (SELECT 1 FROM u WHERE false)",
     "id <> ALL (SELECT a FROM u LIMIT 1)", "id IN (SELECT id FROM t OFFSET $1)",
     "id IN (SELECT id FROM t OFFSET 5)", "id IN (SELECT id FROM t LIMIT 5)",
     "id IN (SELECT a FROM u UNION SELECT b FROM u)", "int4range(1, 5) @> id",
     "strpos(name, 'b') = 2", "own_function('abc') AND id = 1", "md5(name) = 'x'"],
)  # fmt: skip
def test_what_looks_like_them_may_choose(shape_of, where):
    assert shape_of(f"DELETE FROM t WHERE {where}").flags == ()


@pytest.mark.parametrize(
    "sql",
    ["DELETE FROM t WHERE power(id, 0) = 1", "DELETE FROM t WHERE 1 = pow(id, 0.0)",
     "DELETE FROM t WHERE sign(id) IN (-1, 0, 1)", "DELETE FROM t WHERE length(md5(name)) = 32",
     "DELETE FROM t WHERE length(md5(name)) > 7", "DELETE FROM t o WHERE o::text <> ''",
     "DELETE FROM t WHERE id IN (SELECT id FROM t LIMIT 100000)",
     "DELETE FROM t WHERE id = ANY (SELECT id FROM t LIMIT 1000000)",
     "DELETE FROM t WHERE (name = NULL) IS NOT NULL"],
)  # fmt: skip
def test_a_condition_that_comes_to_the_same_for_each_row_is_trivial(shape_of, sql):
    assert "trivial_where" in shape_of(sql).flags


@pytest.mark.parametrize(
    "sql",
    ["DELETE FROM t WHERE power(id, 2) = 1", "DELETE FROM t WHERE sign(id) IN (-1, 0)",
     "DELETE FROM t WHERE length(name) = 32", "DELETE FROM t WHERE length(md5(name)) = 31",
     "DELETE FROM t WHERE t::text <> ''", "DELETE FROM t o WHERE o.name::text <> ''",
     "DELETE FROM t o WHERE o::text <> '(1)'",
     "DELETE FROM t WHERE id IN (SELECT id FROM t LIMIT 1000)",
     "DELETE FROM t WHERE id IN (SELECT id FROM t WHERE old LIMIT 100000)",
     "DELETE FROM t WHERE id IN (SELECT id FROM other LIMIT 100000)",
     "DELETE FROM t WHERE id IN (SELECT id FROM t LIMIT $1)", "DELETE FROM t WHERE name = NULL"],
)  # fmt: skip
def test_one_that_looks_like_it_may_choose(shape_of, sql):
    assert "trivial_where" not in shape_of(sql).flags
