"""Clusters are found by their running postmasters."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.discovery import (
    backend_here,
    backends_of,
    cluster_at,
    discover,
    hidden_servers,
    parent_of,
    pid_at_server,
    processes_of,
)
from tests.live.postgres import PostgresCluster

pytestmark = pytest.mark.live


def test_a_running_server_is_found_with_all_that_names_it(postgres):
    (found,) = [one for one in discover() if one.port == postgres.port]
    assert found.name == str(postgres.port)
    assert found.postmaster_pid == postgres.postmaster_pid
    assert found.version == 15
    assert found.data_directory == postgres.data
    assert found.socket_directories == (postgres.sockets,)
    status = postgres.binary.stat()
    assert (found.device, found.inode) == (status.st_dev, status.st_ino)
    assert found.binary.resolve() == postgres.binary.resolve()
    assert found.postmaster_started_ticks > 0


def test_a_backend_is_not_taken_for_a_cluster(postgres):
    with postgres.connect() as connection:
        pid = connection.info.backend_pid
        assert cluster_at(pid) is None
        assert parent_of(pid) == postgres.postmaster_pid
        cluster = cluster_at(postgres.postmaster_pid)
        assert cluster is not None
        assert pid in backends_of(cluster)


def test_another_program_is_no_cluster():
    assert cluster_at(os.getpid()) is None
    assert cluster_at(2**22 + 1) is None


def test_a_restart_keeps_the_name_and_changes_the_process():
    with PostgresCluster() as server:
        before = cluster_at(server.postmaster_pid)
        server.restart()
        after = cluster_at(server.postmaster_pid)
    assert before is not None
    assert after is not None
    assert before.name == after.name
    assert before.data_directory == after.data_directory
    assert before != after


@pytest.mark.skipif(os.geteuid() != 0, reason="it gives up the rights of root")
def test_processes_that_may_not_be_looked_at_are_counted_by_name_and_rights(postgres):
    assert hidden_servers() == 0
    code = "from agent.discovery import hidden_servers; print(hidden_servers())"
    keep = "+dac_read_search"
    told = subprocess.run(
        [
            "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
            f"--inh-caps=-all,{keep}", f"--ambient-caps=-all,{keep}",
            sys.executable, "-c", code,
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(told.stdout) >= 2


def test_a_damaged_pid_file_is_no_cluster(tmp_path):
    for content in ("", "12", "x\ny\n", "1\n/data\n0\nnot a port\n"):
        process = fake_process(tmp_path / content[:2].strip(), content)
        assert cluster_at(int(process.name), process.parent) is None


def test_a_cluster_in_a_container_carries_its_id(tmp_path):
    container = "0123456789ab" + "c" * 52
    process = fake_process(
        tmp_path,
        "1\n/data\n1700000000\n5432\n/run\n*\n 1 2\nready \n",
        inner_pid=1,
        cgroup=f"0::/x/{container}",
    )
    found = cluster_at(int(process.name), process.parent)
    assert found is not None
    assert found.name == "5432@0123456789ab"
    assert found.data_directory == process / "root" / "data"
    assert found.socket_directories == (process / "root" / "run",)


def test_a_backend_in_a_container_has_another_pid_for_its_server(tmp_path):
    process = fake_process(tmp_path, "", inner_pid=17)
    assert pid_at_server(int(process.name), process.parent) == 17
    assert pid_at_server(4712, process.parent) == -1


def test_a_server_in_a_container_is_known_to_number_processes_by_itself(tmp_path):
    said = "1\n/data\n1700000000\n5432\n/run\n*\n 1 2\nready \n"
    process = fake_process(tmp_path, said, inner_pid=1)
    found = cluster_at(int(process.name), process.parent)
    assert found.own_pids
    child = process.parent / "4800"
    child.mkdir()
    (child / "status").write_text("Name:\tpostgres\nNSpid:\t4800\t33\n")
    (child / "stat").write_text("4800 (postgres) S 4711 " + "0 " * 17 + "99 0\n")
    assert backend_here(found, 33, process.parent) == 4800
    assert backend_here(found, 34, process.parent) == 0, "the host's 34 is another process"
    booted_us = (time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) // 1000
    ((number, (pid, started_us)),) = processes_of(found, process.parent).items()
    assert (number, pid) == (33, 4800)
    assert abs(started_us - booted_us - 990_000) < 50_000


def test_a_server_in_the_hosts_namespace_is_not_looked_up(postgres, tmp_path):
    found = cluster_at(postgres.postmaster_pid)
    assert not found.own_pids
    assert backend_here(found, 33, tmp_path) == 33
    with postgres.connect() as connection:
        pid = connection.info.backend_pid
        assert processes_of(found)[pid].pid == pid


def fake_process(
    folder: Path, pid_file: str, *, inner_pid: int = 4711, cgroup: str = "0::/"
) -> Path:
    """A folder that looks like ``/proc/4711`` of a postmaster with a root folder of its own."""
    process = folder / "proc" / "4711"
    data = process / "root" / "data"
    data.mkdir(parents=True)
    (data / "postmaster.pid").write_text(pid_file)
    (data / "PG_VERSION").write_text("15\n")
    program = folder / "bin" / "postgres"
    program.parent.mkdir()
    program.write_text("")
    (process / "exe").symlink_to(program)
    (process / "cwd").symlink_to("/data")
    (process / "status").write_text(f"Name:\tpostgres\nNSpid:\t4711\t{inner_pid}\n")
    (process / "cgroup").write_text(cgroup + "\n")
    (process / "stat").write_text("4711 (postgres) S 1 " + "0 " * 17 + "99 0\n")
    return process


def test_the_scan_survives_processes_that_end_while_it_looks():
    for _ in range(20):
        with subprocess.Popen(["true"]):
            discover()
