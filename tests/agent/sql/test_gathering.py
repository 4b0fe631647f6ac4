"""Rows that are gathered in one value are many, unless an equality or a LIMIT picks them."""

import pytest

from agent.sql.gathering import MOST_LIMITED


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT json_agg(c) FROM shop.customers c WHERE id > 0",
        "SELECT string_agg(card, ',') FROM shop.customers WHERE id IS NOT NULL",
        "SELECT jsonb_object_agg(id, card) FROM shop.customers WHERE id BETWEEN 1 AND 9999",
        "SELECT JSON_ARRAYAGG(card) FROM shop.customers WHERE id > 0",
        "SELECT xmlagg(xmlelement(name c, card)) FROM shop.customers WHERE id > 0",
        "SELECT (array_agg(card))[1:1000] FROM shop.customers WHERE id <> 0",
        "SELECT encode(convert_to(string_agg(card, ','), 'UTF8'), 'hex') FROM c WHERE id > 0",
        "SELECT json_build_object('a', json_agg(card)) FROM shop.customers WHERE id > 0",
        "SELECT array_agg(card) FROM shop.customers WHERE id > 0 GROUP BY id % 2",
        "SELECT array_agg(card) FROM shop.customers GROUP BY true HAVING count(*) > 0",
        "SELECT array_agg(card) OVER () FROM shop.customers WHERE id > 0 LIMIT 1",
        "SELECT ARRAY(SELECT card FROM shop.customers WHERE id > 0)",
        "SELECT JSON_ARRAY(SELECT card FROM shop.customers WHERE id > 0)",
        "SELECT (SELECT json_agg(c) FROM shop.customers c WHERE id > 0)",
        "SELECT j FROM (SELECT json_agg(c) j FROM customers c WHERE id > 0) s WHERE j IS NOT NULL",
        "SELECT json_agg(s) FROM (SELECT * FROM shop.customers WHERE id > 0) s",
        f"SELECT json_agg(s) FROM (SELECT * FROM shop.customers LIMIT {MOST_LIMITED + 1}) s",
        "WITH c AS (SELECT * FROM shop.customers WHERE id > 0) SELECT json_agg(c) FROM c",
        "WITH j AS (SELECT json_agg(c) j FROM shop.customers c WHERE id > 0) SELECT j FROM j",
        "SELECT 'x' UNION SELECT string_agg(card, '') FROM shop.customers WHERE id > 0",
        "SELECT json_agg(c) FROM shop.customers c WHERE true = (id > 0)",
        "SELECT json_agg(c) FROM shop.customers c WHERE active = true",
        "SELECT json_agg(c) FROM shop.customers c WHERE active = 't'::bool",
        "SELECT json_agg(c) FROM shop.customers c WHERE id = 1 OR id > 0",
        "SELECT json_agg(c) FROM shop.customers c WHERE id = ANY(ARRAY(SELECT id FROM shop.x))",
        "SELECT json_agg(c) FROM shop.customers c WHERE id IN (SELECT id FROM shop.x)",
        "SELECT json_agg(c) FROM shop.customers c, shop.flags f WHERE f.name = 'checkout'",
        "SELECT json_agg(c) FROM shop.customers c JOIN shop.flags f ON true WHERE f.name = 'x'",
        "SELECT json_agg(c) FROM customers c, orders o WHERE c.id = c.id AND o.id = 1",
        "SELECT json_object_agg_unique_strict(id, card) FROM shop.customers WHERE id > 0",
        "VALUES ((SELECT json_agg(c) FROM shop.customers c WHERE id > 0))",
        "SELECT query_to_xml('SELECT * FROM shop.customers WHERE id > 0', true, true, '')",
        "SELECT table_to_xml('shop.customers', true, true, '')",
        "SELECT table_to_xml('shop.customers'::regclass, true, true, '')",
        "INSERT INTO t SELECT json_agg(c) FROM shop.customers c WHERE id > 0",
        "SELECT percentile_disc(ARRAY[0, 0.5, 1]) WITHIN GROUP (ORDER BY id) FROM c WHERE id > 0",
        "SELECT percentile_disc('{0,1}') WITHIN GROUP (ORDER BY id) FROM c WHERE id > 0",
        "SELECT percentile_disc((SELECT f)) WITHIN GROUP (ORDER BY id) FROM c WHERE id > 0",
        "SELECT * FROM shop.customers LIMIT (SELECT 1000)",
        "SELECT * FROM shop.customers LIMIT (SELECT count(*) FROM shop.customers)::int",
    ],
)
def test_many_rows_in_one_value_are_a_read_without_a_filter(shape_of, sql):
    assert "unfiltered" in shape_of(sql).flags


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT json_agg(o) FROM shop.orders o WHERE customer = 7",
        "SELECT json_agg(o) FROM shop.orders o WHERE customer = $1 AND total > 10",
        "SELECT json_agg(o) FROM shop.orders o WHERE o.id IN (1, 2, 3)",
        "SELECT json_agg(o) FROM shop.orders o WHERE id = ANY($1)",
        "SELECT json_agg(o) FROM shop.orders o WHERE tenant = current_setting('app.tenant')::int",
        "SELECT json_agg(s) FROM (SELECT * FROM shop.orders WHERE id > 5 LIMIT 10) s",
        "SELECT json_agg(s) FROM (SELECT * FROM shop.orders LIMIT $1) s",
        "WITH s AS (SELECT * FROM shop.orders LIMIT 10) SELECT json_agg(s) FROM s",
        "SELECT json_agg(l) FROM shop.orders o JOIN shop.lines l ON l.o = o.id WHERE o.id = 7",
        "SELECT json_agg(l) FROM shop.orders JOIN shop.lines l USING (id) WHERE id = 7",
        "SELECT id, (SELECT json_agg(l) FROM lines l WHERE l.o = o.id) FROM orders o WHERE id = 7",
        "SELECT id, ARRAY(SELECT x FROM lines l WHERE l.o = o.id) FROM orders o WHERE id = 7",
        "SELECT json_agg(l) FROM orders o JOIN lines l ON order_id = order_number WHERE number = 7",
        "SELECT json_agg(u) FROM unnest($1::int[]) u",
        "SELECT json_agg(v) FROM (VALUES (1), (2)) v",
        "SELECT count(*), max(total) FROM shop.orders WHERE id > 0",
        "SELECT * FROM shop.orders WHERE id > 0",
        "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY total) FROM shop.orders WHERE id > 0",
        "SELECT percentile_cont($1) WITHIN GROUP (ORDER BY total) FROM shop.orders WHERE id > 0",
        "SELECT * FROM shop.orders LIMIT 10",
        "SELECT * FROM shop.orders LIMIT least($1, 100)",
        "WITH x AS (UPDATE t SET a = 1 WHERE id = 7 RETURNING *) SELECT json_agg(x) FROM x",
        "SELECT query_to_xml('SELECT count(*) FROM shop.orders', true, true, '')",
        "SELECT query_to_xml('SELECT * FROM shop.orders WHERE id = 7', true, true, '')",
        "SELECT query_to_xml($1, true, true, '')",
    ],
)
def test_rows_that_somebody_picked_are_not(shape_of, sql):
    assert "unfiltered" not in shape_of(sql).flags


def test_a_query_that_a_function_is_given_as_text_is_read(shape_of):
    shape = shape_of("SELECT query_to_xml('DELETE FROM shop.flags', true, true, '')")
    assert shape.writes == ("shop.flags",)
    assert "missing_where" in shape.flags
    shape = shape_of("SELECT pg_catalog.table_to_xml('hr.salaries', true, true, '')")
    assert shape.reads == ("hr.salaries",)
