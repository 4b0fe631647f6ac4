"""Who made the difference, asked of the whole program on a real server with real probes.

Everybody acts within a few seconds, so most snapshots see the work of several. ``TRUTH`` says who
did what by the names it leaves in the catalog; kinds that snapshots do not have are passed over.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from contextlib import suppress

import psycopg
import pytest

from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]
CONFIG = {
    "agent": {
        # No round over everything falls into the test: what is found was looked for.
        "catalog": {"watched": [{"table": "public.flags"}], "interval_seconds": 60},
    }
}
NOBODY = ""
ACTORS = (
    "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "kate",
    "leo", "mona", "nina", "oscar", "paul", "quinn", "rita", "sam", "tina", "ulla", "mallory",
)  # fmt: skip
SETUP = """
CREATE ROLE etl; CREATE ROLE leaver; CREATE ROLE old_name; CREATE ROLE group_a;
GRANT group_a TO old_name;
GRANT SELECT ON pg_hba_file_rules TO pgwarden;
GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO pgwarden;
GRANT SELECT ON pg_file_settings TO pgwarden;
GRANT EXECUTE ON FUNCTION pg_show_all_file_settings() TO pgwarden;
CREATE SCHEMA app; CREATE SCHEMA junk; CREATE SCHEMA wide;
CREATE TABLE junk.t (i int); GRANT SELECT ON junk.t TO bot; GRANT USAGE ON SCHEMA junk TO bot;
CREATE TABLE wide.a (i int); CREATE TABLE wide.b (i int);
CREATE TABLE shop.old_t (i int); GRANT SELECT ON shop.old_t TO analyst;
CREATE TABLE shop.left_behind (i int); GRANT SELECT ON shop.left_behind TO leaver;
CREATE TABLE shop.one (i int); CREATE TABLE shop.two (i int); CREATE TABLE shop.three (i int);
CREATE TABLE shop.inside (i int); CREATE TABLE shop.done (i int);
CREATE TABLE public.flags (id int PRIMARY KEY, is_on bool);
INSERT INTO public.flags VALUES (7, false);
GRANT SELECT ON public.flags TO pgwarden;
CREATE SCHEMA kinds; CREATE TABLE kinds.t (i int);
CREATE FUNCTION kinds.look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION app.give(what text) RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN EXECUTE format('GRANT INSERT ON %s TO etl', what); END $$;
CREATE ROLE group_b; CREATE ROLE group_c; CREATE ROLE group_d; CREATE SCHEMA several;
CREATE TABLE several.t (); CREATE TABLE several.u (); CREATE TABLE several.v ();
CREATE TABLE several.w (); CREATE TABLE several.x (); CREATE TABLE several.y ();
CREATE TABLE several.z ();
GRANT UPDATE ON several.w TO group_b; GRANT INSERT ON several.x TO group_b;
CREATE FUNCTION app.make(who text) RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN EXECUTE format('CREATE ROLE %I', who); END $$;
CREATE FUNCTION app.several() RETURNS void LANGUAGE sql AS
  'GRANT REFERENCES ON several.y TO group_b; GRANT TRIGGER ON several.z TO group_b';
CREATE FUNCTION app.outer(what text) RETURNS void LANGUAGE sql AS 'SELECT app.give(what)';
"""
DUMPED = """
CREATE SCHEMA arch; GRANT USAGE ON SCHEMA arch TO bot;
DO $$ BEGIN FOR n IN 1..15 LOOP
  EXECUTE format('CREATE TABLE arch.t%s (id serial PRIMARY KEY, note text)', n);
  EXECUTE format('GRANT SELECT ON arch.t%s TO bot', n);
END LOOP; END $$;
CREATE VIEW arch.v AS SELECT * FROM arch.t1;
"""
OF_ALL_KINDS = (
    "CREATE TYPE kinds.mood AS ENUM ('sad')",
    "ALTER TYPE kinds.mood ADD VALUE 'glad'",
    "CREATE VIEW kinds.v AS SELECT i FROM kinds.t",
    "ALTER TABLE kinds.t RENAME TO u",
    "ALTER TABLE kinds.u ADD COLUMN mood kinds.mood",
    "CREATE INDEX mood_index ON kinds.u (mood)",
    "ALTER TABLE kinds.u ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY own ON kinds.u USING (true)",
    "CREATE TRIGGER look BEFORE INSERT ON kinds.u FOR EACH ROW EXECUTE FUNCTION kinds.look()",
    "CREATE OR REPLACE FUNCTION kinds.look() RETURNS trigger LANGUAGE plpgsql"
    " AS 'BEGIN RETURN OLD; END'",
    "CREATE PUBLICATION kinds_news FOR TABLE kinds.u",
    "SELECT pg_create_physical_replication_slot('kinds_slot')",
    "CREATE SEQUENCE kinds.numbers",
)
"""A statement at a time; kinds that no snapshot has are not missed."""
OF_THE_SERVER = (
    "work_mem = '9MB'", "temp_buffers = 2000", "geqo TO OFF", "random_page_cost = 3.50",
    "search_path = shop, public",
)  # fmt: skip
DONE_ALREADY = (
    "CREATE TABLE IF NOT EXISTS shop.later (id serial)",
    "DROP SCHEMA IF EXISTS junk CASCADE",
    "GRANT analyst TO etl",
    "GRANT SELECT ON shop.orders TO analyst",
)
LOOKED_AT_WITHIN_SECONDS = 5
IN_ONE_STRING = (
    ("BEGIN; CREATE ROLE tina_a SUPERUSER; COMMIT",),
    ("SET statement_timeout = '60s'; CREATE ROLE tina_b SUPERUSER",),
    ("BEGIN; CREATE ROLE tina_c", "SELECT pg_sleep(7)", "COMMIT"),
    ("BEGIN; CREATE ROLE tina_d; ALTER ROLE tina_d RENAME TO tina_e; COMMIT",),
    ("BEGIN", "SELECT app.make('tina_f')", "SELECT pg_sleep(7)", "COMMIT; BEGIN"),
    ("BEGIN; CREATE ROLE tina_g; ROLLBACK; CREATE ROLE tina_h",),
    (
        "BEGIN; CREATE ROLE tina_i; PREPARE TRANSACTION 'of tina'",
        "SELECT pg_sleep(7)",
        "COMMIT PREPARED 'of tina'",
    ),
)
GRANTED_IN_ONE_STRING = (
    "GRANT USAGE ON SCHEMA several TO group_b; GRANT SELECT ON several.t TO group_b",
    "GRANT UPDATE ON several.u TO group_b; GRANT INSERT ON several.v TO group_b",
    "REVOKE UPDATE ON several.w FROM group_b; REVOKE INSERT ON several.x FROM group_b",
    "GRANT CONNECT ON DATABASE src TO group_b; GRANT DELETE ON ALL TABLES IN SCHEMA several TO"
    " group_c; ALTER DEFAULT PRIVILEGES IN SCHEMA several GRANT TRUNCATE ON TABLES TO group_c",
    "SELECT app.several()",
)
TRUTH = (
    (r"group_d", "ulla"),
    (r"tina_", "tina"),
    (r"several|group_[bc]", "quinn"),
    (r"^hba", NOBODY),
    (r"^setting log_connections$", NOBODY),
    (r"^setting maintenance_work_mem$", NOBODY),
    (r"^setting (work_mem|temp_buffers|geqo|random_page_cost|search_path)$", "erin"),
    (r"^setting .*@etl$|^role etl$", "frank"),
    (r"^membership analyst<-etl$", "grace"),
    (r"\b(old_name|new_name)\b", "judy"),
    (r"\barch\b", "mona"),
    (r"\bjunk\b", "ivan"),
    (r"kinds", "rita"),
    (r"^watched", "sam"),
    (r"\bwide\b", "oscar"),
    (r"shop\.(old_t|new_t)\b", "heidi"),
    (r"^privilege default:", "kate"),
    (r"shop\.later", "leo"),
    (r"<-leaver$", "nina"),
    (r"shop\.(one|two|three)<", "paul"),
    (r"shop\.inside<", "carol"),
    (r"shop\.done<", "dave"),
    (r"shop\.orders<-analyst$", "alice"),
    (r"shop\.prices<-analyst$", "bob"),
)


class Town:
    def __init__(self, running: Running) -> None:
        self.running = running
        self.cluster = running.cluster

    def did(self, who: str, *sql: str) -> None:
        with self.cluster.connect(user=who, application_name=f"{who}-tool") as connection:
            for text in sql:
                connection.execute(text)

    def failed(self, who: str, sql: str) -> None:
        with self.cluster.connect(user=who) as connection, pytest.raises(psycopg.Error):
            connection.execute(sql)

    def undone_in_a_pipeline(self, who: str, *sql: str) -> None:
        with (
            self.cluster.connect(user=who) as connection,
            suppress(psycopg.Error),
            connection.pipeline(),
        ):
            for text in sql:
                connection.execute(text)

    def restored(self, who: str) -> None:
        dump = subprocess.run(
            [server_folder() / "bin" / "pg_dump", "--schema", "arch", "--no-owner",
             self.cluster.dsn(dbname="src")],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        subprocess.run(
            ["psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1",
             self.cluster.dsn(user=who)],
            input=dump.stdout, capture_output=True, text=True, check=True,
        )  # fmt: skip

    def edited_files(self) -> None:
        with (self.cluster.data / "postgresql.conf").open("a") as conf:
            conf.write("\nlog_connections = on\n")
        own = self.cluster.data / "postgresql.auto.conf"
        own.write_text(own.read_text().replace("70MB", "96MB"))
        hba = self.cluster.data / "pg_hba.conf"
        hba.write_text(f"host all mallory 10.9.8.7/32 trust\n{hba.read_text()}")
        self.cluster.reload()


@pytest.fixture(scope="module")
def town():
    with PostgresCluster(settings={"max_prepared_transactions": "2"}) as cluster:
        prepare(cluster)
        with cluster.connect() as connection:
            connection.execute(SETUP)
            for name in ACTORS:
                connection.execute(f"CREATE ROLE {name} LOGIN SUPERUSER")
            connection.execute("CREATE DATABASE src")
        with cluster.connect(dbname="src") as connection:
            connection.execute(DUMPED)
        with Running(cluster, CONFIG) as running:
            baselines = "SELECT 1 FROM findings WHERE detector = 'drift.baseline'"
            running.wait_sql(f"{baselines} HAVING count(*) >= 2", 30)
            town = Town(running)
            act(town)
            yield town


def act(town: Town) -> None:
    town.did("alice", "GRANT SELECT ON shop.orders TO analyst")
    for fails in ("SELECT 1/0", "SELEC 1", "SELECT * FROM shop.nowhere"):
        town.undone_in_a_pipeline("mallory", "GRANT SELECT ON shop.prices TO analyst", fails)
    town.did("bob", "GRANT SELECT ON shop.prices TO analyst")
    for take_back in ("ROLLBACK", "SAVEPOINT s; GRANT SELECT ON shop.two TO etl; ROLLBACK TO s"):
        statements = ("BEGIN", "GRANT SELECT ON shop.prices TO analyst", *take_back.split("; "))
        town.did("mallory", *statements, "ROLLBACK" if "SAVEPOINT" in take_back else "SELECT 1")
    town.failed("mallory", "GRANT SELECT ON shop.orders, shop.nowhere TO analyst")
    town.did("carol", "SELECT app.outer('shop.inside')")
    town.did("dave", "DO $$ BEGIN EXECUTE 'GRANT SELECT ON shop.do' || 'ne TO etl'; END $$")
    own = [f"ALTER SYSTEM SET {each}" for each in OF_THE_SERVER]
    town.did("erin", *own, "SELECT pg_reload_conf()")
    town.did("erin", "ALTER SYSTEM SET maintenance_work_mem = '70MB'")
    town.edited_files()
    town.did("frank", "ALTER ROLE etl CREATEDB", "ALTER ROLE etl SET statement_timeout = '9s'")
    town.did("grace", "GRANT analyst TO etl")
    town.did("heidi", "ALTER TABLE shop.old_t RENAME TO new_t")
    town.did("ivan", "DROP SCHEMA junk CASCADE")
    town.did("judy", "ALTER ROLE old_name RENAME TO new_name")
    town.did(
        "kate", "ALTER DEFAULT PRIVILEGES FOR ROLE leo IN SCHEMA shop GRANT SELECT ON TABLES TO bot"
    )
    town.did("leo", "CREATE TABLE shop.later (id serial)")
    town.did("mallory", *DONE_ALREADY)
    town.restored("mona")
    town.did("nina", "DROP OWNED BY leaver")
    town.did("oscar", "GRANT SELECT ON ALL TABLES IN SCHEMA wide TO bot")
    grants = [f"GRANT SELECT ON shop.{name} TO bot" for name in ("one", "two", "three")]
    town.did("paul", "BEGIN", *grants, "COMMIT")
    town.did("rita", *OF_ALL_KINDS)
    town.did("mallory", "BEGIN", "DELETE FROM public.flags", "ROLLBACK")
    town.did("sam", "UPDATE flags SET is_on = true")
    for each in IN_ONE_STRING:
        town.did("tina", *each)
    for each in GRANTED_IN_ONE_STRING:
        town.did("quinn", each)
    town.did(
        "ulla", "GRANT CREATE ON SCHEMA several TO group_d; GRANT SELECT ON several.t TO group_d"
    )


ROWS = (
    "SELECT kind, name, change, attribution, actor, statement_id, finding_id, note,"
    " epoch_us(occurred_at) AS detected_us FROM drift"
    " ORDER BY kind, name"
)


def actor_in_truth(row: dict) -> str | None:
    said = f"{row['kind']} {row['name']}"
    return next((who for pattern, who in TRUTH if re.search(pattern, said)), None)


@pytest.fixture(scope="module")
def rows(town):
    """Once nothing has come for as long as a difference waits for its cause."""
    seen, since = -1, time.monotonic()
    deadline = time.monotonic() + 60
    while time.monotonic() - since < 8 and time.monotonic() < deadline:
        rows = town.running.sql(ROWS)
        if len(rows) != seen:
            seen, since = len(rows), time.monotonic()
        time.sleep(0.5)
    return rows


def test_each_difference_has_the_actor_who_made_it_and_none_is_invented(rows):
    wrong = [
        (row["kind"], row["name"], row["change"], row["actor"], actor_in_truth(row))
        for row in rows
        if row["actor"] != actor_in_truth(row)
    ]
    assert not wrong, f"{len(wrong)} of {len(rows)}"


def test_everybody_who_changed_something_is_named(rows):
    has_kinds = any(row["kind"] == "table" for row in rows)
    quiet = {"mallory"} if has_kinds else {"mallory", "rita", "sam"}
    assert {row["actor"] for row in rows} - {NOBODY} == {*ACTORS} - quiet


def test_what_was_done_in_a_string_is_looked_at_soon_after_its_commit(town, rows):
    committed = (
        "SELECT epoch_us(max(started_at)) AS us FROM statements WHERE user_name = 'tina'"
        " AND id >= {statement_id} AND pid = (SELECT pid FROM statements WHERE id = {statement_id})"
    )
    made = [row for row in rows if row["kind"] == "role" and row["name"].startswith("tina_")]
    assert sorted(row["name"] for row in made) == [f"tina_{letter}" for letter in "abcefhi"]
    for row in made:
        (end,) = town.running.sql(committed.format(**row))
        delay = row["detected_us"] / 1e6 - end["us"] / 1e6
        assert delay < LOOKED_AT_WITHIN_SECONDS, row["name"]


def test_what_nobody_did_on_the_wire_is_the_two_files_alone(rows):
    files = {(row["kind"]) for row in rows if row["attribution"] == "unattributed"}
    assert files == {"setting", "hba"}


def test_what_was_done_inside_points_to_the_statement_inside(town, rows):
    (row,) = [row for row in rows if row["actor"] == "carol"]
    (statement,) = town.running.sql(
        f"SELECT parent_id, text FROM statements WHERE id = {row['statement_id']}"
    )
    assert statement["parent_id"] != 0
    assert statement["text"] == "GRANT INSERT ON shop.inside TO etl"


def test_a_restored_dump_a_transaction_and_a_cascade_are_one_finding_each(town, rows):
    for who, least in (("mona", 16), ("paul", 3), ("ivan", 2), ("judy", 3), ("oscar", 2)):
        mine = [row for row in rows if row["actor"] == who]
        assert len(mine) >= least, who
        assert len({row["finding_id"] for row in mine}) == 1, who
    (dump,) = town.running.sql(
        "SELECT sentence FROM findings WHERE kind = 'drift' AND identity = 'mona'"
    )
    assert re.match(r"\d+ statements of one session by mona at \d\d:\d\d UTC", dump["sentence"])


def test_the_sentence_says_what_was_done_by_whom_from_where_and_what_follows(town, rows):
    (found,) = town.running.sql(
        "SELECT sentence FROM findings WHERE kind = 'drift' AND identity = 'grace'"
    )
    assert re.match(
        r"GRANT analyst TO etl by grace at \d\d:\d\d UTC from grace-tool.*: "
        "etl is now a member of analyst",
        found["sentence"],
    )


def test_the_changes_view_says_when_it_was_known(town, rows):
    (told,) = town.running.sql(
        "SELECT actor, outcome, known_at >= occurred_at AS later FROM drift_changes"
        " WHERE kind = 'membership' AND name = 'analyst<-etl'"
    )
    assert told == {"actor": "grace", "outcome": "attributed", "later": True}


def test_a_revert_names_who_brought_it_back(town, rows):
    town.did("alice", "REVOKE SELECT ON shop.prices FROM analyst")
    (row,) = town.running.wait_sql(
        "SELECT outcome, actor, resolved_by FROM drift"
        " WHERE name = 'table:shop.prices<-analyst' AND resolved_at IS NOT NULL"
    )
    assert row == {"outcome": "reverted", "actor": "bob", "resolved_by": "alice"}


def test_the_key_of_hashes_that_stand_for_secrets_is_readable_to_the_agent_alone(town):
    (key,) = town.running.folder.rglob("catalog.key")
    assert (key.stat().st_mode & 0o777, key.stat().st_size) == (0o600, 32)
