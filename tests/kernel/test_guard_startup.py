"""What SET would be refused for is refused as well where the start-up packet has set it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import psycopg
import pytest

from agent.guard.server import Server as Guarded
from rules.ruleset import RuleSet
from tests.conformance.servers import DEBIAN_MAJOR, Server, fetch
from tests.kernel.guard_stage import stopped
from tests.kernel.guarding import Agent
from tests.kernel.majors import MAJORS

pytestmark = [pytest.mark.kernel, pytest.mark.live]

RULES = """
rules:
  - id: no-setting
    title: Settings stay
    severity: high
    when: "statement.settings.exists(s, s in ['session_replication_role', 'role', 'row_security'])"
    action: deny
    message: not this one
    examples: {match: [SET row_security = off], no_match: [SET work_mem = '1MB']}
"""
QUERY = "SELECT n FROM seen"
REFUSED = [
    {"options": "-c session_replication_role=replica"},
    {"options": "-c statement_timeout=0 --row-security=off"},
    {"options": "-c role=other"},
    {"options": "-c role=other", "application_name": "named"},
    {"options": "-c Role=other -c role=postgres"},
    {"options": " " * 9000 + "-c role=other"},
    {"options": "-c work_mem=1MB " * 500 + "-c role=other"},
]
HARMLESS = [
    {},
    {"options": "-c statement_timeout=60s"},
    {"options": "-c search_path=role,public", "application_name": "role"},
    {"client_encoding": "UTF8", "options": r"-c work_mem=64MB -c my.role=x\ y"},
]


@pytest.fixture(scope="module", params=MAJORS)
def cluster(request) -> Iterator[Server]:
    if request.param != DEBIAN_MAJOR:
        fetch()
    with Server(major=request.param, log_format="stderr") as running:
        with running.connect() as admin:
            admin.execute(
                "CREATE ROLE other; CREATE TABLE seen (n int); GRANT ALL ON seen TO other"
            )
        yield running


@pytest.fixture(scope="module")
def before(cluster) -> Iterator[psycopg.Connection]:
    """Open before the probes came."""
    with cluster.connect(options="-c role=other") as connection:
        connection.execute("SELECT 1")
        yield connection


@pytest.fixture(scope="module")
def agent(cluster, before, compiled_probes, tmp_path_factory) -> Iterator[Agent]:
    file = tmp_path_factory.mktemp("rules") / "rules.yaml"
    file.write_text(RULES)
    running = Agent(cluster, RuleSet.load([file]))
    yield running
    running.close()
    assert stopped(Guarded.running(cluster.postmaster_pid, cluster.major)) == []


def refused(connection: psycopg.Connection) -> bool:
    try:
        connection.execute(QUERY)
    except psycopg.errors.InsufficientPrivilege as error:
        assert "rule no-setting" in str(error)
        assert "set when the session started: not this one" in str(error)
        return True
    return False


@pytest.mark.parametrize("words", REFUSED, ids=lambda words: str(words)[-40:])
def test_each_statement_of_such_a_session_is_refused_also_where_it_passes_for_others(
    cluster, agent, words
):
    for _ in range(2):
        with cluster.connect() as other:
            assert not any(refused(other) for _ in range(3))
        with cluster.connect(**words) as connection:
            assert all(refused(connection) for _ in range(3))


@pytest.mark.parametrize("words", HARMLESS, ids=str)
def test_other_settings_cost_a_session_nothing(cluster, agent, words):
    with cluster.connect(**words) as connection:
        assert not any(refused(connection) for _ in range(3))


def test_settings_that_are_sent_by_name_are_read_as_well(cluster, agent):
    async def run(**settings: str) -> None:
        connection = await asyncpg.connect(
            host="127.0.0.1",
            port=cluster.port,
            user="postgres",
            database="postgres",
            server_settings=settings,
        )
        try:
            await connection.execute(QUERY)
        finally:
            await connection.close()

    asyncio.run(run(work_mem="4MB"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="when the session started"):
        asyncio.run(run(work_mem="4MB", row_security="off"))
    many = {f"my.n{number}": "1" for number in range(500)}
    asyncio.run(run(**many))
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="when the session started"):
        asyncio.run(run(**many, row_security="off"))


def test_a_name_that_sql_cannot_say_hides_nothing(cluster, agent):
    try:
        connection = cluster.connect(options="-c a.=1 -c role=other")
    except psycopg.OperationalError as error:
        assert "invalid configuration parameter name" in str(error)
        assert cluster.major >= 14
        return
    with connection:
        assert refused(connection)


def test_a_session_from_before_the_probes_is_no_way_round(agent, before):
    assert refused(before)
