"""Which statements may have changed what a grant is about."""

import pytest

from agent.approvals.changing import may_change
from model.approval import Bound, Grant, Moment, Term

HOUR = 3_600_000_000
GRANT = Grant(
    "g", "CODE", Bound("h", "main", "shop", "app", "", "ab"), 2,
    Term.begin(Moment(1_790_000_000_000_000, 50 * HOUR, "boot"), HOUR),
    relations=("shop.orders", "prices"), functions=("purge",),
)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        b"ALTER TABLE shop.orders ADD COLUMN x int",
        b"alter table Orders rename to old",
        b"DROP SCHEMA shop CASCADE",
        b"CREATE TRIGGER t BEFORE DELETE ON shop.orders EXECUTE FUNCTION f()",
        b'CREATE RULE r AS ON DELETE TO "orders" DO INSTEAD NOTHING',
        b"CREATE TEMP TABLE prices (id int)",
        b"CREATE OR REPLACE FUNCTION purge() RETURNS void LANGUAGE sql AS ''",
        b'ALTER TABLE U&"\\006Frders" ADD COLUMN x int',
        b"SELECT 1; /* a */ ALTER TABLE shop . orders ADD x int",
        b"alter schema SHOP rename to old",
        b"CREATE TABLE x (id int, o int REFERENCES shop.orders ON DELETE CASCADE)",
        b"CREATE TABLE x (PRIMARY KEY (id)) INHERITS (a, shop.orders)",
        b"CREATE TABLE x PARTITION OF orders FOR VALUES IN (1)",
        b"CREATE OR REPLACE VIEW shop.orders AS SELECT 1",
        b"CREATE POLICY p ON orders USING (true)",
        b"EXPLAIN ANALYZE CREATE TABLE prices AS SELECT 1",
        b"DO $$ BEGIN EXECUTE 'ALTER TABLE shop.orders ADD x int'; END $$",
        b"DO $$ BEGIN EXECUTE format('DROP SCHEMA %I CASCADE', 'shop'); END $$",
        b"SELECT 'it\\'; ALTER TABLE orders ADD x int; --'",
        b"SELECT 'open; ALTER TABLE orders ADD x int",
        b"/* /* */ ALTER TABLE orders ADD x int; */ SELECT 1",
        b"ALTER TABLE orders ADD x int" + b" " * 70_000,
    ],
)
def test_what_defines_something_of_these_names_may_have_changed_it(text):
    assert may_change(text, GRANT)


@pytest.mark.parametrize(
    "text",
    [
        b"DELETE FROM shop.orders",
        b"SELECT created FROM shop.orders",
        b"CREATE TABLE elsewhere (id int)",
        b"TRUNCATE shop.orders",
        b"SELECT 'create shop', 'alter table orders'",
        b"SELECT $a$ drop orders $a$ -- drop orders",
        b"WITH prices AS (SELECT 1) SELECT c.create, 'drop' FROM prices c",
        b"CREATE TEMP TABLE x AS SELECT * FROM shop.orders",
        b"CREATE VIEW v (orders) AS SELECT * FROM shop.orders",
        b"CREATE TABLE x (orders int, prices int DEFAULT (1))",
        b"CREATE TABLE shop.x (id int)",
        b"CREATE SCHEMA workshop",
        b"ALTER TABLE preorders ADD x int",
        b'ALTER TABLE "orders ""2""" ADD x int',
        b"CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'DELETE FROM orders'",
    ],
)
def test_what_reads_or_writes_it_or_defines_something_else_has_not(text):
    assert not may_change(text, GRANT)


def test_the_agents_own_look_at_the_catalog_changes_nothing_of_any_name():
    own = b"WITH v AS (SELECT w.relname FROM pg_class w) SELECT v.relname, 'create' FROM v"
    short = Grant("g", "CODE", GRANT.bound, 2, GRANT.term, relations=("w.v",))
    assert not may_change(own, short)
    assert not may_change(b"ALTER TABLE w.orders RENAME view TO wv", short)
    assert may_change(b"ALTER VIEW w.v RENAME TO x", short)


def test_letters_beyond_ascii_are_compared_as_they_are():
    grant = Grant("g", "CODE", GRANT.bound, 2, GRANT.term, relations=("ÉTATS",))
    assert may_change('ALTER TABLE "ÉTATS" ADD x int'.encode(), grant)
