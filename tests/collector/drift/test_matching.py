# ruff: noqa: E501 - a row of the tables is a line
"""Who did it, for every kind: the statement that can have, and none that cannot."""

from __future__ import annotations

import re

import pytest

from collector.drift.attribution import Changes
from model.catalog import CatalogKind
from tests.collector.drift.story import (
    AFTER_US,
    BEFORE_US,
    actor_of,
    cause_of,
    difference,
    frame,
    ran,
    scope,
)

AUTO = "configuration file /data/postgresql.auto.conf:3"
MAKES_R = "owner: bob\nlanguage: internal\nreturns: hr.r"
MAKES_MANY = "owner: bob\nlanguage: internal\nreturns: hr.r_multirange"
MAKES_OTHER = "owner: bob\nlanguage: internal\nreturns: hr.many"
"""Functions of a range type."""
T = "owner: bob\nkind: table\ncolumn id: integer"
"""A table."""
WIDER = f"{T}\ncolumn tax: text"

# kind, name, before, after, what did it
DID = [
    ("setting", "work_mem", "4MB", "8MB", "ALTER SYSTEM SET work_mem = '8MB'"),
    ("setting", "work_mem@etl", None, "1GB", "ALTER ROLE etl SET work_mem = '1GB'"),
    ("setting", "work_mem@etl/shop", None, "1GB", "ALTER ROLE etl IN DATABASE shop SET work_mem = 1"),
    ("setting", "work_mem@shop", None, "1GB", "ALTER DATABASE shop SET work_mem = '1GB'"),
    ("setting", "work_mem@all", None, "1GB", "ALTER ROLE ALL SET work_mem = '1GB'"),
    ("setting", "work_mem@etl", "1GB", None, "DROP ROLE etl"),
    ("setting", "work_mem@etl", "1GB", None, "ALTER ROLE etl RENAME TO loader"),
    ("role", "etl", None, "login=true", "CREATE ROLE etl LOGIN"),
    ("role", "etl", "login=true", "login=true superuser=true", "ALTER USER etl SUPERUSER"),
    ("role", "etl", "login=true", "login=true superuser=true", "ALTER ROLE etl SET jit = off; ALTER ROLE etl SUPERUSER"),
    ("role", "etl", "login=true", None, "DROP ROLE IF EXISTS etl, other"),
    ("role", "loader", None, "login=true", "ALTER ROLE etl RENAME TO loader"),
    ("role", "etl", "login=true", None, "ALTER ROLE etl RENAME TO loader"),
    ("membership", "analyst<-etl", None, "member", "GRANT analyst TO etl"),
    ("membership", "analyst<-etl", "member", "admin", "GRANT analyst TO etl WITH ADMIN OPTION"),
    ("membership", "analyst<-etl", "member", None, "REVOKE analyst FROM etl"),
    ("membership", "analyst<-etl", None, "member", "CREATE ROLE etl IN ROLE analyst"),
    ("membership", "analyst<-etl", None, "member", "CREATE ROLE analyst ROLE etl"),
    ("membership", "analyst<-etl", None, "member", "ALTER GROUP analyst ADD USER etl"),
    ("membership", "analyst<-etl", "member", None, "DROP ROLE analyst"),
    ("membership", "fresh<-bob", None, "admin", "CREATE ROLE fresh"),
    ("membership", "analyst<-loader", None, "member", "ALTER ROLE etl RENAME TO loader"),
    ("database", "dw", None, "owner: bob", "CREATE DATABASE dw"),
    ("database", "dw", "owner: bob", None, "DROP DATABASE dw"),
    ("database", "dw", "owner: bob", "owner: eve", "ALTER DATABASE dw OWNER TO eve"),
    ("database", "dw", "owner: etl", "owner: eve", "REASSIGN OWNED BY etl TO eve"),
    ("database", "dw2", None, "owner: bob", "ALTER DATABASE dw RENAME TO dw2"),
    ("tablespace", "fast", None, "owner: bob", "CREATE TABLESPACE fast LOCATION '/x'"),
    ("slot", "s", None, "plugin: x", "SELECT pg_create_logical_replication_slot('s', 'x')"),
    ("slot", "s", None, "type: physical", "SELECT pg_create_physical_replication_slot('s')"),
    ("slot", "s", None, "type: logical\nplugin: x", "SELECT pg_create_logical_replication_slot('s', 'x')"),
    ("slot", "s", "plugin: x", None, "SELECT pg_drop_replication_slot('s')"),
    ("slot", "s", None, "plugin: pgoutput", "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p"),
    ("privilege", "schema:hr<-etl", "USAGE", None, "ALTER SCHEMA hr OWNER TO etl"),
    ("privilege", "procedure:hr.p()<-etl", "EXECUTE", None, "ALTER PROCEDURE hr.p() OWNER TO bob"),
    ("privilege", "type:hr.d<-etl", "USAGE", None, "ALTER DOMAIN hr.d OWNER TO bob"),
    ("privilege", "language:plperl<-etl", "USAGE", None, "ALTER LANGUAGE plperl OWNER TO bob"),
    ("privilege", "foreign_server:far<-etl", "USAGE", None, "ALTER SERVER far OWNER TO bob"),
    ("privilege", "foreign_data_wrapper:w<-etl", "USAGE", None, "ALTER FOREIGN DATA WRAPPER w OWNER TO bob"),
    ("privilege", "table:hr.t<-etl", None, "SELECT", "GRANT SELECT ON hr.t TO etl"),
    ("privilege", "table:hr.t<-etl", None, "SELECT", "GRANT ALL ON t TO etl"),
    ("privilege", "table:hr.t<-etl", None, "SELECT", "GRANT SELECT ON ALL TABLES IN SCHEMA hr TO etl"),
    ("privilege", "table:hr.t<-etl", "SELECT", "SELECT*", "GRANT SELECT ON hr.t TO etl WITH GRANT OPTION"),
    ("privilege", "table:hr.t<-etl", "SELECT*", "SELECT", "REVOKE GRANT OPTION FOR SELECT ON hr.t FROM etl"),
    ("privilege", "table:hr.t<-PUBLIC", None, "SELECT", "GRANT SELECT ON hr.t TO PUBLIC"),
    ("privilege", "table:hr.t<-bob", None, "SELECT", "GRANT SELECT ON hr.t TO CURRENT_USER"),
    ("privilege", "table:hr.t<-etl", "SELECT", None, "REVOKE ALL ON hr.t FROM etl"),
    ("privilege", "table:hr.t<-etl", "SELECT", None, "REVOKE SELECT ON hr.t FROM eve CASCADE"),
    ("privilege", "table:hr.t<-etl", "SELECT", None, "DROP TABLE hr.t"),
    ("privilege", "table:hr.t<-etl", "SELECT", None, "DROP SCHEMA hr CASCADE"),
    ("privilege", "table:hr.t<-etl", "SELECT", None, "DROP OWNED BY etl"),
    ("privilege", "table:hr.t<-etl", None, "SELECT", "CREATE TABLE hr.t (i int)"),
    ("privilege", "table:hr.t<-etl", None, "SELECT", "SELECT 1 AS a INTO hr.t"),
    ("privilege", "table:hr.u<-etl", None, "SELECT", "ALTER TABLE hr.t RENAME TO u"),
    ("privilege", "table:hr.t<-loader", None, "SELECT", "ALTER ROLE etl RENAME TO loader"),
    ("privilege", "column:hr.t.a<-etl", None, "SELECT", "GRANT SELECT (a) ON hr.t TO etl"),
    ("privilege", "sequence:hr.q<-etl", None, "USAGE", "GRANT USAGE ON SEQUENCE hr.q TO etl"),
    ("privilege", "sequence:hr.t_id_seq<-etl", None, "USAGE", "CREATE TABLE hr.t (id serial)"),
    ("privilege", "schema:hr<-etl", None, "USAGE", "GRANT USAGE ON SCHEMA hr TO etl"),
    ("privilege", "function:hr.f(integer)<-etl", None, "EXECUTE", "GRANT EXECUTE ON FUNCTION hr.f(int) TO etl"),
    ("privilege", "function:hr.f(integer)<-PUBLIC", None, "(revoked)", "REVOKE EXECUTE ON FUNCTION hr.f(int) FROM PUBLIC"),
    ("privilege", "function:hr.f(integer)<-PUBLIC", "(revoked)", None, "GRANT EXECUTE ON FUNCTION hr.f(int) TO PUBLIC"),
    ("privilege", "default:tables of bob in hr<-etl", None, "SELECT", "ALTER DEFAULT PRIVILEGES IN SCHEMA hr GRANT SELECT ON TABLES TO etl"),
    ("privilege", "default:functions of eve<-PUBLIC", "(revoked)", None, "ALTER DEFAULT PRIVILEGES FOR ROLE eve GRANT EXECUTE ON FUNCTIONS TO PUBLIC"),
    ("privilege", "default:tables of eve<-etl", None, "SELECT", "ALTER DEFAULT PRIVILEGES FOR ROLE eve GRANT SELECT ON TABLES TO etl"),
    ("privilege", "foreign_server:far<-etl", None, "USAGE", "GRANT USAGE ON FOREIGN SERVER far TO etl"),
    ("schema", "hr", None, "owner: bob", "CREATE SCHEMA hr"),
    ("schema", "hr", "owner: bob", None, "DROP SCHEMA hr"),
    ("schema", "staff", None, "owner: bob", "ALTER SCHEMA hr RENAME TO staff"),
    ("schema", "hr", "owner: etl", "owner: eve", "REASSIGN OWNED BY etl TO eve"),
    ("schema", "hr", "owner: etl", "owner: loader", "ALTER ROLE etl RENAME TO loader"),
    ("table", "hr.t", None, T, "CREATE TABLE hr.t (id int)"),
    ("table", "hr.t", None, T, "CREATE TABLE t AS SELECT 1"),
    ("table", "hr.t", None, T, "SELECT * INTO hr.t FROM x"),
    ("table", "hr.t", None, T, "CREATE SCHEMA hr CREATE TABLE t (id int)"),
    ("table", "hr.t", None, T, "CREATE VIEW hr.t AS SELECT 1"),
    ("table", "hr.t", None, T, "CREATE MATERIALIZED VIEW hr.t AS SELECT 1"),
    ("table", "hr.t", None, T, "IMPORT FOREIGN SCHEMA far FROM SERVER s INTO hr"),
    ("table", "hr.t", T, WIDER, "ALTER TABLE hr.t ADD COLUMN tax text"),
    ("table", "hr.t", T, f"{T}\nindex i: CREATE INDEX i ON hr.t", "CREATE INDEX i ON hr.t (id)"),
    ("table", "hr.t", f"{T}\nindex i: CREATE INDEX i ON hr.t", T, "DROP INDEX hr.i"),
    ("table", "hr.t", f"{T}\nindex i: x i y", f"{T}\nindex j: x j y", "ALTER INDEX hr.i RENAME TO j"),
    ("table", "hr.t", T, f"{T}\nrow security: on", "ALTER TABLE hr.t ENABLE ROW LEVEL SECURITY"),
    ("table", "hr.t", T, T.replace("bob", "eve"), "ALTER TABLE hr.t OWNER TO eve"),
    ("table", "hr.t", T.replace("bob", "etl"), T.replace("bob", "eve"), "REASSIGN OWNED BY etl TO eve"),
    ("table", "hr.t", T, T.replace("bob", "eve"), "REASSIGN OWNED BY etl, bob TO eve"),
    ("function", "hr.r(integer, integer)", None, MAKES_R, "CREATE TYPE hr.r AS RANGE (subtype = int)"),
    ("function", "hr.r_multirange()", None, MAKES_MANY, "CREATE TYPE hr.r AS RANGE (subtype = int)"),
    ("function", "hr.many(hr.r)", None, MAKES_OTHER, "CREATE TYPE hr.r AS RANGE (subtype = int, multirange_type_name = hr.many)"),
    ("function", "hr.r(integer, integer)", MAKES_R, None, "DROP TYPE hr.r"),
    ("function", "hr.many(VARIADIC hr.r[])", MAKES_OTHER, None, "DROP TYPE IF EXISTS hr.r"),
    ("function", "hr.many()", MAKES_OTHER, None, "DROP TYPE hr.r"),
    ("privilege", "function:hr.r(integer, integer)<-etl", None, "EXECUTE", "CREATE TYPE hr.r AS RANGE (subtype = int)"),
    ("table", "hr.t", T, T.replace("bob", "eve"), "DO $$ BEGIN REASSIGN OWNED BY bob TO eve; END $$"),
    ("table", "hr.t", T, None, "DROP TABLE hr.t"),
    ("table", "hr.t", T, None, "DROP TABLE IF EXISTS a, t"),
    ("table", "hr.t", T, None, "DROP SCHEMA hr CASCADE"),
    ("table", "hr.t", T.replace("bob", "etl"), None, "DROP OWNED BY etl"),
    ("table", "hr.v", f"{T}\nview text: SELECT x FROM hr.t", None, "DROP TABLE hr.t CASCADE"),
    ("table", "hr.t", f"{T}\nconstraint fk: FOREIGN KEY (a) REFERENCES hr.o(id)", T, "DROP TABLE hr.o CASCADE"),
    ("table", "hr.p1", f"{T}\npartition of: hr.p FOR VALUES IN (1)", None, "DROP TABLE hr.p"),
    ("table", "hr.p1", f"{T}\npartition of: hr.p FOR VALUES IN (1)", f"{WIDER}\npartition of: hr.p FOR VALUES IN (1)", "ALTER TABLE hr.p ADD tax text"),
    ("table", "hr.p1", T, f"{T}\npartition of: hr.p FOR VALUES IN (1)", "ALTER TABLE hr.p ATTACH PARTITION hr.p1 FOR VALUES IN (1)"),
    ("table", "hr.u", None, T, "ALTER TABLE hr.t RENAME TO u"),
    ("table", "hr.t", T, None, "ALTER TABLE hr.t RENAME TO u"),
    ("table", 'hr."Odd"', None, T, 'ALTER TABLE hr.t RENAME TO "Odd"'),
    ("table", "x.t", None, T, "ALTER TABLE hr.t SET SCHEMA x"),
    ("table", "hr.t", T, None, "ALTER TABLE hr.t SET SCHEMA x"),
    ("table", "staff.t", None, T, "ALTER SCHEMA hr RENAME TO staff"),
    ("table", "hr.v", f"{T}\nview text: SELECT x FROM hr.t", f"{T}\nview text: SELECT x FROM hr.u", "ALTER TABLE hr.t RENAME TO u"),
    ("table", "hr.t", T, T.replace("column id", "column key"), "ALTER TABLE hr.t RENAME id TO key"),
    ("sequence", "hr.t_id_seq", None, "owner: bob", "CREATE TABLE hr.t (id serial)"),
    ("sequence", "hr.t_id_seq", None, "owner: bob", "ALTER TABLE hr.t ADD id int GENERATED ALWAYS AS IDENTITY"),
    ("sequence", "hr.q", "owner: bob\nowned by: hr.t.id", None, "DROP TABLE hr.t"),
    ("sequence", "hr.q", "owner: bob\nincrement: 1", "owner: bob\nincrement: 2", "ALTER SEQUENCE hr.q INCREMENT 2"),
    ("function", "hr.f(integer)", None, "owner: bob", "CREATE FUNCTION hr.f(i int) RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    ("function", "hr.f(integer)", "body: 1", "body: 2", "CREATE OR REPLACE FUNCTION hr.f(i int) RETURNS int LANGUAGE sql AS 'SELECT 2'"),
    ("function", "hr.f(integer)", "volatility: stable", "volatility: volatile", "ALTER FUNCTION hr.f(int) VOLATILE"),
    ("function", "hr.f(integer)", "body: 1", None, "DROP FUNCTION hr.f"),
    ("function", "hr.g(integer)", None, "body: 1", "ALTER FUNCTION hr.f(int) RENAME TO g"),
    ("type", "hr.mood", None, "owner: bob", "CREATE TYPE hr.mood AS ENUM ('a')"),
    ("type", "hr.mood", "labels: a", "labels: a, b", "ALTER TYPE hr.mood ADD VALUE 'b'"),
    ("type", "hr.zip", None, "owner: bob", "CREATE DOMAIN hr.zip AS text"),
    ("policy", "hr.t.own", None, "using: true", "CREATE POLICY own ON hr.t USING (true)"),
    ("policy", "hr.t.own", "using: true", "using: false", "ALTER POLICY own ON t USING (false)"),
    ("policy", "hr.t.own", "using: true", None, "DROP POLICY own ON hr.t"),
    ("policy", "hr.t.own", "using: true", None, "DROP TABLE hr.t"),
    ("policy", "hr.u.own", None, "using: true", "ALTER TABLE hr.t RENAME TO u"),
    ("policy", "hr.t.mine", None, "using: true", "ALTER POLICY own ON hr.t RENAME TO mine"),
    ("trigger", "hr.t.audit", None, "enabled: origin", "CREATE TRIGGER audit AFTER INSERT ON hr.t EXECUTE FUNCTION f()"),
    ("trigger", "hr.t.audit", "enabled: origin", "enabled: disabled", "ALTER TABLE hr.t DISABLE TRIGGER audit"),
    ("trigger", "hr.t.audit", "enabled: origin", None, "DROP TRIGGER audit ON hr.t"),
    ("trigger", "hr.t.audit", "function: hr.f", None, "DROP FUNCTION hr.f CASCADE"),
    ("event_trigger", "guard", None, "enabled: origin", "CREATE EVENT TRIGGER guard ON ddl_command_end EXECUTE FUNCTION f()"),
    ("event_trigger", "guard", "enabled: origin", "enabled: disabled", "ALTER EVENT TRIGGER guard DISABLE"),
    ("cast", "text AS hr.money", None, "context: implicit", "CREATE CAST (text AS hr.money) WITH FUNCTION hr.f(text) AS IMPLICIT"),
    ("cast", "int4 AS hr.mood", None, "context: implicit", "CREATE CAST (integer AS mood) WITHOUT FUNCTION AS IMPLICIT"),
    ("cast", 'hr."Odd a"[] AS text', "context: explicit", None, 'DROP CAST (hr."Odd a"[] AS text)'),
    ("cast", "text AS hr.money", "context: explicit", None, "DROP SCHEMA hr CASCADE"),
    ("cast", "text AS hr.money", "context: explicit", None, "ALTER EXTENSION x ADD CAST (text AS hr.money)"),
    ("operator", "hr.+(integer, integer)", None, "owner: bob", "CREATE OPERATOR hr.+ (FUNCTION = hr.f, LEFTARG = int, RIGHTARG = int)"),
    ("operator", "hr.+(integer, integer)", "owner: bob", None, "DROP OPERATOR hr.+ (int, int)"),
    ("operator", "hr.+(integer, integer)", "owner: etl", "owner: eve", "ALTER OPERATOR + (int, int) OWNER TO eve"),
    ("operator", "hr.+(integer, integer)", "owner: bob", "owner: bob\nrestrict: eqsel", "ALTER OPERATOR hr.+ (int, int) SET (RESTRICT = eqsel)"),
    ("operator", "x.+(integer, integer)", None, "owner: bob", "ALTER OPERATOR hr.+ (int, int) SET SCHEMA x"),
    ("schema", "hr", "owner: bob", "owner: bob\ncollation \"Odd c\": libc C, owner bob", 'CREATE COLLATION hr."Odd c" (locale = \'C\')'),
    ("schema", "hr", "owner: bob\ncollation g: libc C, owner bob", "owner: bob", "DROP COLLATION g"),
    ("schema", "hr", "owner: bob\ncollation c: libc C, owner bob", "owner: bob\ncollation d: libc C, owner bob", "ALTER COLLATION hr.c RENAME TO d"),
    ("schema", "hr", "owner: bob\ncollation c: libc C, owner etl", "owner: bob\ncollation c: libc C, owner eve", "REASSIGN OWNED BY etl TO eve"),
    ("schema", "hr", "owner: bob", "owner: bob\noperator class ops of btree: integer in family ops, default, owner bob", "CREATE OPERATOR CLASS hr.ops DEFAULT FOR TYPE int USING btree AS OPERATOR 1 <"),
    ("schema", "hr", "owner: bob", "owner: bob\noperator family ops of btree: sha256:1, owner bob", "CREATE OPERATOR CLASS hr.ops DEFAULT FOR TYPE int USING btree AS OPERATOR 1 <"),
    ("schema", "hr", "owner: bob\noperator family ops of btree: sha256:1, owner bob", "owner: bob\noperator family ops of btree: sha256:2, owner bob", "ALTER OPERATOR FAMILY hr.ops USING btree ADD FUNCTION 1 (int, int) hr.g(int, int)"),
    ("schema", "hr", "owner: bob\noperator class ops of btree: x", "owner: bob", "DROP OPERATOR CLASS hr.ops USING btree"),
    ("schema", "hr", "owner: bob\ntext search configuration c: sha256:1, owner bob", "owner: bob\ntext search configuration c: sha256:2, owner bob", "ALTER TEXT SEARCH CONFIGURATION hr.c ADD MAPPING FOR word WITH simple"),
    ("schema", "hr", "owner: bob", "owner: bob\nconversion v: x", "CREATE DEFAULT CONVERSION hr.v FOR 'UTF8' TO 'LATIN1' FROM hr.f"),
    ("extension", "pgcrypto", None, "version: 1.3", "CREATE EXTENSION pgcrypto"),
    ("extension", "pgcrypto", "version: 1.3", "version: 1.4", "ALTER EXTENSION pgcrypto UPDATE"),
    ("extension", "plpgsql", "version: 1", "version: 1\nmember table hr.t: sha256:1", "ALTER EXTENSION plpgsql ADD TABLE hr.t"),
    ("extension", "plpgsql", "version: 1\nmember function hr.f(integer): sha256:1", "version: 1\nmember function hr.f(integer): sha256:2", "CREATE OR REPLACE FUNCTION hr.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    ("extension", "cube", None, "version: 1", "CREATE EXTENSION earthdistance CASCADE"),
    ("operator", "hr.##(integer, integer)", "owner: bob", "owner: eve", "ALTER OPERATOR hr.## (int, int) OWNER TO eve"),
    ("operator", "hr.&&!(integer, integer)", "owner: bob", None, "ALTER OPERATOR hr.&&! (int, int) SET SCHEMA public"),
    ("extension", "cube", "schema: hr\nmember function hr.f(): sha256:1\nother members: 17, sha256:1", "schema: public\nmember function public.f(): sha256:1\nother members: 17, sha256:2", "ALTER EXTENSION cube SET SCHEMA public"),
    ("language", "plperl", None, "trusted: yes", "CREATE EXTENSION plperl"),
    ("language", "plperl", "trusted: yes", None, "DROP LANGUAGE plperl"),
    ("foreign_server", "far", None, "owner: bob", "CREATE SERVER far FOREIGN DATA WRAPPER w"),
    ("foreign_server", "far", "foreign options: a", "foreign options: b", "ALTER SERVER far OPTIONS (SET host 'x')"),
    ("user_mapping", "far<-etl", None, "options: x", "CREATE USER MAPPING FOR etl SERVER far"),
    ("user_mapping", "far<-etl", "options: x", None, "DROP USER MAPPING FOR etl SERVER far"),
    ("user_mapping", "far<-PUBLIC", None, "", "CREATE USER MAPPING FOR PUBLIC SERVER far"),
    ("foreign_server", "wrapper w", None, "owner: bob", "CREATE FOREIGN DATA WRAPPER w"),
    ("foreign_server", "wrapper w", "owner: bob", None, "DROP FOREIGN DATA WRAPPER w"),
    ("database", '"my dw"', None, "owner: bob", 'CREATE DATABASE "my dw"'),
    ("table", "hr.v", f"{T}\ndefinition: sha256:1\ntext: SELECT x FROM hr.t", f"{T}\ndefinition: sha256:2\ntext: SELECT x FROM hr.u", "ALTER TABLE hr.t RENAME TO u"),
    ("publication", "p", "table hr.t: all columns", "table hr.t: all columns\ntable hr.u: all columns", "ALTER PUBLICATION p ADD TABLE hr.u"),
    ("publication", "p", None, "table hr.t: all columns", "CREATE PUBLICATION p FOR TABLE hr.t"),
    ("publication", "p", "owner: bob\ntable hr.t: all columns", "owner: bob", "DROP TABLE hr.t"),
    ("subscription", "s", None, "owner: bob", "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p"),
    ("subscription", "s", "enabled: yes", "enabled: no", "ALTER SUBSCRIPTION s DISABLE"),
    ("subscription", "s", "enabled: yes", None, "DROP SUBSCRIPTION s"),
    ("watched", "public.flags[7]", None, "on: true", "INSERT INTO flags VALUES (7, true)"),
    ("watched", "public.flags[7]", "on: true", "on: false", "UPDATE public.flags SET on_ = false"),
    ("watched", "public.flags[7]", "on: true", None, "DELETE FROM flags"),
    ("watched", "public.flags[7]", "on: true", None, "TRUNCATE flags"),
    ("watched", "public.flags[7]", None, "on: true", "COPY flags FROM STDIN"),
    ("watched", "public.flags[7]", None, "on: true", "WITH a AS (INSERT INTO flags VALUES (1) RETURNING 1) SELECT 1"),
    ("watched", "public.flags[7]", "on: true", "on: false", "MERGE INTO flags USING x ON true WHEN MATCHED THEN UPDATE SET a = 1"),
    ("watched", "public.flags[7]", "on: true", "on: true\nx: 1", "ALTER TABLE flags ADD x int DEFAULT 1"),
]  # fmt: skip
# What looks like it, and is not.
DID_NOT = [
    ("setting", "work_mem", "4MB", "8MB", "SET work_mem = '8MB'"),
    ("setting", "work_mem", "4MB", "8MB", "ALTER ROLE etl SET work_mem = '8MB'"),
    ("setting", "work_mem@etl", None, "8MB", "ALTER ROLE eve SET work_mem = '8MB'"),
    ("hba", "local all all", "peer", "trust", "ALTER SYSTEM SET hba_file = 'x'"),
    ("ident", "map me you", None, "x", "ALTER SYSTEM SET ident_file = 'x'"),
    ("role", "etl", None, "login=true", "ALTER ROLE etl LOGIN"),
    ("role", "etl", None, "login=true", "CREATE ROLE other"),
    ("role", "etl", "login=true", "login=false", "ALTER ROLE etl SET work_mem = '1GB'"),
    ("role", "etl", "login=true", "login=false", "ALTER USER etl IN DATABASE shop SET work_mem TO DEFAULT"),
    ("role", "etl", "login=true", "login=false", "ALTER ROLE etl RESET ALL"),
    ("membership", "analyst<-etl", None, "member", "GRANT SELECT ON t TO analyst, etl"),
    ("membership", "analyst<-etl", None, "member", "REVOKE analyst FROM etl"),
    ("membership", "analyst<-etl", None, "member", "GRANT analyst TO eve"),
    ("membership", "analyst<-etl", "member", None, "GRANT analyst TO etl"),
    ("privilege", "table:hr.t<-etl", None, "SELECT", "GRANT USAGE ON SCHEMA hr TO etl"),
    ("privilege", "table:hr.t<-etl", None, "SELECT", "GRANT INSERT ON hr.t TO etl"),
    ("privilege", "table:hr.t<-etl", None, "SELECT", "GRANT SELECT ON x.t TO etl"),
    ("privilege", "table:hr.t<-etl", None, "SELECT", "GRANT SELECT ON hr.t TO eve"),
    ("privilege", "function:hr.f(integer)<-etl", None, "EXECUTE", "ALTER FUNCTION hr.f(int) OWNER TO bob"),
    ("privilege", "table:hr.t<-PUBLIC", None, "SELECT", "ALTER TABLE hr.t OWNER TO etl"),
    ("privilege", "table:hr.t<-etl", None, "SELECT", "REASSIGN OWNED BY mona TO etl"),
    ("privilege", "table:hr.t<-etl", "SELECT", "INSERT, SELECT", "REASSIGN OWNED BY mona TO etl"),
    ("privilege", "table:hr.t<-etl", None, "SELECT", "REVOKE SELECT ON hr.t FROM etl"),
    ("privilege", "table:hr.t<-etl", "SELECT", None, "GRANT SELECT ON hr.t TO etl"),
    ("privilege", "table:hr.t<-etl", None, "SELECT", "ALTER DEFAULT PRIVILEGES IN SCHEMA hr GRANT SELECT ON TABLES TO etl"),
    ("privilege", "schema:hr<-etl", None, "USAGE", "ALTER DEFAULT PRIVILEGES IN SCHEMA hr GRANT USAGE ON SEQUENCES TO etl"),
    ("privilege", "schema:hr<-etl", None, "USAGE", "GRANT SELECT ON ALL TABLES IN SCHEMA hr TO etl"),
    ("privilege", "default:tables of bob in hr<-etl", None, "SELECT", "ALTER DEFAULT PRIVILEGES IN SCHEMA x GRANT SELECT ON TABLES TO etl"),
    ("privilege", "table:hr.t<-etl", None, "SELECT", "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'GRANT SELECT ON hr.t TO etl'"),
    ("privilege", "table:hr.t<-etl", None, "SELECT", "EXPLAIN CREATE TABLE hr.t AS SELECT 1"),
    ("table", "hr.t", T, WIDER, "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS 'BEGIN ALTER TABLE hr.t ADD tax text; END'"),
    ("table", "hr.t", None, T, "CREATE TABLE x.t (id int)"),
    ("cast", "text AS hr.money", None, "context: implicit", "CREATE CAST (text AS x.money) WITH FUNCTION hr.f(text)"),
    ("cast", "text AS hr.money", None, "context: implicit", "CREATE CAST (hr.money AS text) WITH FUNCTION hr.f(text)"),
    ("cast", "text AS hr.money", None, "context: implicit", "CREATE FUNCTION hr.f(text) RETURNS hr.money LANGUAGE sql AS 'SELECT 1'"),
    ("cast", "text AS hr.money", "context: implicit", None, "CREATE CAST (text AS hr.money) WITH INOUT"),
    ("operator", "hr.+(integer, integer)", None, "owner: bob", "CREATE OPERATOR x.+ (FUNCTION = hr.f, LEFTARG = int, RIGHTARG = int)"),
    ("schema", "hr", "owner: bob", "owner: bob\ncollation c: libc C, owner bob", "CREATE COLLATION x.c (locale = 'C')"),
    ("schema", "hr", "owner: bob", "owner: bob\ncollation c: libc C, owner bob", "DROP COLLATION hr.c"),
    ("schema", "hr", "owner: bob\ncollation c: libc C, owner mona", "owner: bob\ncollation c: libc C, owner eve", "REASSIGN OWNED BY etl TO eve"),
    ("function", "hr.r(integer)", None, MAKES_R.replace("internal", "sql"), "CREATE TYPE hr.r AS RANGE (subtype = int)"),
    ("function", "hr.r(integer)", None, MAKES_R, "DROP TYPE hr.r"),
    ("operator", "hr.##(integer, integer)", "owner: bob", "owner: eve", "ALTER OPERATOR hr.#<# (int, int) OWNER TO eve"),
    ("function", "hr.r(integer)", None, MAKES_R, "CREATE TYPE x.r AS RANGE (subtype = int)"),
    ("table", "hr.t", T, T.replace("bob", "eve"), "REASSIGN OWNED BY etl TO eve"),
    ("table", "hr.t", T, T.replace("bob", "eve"), "REASSIGN OWNED BY eve TO bob"),
    ("schema", "hr", "owner: bob\ncollation c: libc C, owner etl", "owner: bob\ncollation c: libc C, owner eve", "REASSIGN OWNED BY eve TO etl"),
    ("table", "hr.t", None, T, "DROP TABLE hr.t"),
    ("table", "hr.t", T, None, "CREATE TABLE hr.t (id int)"),
    ("table", "hr.t", T, None, "DROP TABLE hr.other"),
    ("table", "hr.t", T, WIDER, "COMMENT ON TABLE hr.t IS 'x'"),
    ("table", "hr.t", T, WIDER, "INSERT INTO hr.t VALUES (1)"),
    ("table", "hr.t", T, None, "TRUNCATE hr.t CASCADE"),
    ("table", "hr.t", T, None, "DROP SCHEMA x CASCADE") ,
    ("table", "hr.u", None, T, "ALTER TABLE hr.t RENAME TO w"),
    ("table", "hr.T", T, None, "DROP TABLE hr.t"),
    ("policy", "hr.t.own", None, "using: true", "CREATE POLICY own ON hr.u USING (true)"),
    ("policy", "hr.t.own", None, "using: true", "CREATE POLICY other ON hr.t USING (true)"),
    ("trigger", "hr.t.audit", "enabled: origin", None, "DROP TRIGGER audit ON hr.u"),
    ("extension", "pgcrypto", None, "version: 1", "CREATE EXTENSION cube"),
    ("slot", "s", None, "plugin: x", "SELECT pg_drop_replication_slot('s')"),
    ("slot", "s", None, "type: physical", "SELECT pg_create_logical_replication_slot('s', 'x')"),
    ("slot", "s", None, "type: logical\nplugin: x", "SELECT pg_copy_physical_replication_slot('s', 't')"),
    ("watched", "public.flags[7]", None, "on: true", "INSERT INTO other VALUES (7, true)"),
    ("watched", "public.flags[7]", None, "on: true", "INSERT INTO x.flags VALUES (7, true)"),
    ("watched", "public.flags[7]", None, "on: true", "PREPARE p AS INSERT INTO flags VALUES (1)"),
    ("watched", "public.flags[7]", None, "on: true", "EXPLAIN INSERT INTO flags VALUES (1)"),
    ("watched", "public.flags[7]", None, "on: true", "SELECT * FROM flags"),
]  # fmt: skip


def detail_of(kind, name):
    return AUTO if kind == "setting" and "@" not in name else ""


def who(kind, name, before, after, sql, **words):
    rows = [ran(5, "bob", sql, **words)]
    watched = frozenset(["flags"])
    return actor_of(rows, kind, name, before, after, detail=detail_of(kind, name), watched=watched)


@pytest.mark.parametrize(("sql", "actor"), [
    ("UPDATE stage SET a = 1", "bob"), ('UPDATE ml."Odd, t" SET a = 1', "bob"),
    ("INSERT INTO ml.other VALUES (1)", ""), ("UPDATE x.stage SET a = 1", ""),
])  # fmt: skip
def test_who_writes_to_what_a_watched_query_reads_changes_its_rows(sql, actor):
    reads = 'reads ml."Odd, t", ml.stage'
    watched = frozenset(["stage", "Odd, t"])
    rows = [ran(5, "bob", sql)]
    told = actor_of(rows, "watched", "models[7]", "a: 0", "a: 1", detail=reads, watched=watched)
    assert told == actor


@pytest.mark.parametrize(("kind", "name", "before", "after", "sql"), DID)
def test_what_a_statement_did_is_its_doing(kind, name, before, after, sql):
    assert who(kind, name, before, after, sql) == "bob"


@pytest.mark.parametrize(("kind", "name", "before", "after", "sql"), DID)
def test_a_statement_that_failed_did_nothing(kind, name, before, after, sql):
    assert who(kind, name, before, after, sql, sqlstate="42501") == ""


@pytest.mark.parametrize(("kind", "name", "before", "after", "sql"), DID)
def test_a_statement_on_another_server_did_nothing_here(kind, name, before, after, sql):
    assert who(kind, name, before, after, sql, cluster="5433") == ""
    assert who(kind, name, before, after, sql, agent="host-b") == ""


@pytest.mark.parametrize(
    ("kind", "name", "before", "after", "sql"),
    [row for row in DID if row[0] not in ("setting", "role", "membership", "slot")
     and row[0] not in ("database", "tablespace")],
)  # fmt: skip
def test_a_statement_in_another_database_did_nothing_here(kind, name, before, after, sql):
    assert who(kind, name, before, after, sql, database="dw") == ""


@pytest.mark.parametrize(("kind", "name", "before", "after", "sql"), DID_NOT)
def test_what_only_looks_like_it_is_nobodys(kind, name, before, after, sql):
    assert who(kind, name, before, after, sql) == ""


IN_DATABASE = [
    ("table", "hr.t", T),
    ("policy", "hr.t.own", "using: true"),
    ("privilege", "table:hr.t<-etl", "SELECT"),
    ("watched", "public.flags[7]", "on: true"),
]


@pytest.mark.parametrize(("kind", "name", "value"), IN_DATABASE)
@pytest.mark.parametrize(
    ("sql", "where", "actor"),
    [
        ("DROP DATABASE shop", "shop", "bob"),
        ("DROP DATABASE IF EXISTS shop WITH (FORCE)", "shop", "bob"),
        ("ALTER DATABASE shop RENAME TO old_shop", "shop", "bob"),
        ('DROP DATABASE "Odd.db"', "Odd.db", "bob"),
        ("DROP DATABASE other", "shop", ""),
        ("ALTER DATABASE other RENAME TO shop", "shop", ""),
        ("ALTER DATABASE shop OWNER TO eve", "shop", ""),
        ("DROP SCHEMA shop", "shop", ""),
    ],
)
def test_what_lies_in_a_database_goes_with_it(kind, name, value, sql, where, actor):
    rows = [ran(5, "bob", sql, database="postgres")]
    assert actor_of(rows, kind, name, value, None, database=where) == actor
    assert actor_of(rows, kind, name, None, value, database=where) == ""


def test_every_kind_has_a_statement_that_does_it_or_is_a_file():
    assert {row[0] for row in DID} == {*CatalogKind} - {"hba", "ident"}


@pytest.mark.parametrize(
    ("key", "sql"),
    [
        ("built-in casts", "UPDATE pg_cast SET castcontext = 'i'"),
        ("built-in operators", "ALTER OPERATOR pg_catalog.= (int, int) OWNER TO eve"),
        ("built-in operators", "UPDATE pg_operator SET oprcode = 1"),
    ],
)
def test_who_changed_what_initdb_made_is_known(key, sql):
    lines = (f"owner: bob\n{key}: sha256:1", f"owner: bob\n{key}: sha256:2")
    assert actor_of([ran(5, "bob", sql)], "schema", "pg_catalog", *lines) == "bob"


def test_a_slot_made_by_a_replication_command_is_the_walsenders():
    made = ran(5, "bob", "CREATE_REPLICATION_SLOT s LOGICAL pgoutput", protocol="replication")
    assert actor_of([made], "slot", "s", None, "plugin: pgoutput") == "bob"
    assert actor_of([made], "slot", "other", None, "plugin: pgoutput") == ""
    dropped = ran(5, "bob", "DROP_REPLICATION_SLOT s", protocol="replication")
    assert actor_of([dropped], "slot", "s", "plugin: pgoutput", None) == "bob"
    assert actor_of([dropped], "slot", "s", None, "plugin: pgoutput") == ""


AUTO_4 = "configuration file /data/postgresql.auto.conf:4"
MAIN = "configuration file /data/postgresql.conf:7"
SET_FSYNC = "ALTER SYSTEM SET fsync = off"


@pytest.mark.parametrize(
    ("before", "after", "sources", "sql", "actor"),
    [
        ("on", "off", ("default", AUTO), SET_FSYNC, "bob"),
        ("on", "off", (MAIN, AUTO), "ALTER SYSTEM SET fsync = no", "bob"),
        ("on", "off", (AUTO, AUTO_4), "ALTER SYSTEM SET fsync TO 'off'", "bob"),
        ("off", "on", (AUTO, "default"), "ALTER SYSTEM RESET fsync", "bob"),
        ("off", "on", (AUTO, "default"), "ALTER SYSTEM RESET ALL", "bob"),
        ("off", "on", (AUTO, MAIN), "ALTER SYSTEM SET fsync = DEFAULT", "bob"),
        ("off", "on", (AUTO, "environment variable"), "ALTER SYSTEM RESET fsync", "bob"),
        ("on", "off", ("default", "configuration file"), SET_FSYNC, "bob"),
        ("pglz", "replica", (AUTO, AUTO), "ALTER SYSTEM SET fsync = hot_standby", "bob"),
        ("off", "pglz", ("default", AUTO), "ALTER SYSTEM SET fsync = on", "bob"),
        ("on", "off", ("default", MAIN), SET_FSYNC, ""),
        ("on", "off", ("default", "command line"), SET_FSYNC, ""),
        ("on", "off", (AUTO, "command line"), SET_FSYNC, ""),
        ("on", "off", (AUTO, "override"), SET_FSYNC, ""),
        ("on", "off", ("default", "environment variable"), SET_FSYNC, ""),
        ("on", "off", ("command line", "default"), SET_FSYNC, ""),
        ("off", "on", (AUTO, AUTO), SET_FSYNC, ""),
        # A line that came by an editor, one that went by an editor.
        ("on", "off", (MAIN, AUTO), "ALTER SYSTEM RESET ALL", ""),
        ("on", "off", (AUTO, AUTO), "ALTER SYSTEM SET fsync TO DEFAULT", ""),
        ("1", "2", (AUTO, "default"), "ALTER SYSTEM SET fsync = '1'", ""),
        ("1", "2", (AUTO, MAIN), "ALTER SYSTEM SET fsync = '1'", ""),
        ("replica", "minimal", (AUTO, AUTO), "ALTER SYSTEM SET fsync = replica", ""),
    ],
)  # fmt: skip
def test_alter_system_writes_its_own_file_and_only_what_it_says(before, after, sources, sql, actor):
    changes = Changes()
    changes.observe(frame([ran(5, "bob", sql)]))
    step = difference("fsync", before, after)._replace(details=sources)
    found = changes.cause(scope("setting"), step, AFTER_US, BEFORE_US, settled=True)
    assert (found.change.actor if found else "") == actor


NAMES = re.compile(
    r"\b(hr|x|t|u|v|p|p1|o|i|j|q|f|g|s|w|etl|eve|loader|analyst|fresh|other|work_mem|my dw|dw2|dw|shop"
    r"|flags|far|guard|own|mine|audit|mood|zip|staff|fast|pgcrypto|plperl|t_id_seq)\b"
)
CROWD = [NAMES.sub(r"other_\1", row[4]) for row in DID]
"""All of that done to other objects, by somebody else."""
CANNOT_BE_TOLD_APART = ("slot", "subscription", "extension")
"""The name of a slot is a literal; what an extension brings along has a name of its own."""


@pytest.mark.parametrize(
    ("kind", "name", "before", "after", "sql"),
    [row for row in DID if row[0] not in CANNOT_BE_TOLD_APART],
)
def test_among_many_who_do_the_same_to_other_objects_nobody_else_is_blamed(
    crowd, kind, name, before, after, sql
):
    changes = Changes()
    watched = frozenset(["flags", "other_flags"])
    changes.observe(frame([ran(2, "bob", sql)], first_id=9_000), watched)
    changes.observe(crowd, watched)
    step = difference(name, before, after, detail_of(kind, name))
    found = changes.cause(scope(kind), step, AFTER_US, BEFORE_US, settled=True)
    assert (found.change.actor, found.others) == ("bob", ()), found.change.said


@pytest.fixture(scope="module")
def crowd():
    return frame([ran(5 + n / 100, "eve", sql) for n, sql in enumerate(CROWD)])


def told_of(line, value, *, before="4MB", after="8MB"):
    """Who set ``work_mem``, by a statement with the hash ``value``."""
    step = difference("work_mem", before, after)._replace(details=("default", f"{AUTO}{line}"))
    row = ran(10, "alice", "ALTER SYSTEM SET work_mem = '8MB'")
    row["objects"] = [*row["objects"], *([f"set to:{value}"] if value else [])]
    changes = Changes()
    changes.observe(frame([row]))
    found = changes.cause(scope("setting"), step, AFTER_US, BEFORE_US, settled=True)
    return found.change.actor if found else ""


@pytest.mark.parametrize(
    ("line", "value", "actor"),
    [
        ("; set to ab12-11111111", "ab12-11111111", "alice"),
        ("; set to ab12-22222222", "ab12-11111111", ""),
        # What an older agent tells, what is spelled in a way that it cannot read, another key.
        ("", "ab12-11111111", "alice"),
        ("; set to ab12-22222222", "", "alice"),
        ("; set to cd34-22222222", "ab12-11111111", "alice"),
    ],
)
def test_a_line_that_says_another_value_was_not_written_by_the_statement(line, value, actor):
    assert told_of(line, value) == actor


def test_what_waits_for_a_restart_is_shown_with_the_line_of_before():
    line = "; set to ab12-22222222"
    assert told_of(line, "ab12-11111111", after="8MB (restart pending)") == "alice"


def test_who_moves_an_extension_moves_all_that_is_in_it():
    before = "schema: hr\nmember function hr.f(): sha256:1\nother members: 17, sha256:1"
    after = "schema: public\nmember function public.f(): sha256:1\nother members: 17, sha256:2"
    rows = [ran(5, "dave", "ALTER EXTENSION seg SET SCHEMA public")]
    found = cause_of(rows, "extension", "seg", before, after)
    assert (found.change.actor, found.nobodys) == ("dave", frozenset())


@pytest.mark.parametrize("sign", ["#", "##", "&&!", "<#>"])
def test_an_operator_that_came_from_another_schema_is_of_who_moved_it(sign):
    for said in (f"hr.{sign}", sign):
        sql = f"ALTER OPERATOR {said} (int, int) SET SCHEMA public"
        name = f"public.{sign}(integer, integer)"
        assert who("operator", name, None, "owner: bob", sql) == "bob"
        assert who("operator", f"public.{sign}#(integer)", None, "owner: bob", sql) == ""
