"""A text that was judged costs a look-up, and nothing forbidden slips through that door."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from rules.ruleset import RuleSet
from tests.kernel.guard_stage import wait_until
from tests.kernel.guarding import Agent
from tests.live.postgres import PostgresCluster

pytestmark = [pytest.mark.kernel, pytest.mark.live]

RULES = """
rules:
  - id: no-delete-of-all
    title: DELETE needs a condition
    severity: high
    when: "'delete' in statement.verbs && statement.flags.exists(f, f in ['missing_where', 'trivial_where'])"
    action: deny
    message: say which rows
    examples: {match: ["DELETE FROM t"], no_match: ["DELETE FROM t WHERE id = 1"]}
  - id: no-salaries-for-reports
    title: Reports read no salaries
    severity: high
    when: session.application_name == 'report' && 'salary' in statement.reads
    action: deny
    message: not for reports
    examples:
      match: [{sql: "SELECT * FROM salary", session: {application_name: report}}]
      no_match: ["SELECT * FROM salary"]
"""  # noqa: E501


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    with PostgresCluster() as running:
        running.psql("CREATE TABLE t (id int, name text); CREATE TABLE salary (id int)")
        running.psql("INSERT INTO t SELECT n, 'n' || n FROM generate_series(1, 100) n")
        yield running


@pytest.fixture(params=[False, True], ids=["plain", "nested"])
def agent(request, cluster, compiled_probes, tmp_path) -> Iterator[Agent]:
    (tmp_path / "rules.yaml").write_text(RULES)
    running = Agent(cluster, RuleSet.load([tmp_path / "rules.yaml"]), nested=request.param)
    yield running
    running.close()


@pytest.fixture
def client(cluster, agent) -> Iterator[psycopg.Connection]:
    with cluster.connect() as connection:
        yield connection


def held_once(agent: Agent, run, text: str, times: int = 20) -> None:
    """The first execution is held; soon none is any more."""
    run(text)
    wait_until(lambda: agent.held(text) >= 1, 5, "the first one is held")
    run(text)
    before = agent.held(text)
    for _ in range(times):
        run(text)
    assert agent.held(text) == before


@pytest.mark.parametrize("prepare", [False, True], ids=["simple", "prepared"])
def test_a_text_that_was_allowed_is_not_held_again(agent, client, prepare):
    held_once(agent, lambda text: client.execute(text, prepare=prepare), "SELECT id FROM t")


def test_a_text_that_differs_in_numbers_alone_is_not_held_either(agent, client):
    client.execute("SELECT name FROM t WHERE id = 1")
    wait_until(lambda: agent.held("SELECT name FROM t WHERE id = 1") == 1, 5, "it is held")
    client.execute("SELECT 1")
    for number in (7, 42, 123456789):
        client.execute(f"SELECT name FROM t WHERE id = {number}")
        assert agent.held(f"SELECT name FROM t WHERE id = {number}") == 0


@pytest.mark.parametrize("at", [64, 128, 512])
def test_texts_that_differ_where_a_part_of_the_kernels_walk_ends_are_told_apart(agent, client, at):
    """It walks through 32 words or 64 bytes at a time."""

    def text(number: int) -> str:
        begin = "SELECT name FROM t"
        end = f" WHERE id = {number}"
        return begin + " " * (at - len(begin) - len(end) + (2 if at < 512 else 0)) + end

    first = text(1234)
    client.execute(first)
    wait_until(lambda: agent.held(first) == 1, 5, "it is held")
    client.execute("SELECT 1")
    for same in (first, text(5678)):
        before = agent.held(same)
        client.execute(same)
        assert agent.held(same) == before
    other = first.replace("= 1234", "< 1234")
    client.execute(other)
    wait_until(lambda: agent.held(other) == 1, 5, "the other one is held")


def test_a_refused_statement_is_held_and_refused_every_time(agent, client, cluster):
    for _ in range(20):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            client.execute("DELETE FROM t")
    wait_until(lambda: agent.held("DELETE FROM t") == 20, 5, "all are told")
    assert cluster.psql("SELECT count(*) FROM t").stdout.strip() == "100"


@pytest.mark.parametrize(
    ("harmless", "harmful"),
    [
        ("DELETE FROM t WHERE id = 1000", "DELETE FROM t WHERE 1 = 1"),
        ("DELETE FROM t WHERE 1 = 2", "DELETE FROM t WHERE 1 = 1"),
        ("DELETE FROM t WHERE 0 = 1 OR id = 1000", "DELETE FROM t WHERE 0 = 0 OR id = 1000"),
        ("DELETE FROM t WHERE id < 0", "DELETE FROM t"),
        ("DELETE FROM t WHERE name = 'x1'", "DELETE FROM t WHERE name = '' OR 1 = 1"),
    ],
)
def test_a_number_that_decides_is_asked_about(agent, client, cluster, harmless, harmful):
    for _ in range(3):
        client.execute(harmless)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        client.execute(harmful)
    assert cluster.psql("SELECT count(*) FROM t").stdout.strip() == "100"


def test_another_application_name_is_asked_about_again_at_once(agent, client):
    for _ in range(5):
        client.execute("SELECT * FROM salary")
    for _ in range(20):
        client.execute("SET application_name = 'report'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            client.execute("SELECT * FROM salary")
        client.execute("SET application_name = 'ledger'")
        client.execute("SELECT * FROM salary")


def test_another_session_with_other_facts_is_asked_about(agent, client, cluster):
    for _ in range(5):
        client.execute("SELECT * FROM salary")
    with (
        cluster.connect(application_name="report") as other,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        other.execute("SELECT * FROM salary")


def test_a_statement_of_a_string_whose_other_part_is_known_is_held(agent, client, cluster):
    for _ in range(5):
        client.execute("SELECT id FROM t")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        client.execute("SELECT id FROM t; DELETE FROM t")
    assert cluster.psql("SELECT count(*) FROM t").stdout.strip() == "100"


def test_what_execute_runs_is_asked_about_by_its_own_text(agent, client, cluster):
    client.execute("PREPARE purge AS DELETE FROM t WHERE id = $1 OR $1 IS NULL")
    for _ in range(5):
        client.execute("EXECUTE purge(1000)")
    client.execute("DEALLOCATE purge")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        client.execute("PREPARE purge AS DELETE FROM t")
    assert cluster.psql("SELECT count(*) FROM t").stdout.strip() == "100"


def test_what_was_prepared_by_the_protocol_is_held_when_execute_runs_it(agent, client, cluster):
    client.pgconn.prepare(b"purge", b"DELETE FROM t")
    for _ in range(3):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            client.execute("EXECUTE purge")
    assert cluster.psql("SELECT count(*) FROM t").stdout.strip() == "100"
