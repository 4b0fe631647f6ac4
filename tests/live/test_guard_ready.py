"""Who reads "ready" of an agent that enforces may rely on it: the next statement is judged."""

import os

import httpx
import psycopg
import pytest

from tests.live.postgres import PostgresCluster
from tests.live.running import HTTP, Running, prepare

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
        return HTTP.get(f"http://127.0.0.1:{up.agent_port}/readyz")
    except httpx.TransportError:
        return None
