"""What ties a permanent object to a temporary one is told when the tie is made."""

import pytest

FLAG = "temporary_tie"


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE shop.flags OF pg_temp.ty",
        "ALTER TABLE flags OF pg_temp_12.ty",
        'ALTER TABLE shop.flags OF "pg_temp".ty',
        "ALTER TABLE shop.flags OF ty",
        "ALTER TABLE shop.flags ALTER name TYPE pg_temp.d",
        "ALTER TABLE shop.flags ALTER name TYPE pg_temp.d[]",
        "ALTER TABLE shop.flags ALTER name TYPE text COLLATE pg_temp.c",
        "ALTER TABLE shop.flags ALTER name SET DEFAULT pg_temp.f()",
        "ALTER TABLE shop.flags ALTER name SET DEFAULT nextval('pg_temp.s')",
        "ALTER TABLE shop.flags ADD extra pg_temp.ty",
        "ALTER TABLE shop.flags ADD CHECK (pg_temp.f(name))",
        "ALTER TABLE shop.flags ADD FOREIGN KEY (name) REFERENCES pg_temp.t (name)",
        "ALTER TABLE shop.flags INHERIT pg_temp.t",
        "ALTER TYPE hr.pair ADD ATTRIBUTE extra pg_temp.ty",
        "ALTER DOMAIN hr.percent ADD CHECK (pg_temp.f(VALUE))",
        "ALTER POLICY own ON hr.policies USING (pg_temp.f())",
        "ALTER FOREIGN DATA WRAPPER w HANDLER pg_temp.f",
        "ALTER TEXT SEARCH CONFIGURATION hr.c ADD MAPPING FOR word WITH pg_temp.d",
        "CREATE TABLE shop.new (a pg_temp.ty)",
        "CREATE TABLE shop.new OF pg_temp.ty",
        "CREATE TABLE shop.new () INHERITS (pg_temp.t)",
        "CREATE TRIGGER t BEFORE INSERT ON shop.flags FOR EACH ROW EXECUTE FUNCTION pg_temp.f()",
        "CREATE EVENT TRIGGER t ON sql_drop EXECUTE FUNCTION pg_temp.f()",
        "CREATE POLICY p ON shop.flags USING (pg_temp.f())",
        "CREATE RULE r AS ON INSERT TO shop.flags DO ALSO SELECT pg_temp.f()",
        "CREATE RULE r AS ON INSERT TO shop.flags DO ALSO DELETE FROM pg_temp.t",
        "CREATE OR REPLACE VIEW hr.recent_pay AS SELECT pg_temp.f() AS pay",
        "CREATE OR REPLACE FUNCTION hr.total() RETURNS bigint BEGIN ATOMIC TABLE pg_temp.t; END",
        "CREATE FUNCTION hr.f(pg_temp.ty) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE INDEX ON shop.flags (pg_temp.f(name))",
        "CREATE INDEX ON shop.flags (name COLLATE pg_temp.c)",
        "CREATE DOMAIN hr.d AS pg_temp.ty",
        "CREATE TYPE hr.pair AS (a pg_temp.ty)",
        "CREATE CAST (hr.grade AS int) WITH FUNCTION pg_temp.f(hr.grade)",
        "CREATE OPERATOR hr.+ (function = pg_temp.f, leftarg = int, rightarg = int)",
        "DO $$ BEGIN ALTER TABLE shop.flags OF pg_temp.ty; END $$",
        "SELECT 1; ALTER TABLE pg_temp.t OF pg_temp.ty; ALTER TABLE shop.flags OF pg_temp.ty",
    ],
)
def test_a_permanent_object_that_names_a_temporary_one_is_tied_to_it(shape_of, sql):
    shape = shape_of(sql)
    assert shape.status == "parsed"
    assert FLAG in shape.flags


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TEMP TABLE t (a pg_temp.ty)",
        "CREATE TABLE pg_temp.t (a pg_temp.ty DEFAULT pg_temp.f())",
        "CREATE TEMP TABLE t OF pg_temp.ty",
        "ALTER TABLE pg_temp.t OF pg_temp.ty",
        "ALTER TABLE pg_temp.t OF ty",
        "ALTER TABLE shop.flags OF shop.ty",
        "ALTER TABLE shop.flags ALTER name TYPE citext",
        "ALTER TABLE pg_temp_3.t ALTER a TYPE pg_temp_3.d",
        "CREATE TYPE pg_temp.pair AS (a pg_temp.ty)",
        "CREATE DOMAIN pg_temp.e AS pg_temp.d",
        "CREATE TEMP VIEW v AS SELECT pg_temp.f()",
        "CREATE VIEW v AS SELECT pg_temp.f(a) FROM pg_temp.t",
        "CREATE FUNCTION pg_temp.f(pg_temp.ty) RETURNS pg_temp.ty LANGUAGE sql AS 'SELECT $1'",
        "CREATE FUNCTION hr.f() RETURNS int SET search_path = hr, pg_temp LANGUAGE sql AS ''",
        "CREATE FUNCTION hr.f() RETURNS int LANGUAGE sql AS 'SELECT a FROM pg_temp.t'",
        "ALTER FUNCTION hr.f() SET search_path = pg_catalog, pg_temp",
        "CREATE INDEX ON pg_temp.t (pg_temp.f(a))",
        "CREATE STATISTICS s ON a, b FROM pg_temp.t",
        "CREATE TRIGGER t BEFORE INSERT ON pg_temp.t FOR EACH ROW EXECUTE FUNCTION pg_temp.f()",
        "CREATE RULE r AS ON INSERT TO pg_temp.t DO ALSO DELETE FROM pg_temp.u",
        "CREATE CAST (pg_temp.ty AS int) WITH FUNCTION pg_temp.f(pg_temp.ty)",
        "CREATE TEMP SEQUENCE s OWNED BY pg_temp.t.a",
        "CREATE AGGREGATE pg_temp.a (int) (sfunc = pg_temp.f, stype = int)",
        "CREATE TABLE shop.kept AS SELECT * FROM pg_temp.t",
        "CREATE TABLE shop.kept (LIKE pg_temp.t)",
        "INSERT INTO shop.flags SELECT * FROM pg_temp.t",
        "SELECT 'pg_temp.t'::regclass",
        "ALTER TABLE shop.flags ALTER name SET DEFAULT 'pg_temp'",
        "ALTER TABLE shop.flags ADD pg_temp text",
        "DROP TABLE pg_temp.t",
        "COMMENT ON TABLE pg_temp.t IS 'pg_temp.x'",
    ],
)
def test_what_is_temporary_itself_or_only_copies_is_not(shape_of, sql):
    shape = shape_of(sql)
    assert shape.status == "parsed"
    assert FLAG not in shape.flags
