"""Rules about a table hold for all that leads to it, and for nothing that only looks like it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from rules.ruleset import RuleSet
from tests.conformance.servers import DEBIAN_MAJOR, Server, fetch
from tests.kernel.guarding import Agent
from tests.kernel.majors import MAJORS

pytestmark = [pytest.mark.kernel, pytest.mark.live]

RULES = """
rules:
  - id: no-writes
    title: Bots write no salaries
    severity: high
    when: >
      session.user == 'bot'
      && statement.writes.exists(w, w == 'hr.salaries' || w == 'hr.sealed' || w == 'hr.pay_all')
    action: deny
    message: not for bots
    examples: {match: [{sql: DELETE FROM hr.salaries, session: {user: bot}}], no_match: [SELECT 1]}
  - id: no-reads
    title: Readers read no salaries
    severity: high
    when: >
      session.user == 'reader'
      && statement.reads.exists(r, r == 'hr.salaries' || r == 'hr.pay_all')
    action: deny
    message: not for readers
    examples:
      match: [{sql: SELECT * FROM hr.salaries, session: {user: reader}}]
      no_match: [SELECT 1]
  - id: no-large-reads
    title: Samplers read little
    severity: low
    when: session.user == 'sampler' && statement.estimated_rows > 500.0
    action: deny
    message: too many rows
    examples: {match: [], no_match: [SELECT 1]}
  - id: no-bare-purge
    title: A purge outside scratch
    severity: low
    when: >
      session.user == 'cleaner' && 'delete' in statement.verbs
      && statement.writes.exists(w, !w.startsWith('scratch.') && !w.startsWith('pg_temp.')
        && (w.contains('.') || !statement.resolved))
    action: deny
    message: only scratch
    examples:
      match: [{sql: DELETE FROM t, session: {user: cleaner}}]
      no_match: [{sql: DELETE FROM scratch.t, session: {user: cleaner}}]
"""
OBJECTS = """
CREATE ROLE bot LOGIN SUPERUSER; CREATE ROLE reader LOGIN SUPERUSER;
CREATE ROLE sampler LOGIN SUPERUSER; CREATE ROLE cleaner LOGIN SUPERUSER;
CREATE ROLE pgwarden LOGIN;
CREATE SCHEMA hr; CREATE SCHEMA scratch;
CREATE TABLE hr.salaries (id int PRIMARY KEY, amount int);
INSERT INTO hr.salaries SELECT n, n FROM generate_series(1, 1000) n;
ANALYZE hr.salaries;
CREATE TABLE public.salaries (id int, amount int);
CREATE TABLE scratch.t (id int); CREATE TABLE public.t (id int);
CREATE VIEW public.pay AS SELECT id, amount FROM hr.salaries;
CREATE VIEW public.pay_again AS SELECT id, amount FROM public.pay;
CREATE VIEW public.guarded WITH (security_barrier) AS SELECT id, amount FROM hr.salaries;
CREATE VIEW public.harmless AS SELECT id, amount FROM public.salaries;
CREATE VIEW public.flipping AS SELECT id, amount FROM public.salaries;
CREATE MATERIALIZED VIEW public.stored AS SELECT * FROM hr.salaries;
CREATE TABLE public.inbox (id int);
CREATE RULE sweep AS ON INSERT TO public.inbox DO INSTEAD DELETE FROM hr.salaries WHERE id = NEW.id;
CREATE FUNCTION public.paid() RETURNS SETOF hr.salaries LANGUAGE sql STABLE
    AS 'SELECT * FROM hr.salaries';
CREATE TABLE hr.pay_all (id int, at int) PARTITION BY RANGE (at);
CREATE TABLE hr.pay_1 PARTITION OF hr.pay_all FOR VALUES FROM (0) TO (10);
CREATE TABLE hr.sealed (id int); CREATE TABLE public.heir () INHERITS (hr.sealed);
"""


@pytest.fixture(scope="module", params=MAJORS)
def cluster(request) -> Iterator[Server]:
    if request.param != DEBIAN_MAJOR:
        fetch()
    with Server(major=request.param, settings={"autovacuum": "off"}) as running:
        with running.connect() as admin:
            admin.execute(OBJECTS)
        yield running


@pytest.fixture(scope="module")
def agent(cluster, compiled_probes, tmp_path_factory) -> Iterator[Agent]:
    rules = tmp_path_factory.mktemp("rules") / "rules.yaml"
    rules.write_text(RULES)
    running = Agent(cluster, RuleSet.load([rules]), namer="pgwarden")
    with cluster.connect(user="reader") as first:
        first.execute("SELECT * FROM public.harmless")  # names are read once somebody asks
    yield running
    running.close()


@pytest.fixture
def session(cluster, agent):
    """A session of this user, in a transaction that leaves nothing behind."""
    opened: list[psycopg.Connection] = []

    def open_session(user: str) -> psycopg.Connection:
        connection = cluster.connect(user=user)
        opened.append(connection)
        connection.execute("BEGIN")
        return connection

    yield open_session
    for connection in opened:
        connection.close()


def refused(connection: psycopg.Connection, sql: str, rule: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=rule):
        connection.execute(sql)


WRITES = [
    ["DELETE FROM hr.salaries"],
    ["DELETE FROM public.pay"],
    ["UPDATE pay_again SET amount = 0"],
    ["INSERT INTO guarded VALUES (5000, 1)"],
    ["INSERT INTO inbox VALUES (1)"],
    ["SET search_path = hr", "DELETE FROM salaries"],
    ['SET search_path = "hr"', 'UPDATE "salaries" SET amount = 1'],
    [r"SET search_path = U&'\0068r'", r'DELETE FROM U&"\0073alaries"'],
    ["ALTER TABLE hr.salaries RENAME TO harmless_name", "DELETE FROM hr.harmless_name"],
    ["ALTER TABLE hr.salaries SET SCHEMA scratch", "DELETE FROM scratch.salaries"],
    ["ALTER SCHEMA hr RENAME TO other", "DELETE FROM other.salaries"],
    ["CREATE VIEW v AS SELECT * FROM hr.salaries", "DELETE FROM v"],
    ["CREATE TEMP VIEW v AS SELECT * FROM pay", "WITH d AS (DELETE FROM v RETURNING 1) TABLE d"],
    ["PREPARE p AS DELETE FROM pay", "EXECUTE p"],
    ["DELETE FROM hr.pay_1"],
    ["DELETE FROM public.heir"],
    ["DELETE FROM hr.sealed"],
    ["SET ROLE pgwarden", "RESET ROLE", "DELETE FROM public.pay"],
]
READS = [
    ["SELECT * FROM hr.salaries"],
    ["SELECT * FROM pay_again"],
    ["SELECT id FROM guarded WHERE id = 1"],
    ["SELECT * FROM paid()"],
    ["WITH s AS (SELECT * FROM pay) SELECT 1 FROM s"],
    ["SELECT (SELECT max(amount) FROM pay)"],
    ["SET search_path = hr", "TABLE salaries"],
    ["SELECT * FROM hr.pay_1"],
    ["SELECT * FROM pay FOR UPDATE"],
    ["INSERT INTO scratch.t SELECT id FROM pay"],
    ["ALTER TABLE hr.salaries RENAME TO dull", "SELECT count(*) FROM hr.dull"],
]
INSIDE = [
    ["DECLARE c CURSOR FOR SELECT * FROM pay", "FETCH ALL FROM c"],
    ["COPY (SELECT * FROM pay) TO STDOUT"],
    ["CREATE TABLE scratch.copied AS SELECT * FROM pay"],
    ["SELECT * INTO scratch.copied FROM pay"],
    ["REFRESH MATERIALIZED VIEW stored"],
    ["EXPLAIN ANALYZE SELECT * FROM pay"],
    ["DO $$ BEGIN PERFORM * FROM pay; END $$"],
]
"""Their plan is made inside a command that has none."""


@pytest.mark.parametrize("statements", WRITES, ids=lambda each: each[-1])
def test_no_way_to_write_gets_round_a_rule(session, statements):
    bot = session("bot")
    for statement in statements[:-1]:
        bot.execute(statement)
    refused(bot, statements[-1], "no-writes")


@pytest.mark.parametrize("statements", READS, ids=lambda each: each[-1])
def test_no_way_to_read_gets_round_a_rule(session, statements):
    reader = session("reader")
    for statement in statements[:-1]:
        reader.execute(statement)
    refused(reader, statements[-1], "no-reads")


@pytest.mark.parametrize(
    "statements",
    [
        ["SELECT * FROM hr.salaries"],
        ["SELECT * FROM public.pay FOR UPDATE"],
        ["DELETE FROM public.salaries"],
        ["DELETE FROM salaries"],
        ["DELETE FROM harmless"],
        ["CREATE TEMP TABLE salaries (id int)", "DELETE FROM salaries"],
        ["CREATE TEMP TABLE salaries (id int)", "SET search_path = pg_temp", "TABLE salaries"],
        ["INSERT INTO public.t SELECT id FROM hr.salaries"],
        ["SELECT 'hr.salaries'::regclass"],
        ["CREATE TABLE hr.other (id int)", "INSERT INTO hr.other VALUES (1)"],
    ],
    ids=lambda each: each[-1],
)
def test_what_only_looks_like_it_passes(session, statements):
    bot = session("bot")
    for statement in statements:
        bot.execute(statement)


def test_a_name_of_the_catalog_reaches_the_record_with_the_rule(session, agent):
    bot = session("bot")
    refused(bot, "DELETE FROM public.pay WHERE id = 17", "no-writes")
    held = agent.hold_of("DELETE FROM public.pay WHERE id = 17")
    assert not held.settled.decision.lasting
    assert held.settled.decision.match.rule.title == "Bots write no salaries"


def test_a_prepared_statement_is_judged_by_what_its_view_is_now(session, cluster):
    bot = session("bot")
    bot.execute("COMMIT")
    bot.prepare_threshold = 0
    for _ in range(20):
        bot.execute("UPDATE flipping SET amount = 1")
    with cluster.connect() as admin:
        admin.execute("CREATE OR REPLACE VIEW flipping AS SELECT id, amount FROM hr.salaries")
        refused(bot, "UPDATE flipping SET amount = 1", "no-writes")
        admin.execute("CREATE OR REPLACE VIEW flipping AS SELECT id, amount FROM public.salaries")
    bot.execute("UPDATE flipping SET amount = 1")


def test_a_text_that_search_path_turns_is_judged_each_time(session):
    bot = session("bot")
    for _ in range(20):
        bot.execute("SET search_path = public")
        bot.execute("DELETE FROM salaries")
    bot.execute("SET search_path = hr")
    refused(bot, "DELETE FROM salaries", "no-writes")


def test_a_table_that_takes_the_name_is_protected_from_then_on(session, cluster, agent):
    bot = session("bot")
    bot.execute("COMMIT")
    with cluster.connect() as admin:
        admin.execute("CREATE TABLE hr.spare (id int)")
        for _ in range(20):
            bot.execute("DELETE FROM hr.spare")
        admin.execute("ALTER TABLE hr.sealed RENAME TO kept")
        admin.execute("ALTER TABLE hr.spare RENAME TO sealed")
        admin.execute("CREATE VIEW public.way AS SELECT * FROM hr.sealed")
        agent.relations.poke()
        limit = 100
        while True:
            try:
                bot.execute("DELETE FROM way")
            except psycopg.errors.InsufficientPrivilege:
                break
            limit -= 1
            assert limit
        admin.execute("DROP VIEW way; DROP TABLE hr.sealed; ALTER TABLE hr.kept RENAME TO sealed")
        agent.relations.poke()


def test_a_bare_name_that_means_scratch_is_scratch(session):
    cleaner = session("cleaner")
    refused(cleaner, "DELETE FROM t", "no-bare-purge")
    cleaner.execute("ROLLBACK")
    cleaner.execute("SET search_path = scratch")
    cleaner.execute("DELETE FROM t")
    refused(cleaner, "DELETE FROM public.t", "no-bare-purge")


def test_a_rule_about_estimates_is_asked_each_time(session, cluster):
    sampler = session("sampler")
    refused(sampler, "SELECT * FROM hr.salaries", "no-large-reads")
    sampler.execute("ROLLBACK")
    sampler.execute("SELECT * FROM hr.salaries LIMIT 3")
    with cluster.connect() as admin:
        admin.execute("CREATE TABLE growing AS SELECT 1 AS id; ANALYZE growing")
        for _ in range(20):
            sampler.execute("SELECT * FROM growing")
        admin.execute("INSERT INTO growing SELECT generate_series(1, 5000); ANALYZE growing")
    refused(sampler, "SELECT * FROM growing", "no-large-reads")


def test_asking_for_a_name_never_waits_for_the_guard_itself(session, agent):
    """A new table is asked for while its statement is held; our own query must not be."""
    bot = session("bot")
    bot.execute("COMMIT")
    bot.execute("CREATE TABLE brand_new (id int)")
    bot.execute("INSERT INTO brand_new VALUES (1)")
    held = agent.hold_of("INSERT INTO brand_new VALUES (1)")
    assert not held.settled.late
    assert held.settled.held_us < 900_000
    bot.execute("DROP TABLE brand_new")


@pytest.mark.parametrize("statements", INSIDE, ids=lambda each: each[-1])
def test_a_query_inside_a_command_is_judged_by_its_plan(session, statements):
    reader = session("reader")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="no-reads"):  # noqa: PT012
        # The query of a cursor is planned when it is declared, and may be refused then or later.
        for statement in statements:
            execute(reader, statement)


def execute(connection: psycopg.Connection, sql: str) -> None:
    if not sql.startswith("COPY"):
        connection.execute(sql)
        return
    with connection.cursor() as cursor, cursor.copy(sql) as copy:
        list(copy)
