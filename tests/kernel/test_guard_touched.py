"""What was allowed is held again once the same text means other relations, on every version."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from rules.ruleset import RuleSet
from tests.conformance.servers import DEBIAN_MAJOR, Server, fetch
from tests.kernel.guard_stage import wait_until
from tests.kernel.guarding import Agent
from tests.kernel.majors import MAJORS

pytestmark = [pytest.mark.kernel, pytest.mark.live]

READ = "SELECT count(*) FROM goods"
RULES = """
rules:
  - id: nobody
    title: Nobody may
    severity: high
    when: "'drop' in statement.verbs"
    action: deny
    message: never
    examples: {match: [DROP TABLE t], no_match: [SELECT 1]}
"""
SCHEMA = """
CREATE SCHEMA one; CREATE SCHEMA two;
CREATE TABLE one.goods (id int); CREATE TABLE two.goods (id int); CREATE TABLE other (id int);
CREATE TABLE wide (id int) PARTITION BY LIST (id);
CREATE TABLE inbox (id int);
"""


@pytest.fixture(scope="module", params=MAJORS)
def cluster(request) -> Iterator[Server]:
    if request.param != DEBIAN_MAJOR:
        fetch()
    with Server(major=request.param, log_format="stderr") as running:
        running.psql(SCHEMA)
        for part in range(100):
            running.psql(f"CREATE TABLE wide_{part} PARTITION OF wide FOR VALUES IN ({part})")
        yield running


@pytest.fixture(scope="module")
def agent(cluster, compiled_probes, tmp_path_factory) -> Iterator[Agent]:
    file = tmp_path_factory.mktemp("rules") / "rules.yaml"
    file.write_text(RULES)
    running = Agent(cluster, RuleSet.load([file]))
    yield running
    running.close()


@pytest.fixture
def client(cluster, agent) -> Iterator[psycopg.Connection]:
    with cluster.connect() as connection:
        yield connection


def holds(agent: Agent, client: psycopg.Connection, text: str, times: int = 6, **more) -> int:
    """How many of so many executions are held, once the first one has been told of."""
    before = agent.held(text)
    client.execute(text, **more)
    client.execute("SELECT 'done'")
    for _ in range(times - 1):
        client.execute(text, **more)
    client.execute("SELECT 'done'")
    return agent.held(text) - before


@pytest.mark.parametrize("prepare", [False, True], ids=["simple", "prepared"])
def test_another_search_path_is_another_question(agent, client, prepare):
    for schema in ("one", "two"):
        client.execute(f"SET search_path = {schema}")
        text = f"{READ} WHERE id <> {int(prepare)} AND 'x' <> ''"
        assert 1 <= holds(agent, client, text, prepare=prepare) <= 3
        assert holds(agent, client, text, prepare=prepare) == 0


def test_another_table_under_an_old_name_is_another_question(agent, client):
    text = "SELECT id FROM other WHERE 'a' <> ''"
    assert holds(agent, client, text) >= 1
    assert holds(agent, client, text) == 0
    client.execute("ALTER TABLE other RENAME TO gone; CREATE TABLE other (id int)")
    assert holds(agent, client, text) >= 1
    client.execute("ALTER TABLE other RENAME TO gone_too; CREATE VIEW other AS TABLE one.goods")
    assert holds(agent, client, text) >= 1
    client.execute("CREATE OR REPLACE VIEW other AS TABLE two.goods")
    assert holds(agent, client, text) >= 1
    assert holds(agent, client, text) == 0


def test_a_rewrite_rule_without_the_condition_is_another_question(agent, client):
    text = "INSERT INTO inbox VALUES (length('x'))"
    for what in ("WHERE id = 7", ""):
        client.execute(
            "CREATE OR REPLACE RULE sweep AS ON INSERT TO inbox DO ALSO"
            f" DELETE FROM one.goods {what}"
        )
        assert holds(agent, client, text) >= 1
        assert holds(agent, client, text) == 0


def test_a_statement_that_touches_a_hundred_relations_is_not_held_each_time(agent, client):
    text = "SELECT count(*) FROM wide WHERE 'p' <> ''"
    assert holds(agent, client, text) >= 1
    assert holds(agent, client, text) == 0
    client.execute("CREATE TABLE wide_more PARTITION OF wide FOR VALUES IN (1000)")
    try:
        assert holds(agent, client, text) >= 1
    finally:
        client.execute("ALTER TABLE wide DETACH PARTITION wide_more")


def test_where_the_plan_lies_is_told_with_what_is_held(agent, client):
    text = "SELECT 1 FROM one.goods WHERE 'planned' <> ''"
    client.execute(text)
    wait_until(lambda: agent.held(text), 5, "it is held")
    (event,) = [
        e.event for e in agent.events if getattr(e, "event", None) and e.event.text == text.encode()
    ]
    assert event.planned
    assert event.planned_list
    assert event.touched


def test_another_function_within_a_function_in_sql_is_another_question(agent, client):
    client.execute(
        "CREATE FUNCTION once() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';"
        "CREATE FUNCTION calling() RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )
    text = "SELECT calling() FROM other WHERE 'a' <> ''"
    assert 1 <= holds(agent, client, text) <= 3
    assert holds(agent, client, text) == 0
    client.execute(
        "CREATE OR REPLACE FUNCTION calling() RETURNS int LANGUAGE sql AS 'SELECT once()'"
    )
    assert 1 <= holds(agent, client, text) <= 3
    assert holds(agent, client, text) == 0
