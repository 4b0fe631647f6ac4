"""Who is at the other end, found on real connections, asked with ``pgwarden sessions``."""

import json
import os
import pwd
import shutil
import subprocess
import sys

import psycopg
import pytest

from tests.collector.certificates import Authority
from tests.live.pooling import pooled
from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER_TRACE = TRACE.replace("0af7", "1af7")
CLIENT = """
import sys, psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    connection.execute("SELECT 1")
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def cluster(certificates):
    with PostgresCluster() as started:
        prepare(started)
        server = certificates.issue("localhost")
        for name, path in (
            ("server.crt", server.certificate),
            ("server.key", server.key),
            ("root.crt", certificates.path),
        ):
            target = started.data / name
            shutil.copy(path, target)
            shutil.chown(target, "postgres", "postgres")
            target.chmod(0o600)
        with started.connect() as connection:
            connection.execute("ALTER SYSTEM SET ssl_ca_file = 'root.crt'")
            connection.execute("ALTER SYSTEM SET ssl = on")
        started.reload()
        yield started


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    path = tmp_path_factory.mktemp("addresses") / "addresses.yaml"
    path.write_text("- {address: 192.0.2.0/24, name: nobody}\n")
    return path


@pytest.fixture(scope="module")
def running(cluster, addresses):
    config = {
        "agent": {
            "guard": {"mode": "enforce"},
            "identity": {"address_map": str(addresses)},
        }
    }
    with Running(cluster, config) as up:
        yield up


def session(running, pid, wanted=lambda row: "process" in row["origin"]):
    """The row that ``pgwarden sessions --json`` shows of a backend, once it is as wanted."""

    def ask():
        lines = running.pgwarden("sessions", "--json").stdout.splitlines()
        rows = [row for row in map(json.loads, lines) if row["pid"] == pid]
        return rows[0] if rows and wanted(rows[0]) else None

    return running.wait(ask, f"the session of backend {pid}")


def start(command, **options):
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
    )


def end(process):
    process.stdin.close()
    process.stdout.close()
    process.wait(10)


def test_psql_on_a_unix_socket_is_found_with_its_account_and_its_process(running):
    account = "nobody"
    psql = start(
        [
            "setpriv", f"--reuid={account}", "--regid=nogroup", "--clear-groups",
            str(running.cluster.binary.parent / "psql"), "--no-psqlrc", "-At",
            f"host={running.cluster.sockets} port={running.cluster.port} user=app dbname=postgres "
            "password=hunter2-secret",
        ]
    )  # fmt: skip
    try:
        psql.stdin.write("SELECT pg_backend_pid();\n")
        psql.stdin.flush()
        backend = int(psql.stdout.readline())
        row = session(running, backend)
        uid = pwd.getpwnam(account).pw_uid
        assert row["origin"].startswith(f"process pid {psql.pid} psql …, account {account}")
        assert (row["identity_kind"], row["identity_name"]) == ("human", account)
        assert row["identity_confidence"] >= 0.7
        assert f"process {psql.pid} of {account} runs psql" in row["identity_evidence"]
        assert uid > 0
        assert "hunter2" not in json.dumps(row)
        shown = running.pgwarden("sessions", "--why").stdout
        assert f"    process {psql.pid} of {account} runs psql" in shown
    finally:
        end(psql)


def test_psycopg_over_tcp_loopback_is_found_with_its_script(running, tmp_path):
    script = tmp_path / "nightly_report.py"
    script.write_text(CLIENT)
    dsn = running.cluster.dsn(user="app", application_name="nightly", sslmode="disable")
    client = start([sys.executable, str(script), f"{dsn} password=hunter2-secret"])
    try:
        assert client.stdout.readline() == "ready\n"
        with running.cluster.connect() as connection:
            (backend,) = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'nightly'"
            ).fetchone()
        row = session(running, backend)
        assert f"pid {client.pid} " in row["origin"]
        assert "nightly_report.py" in row["origin"]
        assert "hunter2" not in json.dumps(row)
    finally:
        end(client)


def test_psql_under_an_ai_assistant_is_the_assistants(running, tmp_path):
    assistant = tmp_path / "claude"
    shutil.copy("/bin/bash", assistant)
    psql = running.cluster.binary.parent / "psql"
    client = start(
        [assistant, "-c", f"{psql} -XAt; exit"],
        env=os.environ
        | {"PGHOST": str(running.cluster.sockets), "PGPORT": str(running.cluster.port)}
        | {"PGUSER": "app", "PGDATABASE": "postgres"},
    )
    try:
        client.stdin.write("SELECT pg_backend_pid();\n")
        client.stdin.flush()
        row = session(running, int(client.stdout.readline()))
        assert (row["identity_kind"], row["identity_name"]) == ("ai_agent", "claude")
        assert "was started under 'claude', an AI assistant" in row["identity_evidence"]
    finally:
        end(client)


def test_a_client_certificate_names_its_owner(running, certificates):
    files = certificates.issue("billing")
    files.key.chmod(0o600)
    with running.cluster.connect(
        user="app",
        sslmode="require",
        sslcert=str(files.certificate),
        sslkey=str(files.key),
    ) as connection:
        row = session(
            running, connection.info.backend_pid, lambda row: row["identity_name"] == "billing"
        )
    assert row["identity_confidence"] >= 0.5
    evidence = row["identity_evidence"]
    assert "TLS client certificate of '/CN=billing', verified by the server" in evidence


def test_a_comment_names_nobody_else_where_the_session_is_known_by_its_process(running):
    psql = running.cluster.psql(
        f"SELECT 'known' AS known /*application='payroll',traceparent='{TRACE}'*/", user="app"
    )
    assert psql.returncode == 0
    row = running.wait_sql("SELECT * FROM statements WHERE text LIKE '%known%'")[0]
    assert row["trace_parent"] == TRACE
    assert row["identity_name"] != "payroll"


@pytest.fixture(scope="module")
def pooler(cluster):
    with pooled(cluster) as found:
        yield found


def test_behind_a_pooler_the_pooler_is_the_origin_and_comments_say_who(running, pooler):
    port, process = pooler
    dsn = f"host=127.0.0.1 port={port} user=app dbname=postgres"
    with psycopg.connect(dsn, autocommit=True) as connection:
        (backend,) = connection.execute("SELECT pg_backend_pid()").fetchone()
        row = session(running, backend, lambda row: "pooler" in row["origin"])
        assert row["origin"].startswith(f"pooler pgbouncer: pid {process.pid} pgbouncer")
        parts = [
            f"SELECT 'x' AS {{0}} /*application='{who}',traceparent='{trace}'*/"
            for who, trace in (("billing", TRACE), ("my-langchain", OTHER_TRACE))
        ]
        for part in parts:
            connection.execute(part.format("pooled"))
        connection.execute("; ".join(each.format("together") for each in parts))
    for name in ("pooled", "together"):
        told = {
            row["trace_parent"]: (row["identity_kind"], row["identity_name"])
            for row in both_statements(running, name)
        }
        assert told == {TRACE: ("service", "billing"), OTHER_TRACE: ("ai_agent", "my-langchain")}
    for row in both_statements(running, "pooled"):
        assert row["identity_confidence"] == 0.5
        claim = f"its comment claims application '{row['identity_name']}'"
        assert row["identity_evidence"].startswith(claim)


def both_statements(running, name):
    query = f"SELECT * FROM statements WHERE text LIKE '%{name}%'"
    return running.wait(
        lambda: found if len(found := running.sql(query)) > 1 else None, "both statements"
    )


def test_without_ebpf_the_log_is_enough_to_find_the_process(cluster):
    with (
        Running(cluster, {"agent": {"capture": {"ebpf": False}}}) as up,
        cluster.connect(user="app", sslmode="disable") as connection,
    ):

        def found():
            connection.execute("SELECT 1")
            return up.sql(
                "SELECT * FROM sessions WHERE origin LIKE 'process%' "
                f"AND pid = {connection.info.backend_pid}"
            )

        (row,) = up.wait(found, "the session has an origin")
    assert f"pid {os.getpid()} " in row["origin"]


def test_an_address_map_that_changes_is_in_force_for_open_sessions(running, addresses):
    with running.cluster.connect(user="app", sslmode="disable") as connection:
        backend = connection.info.backend_pid
        connection.execute("SELECT 1")
        session(running, backend)
        addresses.write_text("- {address: 127.0.0.0/8, name: this-host, kind: service}\n")
        row = session(running, backend, lambda row: row["identity_name"] == "this-host")
        assert "is 'this-host' in addresses.yaml:1" in row["identity_evidence"]
        addresses.write_text("- {address: nonsense, name: x}\n")
        agents = running.wait(
            lambda: found if "nonsense" in (found := running.answered("agents").stdout) else None,
            "the agent says that the file is bad",
        )
        assert "the address map of before is in force" in agents


def test_the_agent_keeps_no_connection_of_its_own_open(running):
    def own():
        # Not by TCP: of a new TCP session the agent would ask the server.
        with running.cluster.connect(host=str(running.cluster.sockets)) as connection:
            return connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgwarden'"
                " AND backend_start < now() - interval '12 seconds'"
            ).fetchone()[0]

    running.wait(lambda: own() == 0, "no old connection of the agent", timeout=30)


def test_what_was_looked_at_is_counted(running):
    metrics = running.metrics(running.agent_port)
    found = 'pgwarden_agent_origins_total{result="found",subject="process"}'
    assert metrics[found] > 0
