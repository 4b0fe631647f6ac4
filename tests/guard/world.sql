-- What the corpus attacks. keeper is exempt from the rules; mallory may do everything, clerk owns the
-- tables and is no superuser, assistant is an AI agent that may read.
CREATE SCHEMA hr AUTHORIZATION clerk;
CREATE SCHEMA shop AUTHORIZATION clerk;
CREATE SCHEMA attack;
GRANT ALL ON SCHEMA attack TO PUBLIC;
GRANT USAGE ON SCHEMA hr, shop TO assistant, analyst;

SET ROLE clerk;
CREATE TABLE hr.salaries (
  id int PRIMARY KEY, name text NOT NULL, pay int CHECK (pay > 0), secret text, active bool DEFAULT true
);
INSERT INTO hr.salaries SELECT n, 'name ' || n, 1000 + n, 'SECRET-' || n FROM generate_series(1, 40) n;
CREATE INDEX salaries_pay ON hr.salaries (pay);
CREATE TABLE hr.bonuses (
  id int PRIMARY KEY, employee int REFERENCES hr.salaries ON DELETE CASCADE, amount int
);
INSERT INTO hr.bonuses SELECT n, n, 10 * n FROM generate_series(1, 20) n;
CREATE TABLE hr.reviews (year int, employee int, note text) PARTITION BY RANGE (year);
CREATE TABLE hr.reviews_2024 PARTITION OF hr.reviews FOR VALUES FROM (2024) TO (2025);
CREATE TABLE hr.reviews_2025 PARTITION OF hr.reviews FOR VALUES FROM (2025) TO (2026);
INSERT INTO hr.reviews SELECT 2024 + n % 2, n, 'good' FROM generate_series(1, 20) n;
CREATE TABLE hr.policies (id int, owner text);
INSERT INTO hr.policies SELECT n, 'clerk' FROM generate_series(1, 5) n;
ALTER TABLE hr.policies ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON hr.policies USING (owner = current_user);
CREATE FUNCTION hr.audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN coalesce(NEW, OLD); END';
CREATE TRIGGER audit AFTER UPDATE ON hr.salaries FOR EACH ROW EXECUTE FUNCTION hr.audit();
CREATE VIEW hr.all_pay AS SELECT id, name, pay, secret, active FROM hr.salaries;
CREATE VIEW hr.recent_pay AS SELECT * FROM hr.all_pay;
CREATE FUNCTION hr.total() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT sum(pay) FROM hr.salaries';
CREATE TYPE hr.grade AS ENUM ('a', 'b');
CREATE DOMAIN hr.percent AS int CHECK (VALUE BETWEEN 0 AND 100);
COMMENT ON TABLE hr.salaries IS 'payroll';

CREATE TABLE shop.customers (id int PRIMARY KEY, email text, card text);
INSERT INTO shop.customers SELECT n, n || '@example.com', 'SECRET-card-' || n FROM generate_series(1, 60) n;
CREATE TABLE shop.orders (
  id int PRIMARY KEY, customer int, total int DEFAULT 0, paid bool DEFAULT false, note text
);
INSERT INTO shop.orders SELECT n, 1 + n % 60, n * 3, false, 'n' || n FROM generate_series(1, 200) n;
CREATE TABLE shop.flags (name text PRIMARY KEY, enabled bool);
INSERT INTO shop.flags VALUES ('checkout', true), ('refunds', false);
CREATE SEQUENCE shop.order_number START 1000;
CREATE VIEW shop.order_totals AS SELECT customer, sum(total) AS total FROM shop.orders GROUP BY customer;
CREATE MATERIALIZED VIEW shop.best AS SELECT id, total FROM shop.orders ORDER BY total DESC LIMIT 5;
CREATE TABLE shop."Order Lines" ("Line No" int, "DELETE" text);
INSERT INTO shop."Order Lines" SELECT n, 'x' FROM generate_series(1, 9) n;
GRANT SELECT ON ALL TABLES IN SCHEMA hr, shop TO assistant;
RESET ROLE;

CREATE TABLE shop."Löhne" (id int);
INSERT INTO shop."Löhne" SELECT generate_series(1, 7);
SELECT lo_from_bytea(777001 + n, convert_to('large ' || n, 'UTF8')) FROM generate_series(0, 2) n;
CREATE TABLE attack.bait (id int, note text);
GRANT ALL ON attack.bait TO PUBLIC;
