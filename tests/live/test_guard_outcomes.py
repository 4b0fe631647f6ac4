"""A verdict says what became of the statement, also when the guard could not do its work."""

import os
import signal
import threading

import pytest

from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import Running, freeze, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]

ENFORCE = {"agent": {"guard": {"mode": "enforce"}}}


@pytest.fixture(scope="module")
def running():
    with PostgresCluster() as cluster:
        prepare(cluster)
        with Running(cluster, ENFORCE) as up:
            yield up


def count(running: Running, outcome: str) -> float:
    metrics = running.metrics(running.agent_port)
    return metrics[f'pgwarden_guard_outcomes_total{{outcome="{outcome}"}}']


def verdict(running: Running, marker: str):
    (row,) = running.wait_sql(
        "SELECT v.outcome, v.reason, v.held_us, s.sqlstate, s.tag FROM verdicts v"
        f" JOIN statements s ON s.id = v.statement_id WHERE v.text LIKE '%{marker}%'"
    )
    return row


def test_a_refusal_is_prevented_because_the_statement_ended_with_it(running):
    running.cluster.psql("DROP TABLE shop.prices", user="app")
    row = verdict(running, "shop.prices")
    assert (row["outcome"], row["sqlstate"], row["tag"]) == ("prevented", "42501", "")
    assert count(running, "prevented") == 1


def test_what_the_watchdog_let_run_under_a_frozen_agent_is_too_late_and_a_critical_finding(running):
    running.cluster.psql("CREATE TABLE shop.frozen (id int)")
    agent = running.child("agent")
    freeze(agent)
    try:
        done = running.cluster.psql("DROP TABLE shop.frozen")
    finally:
        os.kill(agent, signal.SIGCONT)
    assert done.returncode == 0, done.stderr
    row = verdict(running, "shop.frozen")
    assert (row["outcome"], row["sqlstate"]) == ("too_late", "00000")
    assert count(running, "too_late") == 1
    (found,) = running.wait_sql("SELECT severity, sentence FROM findings WHERE title LIKE 'Not%'")
    assert found["severity"] == "critical"
    assert "ran although it is forbidden by rule drop-protected" in found["sentence"]


def test_a_session_that_ends_while_its_statement_is_held_leaves_a_verdict_that_says_so(running):
    """Killed by the kernel for want of memory, say: nobody tells how the statement ended."""
    cluster = running.cluster
    cluster.psql("CREATE TABLE shop.killed (id int)")
    agent = running.child("agent")
    connection = cluster.connect()
    backend = connection.info.backend_pid
    thread = threading.Thread(target=lambda: cluster_lost(connection), daemon=True)
    freeze(agent)
    try:
        thread.start()
        running.wait(lambda: is_stopped(backend), "held")
        os.kill(backend, signal.SIGKILL)
        thread.join(10)
    finally:
        os.kill(agent, signal.SIGCONT)
    running.wait(lambda: cluster.psql("SELECT 1").returncode == 0, "recovery")
    row = verdict(running, "shop.killed")
    assert (row["outcome"], row["sqlstate"] or "") == ("too_late", "")
    assert "how it ended was not seen" in row["reason"]
    assert cluster.psql("SELECT count(*) FROM shop.killed").stdout == "0\n"


def cluster_lost(connection):
    with pytest.raises(Exception, match=r"closed|terminat"):
        connection.execute("DROP TABLE shop.killed")


def is_stopped(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "T"
