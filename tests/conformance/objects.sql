-- What the scenarios work on. Owned by the login that they use.
CREATE TABLE items (id int, note text);
CREATE TABLE journal (what text);
CREATE TABLE guarded (id int PRIMARY KEY, note text);
CREATE TABLE wide AS SELECT i AS id, i % 7 AS kind, 'n' || i AS note FROM generate_series(1, 20000) i;
ANALYZE wide;

CREATE FUNCTION plpgsql_writes(n int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO journal SELECT 'plpgsql ' || n;
  EXECUTE 'DELETE FROM journal';
  RETURN n;
END $$;

CREATE FUNCTION sql_writes(n int) RETURNS void LANGUAGE sql AS
$$INSERT INTO journal SELECT 'sql ' || n$$;

CREATE FUNCTION plpgsql_calls_sql() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM sql_writes(5);
END $$;

CREATE PROCEDURE plpgsql_defines() LANGUAGE plpgsql AS $$
BEGIN
  CREATE TABLE defined (a int);
  INSERT INTO defined VALUES (1), (2);
  DROP TABLE defined;
END $$;

CREATE PROCEDURE sql_defines() LANGUAGE sql AS
$$DELETE FROM journal$$;

CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO journal VALUES (TG_OP);
  RETURN NULL;
END $$;
CREATE TRIGGER noted AFTER INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION note_change();

CREATE TABLE later (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);

CREATE TABLE raised (sqlstate text);
CREATE FUNCTION raise_it() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'raised' USING ERRCODE = NEW.sqlstate;
END $$;
CREATE CONSTRAINT TRIGGER raises AFTER INSERT ON raised DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION raise_it();

CREATE FUNCTION plpgsql_fails() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO journal VALUES ('before');
  PERFORM 1/0;
END $$;

CREATE FUNCTION plpgsql_recovers() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO journal VALUES ('before');
  RAISE EXCEPTION 'inside';
EXCEPTION WHEN OTHERS THEN
  INSERT INTO journal VALUES ('recovered');
END $$;

CREATE PROCEDURE plpgsql_commits() LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO journal VALUES ('one');
  COMMIT;
  INSERT INTO journal VALUES ('two');
END $$;

CREATE FUNCTION slow_to_plan() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_sleep(0.1);
  RETURN 1;
END $$;
