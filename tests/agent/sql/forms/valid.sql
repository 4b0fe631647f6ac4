SELECT '@secret@'
SELECT E'@secret@\n', U&'@secret@', N'@secret@'
SELECT $$@secret@$$, $tag$@secret@$tag$
SELECT '@secret@'::text AS label, CAST('@secret@' AS varchar), varchar '@secret@', date '@secret@'
SELECT 1 /* @secret@ */
SELECT 1 -- @secret@
-- @secret@
/* @secret@ /* @secret@ */ */ SELECT 1
SELECT 1 AS "@secret@"
SELECT 1 "@secret@"
SELECT 1 AS "@secret@" ORDER BY "@secret@"
SELECT "@secret@".id FROM orders AS "@secret@"
SELECT "@secret@".id FROM orders "@secret@" WHERE "@secret@".id = 1
SELECT * FROM (SELECT 1 AS id) AS "@secret@"
SELECT * FROM t WHERE a = '@secret@' AND b LIKE '%@secret@%' OR c IN ('@secret@', 'x') OR d BETWEEN '@secret@' AND 'z'
SELECT * FROM t WHERE a ~ '@secret@' AND b ->> '@secret@' = 'x' AND c @> '{"k": "@secret@"}'
SELECT * FROM t WHERE a = ANY('{@secret@}') AND b = ARRAY['@secret@']
SELECT '@secret@'
   '@secret@'
SELECT x LIKE 'a!%' ESCAPE '!' OR y = '@secret@'
SELECT x LIKE 'a' ESCAPE '\' OR y = '@secret@'
SELECT interval '@secret@', '@secret@' COLLATE "C", '@secret@' AT TIME ZONE '@secret@'
SELECT f(a => '@secret@', b := '@secret@', VARIADIC ARRAY['@secret@'])
SELECT xmlelement(name foo, '@secret@'), json_object('k': '@secret@'), overlay('a' placing '@secret@' from 1)
SELECT set_config('app.token', '@secret@', false)
SELECT CASE WHEN a = '@secret@' THEN '@secret@' ELSE '@secret@' END
SELECT dblink('password=@secret@ host=h', 'SELECT 1')
SELECT pgp_sym_encrypt('@secret@', '@secret@')
SELECT * FROM dblink('password=@secret@', 'SELECT 1') AS t(a int)
VALUES ('@secret@'), (E'@secret@')
INSERT INTO t VALUES ('@secret@')
INSERT INTO t (a) VALUES ('@secret@') ON CONFLICT (a) DO UPDATE SET a = '@secret@' WHERE t.b = '@secret@' RETURNING '@secret@'
UPDATE t SET a = '@secret@', b = (SELECT '@secret@') WHERE c = '@secret@'
DELETE FROM t WHERE a = '@secret@'
MERGE INTO t USING (SELECT '@secret@' AS a) s ON t.a = s.a WHEN MATCHED THEN UPDATE SET b = '@secret@'
WITH x AS (SELECT '@secret@' AS a) SELECT * FROM x WHERE a <> '@secret@'
PREPARE p AS SELECT '@secret@'
EXECUTE p('@secret@')
EXPLAIN SELECT '@secret@'
EXPLAIN ANALYZE SELECT * FROM t WHERE a = '@secret@'
DECLARE c CURSOR FOR SELECT '@secret@'
COPY t TO '/tmp/@secret@'
COPY t FROM PROGRAM 'curl http://x/@secret@'
COPY t TO STDOUT WITH (DELIMITER '@secret@', NULL '@secret@')
COPY (SELECT '@secret@') TO STDOUT
CREATE TABLE t (a text DEFAULT '@secret@', CHECK (a <> '@secret@'))
CREATE TABLE t PARTITION OF p FOR VALUES IN ('@secret@')
CREATE TABLE t AS SELECT '@secret@' AS a
CREATE VIEW v AS SELECT '@secret@' AS a
CREATE MATERIALIZED VIEW v AS SELECT * FROM t WHERE a = '@secret@'
CREATE INDEX i ON t (a) WHERE a = '@secret@'
CREATE TYPE e AS ENUM ('@secret@')
ALTER TYPE e ADD VALUE '@secret@'
ALTER TYPE e RENAME VALUE '@secret@' TO '@secret@'
CREATE DOMAIN d AS text DEFAULT '@secret@' CHECK (VALUE <> '@secret@')
ALTER TABLE t ALTER COLUMN a SET DEFAULT '@secret@'
ALTER TABLE t ADD COLUMN b text DEFAULT '@secret@'
ALTER TABLE t ADD CHECK (a <> '@secret@')
CREATE POLICY p ON t USING (a = '@secret@')
CREATE RULE r AS ON INSERT TO t DO ALSO INSERT INTO l VALUES ('@secret@')
CREATE TRIGGER g AFTER UPDATE ON t WHEN (NEW.a = '@secret@') EXECUTE FUNCTION f('@secret@')
COMMENT ON TABLE t IS '@secret@'
SECURITY LABEL FOR p ON TABLE t IS '@secret@'
CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT '@secret@' $$
CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT ''@secret@'''
CREATE FUNCTION f() RETURNS text LANGUAGE sql RETURN '@secret@'
CREATE FUNCTION f(a text DEFAULT '@secret@') RETURNS text LANGUAGE sql AS 'SELECT 1'
CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM '@secret@'; EXECUTE 'SELECT ''@secret@'''; END $$
CREATE FUNCTION f() RETURNS void LANGUAGE plpython3u AS $$ key = "@secret@" $$
CREATE FUNCTION f() RETURNS void LANGUAGE c AS '@secret@', '@secret@'
CREATE PROCEDURE f() LANGUAGE plpgsql AS $x$ BEGIN EXECUTE $y$ ALTER ROLE bob PASSWORD '@secret@' $y$; END $x$
DO $$ BEGIN RAISE NOTICE '@secret@'; END $$
DO $$ BEGIN EXECUTE format('x %s', '@secret@'); /* @secret@ */ END $$ LANGUAGE plpgsql
CREATE ROLE bob PASSWORD '@secret@'
CREATE USER bob WITH ENCRYPTED PASSWORD '@secret@' VALID UNTIL '@secret@'
CREATE ROLE bob PASSWORD $$@secret@$$
CREATE ROLE bob PASSWORD E'@secret@'
ALTER ROLE bob PASSWORD '@secret@'
ALTER USER bob WITH PASSWORD '@secret@'
ALTER ROLE bob SET app.token = '@secret@'
ALTER ROLE bob SET app.token TO @secret@
ALTER ROLE bob IN DATABASE d SET app.token = @secret@
ALTER DATABASE d SET app.token TO @secret@
ALTER SYSTEM SET app.token = @secret@
ALTER SYSTEM SET primary_conninfo = 'password=@secret@'
SET app.token = '@secret@'
SET app.token TO @secret@
SET app.token TO "@secret@"
SET LOCAL app.token = @secret@, '@secret@'
SET SESSION app.token TO @secret@
SET TIME ZONE '@secret@'
SET NAMES '@secret@'
CREATE SERVER x FOREIGN DATA WRAPPER f OPTIONS (password '@secret@')
ALTER SERVER x OPTIONS (SET password '@secret@')
CREATE USER MAPPING FOR bob SERVER x OPTIONS (user 'u', password '@secret@')
ALTER USER MAPPING FOR bob SERVER x OPTIONS (SET password '@secret@')
CREATE FOREIGN TABLE f (a int) SERVER x OPTIONS (table_name '@secret@')
CREATE FOREIGN DATA WRAPPER f OPTIONS (debug '@secret@')
IMPORT FOREIGN SCHEMA s FROM SERVER x INTO t OPTIONS (a '@secret@')
CREATE SUBSCRIPTION sub CONNECTION 'password=@secret@' PUBLICATION p
ALTER SUBSCRIPTION sub CONNECTION 'password=@secret@'
CREATE PUBLICATION p FOR TABLE t WHERE (a = '@secret@')
CREATE TABLESPACE x LOCATION '/@secret@'
CREATE DATABASE d LOCALE '@secret@'
CREATE EXTENSION e VERSION '@secret@'
CREATE COLLATION c (locale = '@secret@')
CREATE AGGREGATE a (text) (SFUNC = f, STYPE = text, INITCOND = '@secret@')
CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = simple, stopwords = '@secret@')
NOTIFY c, '@secret@'
LOAD '@secret@'
CALL p('@secret@')
PREPARE TRANSACTION '@secret@'
COMMIT PREPARED '@secret@'
SELECT 'a'; ALTER ROLE bob PASSWORD '@secret@'; SELECT '@secret@'
