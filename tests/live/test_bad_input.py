"""What is wrong, broken, hostile or missing gets a clear message or a counted event."""

import csv
import hashlib
import io
import os
import signal
import socket
import struct
import subprocess
from contextlib import contextmanager

import psycopg
import pytest

from agent.connecting import conninfo
from agent.digests import sealed_with
from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import COMMAND, Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]

BAD_CONFIGURATION = 78
MIB = 1 << 20
RULE = """\
rules:
  - id: bots-and-secrets
    title: A bot reads secrets
    severity: high
    action: deny
    unknown: deny
    message: what cannot be read is refused
    when: "'shop.secrets' in statement.reads"
"""
EVIL = "evil\x1b]0;pwned\x07\x9b31m"
SHOWN = r"evil\x1b]0;pwned\x07\x9b31m"


@pytest.fixture(scope="module")
def cluster():
    with PostgresCluster() as server:
        prepare(server)
        yield server


@pytest.fixture(scope="module")
def quiet_cluster():
    """For agents that enforce alone: two at one server would settle each other's holds."""
    with PostgresCluster() as server:
        prepare(server)
        yield server


@pytest.fixture(scope="module")
def running(cluster):
    config = {"guard": {"mode": "enforce"}, "rules": {"vars": {"bulk_users": ["app"]}}}
    with Running(cluster, {"agent": config}) as up:
        yield up


# -- configuration and rules


def command(*words):
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    ("program", "text", "says"),
    [
        ("up", "agent:\n  guard: {mode: enforce\n", ":3: is not YAML"),
        ("agent", "agent:\n  gaurd: {mode: enforce}\n", ":2: unknown key agent.gaurd"),
        ("collector", "agent:\n  guard:\n    mode: strict\n", ":3: agent.guard.mode"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named_by_file_and_line(
    tmp_path, program, text, says
):
    file = tmp_path / "pgwarden.yaml"
    file.write_text(text)
    done = command(program, "--config", str(file))
    assert done.returncode == BAD_CONFIGURATION
    assert f"{file}{says}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        done = command("up", "--config", str(path))
        assert done.returncode == BAD_CONFIGURATION
        assert str(path) in done.stderr
        assert "cannot be read" in done.stderr


@pytest.mark.parametrize(
    ("line", "at", "says"),
    [
        ("    wehn: 'true'\n", 8, "unknown field 'wehn'"),
        ("    when: statement.verbs.exists(v, v ==\n", 8, "v =="),
        ("    when: statment.parsed\n", 8, "did you mean 'statement'"),
    ],
)
def test_a_rule_that_cannot_be_used_stops_the_agent_and_names_file_and_line(
    cluster, tmp_path, line, at, says
):
    rules = tmp_path / "broken.yaml"
    good = RULE.splitlines(keepends=True)
    if "wehn" in line:
        rules.write_text("".join(good) + line)
        at = len(good) + 1
    else:
        rules.write_text("".join(good[:-1]) + line)
    up = Running(cluster, {"agent": {"rules": {"packs": [str(rules)]}}})
    try:
        up.start("agent", wait=False)
        assert up.process.wait(20) == BAD_CONFIGURATION
        assert f"{rules}:{at}" in up.log
        assert says in up.log
        assert "Traceback" not in up.log
        done = up.pgwarden("rules", "check")
        assert done.returncode == BAD_CONFIGURATION
        assert f"{rules}:{at}" in done.stderr
        assert says in done.stderr
    finally:
        up.__exit__()


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://pgwarden:hunter2-s3cret@[::1/postgres",
        "host=127.0.0.1 passwort=hunter2-s3cret",
        "host=127.0.0.1 password=new hunter2-s3cret",
        "postgresql://pgwarden:%zz-hunter2-s3cret@127.0.0.1/postgres",
    ],
)
def test_a_dsn_that_libpq_cannot_read_is_not_quoted(dsn):
    with pytest.raises(psycopg.OperationalError) as caught:
        conninfo(dsn, {"application_name": "pgwarden"})
    assert "hunter2" not in str(caught.value)
    assert "agent.clusters.dsn" in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_wrong_dsn_is_told_without_its_password_and_capture_goes_on(cluster):
    access = {
        "port": cluster.port,
        "data_directory": str(cluster.data),
        "name": "main",
        "dsn": f"postgresql://pgwarden:hunter2-s3cret@[::1:{cluster.port}/postgres",
    }
    with Running(cluster, {"agent": {"clusters": [access]}}) as up:
        cluster.psql("SELECT 1 AS behind_a_wrong_dsn", user="bot")
        told = up.wait(lambda: "    ! main: " in (s := up.answered("agents").stdout) and s, "told")
        assert "capture=ebpf" in told
        assert "correct agent.clusters.dsn" in told
        up.wait_sql("SELECT 1 FROM statements WHERE text LIKE '%behind_a_wrong_dsn%'")
        assert up.stop() == 0
        assert "hunter2" not in told + up.log
        assert "Traceback" not in up.log


# -- texts


def test_sql_that_does_not_parse_is_recorded_with_its_error_and_without_its_literals(running):
    running.cluster.psql("SELEC 'lit-4711' FROM somewhere", user="bot")
    # Nobody knows what a statement is that does not begin as one: its names go as well.
    (row,) = running.wait_sql("SELECT * FROM statements WHERE text = '? ? FROM ?'")
    assert (row["sqlstate"], row["parse_status"]) == ("42601", "invalid")
    assert row["text_bytes"] == len("SELEC 'lit-4711' FROM somewhere")
    assert "lit-4711" not in row["text"] + row["error_message"]
    # It failed before anything could be refused: no rule was too late.
    assert not running.sql("SELECT * FROM verdicts WHERE outcome = 'too_late'")


def test_text_that_is_not_utf8_is_recorded_and_judged(running):
    running.cluster.psql(
        "CREATE DATABASE bytes TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    with running.cluster.connect(user="app", dbname="bytes") as connection:
        text = b"SELECT 1 AS caf\xe9, '\xff\xfe'::text"
        connection.execute(text)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="drop-protected"):
            connection.execute(b"CREATE TABLE caf\xe9 (); DROP TABLE caf\xe9")
    (row,) = running.wait_sql(
        "SELECT * FROM statements WHERE database = 'bytes' AND user_name = 'app' "
        "AND operation = 'select'"
    )
    assert (row["parse_status"], row["sqlstate"]) == ("parsed", "00000")
    assert row["text_bytes"] == len(text)
    assert row["rows"] == 1


class RawSession:
    """The wire itself: what no driver would send."""

    def __init__(self, cluster, user):
        self._socket = socket.create_connection(("127.0.0.1", cluster.port), timeout=10)
        words = b"user\0" + user.encode() + b"\0database\0postgres\0\0"
        body = struct.pack("!I", 196608) + words
        self._socket.sendall(struct.pack("!I", len(body) + 4) + body)
        self.answers()

    def query(self, text):
        body = text + b"\0"
        self._socket.sendall(b"Q" + struct.pack("!I", len(body) + 4) + body)
        return self.answers()

    def answers(self):
        """Kinds and bodies up to ReadyForQuery."""
        found = []
        while not found or found[-1][0] != b"Z":
            head = self._read(5)
            found.append((head[:1], self._read(struct.unpack("!I", head[1:])[0] - 4)))
        return found

    def _read(self, size):
        data = b""
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            assert part, "the server hung up"
            data += part
        return data

    def close(self):
        self._socket.close()


def test_a_nul_byte_in_a_query_runs_nothing_and_fools_nobody(running):
    session = RawSession(running.cluster, "bot")
    try:
        answers = session.query(b"SELECT 1 AS before_nul\0; DROP TABLE shop.orders")
        (error,) = [body for kind, body in answers if kind == b"E"]
        assert b"C08P01" in error
        session.query(b"SELECT 1 AS after_nul")
    finally:
        session.close()
    (row,) = running.wait_sql("SELECT * FROM statements WHERE text LIKE '%after_nul%'")
    assert (row["sqlstate"], row["rows"]) == ("00000", 1)
    done = running.sql(
        "SELECT * FROM statements WHERE text LIKE '%before_nul%' AND sqlstate = '00000'"
    )
    assert done == []
    counted = "SELECT sum(count) AS n FROM losses WHERE reason = 'refused_unread'"
    running.wait(lambda: running.sql(counted)[0]["n"] == 1, "the refusal is counted")


def test_text_that_is_invalid_in_the_database_is_counted(running):
    before = running.sql("SELECT count(*) AS n FROM losses WHERE reason = 'refused_unread'")[0]["n"]
    session = RawSession(running.cluster, "bot")
    try:
        answers = session.query(b"SELECT '\xff\xfe' AS broken")
        (error,) = [body for kind, body in answers if kind == b"E"]
        assert b"C22021" in error
    finally:
        session.close()
    counted = "SELECT count(*) AS n FROM losses WHERE reason = 'refused_unread'"
    running.wait(lambda: running.sql(counted)[0]["n"] == before + 1, "the refusal is counted")


def test_a_statement_of_5_mb_keeps_its_beginning_and_true_length(running):
    text = f"SELECT length('{'x' * 5 * MIB}') AS five_megabytes"
    with running.cluster.connect(user="app", application_name="large") as connection:
        assert connection.execute(text).fetchone() == (5 * MIB,)
    (row,) = running.wait_sql("SELECT * FROM statements WHERE application_name = 'large'")
    assert row["text_bytes"] == len(text)
    assert (row["parse_status"], row["operation"], row["sqlstate"]) == ("cut", "select", "00000")
    assert row["text"].startswith("SELECT length(")
    assert "xxxx" not in row["text"]
    key = (running.folder / "agent" / "digests.key").read_bytes()
    known = text.encode()[: MIB - 1] + b"\0%d" % len(text)
    assert row["digest"] == sealed_with(key)(hashlib.sha256(known).hexdigest())


def test_what_is_too_long_to_parse_follows_the_rule_for_unknown(quiet_cluster, tmp_path):
    rules = tmp_path / "own.yaml"
    rules.write_text(RULE)
    own = {"guard": {"mode": "enforce"}, "rules": {"packs": [str(rules)]}}
    with (
        Running(quiet_cluster, {"agent": own}) as up,
        quiet_cluster.connect(user="bot", application_name="unreadable") as connection,
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="bots-and-secrets"):
            connection.execute(f"SELECT length('{'x' * 5 * MIB}')")
        # A read of half a megabyte is understood.
        connection.execute(f"SELECT length('{'x' * (MIB // 2)}')")
        with pytest.raises(psycopg.errors.SyntaxError):
            connection.execute("SELEC 1")
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("DELETE FROM no_such_table")
        assert connection.execute("SELECT 1").fetchone() == (1,)
        rows = up.wait_sql(
            "SELECT v.outcome, s.parse_status, s.sqlstate FROM statements s "
            "LEFT JOIN verdicts v ON s.id = v.statement_id "
            "WHERE s.application_name = 'unreadable' AND EXISTS (SELECT 1 FROM statements "
            "WHERE text = 'SELECT ?' AND application_name = 'unreadable') ORDER BY s.id"
        )
    # What the server itself refuses never comes to the guard: nothing was too late.
    assert [tuple(row.values()) for row in rows] == [
        ("prevented", "cut", "42501"),
        (None, "parsed", "00000"),
        (None, "invalid", "42601"),
        (None, "parsed", "42P01"),
        (None, "parsed", "00000"),
    ]


def test_a_log_record_that_arrives_in_two_halves_is_one_record(running):
    cluster = running.cluster
    cluster.psql("SELECT 1 AS whole_line", user="bot")
    running.wait_sql("SELECT 1 FROM statements WHERE text LIKE '%whole_line%'")
    losses = "SELECT reason, count FROM losses WHERE source = 'pgaudit'"
    before = running.sql(losses)
    logs = list(cluster.log_directory.glob("*.csv"))
    line = next(
        line
        for log in logs
        for line in log.read_text(errors="replace").splitlines()
        if "AUDIT" in line and "whole_line" in line
    )
    fields = next(csv.reader([line.replace("whole_line", "halved_line")]))
    # Another session: the server numbers the records of each.
    fields[3], fields[5] = "99999999", f"{fields[5].split('.')[0]}.{99999999:x}"
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerow(fields)
    record = written.getvalue().encode()
    half = record.index(b"halved_line") + 5
    file = cluster.log_directory / "postgresql-2099-01-01_000000.csv"
    with file.open("ab", buffering=0) as log:
        os.chmod(file, 0o640)
        log.write(record[:half])
        # A later record of the server's own log: by then the half has been read as well.
        cluster.psql("SELECT 1 AS after_half", user="bot")
        running.wait_sql(
            "SELECT 1 FROM statements WHERE text LIKE '%after_half%' AND source = 'both'"
        )
        assert not running.sql("SELECT 1 FROM statements WHERE text LIKE '%halve%'")
        log.write(record[half:])
    rows = running.wait_sql("SELECT source, text FROM statements WHERE text LIKE '%halve%'")
    assert [(row["source"], row["text"]) for row in rows] == [
        ("pgaudit", "SELECT ? AS halved_line")
    ]
    assert running.sql(losses) == before


def test_terminal_escapes_of_clients_are_shown_and_never_sent_to_the_terminal(running):
    cluster = running.cluster
    running.wait_sql("SELECT 1 FROM findings WHERE detector = 'drift.baseline'")
    cluster.psql(f'CREATE ROLE "{EVIL}" LOGIN')
    query = f"SELECT user_name, application_name FROM statements WHERE user_name = '{SHOWN}'"
    with cluster.connect(user=EVIL, application_name="app\x1b[2J\r\n\x07") as connection:
        config = ["--config", str(running.config)]
        tail = subprocess.Popen(
            [*COMMAND, "tail", "statement", "--limit", "1", "--user", SHOWN, *config],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            running.wait(
                lambda: connection.execute("SELECT 1") and tail.poll() is not None,
                "tail has shown a statement",
            )
            shown = {"tail": tail.communicate()[0]}
        finally:
            tail.kill()
            tail.wait()
        shown["sessions"] = running.pgwarden("sessions").stdout
    shown["sql"] = running.pgwarden("sql", query).stdout
    shown["json"] = running.pgwarden("sql", query, "--json").stdout.replace("\\\\", "\\")
    shown["csv"] = running.pgwarden("sql", query, "--csv").stdout
    running.wait_sql("SELECT 1 FROM drift WHERE kind = 'role'")
    shown["drift"] = running.pgwarden("drift", "status").stdout
    for name, text in shown.items():
        assert SHOWN in text.replace("\n", ""), (name, text)
        assert not any(c in text for c in "\x1b\x07\x9b"), (name, text)
    for command in ("status", "agents", "findings", "sessions"):
        text = running.pgwarden(command).stdout
        assert not any(c in text for c in "\x1b\x07\x9b"), (command, text)


# -- the way to the collector


@contextmanager
def agent_alone(cluster, config=None):
    """The agent runs and no collector; ``collector()`` starts one."""
    up = Running(cluster, config)
    programs = []

    def collector():
        programs.append(
            subprocess.Popen(
                [*COMMAND, "collector", "--config", str(up.config)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        up.wait_ready(up.collector_port)
        return programs[-1]

    try:
        up.start("agent")
        yield up, collector
    finally:
        up.stop()
        for program in programs:
            program.send_signal(signal.SIGTERM)
            program.wait(20)
        up.__exit__()


def delivered(up):
    up.wait(lambda: up.metrics(up.agent_port)["pgwarden_agent_spool_batches"] == 0, "delivered")


def connected(up):
    return up.metrics(up.agent_port)["pgwarden_agent_uplink_connected"] == 1


def test_without_a_collector_the_agent_keeps_everything_and_delivers_it_once(cluster):
    with agent_alone(cluster) as (up, collector):
        first = collector()
        up.wait(lambda: connected(up), "the agent is connected")
        first.kill()
        first.wait(10)
        with cluster.connect(user="bot", application_name="outage") as connection:
            for number in range(300):
                connection.execute(f"SELECT {number} AS in_the_dark")
        up.wait(lambda: up.metrics(up.agent_port)["pgwarden_agent_spool_batches"] > 0, "spooled")
        seen = 'pgwarden_agent_statements_total{source="both"}'
        up.wait(lambda: up.metrics(up.agent_port)[seen] >= 300, "all are seen and merged")
        collector()
        delivered(up)
        (row,) = up.sql(
            "SELECT count(*) AS n, count(DISTINCT id) AS ids FROM statements "
            "WHERE application_name = 'outage'"
        )
        assert row == {"n": 300, "ids": 300}
        assert not up.sql("SELECT * FROM losses")


def flood(cluster, statements):
    """Texts that do not repeat and hold no literals: they take room."""
    with cluster.connect(user="bot", application_name="flood") as connection:
        for number in range(statements):
            names = ", ".join(f"1 AS c{number}_{os.urandom(12).hex()}" for _ in range(100))
            connection.execute(f"SELECT {names}")


def test_a_full_spool_counts_what_it_refuses_and_keeps_room_for_verdicts(quiet_cluster):
    config = {"agent": {"guard": {"mode": "enforce"}, "spool": {"max_bytes": MIB}}}
    sent = 500
    with agent_alone(quiet_cluster, config) as (up, collector):
        flood(quiet_cluster, sent)

        def refused():
            found = up.metrics(up.agent_port)
            return found['pgwarden_agent_events_lost_total{reason="spool_full",source="spool"}']

        up.wait(lambda: refused() > 0, "the spool is full")
        denied = quiet_cluster.psql("DROP TABLE shop.orders", user="bot")
        assert "blocked by pgwarden" in denied.stderr
        name = 'pgwarden_agent_guard_verdicts_total{action="deny",outcome="prevented"}'
        up.wait(lambda: up.metrics(up.agent_port)[name] == 1, "the verdict is on record")
        collector()
        delivered(up)
        up.wait_sql("SELECT 1 FROM verdicts WHERE outcome = 'prevented'")
        stored = up.sql("SELECT count(*) AS n FROM statements WHERE application_name = 'flood'")
        told = up.wait(
            lambda: [
                row["n"]
                for row in up.sql(
                    "SELECT sum(count) AS n FROM losses "
                    "WHERE source = 'spool' AND reason = 'spool_full'"
                )
                if row["n"] == refused()
            ],
            "every loss is told",
        )
        assert stored[0]["n"] < sent <= stored[0]["n"] + told[0]


URGENT_LOST = "SELECT * FROM losses WHERE reason LIKE 'urgent%'"


def test_a_full_spool_drops_ordinary_statements_and_no_ddl_to_the_last_one(quiet_cluster):
    """Nothing but the clients' statements is about: no catalog is read, no verdict spoken."""
    config = {
        "agent": {
            "guard": {"mode": "off"},
            "catalog": {"enabled": False},
            "capture": {"pgaudit": False, "canary_interval_seconds": 0},
            "spool": {"max_bytes": MIB},
        }
    }
    sent, made = 1000, 50
    with agent_alone(quiet_cluster, config) as (up, collector):
        with quiet_cluster.connect(user="bot", application_name="drowned") as connection:
            flood(quiet_cluster, sent // 2)
            with connection.transaction():
                connection.execute("SELECT 'before'")
            for number in range(made):
                quiet_cluster.psql(f"CREATE ROLE kept_{number}")
                quiet_cluster.psql(f"GRANT kept_{number} TO app; DROP ROLE kept_{number}")
            flood(quiet_cluster, sent // 2)
        refused = 'pgwarden_agent_events_lost_total{reason="spool_full",source="spool"}'
        seen = 'pgwarden_agent_statements_total{source="ebpf"}'
        ran = sent + 3 * made + 3
        up.wait(lambda: up.metrics(up.agent_port)[seen] >= ran, "all are seen")
        up.wait(lambda: up.metrics(up.agent_port)[refused] > 0, "the spool is full")
        collector()
        delivered(up)

        def told():
            (row,) = up.sql(
                "SELECT (SELECT count(*) FROM statements) AS stored, (SELECT sum(count)::BIGINT"
                " FROM losses WHERE reason = 'spool_full') AS lost"
            )
            print(row)
            return row["lost"] and row["stored"] + row["lost"] == ran

        up.wait(told, f"{ran} are stored or lost")
        assert not up.sql(URGENT_LOST)
        kept = up.sql(
            "SELECT operation, count(*) AS n FROM statements WHERE operation IN"
            " ('create', 'grant', 'drop') GROUP BY operation"
        )
        assert {row["operation"]: row["n"] for row in kept} == {"create": made, "grant": 2 * made}
