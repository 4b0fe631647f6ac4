"""Who is connected: from the first to the last moment, and nobody else."""

import subprocess
import threading
import time
from dataclasses import replace

import psycopg
import pytest

from agent.discovery import cluster_at, discover
from agent.probes.errors import CaptureUnavailable
from agent.sources.canary import prove
from agent.sources.ebpf import EbpfSource
from model.event import ResponseSent, SessionEnded, SessionSeen, StatementStarted
from model.session import BackendKey
from tests.kernel.capture import Capture, completions, singly, starts
from tests.live.postgres import PostgresCluster, server_folder

pytestmark = [pytest.mark.kernel, pytest.mark.live]


def seen(events) -> dict[int, SessionSeen]:
    return {event.backend.pid: event for event in events if isinstance(event, SessionSeen)}


def key_in_catalog(connection) -> BackendKey:
    row = connection.execute(
        "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint "
        "FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    ).fetchone()
    return BackendKey(*row)


def test_a_new_session_is_seen_with_all_that_identifies_it(capture, postgres):
    with postgres.connect(application_name="who-am-i") as connection:
        key = key_in_catalog(connection)
        port = connection.execute("SELECT inet_client_port()").fetchone()[0]
        capture.until(lambda events: key.pid in seen(events))
    session = seen(capture.events)[key.pid]
    assert session.backend == key
    assert session.cluster == str(postgres.port)
    assert (session.user, session.database) == ("postgres", "postgres")
    assert session.application_name == "who-am-i"
    assert (session.client_address, session.client_port) == ("127.0.0.1", port)


def test_a_unix_socket_client_is_local(capture, postgres):
    with postgres.connect(host=str(postgres.sockets)) as connection:
        pid = connection.info.backend_pid
        capture.until(lambda events: pid in seen(events))
    assert seen(capture.events)[pid].client_address == "local"


def test_a_session_is_announced_once_and_before_its_statements(capture, postgres):
    with postgres.connect() as connection:
        pid = connection.info.backend_pid
        capture.run(connection, "SELECT 1", "SELECT 2")
    capture.until(lambda _: bool(capture.of(pid, SessionEnded)))
    kinds = [type(event) for event in capture.of(pid)]
    assert kinds.count(SessionSeen) <= 1
    assert SessionSeen not in kinds[1:]


def test_nothing_of_the_startup_reaches_user_space(capture, postgres):
    """BackendKeyData holds the key that cancels other people's queries."""
    capture.forget()
    with postgres.connect() as connection:
        pid = connection.info.backend_pid
        connection.execute("SELECT 1")
        capture.until(lambda _: bool(capture.of(pid, ResponseSent)))
    first = capture.of(pid, ResponseSent)[0]
    assert completions([first]) == [("SELECT", 1)]
    # RowDescription of ?column?, DataRow of one digit, CommandComplete, ReadyForQuery
    assert first.bytes_sent == 33 + 12 + 14 + 6 + 1


def test_sessions_open_before_the_start_are_known_at_once(loader, cluster, postgres):
    with (
        postgres.connect(application_name="early") as early,
        EbpfSource(loader=loader) as source,
    ):
        silent = postgres.connect(host=str(postgres.sockets))
        key = key_in_catalog(early)
        source.add(cluster)
        known = seen(singly(source.poll(0)))
        assert known[key.pid].backend == key
        assert known[key.pid].application_name == "early"
        assert known[key.pid].user == "postgres"
        quiet = silent.info.backend_pid
        assert known[quiet].client_address == "local"
        capture = Capture(source, postgres)
        events = capture.run(early, "SELECT 'early'")
        assert starts(events)[0].backend == key
        assert not capture.of(key.pid, SessionSeen)
        silent.close()
        capture.until(lambda _: bool(capture.of(quiet, SessionEnded)))


def test_every_two_millisecond_session_is_attributed(capture, postgres):
    capture.forget()
    count = 300
    done = subprocess.run(
        [str(server_folder() / "bin" / "pgbench"), "--connect", "--no-vacuum",
         "--client=2", f"--transactions={count // 2}", "--file=/dev/stdin",
         "--host=127.0.0.1", f"--port={postgres.port}", "--username=postgres", "postgres"],
        input="SELECT 4711;\n", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    capture.until(lambda events: sum(isinstance(e, SessionEnded) for e in events) >= count)
    known: set[BackendKey] = set()
    executed = 0
    for event in capture.events:
        if isinstance(event, SessionSeen):
            known.add(event.backend)
        elif isinstance(event, StatementStarted) and b"4711" in event.text:
            assert event.backend in known
            executed += 1
    assert executed == count
    assert capture.source.losses() == []


def test_only_client_backends_are_reported(capture, postgres):
    with postgres.connect() as connection:
        pid = connection.info.backend_pid
        capture.forget()
        for text in (
            "SET max_parallel_workers_per_gather = 2",
            "SET parallel_setup_cost = 0",
            "SET parallel_tuple_cost = 0",
            "SET min_parallel_table_scan_size = 0",
            "CREATE TABLE wide AS SELECT g AS a FROM generate_series(1, 50000) AS g",
            "ANALYZE wide",
        ):
            connection.execute(text)
        plan = connection.execute("EXPLAIN (ANALYZE) SELECT count(*) FROM wide").fetchall()
        assert any("Workers Launched: 2" in line for (line,) in plan)
        # One line of text: a worker for autovacuum runs within naptime, VACUUM is its stand-in.
        connection.execute("VACUUM (PARALLEL 2) wide")
        connection.execute("DROP TABLE wide")
        capture.round_trips(pid, 9)
    others = {
        event.backend.pid
        for event in capture.events
        if isinstance(event, SessionSeen | StatementStarted | ResponseSent)
    }
    assert others == {pid}


def test_autovacuum_and_its_statements_stay_out(libbpf):
    settings = {"autovacuum_naptime": "1", "autovacuum_vacuum_threshold": "1"}
    with PostgresCluster(settings=settings) as other, EbpfSource(loader=libbpf) as source:
        source.add(cluster_at(other.postmaster_pid))
        capture = Capture(source, other)
        with other.connect() as connection:
            pid = connection.info.backend_pid
            connection.execute("CREATE TABLE tidy AS SELECT generate_series(1, 500) AS a")
            connection.execute("DELETE FROM tidy")
            deadline = time.monotonic() + 15
            count = "SELECT coalesce(max(autovacuum_count), 0) FROM pg_stat_user_tables"
            while connection.execute(count).fetchone() == (0,):
                assert time.monotonic() < deadline
                capture.events += singly(source.poll(200))
        capture.until(lambda _: bool(capture.of(pid, SessionEnded)))
        assert {event.backend.pid for event in capture.events} == {pid}


def test_two_clusters_of_one_binary_share_the_probes_and_keep_their_names(
    loader, cluster, postgres
):
    with PostgresCluster() as second, EbpfSource(loader=loader) as source:
        source.add(cluster)
        capture = Capture(source, postgres)
        # Nobody asked for the second one yet.
        with second.connect() as stranger:
            stranger.execute("SELECT 'stranger'")
            capture.events += singly(source.poll(50))
            assert not capture.of(stranger.info.backend_pid)
        source.add(cluster_at(second.postmaster_pid))
        with postgres.connect() as one, second.connect() as two:
            pids = one.info.backend_pid, two.info.backend_pid
            one.execute("SELECT 1")
            two.execute("SELECT 2")
            capture.until(lambda events: set(pids) <= set(seen(events)))
        names = [seen(capture.events)[pid].cluster for pid in pids]
        assert names == [str(postgres.port), str(second.port)]
        source.remove(cluster)
        with postgres.connect() as one, second.connect() as two:
            one.execute("SELECT 'unwatched'")
            two.execute("SELECT 'watched'")
            capture.until(lambda events: any(b"'watched'" in s.text for s in starts(events)))
        assert not any(b"unwatched" in start.text for start in starts(capture.events))


def test_a_restarted_server_is_taken_up_by_its_first_session(libbpf):
    with PostgresCluster() as server, EbpfSource(loader=libbpf) as source:
        source.add(cluster_at(server.postmaster_pid))
        capture = Capture(source, server)
        server.restart()
        # The first session tells the source; it must not have to wait for the next scan.
        with server.connect() as connection:
            connection.execute("SELECT 'first'")
            capture.until(lambda events: connection.info.backend_pid in seen(events))
            capture.run(connection, "SELECT 'after the restart'")
        assert [cluster.postmaster_pid for cluster in source.clusters] == [server.postmaster_pid]


def test_a_scan_finds_what_came_and_drops_what_went(libbpf):
    with EbpfSource(loader=libbpf) as source, PostgresCluster() as server:
        assert source.rescan([cluster_at(server.postmaster_pid)]) == {}
        server.restart()
        mine = [one for one in discover() if one.port == server.port]
        assert source.rescan(mine) == {}
        assert source.clusters == mine
        capture = Capture(source, server)
        with server.connect() as connection:
            capture.run(connection, "SELECT 1")
        assert source.rescan([]) == {}
        assert source.clusters == []


def test_an_unknown_version_is_refused_with_a_reason(loader, cluster):
    with EbpfSource(loader=loader) as source:
        with pytest.raises(CaptureUnavailable, match="PostgreSQL 11 is unknown"):
            source.add(replace(cluster, version=11))
        (refusal,) = source.rescan([replace(cluster, version=19)]).values()
        assert "known: 12 to 18" in refusal.reason
        assert refusal.remedy


def test_a_program_without_postgres_symbols_is_refused_with_a_reason(loader, cluster, tmp_path):
    with EbpfSource(loader=loader) as source:
        for path in ("/bin/true", "/etc/hostname", str(tmp_path / "missing")):
            with pytest.raises(CaptureUnavailable):
                source.add(replace(cluster, binary=tmp_path / path, inode=1))


def test_the_canary_proves_every_probe(loader, cluster, postgres):
    with EbpfSource(loader=loader) as source:
        source.add(cluster)
        proofs = dict(prove(source, lambda **words: postgres.connect(**words)))
        assert proofs == {
            "PortalRun": True,
            "secure_write": True,
            "pgstat_report_appname": True,
            "HandleFunctionRequest": True,
            "exec_replication_command": True,
            "sched_process_exit": True,
        }
        canary = [e for e in singly(source.poll(100)) if b"canary" in getattr(e, "text", b"")]
        assert canary == []


def test_a_busy_server_keeps_every_session_apart(capture, postgres):
    capture.forget()
    rounds = 200

    def work(name: str) -> None:
        with psycopg.connect(postgres.dsn(application_name=name), autocommit=True) as connection:
            for number in range(rounds):
                connection.execute(f"SELECT '{name}-{number}'")

    threads = [threading.Thread(target=work, args=(f"busy{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    capture.until(lambda events: sum(b"busy" in s.text for s in starts(events)) >= 4 * rounds)
    for thread in threads:
        thread.join()
    names = {pid: session.application_name for pid, session in seen(capture.events).items()}
    for start in starts(capture.events):
        if b"busy" in start.text:
            assert names[start.backend.pid].encode() in start.text
