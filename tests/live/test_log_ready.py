"""Who reads "ready" of an agent may rely on it: pgaudit's record of the next statement is read."""

import os
import socket
import threading
from contextlib import contextmanager, suppress

import httpx
import pytest

from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import HTTP, READY_SECONDS, Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]


@pytest.fixture(scope="module")
def cluster():
    with PostgresCluster() as running:
        prepare(running)
        yield running


@contextmanager
def slow_road(port, opened):
    """Gives the port of a way to the server that is shut until ``opened`` is set."""
    listener = socket.create_server(("127.0.0.1", 0))

    def carry(one, other):
        with suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def lead(client):
        opened.wait()
        with client, socket.create_connection(("127.0.0.1", port)) as server:
            back = threading.Thread(target=carry, args=(server, client), daemon=True)
            back.start()
            carry(client, server)
            back.join()

    def accept():
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=lead, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        opened.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_an_agent_that_has_not_found_the_log_is_not_ready(cluster):
    opened = threading.Event()
    with slow_road(cluster.port, opened) as port:
        dsn = cluster.dsn(user="pgwarden").replace(f"port={cluster.port}", f"port={port}")
        entry = {
            "port": cluster.port, "data_directory": str(cluster.data), "name": "main", "dsn": dsn,
        }  # fmt: skip
        up = Running(cluster, {"agent": {"clusters": [entry]}})
        try:
            up.start(wait=False)
            up.wait(lambda: "probes.attached" in up.log, "the probes", READY_SECONDS)
            said = up.wait(lambda: is_told(up), "an answer")
            assert (said.status_code, "log is being looked for" in said.text) == (503, True)
            opened.set()
            up.wait_ready(up.agent_port)
            with cluster.connect(user="bot", application_name="first") as client:
                client.execute("SELECT id FROM shop.orders WHERE id < %s", (11,))
            [row] = up.wait_sql(
                "SELECT source FROM statements WHERE application_name = 'first'"
                " AND operation = 'select'"
            )
            assert row["source"] == "both"
        finally:
            up.__exit__()


def is_told(up):
    """What the agent says of itself, once it watches: 200, or what else is missing."""
    with suppress(httpx.TransportError):
        said = HTTP.get(f"http://127.0.0.1:{up.agent_port}/readyz")
        missing = ("looked for yet", "attached")
        return None if any(each in said.text for each in missing) else said
    return None
