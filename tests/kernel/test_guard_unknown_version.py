"""A server whose layout nobody has checked is neither captured nor held: no guess."""

from dataclasses import replace

import pytest

from agent.discovery import cluster_at
from agent.guard.redirect import RedirectError, Refusal, redirect
from agent.guard.server import Server
from agent.probes.errors import CaptureUnavailable
from agent.sources.ebpf import EbpfSource
from tests.live.postgres import PostgresCluster
from tests.live.running import Running, prepare

pytestmark = [pytest.mark.kernel, pytest.mark.live]


@pytest.fixture
def cluster():
    with PostgresCluster() as running:
        prepare(running)
        yield running


def claim_19(cluster: PostgresCluster) -> None:
    """The file says so to whoever looks; the running server does not read it again."""
    (cluster.data / "PG_VERSION").write_text("19\n")


def test_probes_are_refused_and_nothing_is_attached(cluster):
    claim_19(cluster)
    found = cluster_at(cluster.postmaster_pid)
    assert found is not None
    assert found.version == 19
    with EbpfSource() as source:
        source.holding.set_hold(True)
        with pytest.raises(CaptureUnavailable, match="layout of PostgreSQL 19 is unknown"):
            source.add(found)
        assert source.clusters == []
        assert cluster.psql("SELECT 1").stdout == "1\n"


def test_no_backend_is_redirected(cluster):
    server = replace(Server.running(cluster.postmaster_pid, 15), version=19)
    with cluster.connect() as connection:
        with pytest.raises(RedirectError, match="not among the verified versions"):
            redirect(connection.info.backend_pid, server, Refusal(b"no"))
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_an_agent_that_is_to_enforce_says_that_it_does_not(cluster):
    claim_19(cluster)
    config = {"agent": {"guard": {"mode": "enforce"}}}
    with Running(cluster, config, ready=False) as up:
        said = up.wait(
            lambda: "PostgreSQL 19" in (out := up.answered("agents").stdout) and out, "it says so"
        )
        assert "the probes are not attached" in said
        assert cluster.psql("DROP TABLE shop.prices", user="postgres").returncode == 0
        (row,) = up.wait_sql("SELECT outcome FROM verdicts WHERE text LIKE '%prices%'")
        assert row["outcome"] == "too_late"
    (cluster.data / "PG_VERSION").write_text("15\n")
