"""Functions that reach beyond their database are refused whatever calls them; seen by effect."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from agent.guard.deniable import deniable
from agent.guard.server import Server as Guarded
from rules.ruleset import RuleSet
from tests.conformance.servers import DEBIAN_MAJOR, Server, fetch
from tests.kernel.guard_stage import stopped, wait_until
from tests.kernel.guarding import Agent
from tests.kernel.majors import MAJORS

pytestmark = [pytest.mark.kernel, pytest.mark.live]

RULES = """
rules:
  - id: no-setting
    title: Settings stay
    severity: high
    when: "statement.settings.exists(s, s in ['session_replication_role', '?', 'role'])"
    action: deny
    message: not this one
    examples: {match: [SET session_replication_role = replica], no_match: [SET work_mem = '1MB']}
  - id: no-large-object
    title: Large objects stay
    severity: high
    when: "statement.functions.exists(f, f in ['lo_create', 'pg_read_file'])"
    action: deny
    message: not this one
    examples: {match: ["SELECT lo_create(1)"], no_match: ["SELECT lo_get(1)"]}
"""
PARALLEL = """
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off
"""
SCHEMA = """
CREATE FUNCTION in_sql(text, text) RETURNS text LANGUAGE sql AS 'SELECT set_config($1, $2, false)';
CREATE FUNCTION expression(text, text) RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN RETURN set_config($1, $2, false); END $$;
CREATE FUNCTION as_default() RETURNS text LANGUAGE plpgsql AS
  $$ DECLARE x text := set_config('session_replication_role', 'replica', false); BEGIN RETURN x; END $$;
CREATE FUNCTION swallows() RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN RETURN set_config('session_replication_role', 'replica', false);
     EXCEPTION WHEN insufficient_privilege THEN RETURN SQLERRM; END $$;
CREATE FUNCTION aliased(text, text, bool) RETURNS text LANGUAGE internal AS 'set_config_by_name';
CREATE FUNCTION put(text) RETURNS int LANGUAGE sql AS
  $$ SELECT length(set_config('session_replication_role', $1, false)) $$;
CREATE CAST (text AS int) WITH FUNCTION put(text);
CREATE FUNCTION pair(text, text) RETURNS text LANGUAGE sql AS 'SELECT set_config($1, $2, false)';
CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = pair);
CREATE TABLE filled (id int, x text DEFAULT expression('session_replication_role', 'replica'));
CREATE TABLE checked (x text CHECK (expression('session_replication_role', x) IS NOT NULL));
CREATE FUNCTION put_object(oid) RETURNS oid LANGUAGE plpgsql AS $$ BEGIN RETURN lo_create($1); END $$;
CREATE FUNCTION slurp(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN pg_read_file($1); END $$;
CREATE FUNCTION reads_version() RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS
  $$ BEGIN RETURN pg_read_file('PG_VERSION'); END $$;
CREATE TABLE many AS SELECT generate_series(1, 1000) AS n;
CREATE VIEW versions AS SELECT n FROM many WHERE pg_read_file('PG_VERSION') IS NOT NULL;
CREATE FUNCTION is_own(int) RETURNS bool LANGUAGE plpgsql PARALLEL SAFE AS $$ BEGIN RETURN $1 > 0; END $$;
CREATE TABLE names (n text);
INSERT INTO names VALUES ('session_replication_role');
CREATE FUNCTION runs_in(text) RETURNS bool LANGUAGE plpgsql PARALLEL SAFE AS
  $$ BEGIN RETURN (SELECT backend_type = $1 FROM pg_stat_activity WHERE pid = pg_backend_pid()); END $$;
CREATE FUNCTION in_worker(int) RETURNS int LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS
  $$ BEGIN IF public.runs_in('parallel worker') THEN RAISE EXCEPTION 'read %', pg_read_file('PG_VERSION'); END IF;
     RETURN $1; END $$;
CREATE FUNCTION in_autovacuum(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN IF public.runs_in('autovacuum worker') AND lo_create(0) IS NULL THEN NULL; END IF; RETURN $1; END $$;
"""  # noqa: E501


@pytest.fixture(scope="module", params=MAJORS)
def cluster(request) -> Iterator[Server]:
    if request.param != DEBIAN_MAJOR:
        fetch()
    with Server(major=request.param, log_format="stderr") as running:
        with running.connect() as admin:
            admin.execute(SCHEMA)
        yield running


@pytest.fixture(scope="module")
def rules(tmp_path_factory) -> RuleSet:
    file = tmp_path_factory.mktemp("rules") / "rules.yaml"
    file.write_text(RULES)
    return RuleSet.load([file])


@pytest.fixture(scope="module")
def before(cluster) -> Iterator[psycopg.Connection]:
    """Open before the probes came."""
    with cluster.connect() as connection:
        connection.execute("SELECT 1")
        yield connection


@pytest.fixture(scope="module")
def agent(cluster, rules, before, compiled_probes) -> Iterator[Agent]:
    running = Agent(cluster, rules, calls=deniable(rules))
    yield running
    running.close()


@pytest.fixture
def client(cluster, agent) -> Iterator[psycopg.Connection]:
    postmaster = cluster.postmaster_pid
    with cluster.connect() as connection:
        yield connection
        connection.execute("ROLLBACK")
        assert connection.execute("SHOW session_replication_role").fetchone() == ("origin",)
    assert cluster.postmaster_pid == postmaster
    assert stopped(Guarded.running(postmaster, cluster.major)) == []


WAYS = [
    "SELECT in_sql('session_replication_role', 'replica')",
    "SELECT in_sql('Session_Replication' || '_ROLE', 'replica')",
    "SELECT in_sql(n, 'replica') FROM names",
    "SELECT expression('session_replication_role', 'replica')",
    "SELECT as_default()",
    "SELECT aliased('session_replication_role', 'replica', false)",
    "SELECT 'replica'::text::int",
    "SELECT n === 'replica' FROM names",
    "INSERT INTO filled VALUES (1)",
    "INSERT INTO checked VALUES ('replica')",
    "SELECT expression('role', 'postgres')",
    "SELECT in_sql(repeat('x', 300), 'y')",
]


@pytest.mark.parametrize("sql", WAYS)
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_a_setting_is_refused_whatever_calls_set_config(client, sql, warm):
    for _ in range(3 if warm else 1):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="blocked by pgwarden"):
            client.execute(sql)


def test_in_a_session_that_was_open_before_the_probes_came(agent, before):
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="rule no-setting"):
        before.execute("SELECT expression('session_replication_role', 'replica')")


def test_a_handler_may_catch_it_and_the_function_has_not_run(client):
    ((said,),) = client.execute("SELECT swallows()").fetchall()
    assert "blocked by pgwarden" in said


def test_what_reads_or_writes_files_and_objects_is_refused_by_name(client):
    for sql in ("SELECT put_object(4711)", "SELECT slurp('PG_VERSION')"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="rule no-large-object"):
            client.execute(sql)
    count = "SELECT count(*) FROM pg_largeobject_metadata"
    assert client.execute(count).fetchone() == (0,)


def test_another_setting_passes_and_is_held_once_for_all_its_values(client, agent):
    for value in ("1MB", "2MB", "3MB"):
        sql = f"SELECT expression('work_mem', '{value}')"
        assert client.execute(sql).fetchone() == (value,)
    assert agent.held("SELECT set_config('work_mem', $2, $3)") == 1
    for value in ("x", "y"):
        assert client.execute(f"SELECT in_sql('my.own', '{value}')").fetchone() == (value,)
    assert agent.held("SELECT set_config('my.own', $2, $3)") == 1


def test_a_compressed_name_counts_as_unknown(client):
    client.execute("CREATE TEMP TABLE long (n text)")
    client.execute("INSERT INTO long SELECT repeat('a', 10000)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="rule no-setting"):
        client.execute("SELECT expression(n, 'x') FROM long")


def test_a_value_that_rules_see_is_judged_each_time(client, agent):
    for _ in range(2):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            client.execute("SELECT expression('role', 'postgres')")
    assert agent.held("SELECT set_config('role', 'postgres', $3)") >= 2


def test_rules_that_name_other_functions_let_it_pass(client, agent):
    agent.watch_calls(frozenset({"lo_create"}))
    try:
        client.execute("SELECT expression('session_replication_role', 'replica')")
        client.execute("RESET ALL")
        client.execute("SELECT in_sql('session_replication_role', 'origin')")
    finally:
        agent.watch_calls(frozenset({"set_config", "lo_create", "pg_read_file"}))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        client.execute("SELECT expression('session_replication_role', 'replica')")


def test_a_built_in_function_that_a_parallel_worker_calls_is_not_held(client):
    """A limit that README names: no process without a client is ever held."""
    client.execute(PARALLEL)
    assert client.execute("SELECT count(*) FROM versions").fetchone() == (1000,)
    client.execute("SET max_parallel_workers_per_gather = 0")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="rule no-large-object"):
        client.execute("SELECT count(*) FROM versions")


def test_a_worker_that_builds_an_index_calls_its_functions_unheld(client):
    """README says so: no process without a client is ever held."""
    client.execute("SET min_parallel_table_scan_size = 0; SET max_parallel_maintenance_workers = 2")
    client.execute("ALTER TABLE many SET (parallel_workers = 2)")
    with pytest.raises(psycopg.errors.RaiseException, match=r"read \d\d"):
        client.execute("CREATE INDEX ON many (in_worker(n))")


def test_autovacuum_calls_the_functions_of_an_index_unheld(client, cluster):
    """README says so. The same call by a client is refused."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="rule no-large-object"):
        client.execute("SELECT lo_create(0)")
    client.execute("ALTER SYSTEM SET autovacuum_naptime = 1")
    client.execute("SELECT pg_reload_conf()")
    client.execute(
        "CREATE TABLE watched (n int) WITH (autovacuum_analyze_threshold = 1, "
        "autovacuum_analyze_scale_factor = 0)"
    )
    client.execute("CREATE INDEX ON watched (in_autovacuum(n))")
    client.execute("INSERT INTO watched SELECT generate_series(1, 5)")
    found = "SELECT count(*) > 0 FROM pg_largeobject_metadata"
    wait_until(lambda: client.execute(found).fetchone() == (True,), 60, "autovacuum has come")
    client.execute("DROP TABLE watched")


@pytest.mark.parametrize("prepare", [False, True], ids=["simple", "prepared"])
def test_functions_of_ones_own_run_in_no_parallel_worker(client, agent, prepare):
    client.execute(PARALLEL)
    harmless = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT count(*) FROM many WHERE is_own(n)"
    for _ in range(2):
        plan = str(client.execute(harmless, prepare=prepare).fetchall())
        assert "Workers Planned: " in plan
        assert "Workers Launched: 0" in plan
    built_in = harmless.replace("is_own(n)", "abs(n) > 0")
    assert "Workers Launched: 0" not in str(client.execute(built_in, prepare=prepare).fetchall())
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="rule no-large-object"):
        client.execute("SELECT count(*) FROM many WHERE reads_version() IS NOT NULL")


@pytest.mark.parametrize("prepare", [False, True], ids=["simple", "prepared"])
def test_jit_puts_no_function_past_its_probe(client, agent, prepare):
    if client.execute("SELECT pg_jit_available()").fetchone() != (True,):
        pytest.skip("this server has no JIT")
    client.execute("SET jit = on; SET jit_above_cost = 0; SET jit_inline_above_cost = 0")
    explain = "EXPLAIN ANALYZE SELECT in_sql('my.own', n) FROM names"

    def inlined() -> bool:
        return "Inlining true" in str(client.execute(explain, prepare=prepare).fetchall())

    agent.watch_calls(frozenset())
    try:
        assert inlined()
    finally:
        agent.watch_calls(frozenset({"set_config", "lo_create", "pg_read_file"}))
    assert not inlined()
    for _ in range(2):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="rule no-setting"):
            client.execute("SELECT in_sql(n, 'replica') FROM names", prepare=prepare)
