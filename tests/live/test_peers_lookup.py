"""From a real backend to its client's process, and why where it is not found."""

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest

from agent.peers import Explainer, Question
from agent.peers.certificates import Certificates, CertificatesUnknownError
from agent.peers.lookup import Lookup
from agent.peers.missing import Missing, PeerMissingError
from model.session import BackendKey, Peer
from tests.live.postgres import PostgresCluster, server_folder
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="other accounts' processes need root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]
AS_NOBODY = """
import json, sys
from agent.peers.lookup import Lookup
from agent.peers.missing import PeerMissingError
from model.session import BackendKey
try:
    print(json.dumps(Lookup().find(BackendKey(*json.loads(sys.argv[1])), "local").pid))
except PeerMissingError as missing:
    print(json.dumps(missing.reason))
"""


@pytest.fixture(scope="module")
def cluster():
    with PostgresCluster() as started:
        yield started


@pytest.fixture(params=["local", "tcp"])
def connected(cluster, request):
    host = str(cluster.sockets) if request.param == "local" else "127.0.0.1"
    with psycopg.connect(cluster.dsn(host=host), autocommit=True) as connection:
        yield key_of(connection), client_of(connection)


def client_of(connection):
    """Its address and port as the server says them."""
    with socket.socket(fileno=os.dup(connection.fileno())) as ours:
        return ("local", 0) if ours.family is socket.AF_UNIX else ours.getsockname()


def key_of(connection):
    (started_us,) = connection.execute(
        "SELECT (extract(epoch FROM backend_start) * 1000000)::bigint FROM pg_stat_activity"
        " WHERE pid = pg_backend_pid()"
    ).fetchone()
    return BackendKey(connection.info.backend_pid, started_us)


def reason(key, client):
    with pytest.raises(PeerMissingError) as raised:
        Lookup().find(key, *client)
    return raised.value.reason


def test_the_client_of_a_backend_is_this_process(connected):
    key, client = connected
    found = Lookup().find(key, *client)
    assert (found.pid, found.uid, found.account) == (os.getpid(), 0, "root")
    assert found.executable == os.path.realpath(sys.executable)
    assert found.command.startswith("python")


def test_a_client_over_tcp_is_found_without_the_hosts_table(cluster):
    """The kernel takes milliseconds for the table of a host with much memory, at each login."""
    watching, opened = True, []

    def watch(name, about):  # an audit hook stays
        if watching and name == "open":
            opened.append(str(about[0]))

    sys.addaudithook(watch)
    with psycopg.connect(cluster.dsn(host="127.0.0.1"), autocommit=True) as connection:
        key, client = key_of(connection), client_of(connection)
        assert Lookup().find(key, *client).pid == os.getpid()
        assert reason(key, ("192.0.2.7", 40_000)) is Missing.ELSEWHERE
    watching = False
    assert any(name.endswith("/stat") for name in opened)
    assert not [name for name in opened if "net/tcp" in name]


def test_a_start_to_the_second_as_a_log_line_tells_it_is_enough(connected):
    key, client = connected
    second = replace(key, started_at_us=key.started_at_us // 1_000_000 * 1_000_000)
    assert Lookup().find(second, *client).pid == os.getpid()


def test_a_pid_that_belongs_to_another_process_by_now_finds_nobody(connected):
    key, client = connected
    earlier = replace(key, started_at_us=key.started_at_us - 60_000_000)
    assert reason(earlier, client) is Missing.GONE
    assert reason(replace(key, started_at_us=0), client) is Missing.UNTIMED
    assert reason(BackendKey(2**22, key.started_at_us), client) is Missing.GONE


def test_a_client_in_a_network_namespace_of_its_own_is_found_through_a_unix_socket(cluster):
    psql = cluster.binary.parent / "psql"
    dsn = cluster.dsn(host=str(cluster.sockets))
    client = subprocess.Popen(
        ["unshare", "--net", psql, "-XAt", dsn],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        client.stdin.write(
            "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint"
            " FROM pg_stat_activity WHERE pid = pg_backend_pid();\n"
        )
        client.stdin.flush()
        key = BackendKey(*map(int, client.stdout.readline().split("|")))
        found = Lookup().find(key, "local")
        assert (found.pid, found.command) == (client.pid, "psql …")
    finally:
        client.stdin.close()
        client.stdout.close()
        client.wait(10)


def test_whom_a_backend_connected_to_itself_is_not_its_client(cluster):
    """By dblink, to somebody of this host whom rules trust: the client may be anywhere."""
    elsewhere = ("192.0.2.7", 40_000)
    tcp = cluster.dsn(host="127.0.0.1")
    with (
        socket.create_server(("127.0.0.1", 0)) as trusted,
        psycopg.connect(tcp, autocommit=True) as connection,
        ThreadPoolExecutor() as pool,
    ):
        port = trusted.getsockname()[1]
        connection.execute("CREATE EXTENSION dblink")
        key, client = key_of(connection), client_of(connection)
        asked = pool.submit(
            connection.execute, "SELECT dblink_connect(%s)", (f"host=127.0.0.1 port={port}",)
        )
        accepted, _ = trusted.accept()
        assert reason(key, elsewhere) is Missing.ELSEWHERE
        assert reason(key, ("192.0.2.7", 0)) is Missing.ELSEWHERE
        assert reason(key, ("127.0.0.1", 0)) is Missing.ELSEWHERE
        assert Lookup().find(key, *client).pid == os.getpid()
        accepted.close()
        assert isinstance(asked.exception(10), psycopg.OperationalError)


def test_an_account_without_rights_is_denied_and_says_so(connected):
    key, _ = connected
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs",
         "--inh-caps=-all", "--bounding-set=-all",
         sys.executable, "-c", AS_NOBODY, json.dumps([key.pid, key.started_at_us])],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == Missing.DENIED


def test_the_socket_that_a_child_took_over_is_the_childs(cluster):
    """Who connected has ended: the kernel's credentials name nobody who lives."""
    script = (
        "import os, sys, psycopg\n"
        f"c = psycopg.connect({cluster.dsn(host=str(cluster.sockets))!r}, autocommit=True)\n"
        "if os.fork() == 0:\n"
        "    print(os.getpid(), c.info.backend_pid, flush=True)\n"
        "    sys.stdin.readline()\n"
        "os._exit(0)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        pid, backend = map(int, child.stdout.readline().split())
        child.wait(10)
        with cluster.connect() as connection:
            (started_us,) = connection.execute(
                "SELECT (extract(epoch FROM backend_start) * 1000000)::bigint"
                " FROM pg_stat_activity WHERE pid = %s",
                (backend,),
            ).fetchone()
        assert Lookup().find(BackendKey(backend, started_us), "local").pid == pid
    finally:
        child.stdin.close()
        child.stdout.close()


def test_a_server_without_tls_is_asked_once_and_then_left_alone(cluster):
    asked = []

    def connect(name):
        asked.append(name)
        return cluster.connect()

    certificates = Certificates(connect)
    for _ in range(3):
        with pytest.raises(CertificatesUnknownError, match="tls_off"):
            certificates.ask("main", [BackendKey(1, 1)])
    assert asked == ["main"]
    certificates.close()


def test_a_server_that_lets_nobody_in_is_a_reason_not_an_error(cluster):
    certificates = Certificates(lambda name: cluster.connect(user="nobody_here"))
    with pytest.raises(CertificatesUnknownError, match="no_login"):
        certificates.ask("main", [BackendKey(1, 1)])


def test_the_explainer_does_not_rest_for_the_time_that_it_waited(connected):
    key, client = connected

    class Waiting(Lookup):
        def find(self, *asked):
            time.sleep(1)  # for a core
            return super().find(*asked)

    told = []
    explainer = Explainer(told.append, lambda *_: None, lookup=Waiting(), certificates=None)
    explainer.start()
    explainer.ask(Question(key, "main", *client))
    wait_until(lambda: told)
    began = time.monotonic()
    explainer.ask(Question(replace(key, pid=2**22), "main", *client))
    wait_until(lambda: len(told) == 2)
    assert time.monotonic() - began < 3
    explainer.stop()


def test_the_explainer_answers_each_backend_once_and_counts_what_it_saw(connected):
    key, client = connected
    told, counted = [], []
    explainer = Explainer(
        told.append, lambda *seen: counted.append(seen), lookup=Lookup(), certificates=None
    )
    explainer.start()
    gone = BackendKey(2**22, key.started_at_us)
    for backend in (key, key, gone):
        explainer.ask(Question(backend, "main", *client))
    wait_until(lambda: len(told) >= 2)
    explainer.stop()
    assert [event.backend for event in told] == [key, gone]
    assert told[0].peer.process.pid == os.getpid()
    assert told[1].peer == Peer(missing="its process ended before it was looked at")
    assert counted == [("process", "found"), ("process", "gone")]
