"""Which program a probe is put into, whether it fires, and that it goes with its agent."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from agent.discovery import backend_here, cluster_at, discover
from agent.sources.canary import prove
from agent.sources.ebpf import EbpfSource
from model.event import SessionEnded, StatementStarted
from tests.kernel.capture import Capture, starts
from tests.kernel.test_capture_losses import loaded
from tests.live.postgres import PostgresCluster, free_port
from tests.live.private_server import bypass, copy_programs, hide, open_folder, upgrade_in_place
from tests.waiting import wait_until

pytestmark = [pytest.mark.kernel, pytest.mark.live]
PROJECT = Path(__file__).parents[2]
NEVER_CALLED = "pg_rusage_init"
PIDS = ("--pid", "--fork", "--mount-proc", "--kill-child")


@pytest.fixture
def folder():
    with open_folder() as path:
        yield path


@pytest.fixture
def programs(folder):
    return copy_programs(folder / "programs")


def test_a_probe_that_is_attached_but_never_fires_fails_its_proof_alone(libbpf, programs):
    bypass(programs / "postgres", "pgstat_report_appname", NEVER_CALLED)
    with PostgresCluster(programs=programs) as server, EbpfSource(loader=libbpf) as source:
        source.add(cluster_at(server.postmaster_pid))
        proofs = dict(prove(source, lambda **words: server.connect(**words)))
    assert [probe for probe, fired in proofs.items() if not fired] == ["pgstat_report_appname"]


def test_a_server_without_a_needed_symbol_is_refused_by_name_and_the_others_go_on(
    libbpf, programs, cluster, postgres
):
    hide(programs / "postgres", "secure_write", NEVER_CALLED)
    with PostgresCluster(programs=programs) as server, EbpfSource(loader=libbpf) as source:
        odd = cluster_at(server.postmaster_pid)
        refusals = source.rescan([odd, cluster])
        assert list(refusals) == [odd]
        assert "does not export secure_write" in refusals[odd].reason
        assert source.clusters == [cluster]
        with postgres.connect() as connection:
            Capture(source, postgres).run(connection, "SELECT 'goes on'")


def test_after_an_upgrade_in_place_and_a_restart_the_new_program_has_the_probes(libbpf, programs):
    with PostgresCluster(programs=programs) as server, EbpfSource(loader=libbpf) as source:
        before = cluster_at(server.postmaster_pid)
        source.add(before)
        upgrade_in_place(programs / "postgres")
        capture = Capture(source, server)
        with server.connect() as connection:
            capture.run(connection, "SELECT 'the old one runs on, its file is gone'")
        server.restart()
        after = cluster_at(server.postmaster_pid)
        assert after.inode != before.inode
        assert source.rescan([after]) == {}
        assert len([*source._instances]) == 1, "the probes of the old program are gone"
        with server.connect() as connection:
            capture.run(connection, "SELECT 'the new one'")


@pytest.mark.parametrize("more", [(), PIDS], ids=["mounts", "mounts and pids"])
def test_a_server_in_namespaces_of_its_own_is_found_and_captured(libbpf, folder, more):
    """Its program, data and sockets lie on a file system that nobody else sees; as in a container
    its backends may have other numbers than here."""
    place, port = folder / "private", free_port()
    place.mkdir()
    script = f"""
        mount -t tmpfs none {place} && mkdir {place}/programs && chown -R postgres {place}
        cp /usr/lib/postgresql/15/bin/{{initdb,pg_ctl,postgres}} {place}/programs
        as="setpriv --reuid=postgres --regid=postgres --clear-groups"
        cd {place}
        $as {place}/programs/initdb -D {place}/data -U postgres --auth trust --no-sync >/dev/null
        exec $as {place}/programs/postgres -D {place}/data -p {port} -k {place} -c fsync=off
    """
    log = (folder / "log").open("wb")
    server = subprocess.Popen(
        ["unshare", "--mount", *more, "bash", "-ec", script],
        stdout=log,
        stderr=log,
        start_new_session=True,
    )

    def mine():
        return [one for one in discover() if one.port == port]

    try:
        wait_until(mine, 20)
        (found,) = mine()
        assert not (place / "data").exists()
        assert str(found.data_directory).startswith(f"/proc/{found.postmaster_pid}/root/")
        (sockets,) = found.socket_directories
        client = PostgresCluster(port=port, keep_folder=folder)
        with EbpfSource(loader=libbpf) as source:
            source.add(found)
            wait_until(lambda: (sockets / f".s.PGSQL.{port}").exists(), 10)
            capture = Capture(source, client)
            with client.connect(host=str(sockets)) as connection:
                connection.execute("SELECT 'unseen from here'")
                pid = backend_here(found, connection.info.backend_pid)
                assert (pid != connection.info.backend_pid) == bool(more)
                capture.round_trips(pid, 1)
            capture.until(lambda _: bool(capture.of(pid, SessionEnded)))
        told = [start.text for start in starts(capture.of(pid))]
        assert told == [b"SELECT 'unseen from here'"]
    finally:
        for one in mine():
            os.kill(one.postmaster_pid, signal.SIGINT)
        server.wait(20)
        log.close()


def test_an_agent_that_is_killed_leaves_no_program_and_so_no_probe(compiled_probes, cluster):
    """A probe keeps its program alive; the kernel ends both with the process's descriptors."""
    code = (
        "import os, time\n"
        "from pathlib import Path\n"
        "from agent.discovery import cluster_at\n"
        "from agent.sources.ebpf import EbpfSource\n"
        "from agent.probes.loader import open_loader\n"
        "source = EbpfSource(loader=open_loader('libbpf'))\n"
        f"source.add(cluster_at({cluster.postmaster_pid}))\n"
        "print(*{line.split()[1] for fd in os.listdir('/proc/self/fdinfo')\n"
        "    if Path(f'/proc/self/fdinfo/{fd}').exists()\n"
        "    for line in Path(f'/proc/self/fdinfo/{fd}').read_text().splitlines()\n"
        "    if line.startswith('prog_id')}, flush=True)\n"
        "time.sleep(60)\n"
    )
    agent = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE)
    try:
        programs = [int(word) for word in agent.stdout.readline().split()]
        assert len(programs) == 6
        assert all(map(loaded, programs))
    finally:
        os.kill(agent.pid, signal.SIGKILL)
        agent.wait(10)
        agent.stdout.close()
    wait_until(lambda: not any(map(loaded, programs)), 5)


def test_with_the_last_cluster_of_a_program_its_probes_go_and_what_they_told_is_kept(
    libbpf, cluster, postgres
):
    with EbpfSource(loader=libbpf) as source:
        source.add(cluster)
        (instance,) = source._instances
        descriptors = len(os.listdir("/proc/self/fd"))
        with postgres.connect() as connection:
            connection.execute("SELECT 'just before the end'")
        source.remove(cluster)
        texts = [getattr(event, "text", b"") for event in source.finish()]
        assert len(os.listdir("/proc/self/fd")) < descriptors
        assert instance.descriptors == []
        assert b"SELECT 'just before the end'" in texts


@pytest.mark.parametrize("known", [False, True], ids=["new text", "text known by its number"])
def test_what_runs_while_the_probes_go_is_told(libbpf, cluster, postgres, known):
    text = f"SELECT pg_sleep(0.5) /* {'known' if known else 'new'} */"
    with EbpfSource(loader=libbpf) as source, postgres.connect() as connection:
        source.add(cluster)
        capture = Capture(source, postgres)
        for _ in range(3 if known else 0):
            connection.execute(text)
            capture.until(lambda events: any(getattr(e, "ready", 0) for e in events))
        pid = connection.info.backend_pid
        thread = threading.Thread(target=connection.execute, args=(text,))
        thread.start()
        wait_until(lambda: "pg_sleep" in running(postgres), 5)
        source.poll(50)
        told = [e for e in source.finish() if isinstance(e, StatementStarted)]
        thread.join()
    (event,) = [e for e in told if e.text == text.encode()]
    assert event.backend.pid == pid
    assert 0 < time.time_ns() - event.at_ns < 60_000_000_000


def running(postgres) -> str:
    query = "SELECT string_agg(query, ';') FROM pg_stat_activity WHERE state = 'active'"
    return postgres.psql(f"{query} AND pid <> pg_backend_pid()").stdout
