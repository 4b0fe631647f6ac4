"""Who reads "ready" of an agent that enforces may rely on it: the next statement is judged."""

import os
import signal
import time
from contextlib import contextmanager

import httpx
import psycopg
import pytest

from tests.live.postgres import PostgresCluster
from tests.live.running import Running, freeze, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
]
RESTARTS = int(os.environ.get("PGWARDEN_RESTARTS", "3"))
PACK = """rules:
  - id: prices
    title: nobody reads prices
    severity: high
    action: deny
    when: "'shop.prices' in statement.reads"
"""
BEHIND_A_VIEW = "SELECT * FROM shop.innocent"


@pytest.fixture(scope="module")
def cluster():
    with PostgresCluster() as running:
        prepare(running)
        with running.connect() as connection:
            connection.execute("CREATE VIEW shop.innocent AS SELECT * FROM shop.prices")
        yield running


def enforcing(cluster, pack, on_timeout, deadline_ms=2000, **more):
    pack.write_text(PACK)
    guard = {"mode": "enforce", "on_timeout": on_timeout, "deadline_ms": deadline_ms}
    return Running(cluster, {"agent": {"guard": guard, "rules": {"packs": [str(pack)]}, **more}})


@pytest.mark.parametrize("on_timeout", ["allow", "deny"])
def test_what_is_forbidden_is_refused_as_soon_as_the_agent_is_ready(cluster, tmp_path, on_timeout):
    with cluster.connect() as before, enforcing(cluster, tmp_path / "p.yaml", on_timeout) as up:
        before.execute("SELECT 1")
        for _ in range(RESTARTS):
            up.stop()
            up.start("agent")
            with cluster.connect() as after:
                for session in (after, before):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="prices"):
                        session.execute(BEHIND_A_VIEW)


def test_names_are_read_while_statements_are_held_also_after_a_pause(cluster, tmp_path):
    """The connection for names is closed when it is idle; the next one must not be held either."""
    with enforcing(cluster, tmp_path / "p.yaml", "allow") as up, cluster.connect() as session:
        for number in range(3):
            with cluster.connect() as owner:
                owner.execute(f"CREATE VIEW shop.v{number} AS {BEHIND_A_VIEW}")
            time.sleep(6 * (number > 0))  # longer than an idle connection stays
            began = time.monotonic()
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="prices"):
                session.execute(f"SELECT * FROM shop.v{number}")
            assert time.monotonic() - began < 0.6  # what names are waited for in vain
        assert unheld(up) == 0


def test_while_the_agent_is_frozen_nothing_passes_where_being_late_refuses(cluster, tmp_path):
    with enforcing(cluster, tmp_path / "p.yaml", "deny", 200) as up, cluster.connect() as session:
        with frozen(up):
            for number in range(3):
                time.sleep(0.7)  # longer than a deadline: it holds although nobody answers
                with pytest.raises(psycopg.errors.QueryCanceled):
                    session.execute(f"SELECT id AS frozen_{number} FROM shop.innocent")
        assert unheld(up) == 0


def test_what_passes_while_the_agent_is_frozen_is_counted(cluster, tmp_path):
    # The agent's own first look at the catalog, and its canary, would be counted as well.
    ours = {"catalog": {"enabled": False}, "capture": {"canary_interval_seconds": 0}}
    alone = enforcing(cluster, tmp_path / "p.yaml", "allow", 200, **ours)
    with alone as up, cluster.connect() as session:
        with frozen(up):
            time.sleep(0.7)  # the kernel holds nothing more
            for number in range(3):
                session.execute(f"SELECT id AS passed_{number} FROM shop.innocent")
        up.wait(lambda: unheld(up) == 3, "three counted")


@contextmanager
def frozen(up):
    agent = up.child("agent")
    freeze(agent)
    try:
        yield
    finally:
        os.kill(agent, signal.SIGCONT)


def unheld(up):
    name = 'pgwarden_agent_events_lost_total{reason="unheld",source="ebpf"}'
    return up.metrics(up.agent_port)[name]


def test_an_agent_that_cannot_hold_is_not_ready(cluster):
    config = {"agent": {"capture": {"ebpf": False}, "guard": {"mode": "enforce"}}}
    up = Running(cluster, config)
    try:
        up.start("agent", wait=False)
        said = up.wait(lambda: readiness(up), "an answer")
        assert said.status_code == 503
        up.wait(lambda: "nothing is held" in readiness(up).text, "the reason")
    finally:
        up.__exit__()


def readiness(up):
    try:
        return httpx.get(f"http://127.0.0.1:{up.agent_port}/readyz")
    except httpx.TransportError:
        return None
