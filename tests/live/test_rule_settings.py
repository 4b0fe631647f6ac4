"""Limits, exceptions, classes of data as an operator configures them, on the whole of pgwarden."""

import os
import time

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
        "guard": {"mode": "enforce"},
        "identities": [{"kind": "ai_agent", "name": "the-bot", "user": "bot"}],
        "rules": {
            "vars": {"agent_rows_per_hour": 1000},
            "data_classes": {"prices": ["shop.prices"]},
            "exceptions": [
                {
                    "rule": "unbounded-write",
                    "when": "session.user == 'app' && statement.writes == ['shop.prices']",
                    "because": "it is filled anew each night",
                },
                {
                    "rule": "drop-protected",
                    "when": "session.user == 'app'",
                    "because": "it was to end long ago",
                    "until": "2020-01-01",
                },
            ],
            "actions": {"truncate-protected": "alert", "critical-setting": "deny"},
        },
    }
}


@pytest.fixture(scope="module")
def running():
    with PostgresCluster() as cluster:
        prepare(cluster)
        with cluster.connect() as connection:
            connection.execute(
                "ALTER TABLE shop.prices OWNER TO app; GRANT CREATE ON SCHEMA shop TO app"
            )
        with Running(cluster, CONFIG) as up:
            yield up


def refusal(running, sql, user):
    return running.cluster.psql(sql, user=user).stderr


def test_an_exception_lets_pass_and_one_that_has_ended_does_not(running):
    assert refusal(running, "DELETE FROM shop.prices", "app") == ""
    assert "rule unbounded-write" in refusal(running, "DELETE FROM shop.orders", "app")
    assert "rule drop-protected" in refusal(running, "DROP TABLE shop.orders", "app")


def test_another_action_is_taken_and_on_the_record(running):
    assert refusal(running, "TRUNCATE shop.prices", "app") == ""
    (row,) = running.wait_sql("SELECT * FROM verdicts WHERE rule_id = 'truncate-protected'")
    assert (row["action"], row["outcome"]) == ("alert", "observed")


def test_a_setting_of_the_start_up_packet_is_refused_like_set(running):
    options = "-c session_replication_role=replica"
    with (
        running.cluster.connect(options=options) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="rule critical-setting"),
    ):
        connection.execute("SELECT id AS at_start FROM shop.orders LIMIT 1")
    (row,) = running.wait_sql("SELECT * FROM verdicts WHERE text LIKE '%at_start%'")
    assert (row["rule_id"], row["outcome"]) == ("critical-setting", "prevented")
    assert "set when the session started" in row["reason"]


def test_a_class_of_data_keeps_an_agent_out(running):
    assert "rule ai-agent-outside" in refusal(running, "SELECT * FROM shop.prices", "bot")
    assert refusal(running, "SELECT id FROM shop.orders LIMIT 1", "bot") == ""


def test_an_agent_is_refused_once_its_budget_is_used_up_also_after_a_restart(running):
    query = "SELECT * FROM shop.orders WHERE id > 0"

    def refused(connection):
        try:
            connection.execute(query)
        except psycopg.errors.InsufficientPrivilege as error:
            return str(error)
        return ""

    with running.cluster.connect(user="bot") as bot:
        for _ in range(10):
            bot.execute(query)
        deadline = time.monotonic() + 10
        while not (said := refused(bot)) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert "rule ai-agent-budget: this AI agent has used up its budget: 1," in said
    assert "of 1,000 rows in the last hour; free again in" in said
    assert refusal(running, query, "app") == ""
    running.stop()
    running.start()
    running.wait(
        lambda: "rule ai-agent-budget" in refusal(running, query, "bot"), "refused after a restart"
    )
