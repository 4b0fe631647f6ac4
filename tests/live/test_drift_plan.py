"""A plan, run by psql on a real server, leaves no difference."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from collector.drift.declaration import export, read_declaration
from collector.drift.plan import make, script
from collector.drift.plan.steps import Phase
from model.catalog import CatalogKind
from tests.collector.drift.remembered import past_of
from tests.conformance.servers import Server, fetch
from tests.live.drift_plans import left, run, seen

pytestmark = pytest.mark.live

SETUP = """
CREATE ROLE pgwarden LOGIN SUPERUSER;
CREATE ROLE owner LOGIN;
CREATE ROLE analyst LOGIN;
CREATE ROLE "Odd ""role" LOGIN;
CREATE ROLE staff;
GRANT staff TO analyst;
GRANT staff TO owner;
CREATE SCHEMA hr AUTHORIZATION owner;
SET ROLE owner;
CREATE TABLE hr.people (id bigint PRIMARY KEY, name text NOT NULL DEFAULT 'nobody', born date);
CREATE TABLE hr.salary (
    id bigserial PRIMARY KEY, person bigint REFERENCES hr.people (id),
    amount numeric(10, 2) NOT NULL,
    CONSTRAINT positive CHECK (amount > 0));
CREATE INDEX salary_amount ON hr.salary (amount) WHERE amount > 1000;
CREATE TABLE hr."Odd ""name
with a line" (n int, "a: b" text);
CREATE TABLE hr.events (id int GENERATED ALWAYS AS IDENTITY, at date) PARTITION BY RANGE (at);
CREATE TABLE hr.events_2026 PARTITION OF hr.events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE INDEX events_at ON hr.events (at);
CREATE VIEW hr.names AS SELECT name FROM hr.people;
CREATE VIEW hr.own WITH (security_invoker = true, security_barrier = true, check_option = local)
    AS SELECT id, amount FROM hr.salary WHERE person = 1;
CREATE TABLE hr.key (id int PRIMARY KEY, pay int);
CREATE TABLE hr.on_key (key int REFERENCES hr.key (id));
CREATE VIEW hr.keys AS SELECT id FROM hr.key WHERE id > 0;
CREATE TABLE hr.audit_2025 (at date);
CREATE TABLE hr.parts (id int PRIMARY KEY, pay int CHECK (pay > 0)) PARTITION BY RANGE (id);
CREATE TABLE hr.parts_1 PARTITION OF hr.parts FOR VALUES FROM (1) TO (5);
CREATE TABLE hr.parts_rest PARTITION OF hr.parts DEFAULT;
CREATE TABLE hr.ruled (at date);
CREATE RULE keep AS ON DELETE TO hr.ruled DO INSTEAD (SELECT 1; NOTIFY ruled);
CREATE DOMAIN hr.small AS int DEFAULT 1 CONSTRAINT positive CHECK (VALUE > 0);
CREATE TYPE hr.two AS (x int, y text);
CREATE TABLE hr.heir (b int, c int GENERATED ALWAYS AS (b * 2) STORED) INHERITS (hr.audit_2025);
ALTER TABLE hr.salary ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON hr.salary FOR SELECT TO analyst USING (person > 0);
CREATE POLICY checked ON hr.salary AS RESTRICTIVE FOR INSERT WITH CHECK (amount < 1000000);
CREATE FUNCTION hr.secret(int) RETURNS int LANGUAGE sql SECURITY DEFINER
    SET search_path = hr, pg_temp AS 'SELECT $1';
REVOKE EXECUTE ON FUNCTION hr.secret(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION hr.secret(int) TO staff;
CREATE FUNCTION hr.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER noted BEFORE INSERT OR UPDATE ON hr.salary FOR EACH ROW EXECUTE FUNCTION hr.note();
CREATE TYPE hr.mood AS ENUM ('good', 'it''s bad');
CREATE FUNCTION hr.feel(int) RETURNS hr.mood LANGUAGE sql AS 'SELECT NULL::hr.mood';
CREATE CAST (int AS hr.mood) WITH FUNCTION hr.feel(int) AS ASSIGNMENT;
CREATE CAST (hr.mood AS text) WITH INOUT;
CREATE FUNCTION hr.same(hr.mood, hr.mood) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR hr.=== (PROCEDURE = hr.same, LEFTARG = hr.mood, RIGHTARG = hr.mood,
    COMMUTATOR = OPERATOR(hr.===), RESTRICT = eqsel, HASHES);
CREATE OPERATOR hr.!! (PROCEDURE = hr.feel, RIGHTARG = int);
CREATE SEQUENCE hr.numbers START 7 INCREMENT 3;
GRANT USAGE ON SCHEMA hr TO staff;
GRANT SELECT ON hr.people TO staff;
GRANT SELECT (amount), UPDATE (amount) ON hr.salary TO staff;
GRANT SELECT ON hr."Odd ""name
with a line" TO "Odd ""role";
ALTER DEFAULT PRIVILEGES IN SCHEMA hr GRANT SELECT ON TABLES TO staff;
RESET ROLE;
CREATE FUNCTION public.watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN NULL; END';
CREATE EVENT TRIGGER watch_ddl ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'DROP TABLE')
    EXECUTE FUNCTION public.watch();
CREATE PUBLICATION partial FOR TABLE hr.people (id, name), TABLE hr.salary WHERE (amount > 5)
    WITH (publish = 'insert, update');
CREATE EXTENSION pg_trgm SCHEMA hr;
CREATE FOREIGN DATA WRAPPER far_wrapper;
CREATE SERVER far FOREIGN DATA WRAPPER far_wrapper OPTIONS (host 'h', dbname 'd');
CREATE FOREIGN TABLE hr.far (i int) SERVER far OPTIONS (table_name 't');
ALTER ROLE analyst SET log_statement = 'all';
ALTER ROLE analyst SET search_path = "$user", hr, "Odd, ""schema";
ALTER ROLE ALL IN DATABASE shop SET lock_timeout = '5s';
ALTER DATABASE shop SET work_mem = '8MB';
"""
PARTLY = "FOR TABLE hr.people (id, name), TABLE hr.salary WHERE (amount > 5)"
CLUSTER_SETUP = ["ALTER SYSTEM SET log_connections = on", "ALTER SYSTEM SET work_mem = '16MB'"]
CHANGES: dict[CatalogKind, list[str]] = {
    CatalogKind.SETTING: [
        "ALTER SYSTEM SET log_connections = off", "ALTER SYSTEM SET maintenance_work_mem = '99MB'",
        "ALTER SYSTEM RESET work_mem", "ALTER SYSTEM SET search_path = 'a', 'b c'",
        "ALTER ROLE analyst RESET search_path", "ALTER ROLE analyst SET log_statement = 'none'",
        "ALTER DATABASE shop SET work_mem = '9MB'",
        "ALTER DATABASE shop SET fsync_x.y = 'it''s \\'",
        "ALTER ROLE staff IN DATABASE shop SET jit = off",
    ],
    CatalogKind.ROLE: [
        "ALTER ROLE analyst SUPERUSER BYPASSRLS CONNECTION LIMIT 3",
        "CREATE ROLE \"new; DROP ROLE staff; --\" LOGIN",
        "ALTER ROLE \"Odd \"\"role\" NOLOGIN VALID UNTIL '2030-01-01 00:00+00'",
        "ALTER ROLE \"Odd \"\"role\" VALID UNTIL 'infinity'",
    ],
    CatalogKind.MEMBERSHIP: [
        "REVOKE staff FROM analyst", "GRANT pg_read_all_data TO \"Odd \"\"role\" WITH ADMIN OPTION",
        "GRANT staff TO \"new; DROP ROLE staff; --\" WITH ADMIN OPTION", "REVOKE staff FROM owner",
        "SET SESSION AUTHORIZATION \"new; DROP ROLE staff; --\";"
        " GRANT staff TO owner; GRANT staff TO \"Odd \"\"role\"; RESET SESSION AUTHORIZATION",
    ],
    CatalogKind.PRIVILEGE: [
        "GRANT ALL ON hr.people TO PUBLIC", "REVOKE SELECT ON hr.people FROM staff",
        "GRANT SELECT ON hr.people TO analyst WITH GRANT OPTION",
        "REVOKE UPDATE (amount) ON hr.salary FROM staff",
        "GRANT SELECT (id) ON hr.salary TO analyst",
        "GRANT EXECUTE ON FUNCTION hr.secret(int) TO PUBLIC",
        "REVOKE USAGE ON SCHEMA hr FROM staff",
        "GRANT CREATE ON SCHEMA hr TO \"new; DROP ROLE staff; --\"",
        "GRANT UPDATE ON hr.\"Odd \"\"name\nwith a line\" TO \"Odd \"\"role\" WITH GRANT OPTION",
        "ALTER DEFAULT PRIVILEGES FOR ROLE owner IN SCHEMA hr REVOKE SELECT ON TABLES FROM staff",
        "ALTER DEFAULT PRIVILEGES FOR ROLE owner GRANT INSERT ON TABLES TO PUBLIC",
        "GRANT CREATE ON DATABASE shop TO staff",
        "REVOKE EXECUTE ON FUNCTION hr.note() FROM PUBLIC",
        "REVOKE USAGE ON TYPE hr.mood FROM PUBLIC", "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC",
        "SET SESSION AUTHORIZATION analyst; GRANT SELECT ON hr.people TO \"Odd \"\"role\";"
        " RESET SESSION AUTHORIZATION",
    ],
    CatalogKind.TABLE: [
        "ALTER TABLE hr.people RENAME COLUMN born TO birthday",
        "ALTER TABLE hr.people ALTER name DROP NOT NULL, ALTER name DROP DEFAULT",
        "ALTER TABLE hr.people ADD COLUMN extra xml",
        "DROP INDEX hr.salary_amount", "CREATE INDEX sneaky ON hr.salary (person)",
        "ALTER TABLE hr.salary DROP CONSTRAINT positive, DROP CONSTRAINT salary_person_fkey",
        "ALTER TABLE hr.salary DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
        "CREATE TABLE hr.copy AS SELECT * FROM hr.salary", "GRANT SELECT ON hr.copy TO PUBLIC",
        "CREATE TABLE hr.child (id bigint PRIMARY KEY, parent bigint REFERENCES hr.child)",
        "ALTER TABLE hr.\"Odd \"\"name\nwith a line\" OWNER TO analyst",
        "ALTER TABLE hr.\"Odd \"\"name\nwith a line\" ALTER n TYPE bigint, DROP \"a: b\"",
        "CREATE VIEW hr.leak AS SELECT * FROM hr.salary",
        "ALTER TABLE hr.people SET (fillfactor = 50), REPLICA IDENTITY FULL",
        "ALTER TABLE hr.events SET SCHEMA public", "ALTER TABLE public.events SET SCHEMA hr",
        "ALTER TABLE hr.events_2026 RENAME TO events_other",
        "DROP INDEX hr.events_at", "CREATE INDEX sneaky_too ON hr.events (id)",
        "ALTER TABLE hr.events ADD COLUMN note text, ADD CONSTRAINT odd CHECK (id > 0)",
        "CREATE OR REPLACE VIEW hr.own WITH (security_invoker = true, security_barrier = true)"
        " AS SELECT id, amount FROM hr.salary",
        "ALTER TABLE hr.key RENAME COLUMN id TO ident",
        "ALTER TABLE hr.key DROP COLUMN pay, ADD COLUMN badge int",
        "ALTER TABLE hr.key ADD CONSTRAINT twice UNIQUE (ident, badge)",
        "ALTER TABLE hr.parts DETACH PARTITION hr.parts_1", "DROP TABLE hr.ruled",
        "ALTER TABLE hr.parts DETACH PARTITION hr.parts_rest",
        "ALTER TABLE hr.heir NO INHERIT hr.audit_2025", "DROP TABLE hr.audit_2025",
        "CREATE TABLE hr.audit_2026 (at date)", "ALTER TABLE hr.audit_2026 OWNER TO owner",
        "ALTER TABLE hr.events ALTER id DROP IDENTITY",
        "ALTER TABLE hr.heir ALTER c SET EXPRESSION AS (b * 9)",
        "ALTER FOREIGN TABLE hr.far OPTIONS (SET table_name 'it''s', ADD schema_name 's')",
    ],
    CatalogKind.POLICY: [
        "DROP POLICY own ON hr.salary", "CREATE POLICY open ON hr.salary USING (true)",
        "ALTER POLICY checked ON hr.salary TO analyst WITH CHECK (amount < 5)",
    ],
    CatalogKind.TRIGGER: [
        "ALTER TABLE hr.salary DISABLE TRIGGER noted",
        "CREATE TRIGGER spy BEFORE DELETE ON hr.people FOR EACH ROW EXECUTE FUNCTION hr.note()",
    ],
    CatalogKind.EVENT_TRIGGER: ["ALTER EVENT TRIGGER watch_ddl DISABLE"],
    CatalogKind.FUNCTION: [
        "ALTER FUNCTION hr.secret(int) RESET search_path",
        "ALTER FUNCTION hr.secret(int) IMMUTABLE LEAKPROOF",
        "ALTER FUNCTION hr.note() SECURITY DEFINER", "ALTER FUNCTION hr.note() OWNER TO analyst",
        "CREATE FUNCTION hr.door(text, OUT r int) LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
    ],
    CatalogKind.SCHEMA: ["CREATE SCHEMA \"new;\"", "ALTER SCHEMA hr OWNER TO analyst"],
    CatalogKind.TYPE: [
        "CREATE TYPE hr.other AS (a int)", "ALTER TYPE hr.mood OWNER TO analyst",
        "ALTER DOMAIN hr.small DROP CONSTRAINT positive", "ALTER DOMAIN hr.small DROP DEFAULT",
        "ALTER DOMAIN hr.small SET NOT NULL", "ALTER TYPE hr.two DROP ATTRIBUTE y",
    ],
    CatalogKind.FOREIGN_SERVER: ["ALTER SERVER far OPTIONS (SET host 'evil', DROP dbname)"],
    CatalogKind.CAST: [
        "DROP CAST (hr.mood AS text)", "DROP CAST (int AS hr.mood)",
        "CREATE CAST (int AS hr.mood) WITH FUNCTION hr.feel(int) AS IMPLICIT",
        "CREATE CAST (numeric AS hr.mood[]) WITH INOUT",
    ],
    CatalogKind.OPERATOR: [
        "DROP OPERATOR hr.=== (hr.mood, hr.mood)",
        "ALTER OPERATOR hr.!! (NONE, int) OWNER TO owner",
        "CREATE OPERATOR hr.*** (PROCEDURE = hr.same, LEFTARG = hr.mood, RIGHTARG = hr.mood)",
    ],
    CatalogKind.SEQUENCE: ["ALTER SEQUENCE hr.numbers INCREMENT 1 CYCLE", "CREATE SEQUENCE hr.m"],
    CatalogKind.EXTENSION: ["DROP EXTENSION pg_trgm", "CREATE EXTENSION dblink"],
    CatalogKind.PUBLICATION: [
        "ALTER PUBLICATION partial SET TABLE hr.people", "CREATE PUBLICATION every FOR ALL TABLES",
        "ALTER PUBLICATION partial SET (publish = 'insert')",
    ],
    CatalogKind.DATABASE: ["ALTER DATABASE shop CONNECTION LIMIT 5"],
}  # fmt: skip


def spoken_by(text: str, cluster: Server) -> str:
    """The same, or what comes nearest to it, on this version."""
    if cluster.major < 15:
        text = text.replace("security_invoker = true, ", "")
        text = text.replace(PARTLY, "FOR TABLE hr.people, hr.salary")
    text = "SELECT 1" if "SET EXPRESSION" in text and cluster.major < 17 else text
    if cluster.major < 14:
        text = text.replace("pg_read_all_data", "pg_read_all_stats")
    return text


@pytest.fixture(scope="module", params=[15, 12, 18])
def cluster(request) -> Iterator[Server]:
    """One of its own: roles and settings are of the whole cluster. Each test brings it back."""
    fetch()
    with Server(major=request.param, pgaudit=False) as cluster:
        with cluster.connect() as connection:
            connection.autocommit = True
            connection.execute("CREATE DATABASE shop")
            for text in CLUSTER_SETUP:
                connection.execute(text)
        cluster.reload()
        with cluster.connect(dbname="shop") as connection:
            for text in SETUP.split(";\n"):
                if text.strip():
                    connection.execute(spoken_by(text, cluster))
        yield cluster


def change(cluster, *kinds):
    with cluster.connect(dbname="shop") as session:
        session.autocommit = True
        for kind in kinds:
            for text in CHANGES[kind]:
                session.execute(spoken_by(text, cluster))
    cluster.reload()


def decide(cluster, made):
    """What a person does who knows that it was a rename."""
    with cluster.connect(dbname="shop") as session:
        for step in made.steps:
            if step.phase is Phase.DECIDE:
                session.execute(step.text)


def brought_back(cluster, folder, *kinds):
    """(what differed, what still differs) after the plan was run, and once more where a grant
    hung on another."""
    before = seen(cluster)
    (folder / "desired.yaml").write_text(export(before))
    desired = read_declaration(folder / "desired.yaml").parts
    change(cluster, *kinds)
    after = seen(cluster)
    made = make(desired, after)
    text = script(made, title="test", allow_loss=True)
    done = run(cluster, text, folder)
    assert done.returncode == 0, f"{done.stderr}\n{text}"
    cluster.reload()
    decide(cluster, made)
    again = make(desired, seen(cluster))
    if again.steps:
        run(cluster, script(again, title="test", allow_loss=True), folder)
        cluster.reload()
    return left(before, after), left(before, seen(cluster))


def test_a_plan_that_may_lose_nothing_runs_and_leaves_every_row(cluster, tmp_path):
    before = seen(cluster)
    change(cluster, CatalogKind.TABLE)
    rows = {"hr.key (ident, badge)": "1, 7", "hr.on_key": "1", "hr.audit_2026": "'2026-05-05'"}
    with cluster.connect(dbname="shop") as session:
        for table, values in rows.items():
            session.execute(f"INSERT INTO {table} VALUES ({values})")
        done = run(cluster, script(make(before, seen(cluster)), title="test"), tmp_path)
        assert done.returncode == 0, done.stderr
        assert session.execute("SELECT ident, pay, badge FROM hr.key").fetchall() == [(1, None, 7)]
        assert session.execute("SELECT key FROM hr.on_key").fetchall() == [(1,)]
        assert session.execute("SELECT count(*) FROM hr.audit_2026").fetchall() == [(1,)]
    decide(cluster, make(before, seen(cluster)))
    done = run(
        cluster, script(make(before, seen(cluster)), title="test", allow_loss=True), tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert left(before, seen(cluster)) == []
    with cluster.connect(dbname="shop") as session:
        assert session.execute("SELECT id, pay FROM hr.key").fetchall() == [(1, None)]
        session.execute("TRUNCATE hr.key, hr.on_key")


RENAMES = (
    "ALTER TABLE hr.key RENAME COLUMN id TO ident", "ALTER TABLE hr.key RENAME TO keyring",
    "ALTER TABLE hr.keyring RENAME CONSTRAINT key_pkey TO keyring_pkey",
    "ALTER TABLE hr.events RENAME COLUMN at TO moment", "ALTER TABLE hr.salary RENAME TO pay",
    "ALTER POLICY own ON hr.pay RENAME TO mine", "ALTER TRIGGER noted ON hr.pay RENAME TO saw",
    "ALTER TABLE hr.audit_2025 RENAME TO audit_2026", "GRANT SELECT ON hr.pay TO analyst",
    "ALTER SEQUENCE hr.numbers RENAME TO counted", "ALTER TYPE hr.mood RENAME TO temper",
    "ALTER TYPE hr.small RENAME TO tiny", "ALTER FUNCTION hr.note() RENAME TO noting",
    "ALTER FUNCTION hr.secret(int) SET SCHEMA public", "ALTER SCHEMA hr RENAME TO people",
    "ALTER ROLE staff RENAME TO crew", 'ALTER ROLE "Odd ""role" RENAME TO even',
    "GRANT USAGE ON SCHEMA people TO even", "ALTER TABLE people.names SET SCHEMA public",
)  # fmt: skip


def test_what_the_record_saw_renamed_is_named_back_with_every_row(cluster, tmp_path):
    with cluster.connect(dbname="shop") as session:
        session.execute("INSERT INTO hr.key VALUES (1, 7); INSERT INTO hr.on_key VALUES (1)")
        session.execute("SELECT setval('hr.numbers', 4711)")
        before = seen(cluster)
        (tmp_path / "desired.yaml").write_text(export(before))
        desired = read_declaration(tmp_path / "desired.yaml").parts
        for statement in RENAMES:
            session.execute(statement)
        after = seen(cluster)
        made = make(desired, after, past_of(tmp_path, before, after))
        assert [step.text for step in made.steps if step.loses or step.by_hand] == []
        done = run(cluster, script(made, title="test"), tmp_path)
        assert done.returncode == 0, f"{done.stderr}\n{script(made, title='test')}"
        assert left(before, seen(cluster)) == []
        assert session.execute("SELECT id, pay FROM hr.key").fetchall() == [(1, 7)]
        assert session.execute("SELECT last_value FROM hr.numbers").fetchall() == [(4711,)]
        session.execute("TRUNCATE hr.key, hr.on_key")


RULES = [
    "hostssl all eve 10.0.0.0/8", "host all eve 0.0.0.0/0", "host all eve 10.0.0.5 255.0.0.0",
    "host all eve 10.0.0.1/32", "host all eve ::/0", "host all eve FD00::1/64",
    "host all eve ::1/128", "host all eve ::ffff:1.2.3.4/120", "host all eve samenet",
    "host all eve .Example.com", "host all eve ::/1",
]  # fmt: skip


def test_rules_are_declared_as_pg_hba_conf_has_them(cluster, tmp_path):
    file = cluster.data / "pg_hba.conf"
    text = file.read_text()
    file.write_text(text + "".join(f"{rule} reject\n" for rule in RULES))
    try:
        rules = seen(cluster)[CatalogKind.HBA, ""]
    finally:
        file.write_text(text)
    lines = "".join(f"    {rule}: reject\n" for rule in RULES)
    (tmp_path / "desired.yaml").write_text(f"version: 1\ncluster:\n  hba:\n{lines}")
    [declared] = read_declaration(tmp_path / "desired.yaml").parts.values()
    assert [name for name in declared if name not in rules] == []
    assert len(declared) == len(RULES)


@pytest.mark.parametrize("kind", list(CHANGES))
def test_what_was_changed_is_brought_back(kind, cluster, tmp_path):
    needs_roles = kind in (CatalogKind.MEMBERSHIP, CatalogKind.PRIVILEGE)
    kinds = [CatalogKind.ROLE, kind] if needs_roles else [kind]
    changed, still = brought_back(cluster, tmp_path, *kinds)
    assert {each[0] for each in changed} >= {str(each) for each in kinds}
    assert still == []


def test_all_at_once_is_brought_back(cluster, tmp_path):
    changed, still = brought_back(cluster, tmp_path, *CHANGES)
    assert changed
    assert still == []
