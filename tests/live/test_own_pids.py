"""A server in a pid namespace of its own, as in a container: its log calls backends by other
numbers than this host does."""

import os
import signal
import subprocess
from collections import Counter
from contextlib import contextmanager, suppress

import psycopg
import pytest

from agent.discovery import discover
from agent.sessions.own_pids import NOBODYS
from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import Running, prepare
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]
STATEMENTS = ["SELECT count(*) FROM shop.orders", "CREATE TABLE IF NOT EXISTS made (i int)"]


@contextmanager
def contained():
    """The server, and its postmaster's pid here."""
    server = PostgresCluster()
    server.create()
    command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    command += [str(server.binary), "-D", str(server.data)]
    with (server.folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", *command],
            stdout=log, stderr=log, cwd=server.folder, start_new_session=True,
        )  # fmt: skip

    def mine():
        return [one for one in discover() if one.port == server.port]

    try:
        wait_until(mine, 20)
        yield server, mine()[0].postmaster_pid
    finally:
        for one in mine():
            os.kill(one.postmaster_pid, signal.SIGINT)
        process.wait(20)
        server.remove()


@pytest.fixture(scope="module")
def world():
    with contained() as (server, pid):
        wait_until(lambda: answers(server), 10)
        prepare(server)
        with server.connect(application_name="stays0") as early, Running(server) as up:
            yield server, up, pid, early


def answers(server):
    with suppress(psycopg.OperationalError):
        server.connect().close()
        return True
    return False


def numbers(pid):
    """Its pids, from here on."""
    with open(f"/proc/{pid}/status") as status:
        (line,) = [line for line in status if line.startswith("NSpid:")]
    return [int(word) for word in line.split()[1:]]


def backend_of(postmaster, connection):
    """By the host's number."""
    with open(f"/proc/{postmaster}/task/{postmaster}/children") as children:
        found = {numbers(pid)[-1]: int(pid) for pid in children.read().split()}
    return found[connection.info.backend_pid]


def test_each_statement_and_session_in_a_container_stands_once_by_both_sources(world):
    server, up, postmaster, early = world
    clients = [early, *(server.connect(application_name=f"stays{n}") for n in (1, 2))]
    here = {f"stays{n}": backend_of(postmaster, one) for n, one in enumerate(clients)}
    for _ in range(3):
        for client in clients:
            for text in STATEMENTS:
                client.execute(text)
    for n in range(5):
        with server.connect(application_name=f"goes{n}") as client:
            client.execute(STATEMENTS[0])
    where = "FROM statements WHERE regexp_matches(application_name, '^(stays|goes)')"
    up.wait(lambda: len(up.sql(f"SELECT 1 {where} AND source = 'both'")) >= 3 * 6 + 5, "all")
    told = up.sql(f"SELECT pid, application_name, source, text {where}")
    assert {row["source"] for row in told} == {"both"}
    counts = Counter(row["application_name"] for row in told)
    assert counts == dict.fromkeys(here, 6) | {f"goes{n}": 1 for n in range(5)}
    pids = {(row["application_name"], row["pid"]) for row in told}
    assert len(pids) == 8
    assert {*here.items()} <= pids
    sessions = up.sql("SELECT pid FROM sessions WHERE application_name LIKE 'stays%'")
    assert sorted(row["pid"] for row in sessions) == sorted(here.values())
    assert up.sql("SELECT * FROM losses WHERE reason = 'audit_pid_unknown'") == []
    for client in clients[1:]:
        client.close()


def test_without_probes_a_session_that_lives_has_the_hosts_pid(world):
    server, _, postmaster, _ = world
    with Running(server, {"agent": {"capture": {"ebpf": False}}}, ready=False) as up:
        with server.connect(application_name="unprobed") as client:
            pid = backend_of(postmaster, client)

            def told():
                client.execute(STATEMENTS[0])
                return up.sql("SELECT pid FROM statements WHERE application_name = 'unprobed'")

            rows = up.wait(told, "a record of pgaudit")
        assert {row["pid"] for row in rows} == {pid}


def test_a_refused_login_in_a_container_is_of_no_process_of_this_host(world):
    server, up, *_ = world
    with pytest.raises(psycopg.OperationalError):
        server.connect(user="mallory")
    query = "SELECT pid FROM statements WHERE user_name = 'mallory'"
    (row,) = up.wait(lambda: up.sql(query), "the refused login")
    assert row["pid"] >= NOBODYS
