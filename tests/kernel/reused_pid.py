"""In a pid namespace of its own, so that the next pid can be chosen:
``unshare --pid --fork --mount-proc python -m tests.kernel.reused_pid``.

Prints what Actions did to a session whose pid belongs to another one by the time of the order.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import psycopg

from agent.guard.actions import Actions
from agent.guard.backend import started_at_us
from agent.guard.server import PROC, Server
from model.action import Action, ActionKind
from model.session import BackendKey
from tests.kernel.guard_stage import wait_until
from tests.live.postgres import PostgresCluster

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
ATTEMPTS = 50


def key_of(connection: psycopg.Connection, server: Server) -> BackendKey:
    pid = connection.info.backend_pid
    return BackendKey(pid, started_at_us(pid, server))


def end(connection: psycopg.Connection) -> None:
    pid = connection.info.backend_pid
    connection.close()
    wait_until(lambda: not (PROC / str(pid)).exists(), 5, "the session has ended")


def successor(cluster: PostgresCluster, pid: int) -> psycopg.Connection:
    """Another session under the same pid."""
    for _ in range(ATTEMPTS):
        LAST_PID.write_text(str(pid - 1))
        connection = cluster.connect()
        if connection.info.backend_pid == pid:
            return connection
        connection.close()
    raise AssertionError(f"pid {pid} could not be had again")


def stranger(pid: int) -> subprocess.Popen[bytes]:
    for _ in range(ATTEMPTS):
        LAST_PID.write_text(str(pid - 1))
        process = subprocess.Popen(["sleep", "60"])
        if process.pid == pid:
            return process
        process.kill()
        process.wait()
    raise AssertionError(f"pid {pid} could not be had again")


def order(key: BackendKey, kind: ActionKind) -> Action:
    return Action("a1", kind, key, "cluster", "test", "tester")


def before_the_order(cluster: PostgresCluster, server: Server, kind: ActionKind) -> str:
    first = cluster.connect()
    key = key_of(first, server)
    end(first)
    with successor(cluster, key.pid) as second:
        outcome = Actions(lambda: [server]).enforce(order(key, kind)).outcome
        assert second.execute("SELECT pg_backend_pid()").fetchone() == (key.pid,)
    return outcome.value


def between_look_and_check(cluster: PostgresCluster, server: Server, kind: ActionKind) -> str:
    """After Actions took its handle on the process, and before it looks who that is."""
    first = cluster.connect()
    key = key_of(first, server)
    found: list[psycopg.Connection] = []

    def servers() -> list[Server]:
        if not found:
            end(first)
            found.append(successor(cluster, key.pid))
        return [server]

    outcome = Actions(servers).enforce(order(key, kind)).outcome
    with found[0] as second:
        assert second.execute("SELECT pg_backend_pid()").fetchone() == (key.pid,)
    return outcome.value


def by_a_stranger(cluster: PostgresCluster, server: Server, kind: ActionKind) -> str:
    first = cluster.connect()
    key = key_of(first, server)
    end(first)
    process = stranger(key.pid)
    outcome = Actions(lambda: [server]).enforce(order(key, kind)).outcome
    assert process.poll() is None
    process.kill()
    process.wait()
    return outcome.value


def main() -> None:
    with PostgresCluster(pgaudit=False, settings={"autovacuum": "off"}) as cluster:
        server = Server.running(cluster.postmaster_pid, cluster.major)
        told = {
            f"{case.__name__}.{kind.value}": case(cluster, server, kind)
            for case in (before_the_order, between_look_and_check, by_a_stranger)
            for kind in ActionKind
        }
        assert "terminated by signal" not in "".join(
            file.read_text() for file in cluster.log_directory.iterdir()
        )
    print(json.dumps(told))


if __name__ == "__main__":
    main()
