"""What a command takes from others, opens to others or puts into the place of others' things."""

import pytest


@pytest.mark.parametrize(
    ("sql", "flag"),
    [
        ("ALTER ROLE a VALID UNTIL '2000-01-01'", "locked_out"),
        ("ALTER ROLE a VALID UNTIL 'Jan 1 00:00:00 1999 PST'", "locked_out"),
        ("ALTER ROLE a VALID UNTIL '20001231'", "locked_out"),
        ("ALTER ROLE a VALID UNTIL '2500-01-01 BC'", "locked_out"),
        ("ALTER ROLE a VALID UNTIL ' Yesterday'", "locked_out"),
        ("ALTER USER a PASSWORD NULL", "locked_out"),
        ("ALTER ROLE a SET statement_timeout = 1", "locked_out"),
        ("ALTER ROLE ALL SET transaction_timeout TO '99ms'", "locked_out"),
        ("ALTER SYSTEM SET idle_session_timeout = '900us'", "locked_out"),
        ("DROP PUBLICATION p", "replication_cut"),
        ("DROP SUBSCRIPTION IF EXISTS s", "replication_cut"),
        ("ALTER PUBLICATION p DROP TABLES IN SCHEMA hr", "replication_cut"),
        ("ALTER PUBLICATION p SET (publish = 'insert, update')", "replication_cut"),
        ("ALTER SUBSCRIPTION s SET (slot_name = NONE)", "replication_cut"),
        ("ALTER TABLE t REPLICA IDENTITY NOTHING", "replication_cut"),
        ("REFRESH MATERIALIZED VIEW m WITH NO DATA", "emptied"),
        ("ALTER VIEW v SET (security_barrier = off)", "safeguard"),
        ("ALTER VIEW v RESET (check_option)", "safeguard"),
        ("ALTER TABLE t ENABLE REPLICA RULE r", "safeguard"),
        ("CREATE POLICY p ON t FOR SELECT USING (id = id)", "safeguard"),
        ("CREATE POLICY p ON t FOR INSERT WITH CHECK (true)", "safeguard"),
        ("CREATE OR REPLACE VIEW v AS SELECT 1", "replaced"),
        ("CREATE OR REPLACE RULE r AS ON UPDATE TO t DO ALSO NOTIFY x", "replaced"),
        ("CREATE OR REPLACE AGGREGATE a(int) (sfunc = f, stype = int)", "replaced"),
        ("CREATE FUNCTION pg_catalog.f() RETURNS int LANGUAGE sql AS ''", "system_object"),
        ("CREATE VIEW information_schema.v AS SELECT 1", "system_object"),
        ("ALTER TYPE t SET SCHEMA pg_catalog", "system_object"),
        ("ALTER FUNCTION pg_catalog.now() RENAME TO earlier", "system_object"),
        ("ALTER FUNCTION f() SECURITY DEFINER", "stepped_up"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql LEAKPROOF AS ''", "stepped_up"),
        ("ALTER DATABASE d SET search_path = x", "kept_setting"),
        ("CREATE TABLESPACE t LOCATION '/x'", "server_file"),
    ],
)
def test_it_has_a_flag(shape_of, sql, flag):
    assert flag in shape_of(sql).flags
    assert flag in shape_of(f"SELECT 1; {sql}").flags


@pytest.mark.parametrize(
    ("sql", "flag"),
    [
        ("ALTER ROLE a VALID UNTIL '2030-01-01 00:00:00-0500'", "locked_out"),
        ("ALTER ROLE a VALID UNTIL 'infinity'", "locked_out"),
        ("ALTER ROLE a VALID UNTIL 'tomorrow'", "locked_out"),
        ("ALTER ROLE a PASSWORD '2000'", "locked_out"),
        ("CREATE ROLE a PASSWORD NULL VALID UNTIL '2000-01-01'", "locked_out"),
        ("ALTER ROLE a RENAME TO b", "locked_out"),
        ("ALTER ROLE a SET statement_timeout = 0", "locked_out"),
        ("ALTER ROLE a SET statement_timeout = 5000", "locked_out"),
        ("ALTER ROLE a SET statement_timeout = '1s'", "locked_out"),
        ("ALTER ROLE a SET lock_timeout = 1", "locked_out"),
        ("SET statement_timeout = 1", "locked_out"),
        ("ALTER PUBLICATION p ADD TABLE t", "replication_cut"),
        ("ALTER PUBLICATION p SET (publish_via_partition_root = true)", "replication_cut"),
        ("ALTER SUBSCRIPTION s SET (slot_name = kept)", "replication_cut"),
        ("ALTER SUBSCRIPTION s ENABLE", "replication_cut"),
        ("ALTER TABLE t REPLICA IDENTITY DEFAULT", "replication_cut"),
        ("REFRESH MATERIALIZED VIEW m WITH DATA", "emptied"),
        ("ALTER VIEW v SET (security_barrier)", "safeguard"),
        ("ALTER TABLE t SET (fillfactor = 70)", "safeguard"),
        ("ALTER TABLE t RESET (fillfactor)", "safeguard"),
        ("ALTER TABLE t ENABLE ALWAYS RULE r", "safeguard"),
        ("CREATE POLICY p ON t USING (owner = current_user)", "safeguard"),
        ("CREATE POLICY p ON t TO auditor USING (true)", "safeguard"),
        ("CREATE OR REPLACE TEMP VIEW v AS SELECT 1", "replaced"),
        ("CREATE VIEW v AS SELECT 1", "replaced"),
        ("CREATE VIEW v AS SELECT * FROM pg_catalog.pg_class", "system_object"),
        ("CREATE FUNCTION f() RETURNS pg_catalog.int4 LANGUAGE sql AS ''", "system_object"),
        ("CREATE CAST (text AS int) WITH INOUT", "system_object"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS ''", "stepped_up"),
        ("ALTER FUNCTION f() SECURITY INVOKER NOT LEAKPROOF", "stepped_up"),
        ("SET search_path = x", "kept_setting"),
    ],
)
def test_what_looks_like_it_has_none(shape_of, sql, flag):
    assert flag not in shape_of(sql).flags
