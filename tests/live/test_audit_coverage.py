"""Proof of completeness on a real server: what eBPF and pgaudit saw of each backend agrees, and a
finding says so when one of them is silent.
"""

import json
import os
import subprocess
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import psycopg
import pytest

from tests.conformance.clients.wire import Wire
from tests.conformance.place import Place
from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]

WINDOW_SECONDS = 4
QUICK = {
    # The canary calls a function by its number as well.
    "agent": {"guard": {"mode": "off"}, "capture": {"canary_interval_seconds": 0}},
    "collector": {
        "analytics": {
            "audit_coverage": {
                "window_seconds": WINDOW_SECONDS,
                # On a busy machine the log may be read some seconds late.
                "grace_seconds": 6,
                "idle_seconds": 4,
            }
        }
    },
}
SOON_SECONDS = WINDOW_SECONDS + 16
FINDINGS = "SELECT * FROM findings WHERE detector = 'audit_coverage'"
MIXED = (
    "SELECT count(*) FROM shop.orders",
    "SELECT * FROM nowhere",
    "SELEC 1",
    "SELECT 1 / (id - 3) FROM shop.orders",
    "CREATE TABLE made (id serial PRIMARY KEY, v text)",
    "CREATE TABLE made (id int)",
    "INSERT INTO made (v) VALUES ('x'), ('y')",
    "INSERT INTO made VALUES (1, 'again')",
    "ALTER TABLE made ADD COLUMN w int DEFAULT 7",
    "CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS 'SELECT n * 2'",
    "SELECT twice(4)",
    "DO $$ BEGIN PERFORM count(*) FROM made; INSERT INTO made (v) VALUES ('do'); END $$",
    "DO $$ BEGIN RAISE EXCEPTION 'no'; END $$",
    "BEGIN",
    "SAVEPOINT s",
    "SELECT 1 / 0",
    "SELECT 2",
    "ROLLBACK TO SAVEPOINT s",
    "COMMIT",
    "BEGIN",
    "SELECT 1 / 0",
    "COMMIT",
    "PREPARE p AS SELECT * FROM made",
    "EXECUTE p",
    "SET work_mem = '5MB'",
    "SHOW work_mem",
    "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM made",
    "FETCH 1 FROM c",
    "EXPLAIN ANALYZE SELECT * FROM made",
    "VACUUM made",
    "SELECT relname FROM pg_class LIMIT 1",
    "WITH gone AS (DELETE FROM made RETURNING 1) SELECT count(*) FROM gone",
    "SELECT 1; SELECT 2; SELECT 3",
    "DROP TABLE made",
    "DROP FUNCTION twice(int)",
    "",
)


@pytest.fixture(scope="module")
def running():
    with PostgresCluster() as cluster:
        prepare(cluster)
        with Running(cluster, QUICK) as up:
            judged_from_now_on(up)
            yield up


def judged_from_now_on(up: Running) -> None:
    """Until a whole minute has been compared: nothing is judged of the time before both spoke."""
    up.wait_sql(
        "SELECT 1 FROM audit_coverage WHERE matched > 0 AND NOT"
        " regexp_matches(exempt_reasons, 'not_heard|not_applicable')",
        40,
    )


def chatter(up: Running, stop: threading.Event) -> None:
    """Ordinary traffic: time passes by statements."""
    with up.cluster.connect(user="bot", application_name="chatter") as connection:
        while not stop.wait(0.1):
            connection.execute("SELECT count(*) FROM shop.orders")


@pytest.fixture
def traffic(running):
    stop = threading.Event()
    thread = threading.Thread(target=chatter, args=(running, stop))
    thread.start()
    yield
    stop.set()
    thread.join()


def mixed_work(cluster: PostgresCluster) -> None:
    with cluster.connect(application_name="mixed") as connection:
        for text in MIXED:
            with suppress(psycopg.Error):
                connection.execute(text)
        for number in range(20):
            connection.execute(
                "SELECT note FROM shop.orders WHERE id = %s", (number,), prepare=True
            )
        with suppress(psycopg.Error):
            connection.execute("SELECT 1 / %s", (0,), prepare=True)
        with connection.cursor() as cursor:
            with cursor.copy("COPY shop.orders TO STDOUT") as copy:
                assert list(copy)
            with cursor.copy("COPY shop.prices FROM STDIN") as copy:
                copy.write(b"1\n2\n")
            with suppress(psycopg.Error), cursor.copy("COPY shop.prices FROM STDIN") as copy:
                copy.write(b"no number\n")
    cluster.psql("SELECT 1; SELECT 2; SELECT 1 / 0")
    cluster.psql("\\d shop.orders")


def pgbench(cluster: PostgresCluster, *words: str) -> None:
    login = ("-h", "127.0.0.1", "-p", str(cluster.port), "-U", "postgres", "postgres")
    subprocess.run(["pgbench", *words, *login], check=True, capture_output=True, cwd="/")


def coverage(up: Running, application: str) -> dict[str, int]:
    """Sums over all minutes of the backends of an application."""
    (row,) = up.sql(
        "SELECT coalesce(sum(matched), 0)::INT AS matched, coalesce(sum(exempt), 0)::INT AS exempt,"
        " coalesce(sum(only_ebpf), 0)::INT AS only_ebpf,"
        " coalesce(sum(only_pgaudit), 0)::INT AS only_pgaudit,"
        " min(pgaudit_ratio) AS pgaudit_ratio, min(ebpf_ratio) AS ebpf_ratio"
        " FROM audit_coverage c WHERE EXISTS (FROM statements s WHERE s.pid = c.pid"
        f" AND s.application_name = '{application}')"
    )
    return row


def ratio_of(side: str) -> str:
    labels = f'agent="test-host",cluster="main",side="{side}"'
    return f"pgwarden_audit_coverage_ratio{{{labels}}}"


def test_of_ordinary_work_both_sides_saw_everything(running, traffic):
    mixed_work(running.cluster)
    pgbench(running.cluster, "-i", "-q", "-s", "1")
    pgbench(running.cluster, "-c", "2", "-t", "200")
    running.wait(
        lambda: (
            coverage(running, "pgbench")["matched"] >= 400 * 7
            and coverage(running, "mixed")["matched"] >= 50
        ),
        "the minutes are complete",
        SOON_SECONDS,
    )
    for application in ("mixed", "pgbench", "psql", "chatter"):
        row = coverage(running, application)
        assert (row["pgaudit_ratio"], row["ebpf_ratio"]) == (1.0, 1.0), application
        assert (row["only_ebpf"], row["only_pgaudit"]) == (0, 0), application
    assert coverage(running, "mixed")["exempt"] >= 6
    assert running.sql(FINDINGS) == []
    metrics = running.metrics(running.collector_port)
    for side in ("pgaudit", "ebpf"):
        assert metrics[ratio_of(side)] == 1.0
    exempt = {k: v for k, v in metrics.items() if k.startswith("pgwarden_audit_exempt_total")}
    assert exempt['pgwarden_audit_exempt_total{cluster="main",reason="failed"}'] > 0


def by_hand(up: Running, application: str) -> Wire:
    place = SimpleNamespace(
        transport="tcp", host="127.0.0.1", port=up.cluster.port, application_name=application
    )
    return Wire(place, user="postgres", database="postgres")


def read_a_slice(wire: Wire, portal: str = "C_1") -> None:
    wire.execute(30, portal).sync().send().until(b"Z")


def test_what_runs_while_a_portal_is_read_in_slices_is_missed_by_nobody(running, traffic):
    with by_hand(running, "slices") as wire:
        wire.query("BEGIN").send().until(b"Z")
        wire.parse("SELECT * FROM shop.orders").bind(portal="C_1")
        for number in range(3):
            read_a_slice(wire)
            wire.query(f"INSERT INTO shop.prices VALUES ({number})").send().until(b"Z")
        wire.query("COMMIT").send().until(b"Z")
    running.wait(
        lambda: coverage(running, "slices")["matched"] >= 8,
        "the minutes are complete",
        SOON_SECONDS,
    )
    row = coverage(running, "slices")
    assert (row["matched"], row["only_ebpf"], row["only_pgaudit"]) == (8, 0, 0)
    objects = running.sql(
        "SELECT DISTINCT operation, audit_class FROM statements"
        " WHERE application_name = 'slices' ORDER BY operation"
    )
    assert [(row["operation"], row["audit_class"]) for row in objects] == [
        ("begin", "MISC"), ("commit", "MISC"), ("insert", "WRITE"), ("select", "READ")
    ]  # fmt: skip


def test_what_pgaudit_by_design_does_not_log_is_exempt_by_its_reason_and_missed_by_nobody(
    running, traffic
):
    """A function called by its number, and a command of the replication protocol."""
    here = Place(
        application_name="by-design", transport="tcp", host="127.0.0.1", port=running.cluster.port,
        client_address="127.0.0.1", admin_dsn="", folder=running.folder, major=15,
    )  # fmt: skip
    with running.cluster.connect() as admin:
        plus = admin.execute("SELECT 'int4pl'::regproc::oid::int").fetchone()[0]
    with Wire(here, user="postgres", database="postgres") as wire:
        wire.query("SELECT 1").send().until(b"Z")
        wire.call(plus, *(number.to_bytes(4, "big") for number in (4, 5))).send().until(b"Z")
    with Wire(here, user="postgres", database="postgres", replication="database") as wire:
        wire.query("IDENTIFY_SYSTEM").send().until(b"Z")
        wire.query("SELECT 2").send().until(b"Z")
        wire.query("").send().until(b"Z")
        wire.query("-- nothing").send().until(b"Z")
        wire.query("SELECT 1/0").send().until(b"Z")
    running.wait(
        lambda: coverage(running, "by-design")["exempt"] >= 3,
        "the minutes are complete",
        SOON_SECONDS,
    )
    row = coverage(running, "by-design")
    assert (row["matched"], row["exempt"]) == (2, 3)
    assert (row["only_ebpf"], row["only_pgaudit"]) == (0, 0)
    exempt = running.metrics(running.collector_port)
    for reason in ("fastpath", "replication_command"):
        assert exempt[f'pgwarden_audit_exempt_total{{cluster="main",reason="{reason}"}}'] == 1


def test_a_superuser_who_silences_pgaudit_is_named_with_what_he_then_did(running, traffic):
    with running.cluster.connect(application_name="silencer") as connection:
        connection.execute("SET pgaudit.log = 'none'")
        connection.execute("SELECT id, note FROM shop.orders WHERE note = 's3cret'")
        connection.execute("SELECT * FROM shop.prices")
        pid = connection.info.backend_pid
        began = time.monotonic()
        (found,) = running.wait_sql(f"{FINDINGS} AND object = 'pgaudit'", SOON_SECONDS)
    assert time.monotonic() - began < SOON_SECONDS
    details = json.loads(found["details"])
    assert details["pid"] == str(pid)
    assert f"postgres (backend {pid})" in found["sentence"]
    assert found["severity"] == "high"
    assert details["example_1"] == "SET pgaudit.log = ?"
    assert "shop.orders" in details["example_2"]
    assert "s3cret" not in found["details"] + found["sentence"]
    evidence = running.sql(found["evidence_sql"])
    assert {row["pid"] for row in evidence} == {pid}
    assert len(evidence) == 3
    assert coverage(running, "chatter")["only_ebpf"] == 0


def test_who_silences_pgaudit_beside_an_open_portal_is_named_as_loudly(running, traffic):
    with by_hand(running, "hider") as wire:
        pid = wire.process_id
        wire.query("BEGIN").send().until(b"Z")
        wire.parse("SELECT * FROM shop.orders").bind(portal="C_1")
        read_a_slice(wire)
        for number in range(20):
            wire.query(f"SELECT {number} FROM shop.orders LIMIT 1").send().until(b"Z")
        wire.query("SET pgaudit.log = 'none'").send().until(b"Z")
        wire.query("SELECT * FROM shop.prices").send().until(b"Z")
        wire.parse("SELECT * FROM shop.orders").bind(portal="C_2")
        read_a_slice(wire, "C_2")
        wire.query("COMMIT").send().until(b"Z")
    (found,) = running.wait(
        lambda: [
            row
            for row in running.sql(f"{FINDINGS} AND object = 'pgaudit'")
            if json.loads(row["details"])["pid"] == str(pid)
        ],
        "a finding",
        SOON_SECONDS,
    )
    assert found["severity"] == "high"
    texts = [row["text"] for row in running.sql(found["evidence_sql"])]
    assert texts == [
        "SET pgaudit.log = ?", "SELECT * FROM shop.prices", "SELECT * FROM shop.orders", "COMMIT"
    ]  # fmt: skip


def test_a_log_switched_off_for_all_is_a_finding_though_the_settings_now_say_off(running, traffic):
    running.cluster.psql("ALTER SYSTEM SET pgaudit.log = 'none'")
    running.cluster.psql("SELECT pg_reload_conf()")
    try:
        found = running.wait_sql(
            f"{FINDINGS} AND object = 'pgaudit' AND identity = 'bot'", SOON_SECONDS
        )
        assert "pgaudit did not log" in found[0]["sentence"]
        assert running.metrics(running.collector_port)[ratio_of("pgaudit")] < 1
    finally:
        running.cluster.psql("ALTER SYSTEM RESET pgaudit.log")
        running.cluster.psql("SELECT pg_reload_conf()")


def test_what_ran_while_no_probe_was_attached_is_a_finding_about_ebpf(running):
    agent = running.child("agent")
    os.kill(agent, 9)
    with running.cluster.connect(application_name="unseen") as connection:
        connection.execute("SELECT 'unseen by probes' FROM shop.orders LIMIT 1")
        pid = connection.info.backend_pid
        running.wait(lambda: running.child_or_none("agent") not in (None, agent), "a new agent")
    (found,) = running.wait(
        lambda: [
            row
            for row in running.sql(f"{FINDINGS} AND object = 'ebpf'")
            if json.loads(row["details"])["pid"] == str(pid)
        ],
        "a finding about the other side",
        SOON_SECONDS + 15,
    )
    assert "eBPF did not see" in found["sentence"]
    assert found["severity"] == "medium"
    (row,) = running.sql(f"SELECT * FROM audit_coverage WHERE pid = {pid} AND only_pgaudit > 0")
    assert any("FROM shop.orders" in text for text in row["only_pgaudit_examples"])


def test_each_of_many_short_sessions_is_one_and_ends(running):
    """Whichever of the two told of it first."""
    for _ in range(60):
        with running.cluster.connect(user="bot", application_name="short") as connection:
            connection.execute("SELECT 1")
    (told,) = running.wait_sql(
        "SELECT count(*) AS all_of_them, count(DISTINCT pid) AS pids,"
        " count(*) FILTER (ended_at IS NULL) AS open FROM sessions"
        " WHERE application_name = 'short' HAVING pids = 60 AND open = 0",
        30,
    )
    assert told["all_of_them"] == 60
