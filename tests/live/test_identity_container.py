"""A client in a cgroup and in namespaces of its own, as a container runtime starts it."""

import json
import os
import re
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]
ID = "5eed" * 16
SHORT = ID[:12]
UID = 54321
"""No account of this host, as in most images."""
RUNTIMES = {
    f"docker-{ID}.scope": f"docker {SHORT}",
    f"kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope": f"containerd {SHORT}",
    f"machine.slice/libpod-{ID}.scope": f"podman {SHORT}",
}


def hierarchy():
    """Where the unified hierarchy of cgroups is mounted."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    pytest.skip("this kernel has no cgroup v2 mounted")


@contextmanager
def cgroup(name):
    top = hierarchy()
    made = []
    for part in [top / "/".join(name.split("/")[: n + 1]) for n in range(name.count("/") + 1)]:
        if not part.exists():
            part.mkdir()
            made.append(part)
    try:
        yield top / name
    finally:
        for part in reversed(made):
            part.rmdir()


@contextmanager
def contained(command, group):
    """``command`` as first process of its own pid namespace, in ``group``."""
    script = f"echo $$ > {group}/cgroup.procs && exec unshare --pid --fork --mount-proc " + (
        f"--kill-child setpriv --reuid={UID} --regid={UID} --clear-groups {command}"
    )
    process = subprocess.Popen(
        ["bash", "-ec", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(10)


@pytest.fixture(scope="module")
def cluster():
    with PostgresCluster() as started:
        prepare(started)
        yield started


@pytest.fixture(scope="module")
def running(cluster):
    with Running(cluster) as up:
        yield up


def explained(running, backend):
    """The session of that backend, as an operator sees it, once its client was looked at."""

    def ask():
        lines = running.pgwarden("sessions", "--json").stdout.splitlines()
        rows = [row for row in map(json.loads, lines) if row["pid"] == backend]
        return rows[0] if rows and "pid" in rows[0]["origin"] else None

    return running.wait(ask, f"the session of backend {backend}")


@pytest.mark.parametrize(("name", "container"), RUNTIMES.items(), ids=RUNTIMES.values())
def test_the_client_in_a_container_is_told_by_uid_process_command_cgroup_and_container(
    running, name, container
):
    psql = running.cluster.binary.parent / "psql"
    dsn = running.cluster.dsn(host=str(running.cluster.sockets), user="app")
    secret = f"{dsn} password=hunter2-secret"
    with cgroup(name) as group, contained(f"{psql} -XAt '{secret}'", group) as client:
        client.stdin.write("SELECT pg_backend_pid();\n")
        client.stdin.flush()
        row = explained(running, int(client.stdout.readline()))
        pid = int(re.search(r"pid (\d+)", row["origin"])[1])
        status = Path(f"/proc/{pid}/status").read_text()
        assert Path(f"/proc/{pid}/comm").read_text() == "psql\n"
    assert re.search(rf"NSpid:\s+{pid}\s+1\n", status), "the first of its own pid namespace"
    assert re.search(rf"Uid:\s+{UID}\s", status)
    scope = name.rpartition("/")[2]
    assert row["origin"] == (f"container pid {pid} psql …, account {UID}, {scope}, {container}")
    evidence = row["identity_evidence"]
    assert f"process {pid} of {UID} runs psql" in evidence
    assert f"process {pid} runs in container {container}" in evidence
    assert "hunter2" not in json.dumps(row)


def test_the_same_account_outside_of_containers_has_none(running):
    psql = running.cluster.binary.parent / "psql"
    dsn = running.cluster.dsn(host=str(running.cluster.sockets), user="app")
    with contained(f"{psql} -XAt '{dsn}'", hierarchy()) as client:
        client.stdin.write("SELECT pg_backend_pid();\n")
        client.stdin.flush()
        row = explained(running, int(client.stdout.readline()))
    assert re.fullmatch(rf"process pid \d+ psql …, account {UID}", row["origin"]), row["origin"]
    assert "container" not in row["identity_evidence"]


def test_the_process_behind_a_local_tcp_connection_is_told_by_uid_as_well(running):
    psql = running.cluster.binary.parent / "psql"
    dsn = running.cluster.dsn(host="127.0.0.1", user="app", sslmode="disable")
    with contained(f"{psql} -XAt '{dsn}'", hierarchy()) as client:
        client.stdin.write("SELECT pg_backend_pid();\n")
        client.stdin.flush()
        row = explained(running, int(client.stdout.readline()))
    assert re.fullmatch(rf"process pid \d+ psql …, account {UID}", row["origin"]), row["origin"]
