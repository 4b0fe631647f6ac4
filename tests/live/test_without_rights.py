"""An agent that may do nothing says so, in its log, its metrics and to the collector."""

import os
import signal
import subprocess
import sys

import pytest

from agent.catalog.rights import grants
from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import HTTP, Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="it gives up the rights of root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]

# The interpreter may lie in a folder of root's. Reading files is not looking at processes.
KEPT = "+dac_read_search"
AS_NOBODY = [
    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
    f"--inh-caps=-all,{KEPT}", f"--ambient-caps=-all,{KEPT}", f"--bounding-set=-all,{KEPT}",
]  # fmt: skip
EBPF_UP = 'pgwarden_agent_capture_up{source="ebpf"}'
RULES_FAILED = 'pgwarden_agent_events_lost_total{reason="evaluation_failed",source="rules"}'
HIDDEN = "PostgreSQL processes cannot be looked at: run as root or with CAP_SYS_PTRACE"


@pytest.fixture(scope="module")
def cluster():
    with PostgresCluster() as server:
        prepare(server)
        for grant in grants("pgwarden", 15)[1:]:
            assert server.psql(grant).returncode == 0
        yield server


@pytest.fixture
def up(cluster):
    """A collector of root's, and an agent without rights."""
    running = Running(cluster)
    running.start("collector")
    running.folder.chmod(0o777)
    (running.folder / "collector.sock").chmod(0o777)
    with (running.folder / "agent-log").open("wb") as log:
        agent = subprocess.Popen(
            [*AS_NOBODY, sys.executable, "-P", "-m", "agent", "--config", str(running.config)],
            stdout=log, stderr=log,
        )  # fmt: skip
    yield running
    agent.send_signal(signal.SIGTERM)
    code = agent.wait(20)
    written = (running.folder / "agent-log").read_text()
    running.__exit__()
    assert code == 0, written
    assert "Traceback" not in written


def test_what_the_kernel_and_proc_refuse_is_told_everywhere(up):
    said = up.wait(lambda: HIDDEN in (out := up.answered("agents").stdout) and out, HIDDEN)
    assert said.startswith("! test-host")
    assert "capture=none" in said
    assert "no eBPF capture" in said
    assert "no running PostgreSQL" not in said

    log = (up.folder / "agent-log").read_text()
    assert HIDDEN in log
    assert "the kernel refused to load the probes" in log

    assert up.metrics(up.agent_port)[EBPF_UP] == 0
    readiness = HTTP.get(f"http://127.0.0.1:{up.agent_port}/readyz")
    assert readiness.status_code == 503
    assert HIDDEN in readiness.text


def test_with_rights_capture_is_up_once_a_server_is_watched(cluster):
    with Running(cluster) as up:
        up.wait(lambda: up.metrics(up.agent_port).get(EBPF_UP) == 1, "eBPF is up")

        def agents() -> str:
            return up.pgwarden("agents").stdout

        said = up.wait(lambda: "capture=both" in (out := agents()) and out, "both sources are up")
        assert "✓" in said


def test_a_rule_that_fails_is_counted_and_named(cluster, tmp_path):
    pack = tmp_path / "pack.yaml"
    pack.write_text(
        "rules:\n"
        "  - {id: out-of-range, title: A rule, severity: low, action: alert,\n"
        "     when: \"statement.reads[3] == 'x'\"}\n"
    )
    with Running(cluster, {"agent": {"rules": {"packs": [str(pack)]}}}) as up:
        assert cluster.psql("SELECT * FROM shop.orders", user="app").returncode == 0
        up.wait(lambda: up.metrics(up.agent_port).get(RULES_FAILED, 0) >= 1, "the failure counts")
        assert "event=rule.failed" in up.log
        assert "rule=out-of-range" in up.log
