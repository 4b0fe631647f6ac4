SELECT '@secret@
SELECT 'a' '@secret@
SELECT "x @secret@
SELECT $$@secret@
SELECT $a$@secret@$b$
SELECT E'\'@secret@
SELECT 1 /* @secret@
SELECT 1 WHERE /* @secret@
SELECT B'@secret@'
SELECT U&'\@secret@'
SELECT '@secret@' FROM FROM t
SELEC '@secret@'
INSERT INTO t VALUES ('@secret@'
INSERT INTO t VALUES ('O'@secret@','O'Neil')
INSERT INTO t VALUES ('a'@secret@'b')
INSERT INTO t VALUES ('a' @secret@ 'b')
UPDATE t SET a = 'it''s' @secret@', b = 'x'
SELECT 'it\'s @secret@', 'it\'s @secret@'
SELECT 'it\'s @secret@'
SELECT '\', '@secret@'
SELECT 'a'@secret@
CREATE ROLE bob PASSWORD @secret@
ALTER ROLE bob PASSWORD @secret@
ALTER ROLE bob WITH PASSWORD "@secret@"
ALTER ROLE bob PASSWORD = @secret@
ALTER ROLE bob PASSWORD '@secret@
ALTER ROLE bob PASSWORD '@secret@' VALID UNTL 'x'
ALTER ROLE bob PASWORD '@secret@'
ALTER ROLE bob PASWORD @secret@
ALTER USER bob IDENTIFIED BY @secret@
CREATE USER bob WITH PASSWORD: @secret@
alter role bob password e'@secret@
/* x */ ALTER ROLE bob PASSWORD @secret@
SELECT 1; ALTER ROLE bob PASSWORD @secret@
SELECT 1;; ALTER ROLE bob ENCRYPTED PASSWORD @secret@
SET app.token @secret@
SET app.token == @secret@
SET PASSWORD FOR bob = '@secret@'
ALTER SYSTEM SET a = @secret@ b
CREATE USER MAPPING FOR bob SERVER x OPTIONS (password @secret@)
CREATE SERVER x OPTIONS (password "@secret@"
CREATE SUBSCRIPTION sub CONNECTION @secret@
COPY t FROM PROGRAM '@secret@
COPY t FROM '@secret@' WITH (((
DO $$@secret@$
CREATE FUNCTION f() AS $$ '@secret@' $$ LANGUAGE
COMMENT ON TABLE t IS '@secret@' '@secret@
SELECT 123@secret@
SELECT `@secret@`
SELECT ‘@secret@’
SELECT * FROM t WHERE a = "x" "@secret@"
SELECT 1 # '@secret@'
EXECUTE p('@secret@'
\password @secret@'
SELECT '@secret@' 'x'
PREPARE q AS ALTER ROLE bob IDENTIFIED BY @secret@
EXPLAIN ALTER USER bob IDENTIFIED BY @secret@
ALTER/**/ROLE bob IDENTIFIED BY @secret@
;; /* x */ ALTER /* y */ ROLE bob IDENTIFIED BY @secret@
SELECT 1; ALTER ROLE bob PASWORD @secret@
ALTR ROLE bob PASSWD @secret@
ALTR USER bob IDENTIFIED BY @secret@
SELECT 1; SET app.token @secret@
PREPARE q AS SET app.token @secret@
CREAT ROLE bob PSSWORD @secret@
ALTER ROEL bob PWD @secret@
ALTR USER bob SET PSWD @secret@
GRANT CONNECT TO bob IDENTIFIED BY @secret@
ALTERROLE bob WITH PW @secret@
psql postgresql://bob:@secret@@host/db
SELECT postgresql://bob:@secret@@host/db
SELECT 1; ALTR ROEL bob PW @secret@
