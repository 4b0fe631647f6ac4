"""Nothing of an authentication ever reaches the ring: not the password, not what stands for it."""

import os
import shutil
import socket
import struct

import psycopg
import pytest

from agent.discovery import cluster_at
from agent.sources.ebpf import EbpfSource
from tests.collector.certificates import Authority
from tests.live.postgres import PostgresCluster

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
]

PASSWORD, WRONG = "canary-7f3a9-right", "canary-7f3a9-wrong"
METHODS = {"scram": "scram-sha-256", "hashed": "md5", "plain": "password"}
WORDS = [
    b"canary-7f3a9",
    b"SCRAM-SHA-256",
    b"biws",
    b"n,,n=",
    b"i=4096",
    b",r=",
    b",p=",
    b"AuthenticationSASL",
]
"""Of the passwords, and of the messages of SCRAM."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    certificate = Authority(tmp_path_factory.mktemp("tls") / "ca").issue("server")
    with PostgresCluster() as cluster:
        for source, name in (
            (certificate.certificate, "server.crt"),
            (certificate.key, "server.key"),
        ):
            shutil.copy(source, cluster.data / name)
            os.chmod(cluster.data / name, 0o600)
            shutil.chown(cluster.data / name, "postgres", "postgres")
        with cluster.connect() as connection:
            for user, method in METHODS.items():
                kind = "md5" if method == "md5" else "scram-sha-256"
                connection.execute(f"SET password_encryption = '{kind}'")
                connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'")
            connection.execute("ALTER SYSTEM SET ssl = on")
        hba = cluster.data / "pg_hba.conf"
        lines = [f"host all {user} all {method}" for user, method in METHODS.items()]
        hba.write_text("\n".join([*lines, hba.read_text()]))
        cluster.reload()
        yield cluster


def stored_forms(server) -> list[bytes]:
    """What the catalog holds instead of the passwords, whole and in parts."""
    with server.connect() as connection:
        rows = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolpassword <> ''")
        stored = [form for (form,) in rows]
    parts = [part for form in stored for part in form.replace("$", ":").split(":") if len(part) > 8]
    return [form.encode() for form in (*stored, *parts)]


def everything_told(source) -> bytes:
    """The raw bytes of all records of both rings, decoded by nobody."""
    (instance,) = source._instances
    return b"".join([*instance.ring.drain(), *instance.urgent.drain()])


@pytest.fixture
def source(loader, server):
    found = cluster_at(server.postmaster_pid)
    with EbpfSource(loader=loader, parameters=True) as opened:
        opened.add(found)
        opened.poll(0)
        yield opened


@pytest.mark.parametrize("sslmode", ["disable", "require"])
def test_no_login_leaves_a_trace_of_its_password(source, server, sslmode):
    canaries = [*WORDS, *stored_forms(server)]
    everything_told(source)
    for user in METHODS:
        for password in (PASSWORD, WRONG):
            words = {"user": user, "password": password, "sslmode": sslmode}
            if password == WRONG:
                with pytest.raises(psycopg.OperationalError, match="authentication failed"):
                    server.connect(**words)
                continue
            with server.connect(**words) as connection:
                connection.execute(f"SELECT 'in as {user}'")
                assert connection.pgconn.ssl_in_use is (sslmode == "require")
    told = everything_told(source)
    # They did come in, and were seen.
    assert [user for user in METHODS if f"in as {user}".encode() not in told] == []
    assert [canary for canary in canaries if canary in told] == []


def test_the_key_that_cancels_a_session_is_not_copied(source, server):
    everything_told(source)
    client = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    body = struct.pack("!I", 196608) + b"user\0postgres\0\0"
    client.sendall(struct.pack("!I", len(body) + 4) + body)
    answer = b""
    while b"Z\0\0\0\5I" not in answer:
        answer += client.recv(65536)
    client.sendall(b"Q" + struct.pack("!I", 13) + b"SELECT 1\0")
    while b"SELECT 1\0" not in answer:
        answer += client.recv(65536)
    client.close()
    at = answer.index(b"K\0\0\0\x0c")
    key = answer[at + 9 : at + 13]
    told = everything_told(source)
    assert b"SELECT 1" in told
    assert key not in told
