"""Which rights the agent needs, shown by an agent that is not root."""

import subprocess
import sys

import pytest

from tests.live.postgres import PostgresCluster
from tests.live.running import Running, prepare

pytestmark = [pytest.mark.kernel, pytest.mark.live]

# As in deploy/systemd/pgwarden-agent.service, less SYS_RESOURCE: kernels before 5.11 need it.
UNIT = ("bpf", "perfmon", "sys_admin", "sys_ptrace", "dac_read_search", "kill")
NOBODY = "65534"


def as_nobody(capabilities: tuple[str, ...]) -> list[str]:
    names = ",".join(f"+{name}" for name in capabilities)
    return [
        "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs",
        f"--inh-caps={names}", f"--ambient-caps={names}", f"--bounding-set=-all,{names}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def cluster():
    with PostgresCluster() as cluster:
        prepare(cluster)
        yield cluster


@pytest.fixture
def agent_of(cluster):
    started = []

    def start(capabilities, ready=True):
        running = Running(cluster, {"agent": {"guard": {"mode": "enforce"}}})
        running.folder.chmod(0o777)
        running.config.chmod(0o644)
        log = (running.folder / "log").open("wb")
        running.process = subprocess.Popen(
            [*as_nobody(capabilities), sys.executable, "-P", "-m", "agent",
             "--config", str(running.config)],
            stdout=log, stderr=log,
        )  # fmt: skip
        started.append(running)
        if ready:
            running.wait_ready(running.agent_port)
        return running

    yield start
    for running in started:
        running.__exit__()


def test_with_the_rights_of_the_unit_statements_are_seen_in_both_sources_and_refused(
    cluster, agent_of
):
    running = agent_of(UNIT)
    assert "blocked by pgwarden" in cluster.psql("DROP TABLE shop.orders", user="app").stderr

    def both() -> float:
        return running.metrics(running.agent_port).get(
            'pgwarden_agent_statements_total{source="both"}', 0
        )

    running.wait(both, "a statement that both sources saw")
    found = 'pgwarden_agent_origins_total{result="found",subject="process"}'
    clients = running.wait(lambda: running.metrics(running.agent_port).get(found, 0), "a client")
    assert clients > 0


def test_without_sys_admin_the_kernel_refuses_the_probes_and_the_log_remains(cluster, agent_of):
    running = agent_of(tuple(name for name in UNIT if name != "sys_admin"), ready=False)
    running.wait(lambda: "probes.refused" in running.log, "the kernel refuses")
    assert "Traceback" not in running.log
    assert cluster.psql("SELECT 1", user="app").returncode == 0
