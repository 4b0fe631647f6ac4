"""ON CONFLICT DO UPDATE changes as many rows as its source brings."""

import pytest

UPDATE = "ON CONFLICT (id) DO UPDATE SET total = -1"


@pytest.mark.parametrize(
    "source",
    [
        "SELECT * FROM shop.orders",
        "TABLE shop.orders",
        "SELECT * FROM shop.orders WHERE true",
        "SELECT * FROM shop.orders LIMIT 1000000000",
        "SELECT id, -1 FROM generate_series(1, 1000000) id",
        "SELECT generate_series(1, 1000000), -1",
        "SELECT * FROM unnest(ARRAY(SELECT id FROM shop.orders))",
        "SELECT * FROM unnest(array_fill(1, ARRAY[9]))",
        "SELECT * FROM unnest(string_to_array(repeat('1,', 99), ','))",
        "SELECT * FROM attack.ids()",
        "SELECT * FROM (SELECT * FROM shop.orders) s",
        "SELECT * FROM unnest($1::int[]) u, shop.orders",
        "SELECT * FROM unnest($1::int[]) u JOIN shop.orders o ON true",
        "SELECT * FROM unnest($1::int[]) u RIGHT JOIN shop.orders o ON o.id = u",
        "VALUES (1) UNION SELECT id FROM shop.orders",
        "WITH s AS (SELECT * FROM shop.orders) SELECT * FROM s",
    ],
)
def test_one_from_a_query_without_a_condition_has_no_where(shape_of, source):
    assert "missing_where" in shape_of(f"INSERT INTO shop.orders {source} {UPDATE}").flags


@pytest.mark.parametrize(
    "source",
    [
        "VALUES (1, 2), (3, 4)",
        "DEFAULT VALUES",
        "SELECT 1, now(), $1",
        "SELECT * FROM shop.orders WHERE id = 1",
        "SELECT max(id), count(*) FROM shop.orders",
        "SELECT * FROM unnest($1::int[], $2::text[])",
        "SELECT unnest($1::int[]), 0",
        "SELECT * FROM unnest(string_to_array($1, ',')) u",
        "SELECT * FROM jsonb_to_recordset($1) AS r(id int, total int)",
        "SELECT * FROM json_populate_recordset(NULL::shop.orders, $1)",
        "SELECT * FROM JSON_TABLE($1, '$[*]' COLUMNS (id int)) j",
        "SELECT * FROM (VALUES (1, 2)) v",
        "SELECT o.id FROM unnest($1::int[]) u JOIN shop.orders o ON o.id = u",
        "SELECT u FROM unnest($1::int[]) u LEFT JOIN shop.orders o ON o.id = u",
        "WITH v (id) AS (VALUES (1)) SELECT * FROM v",
        "SELECT * FROM staging.orders_today",
        "SELECT id, count(*) FROM shop.lines GROUP BY id",
        "SELECT * FROM shop.orders JOIN shop.lines USING (id)",
        "WITH s AS (SELECT * FROM shop.lines) SELECT * FROM s",
    ],
)
def test_one_whose_rows_are_sent_chosen_or_another_tables_is_bounded(shape_of, source):
    flags = shape_of(f"INSERT INTO shop.orders {source} {UPDATE}").flags
    assert not {"missing_where", "trivial_where"} & set(flags)


def test_the_condition_of_do_update_counts_as_that_of_an_update(shape_of):
    upsert = f"INSERT INTO shop.orders SELECT * FROM shop.orders {UPDATE}"
    assert "trivial_where" in shape_of(f"{upsert} WHERE 1 = 1").flags
    where = shape_of(f"{upsert} WHERE orders.total <> excluded.total").flags
    assert not {"missing_where", "trivial_where"} & set(where)


def test_a_cte_of_the_statement_around_is_known(shape_of):
    sql = "WITH v AS ({}), up AS (INSERT INTO t SELECT * FROM v {} RETURNING id) SELECT * FROM up"
    assert "missing_where" not in shape_of(sql.format("VALUES (1)", UPDATE)).flags
    assert "missing_where" in shape_of(sql.format("SELECT id FROM t", UPDATE)).flags


def test_a_cte_that_comes_later_is_no_source(shape_of):
    sql = f"WITH up AS (INSERT INTO t SELECT * FROM t {UPDATE}), t AS (VALUES (1)) SELECT 1"
    assert "missing_where" in shape_of(sql).flags


def test_do_nothing_changes_no_row(shape_of):
    sql = "INSERT INTO shop.orders SELECT * FROM shop.orders ON CONFLICT DO NOTHING"
    assert "missing_where" not in shape_of(sql).flags
