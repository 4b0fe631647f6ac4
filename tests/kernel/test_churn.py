"""Connections that come and go as fast as this machine makes them, and names that are no names."""

import contextlib
import shutil
import socket
import struct
import subprocess
import threading
import time

import pytest

from agent.probes.layout import SESSION_CLASS, layout_of
from agent.sources.ebpf import EbpfSource
from model.event import SessionEnded, SessionSeen, StatementsExecuted, StatementStarted
from tests.kernel.capture import Capture, singly

pytestmark = [pytest.mark.kernel, pytest.mark.live]

LOGINS = ("churn_a", "churn_b")
PER_CLIENT = 100
CLIENTS = 4
STARTERS = 6
STORM_SECONDS = 2.0
CANCEL = struct.pack("!IIII", 16, 80877102, 1, 1)
"""A request to cancel what runs in pid 1: the server forks for it, finds nothing and is done."""
NOT_A_STARTUP = struct.pack("!II", 20_000, 196608)
"""Longer than the server takes: it hangs up at once."""
NAME_BYTES = 63
"""What PostgreSQL keeps of a name."""


def pgbench(postgres, login, script):
    return subprocess.Popen(
        [
            "pgbench", "--connect", "--no-vacuum", "--client", str(CLIENTS), "--transactions",
            str(PER_CLIENT), "--file", str(script), "--host", str(postgres.sockets), "--port",
            str(postgres.port), "--username", login, "postgres",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_every_connection_of_a_storm_is_attributed_and_nothing_is_left_of_it(
    libbpf, cluster, postgres, tmp_path
):
    assert shutil.which("pgbench")
    with EbpfSource(loader=libbpf) as source, postgres.connect() as admin:
        for login in LOGINS:
            admin.execute(f"DROP ROLE IF EXISTS {login}; CREATE ROLE {login} LOGIN")
            (tmp_path / login).write_text(f"SELECT '{login}';\n")
        source.add(cluster)
        source.poll(0)
        began = time.monotonic()
        storms = [pgbench(postgres, login, tmp_path / login) for login in LOGINS]
        events = []
        while any(storm.poll() is None for storm in storms):
            events += source.poll(20)
        seconds = time.monotonic() - began
        for storm in storms:
            assert storm.communicate()[1] == b""
            assert storm.returncode == 0
        connections = len(LOGINS) * CLIENTS * PER_CLIENT
        print(f"{connections} connections in {seconds:.1f} s: {connections / seconds:.0f}/s")
        users, ended = {}, set()
        deadline = time.monotonic() + 10
        while len(ended) < connections and time.monotonic() < deadline:
            events += source.poll(50)
            ended = {e.backend for e in events if isinstance(e, SessionEnded)}
        statements = 0
        for event in events:
            if isinstance(event, SessionSeen):
                users[event.backend] = event.user
            elif (
                isinstance(event, StatementStarted | StatementsExecuted) and b"churn_" in event.text
            ):
                statements += len(getattr(event, "executions", "1"))
                assert event.text.decode() == f"SELECT '{users[event.backend]}';"
        assert statements == connections
        assert source.losses() == []
        # pgbench looks in once before its clients do.
        assert [list(users.values()).count(login) for login in LOGINS] == [connections // 2 + 1] * 2
        assert {backend for backend, user in users.items() if user in LOGINS} <= ended
        (instance,) = source._instances
        pids = {
            int.from_bytes(key, "little")
            for key, _ in instance.map("sessions").entries(4, layout_of("session_state").size, 8192)
        }
        assert pids <= {admin.info.backend_pid}
        assert instance.map("classes").entries(4, SESSION_CLASS.size, 8192) == []
        assert set(instance.decoder._backends) <= {admin.info.backend_pid}
        for login in LOGINS:
            admin.execute(f"DROP ROLE {login}")


def starters(postgres, until):
    """Connections for which the server forks, and which end before they are sessions; how many."""
    made = [0] * STARTERS

    def start(which):
        number = 0
        while time.monotonic() < until:
            with (
                contextlib.suppress(ConnectionError),
                socket.create_connection(("127.0.0.1", postgres.port), timeout=10) as line,
            ):
                line.sendall(CANCEL if number % 2 else NOT_A_STARTUP)
                if number % 4 < 3:
                    line.recv(1)  # the server has hung up; the others do not wait for that
            number += 1
        made[which] = number

    threads = [threading.Thread(target=start, args=(which,)) for which in range(STARTERS)]
    for thread in threads:
        thread.start()
    return threads, made


def test_what_never_becomes_a_session_leaves_nothing_and_hides_nothing(libbpf, cluster, postgres):
    """As many as the server forks for here; docs/overhead.md has the number."""
    rates = {}
    with contextlib.ExitStack() as stack:
        for probes in ("none", "probes"):
            if probes == "probes":
                source = stack.enter_context(EbpfSource(loader=libbpf))
                source.add(cluster)
                source.poll(0)
            threads, made = starters(postgres, time.monotonic() + STORM_SECONDS)
            events, ran = [], 0
            with postgres.connect() as connection:
                pid = connection.info.backend_pid
                while any(thread.is_alive() for thread in threads):
                    connection.execute(f"SELECT {ran}", prepare=False)
                    ran += 1
                    if probes == "probes":
                        events += source.poll(0)
            rates[probes] = sum(made) / STORM_SECONDS
        print(f"connections that the server forked for, a second: {rates}")
        capture = Capture(source, postgres, singly(events))

        def mine(_):
            return [e.text for e in capture.of(pid, StatementStarted)] == [
                f"SELECT {number}".encode() for number in range(ran)
            ]

        capture.until(mine)
        capture.until(lambda _: bool(capture.of(pid, SessionEnded)))
        assert {e.backend.pid for e in capture.events} == {pid}
        assert source.losses() == []
        (instance,) = source._instances
        size = layout_of("session_state").size
        assert instance.map("sessions").entries(4, size, 8192) == []
        assert instance.decoder._backends == {}


@pytest.mark.parametrize(
    "name",
    [
        "n" * 200,
        "with space",
        'quo"te',
        "single'quote",
        "new\nline",
        "back\\slash",
        "\x1b[31mred\x1b[0m",
        "tab\tbell\x07",
        "großé→",
    ],
    ids=ascii,
)
def test_names_are_told_as_the_server_uses_them(libbpf, cluster, postgres, name):
    quoted = '"' + name.replace('"', '""') + '"'
    with EbpfSource(loader=libbpf) as source, postgres.connect() as admin:
        admin.execute(f"CREATE ROLE {quoted} LOGIN")
        admin.execute(f"CREATE DATABASE {quoted}")
        try:
            source.add(cluster)
            capture = Capture(source, postgres)
            with postgres.connect(user=name, dbname=name) as connection:
                user, database = connection.execute(
                    "SELECT session_user::text, current_database()::text"
                ).fetchone()
                pid = connection.info.backend_pid
                capture.until(lambda _: bool(capture.of(pid, SessionSeen)))
            (seen,) = capture.of(pid, SessionSeen)
            assert (seen.user, seen.database) == (user, database)
            assert user == name[:NAME_BYTES]
        finally:
            admin.execute(f"DROP DATABASE {quoted} WITH (FORCE)")
            admin.execute(f"DROP ROLE {quoted}")


@pytest.mark.parametrize(("encoding", "text"), [("SQL_ASCII", b"\xff\xfe"), ("LATIN1", b"caf\xe9")])
def test_names_and_texts_of_other_encodings_are_told_byte_for_byte(
    libbpf, cluster, postgres, encoding, text
):
    with EbpfSource(loader=libbpf) as source, postgres.connect() as admin:
        admin.execute(
            f"CREATE DATABASE enc TEMPLATE template0 ENCODING '{encoding}' "
            "LC_COLLATE 'C' LC_CTYPE 'C'"
        )
        try:
            source.add(cluster)
            capture = Capture(source, postgres)
            with postgres.connect(dbname="enc", client_encoding=encoding) as connection:
                query = b'SELECT 1 AS "' + text + b'"'
                connection.execute(query)
                pid = connection.info.backend_pid
                capture.until(
                    lambda _: any(e.text == query for e in capture.of(pid, StatementStarted))
                )
        finally:
            admin.execute("DROP DATABASE enc WITH (FORCE)")


def test_a_statement_of_100_mb_keeps_its_beginning_and_the_server_unhurt(libbpf, cluster, postgres):
    with EbpfSource(ring_bytes=8 << 20, loader=libbpf) as source, postgres.connect() as connection:
        source.add(cluster)
        capture = Capture(source, postgres)
        size = 100_000_000
        text = f"SELECT length('{'x' * size}')"
        events = capture.run(connection, text)
        (start,) = [event for event in events if isinstance(event, StatementStarted)]
        assert start.text.startswith(b"SELECT length('xxx")
        assert len(start.text) == (1 << 20) - 1
        assert start.text_bytes == len(text)
        assert connection.execute("SELECT 1").fetchone() == (1,)
