"""What a real server's probes and its log say of the same work, told as one."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from agent.discovery import cluster_at
from agent.probes.loader import Loader, open_loader
from agent.sessions import SessionTracker
from agent.sources.ebpf import EbpfSource
from agent.sources.pgaudit import LogFormat, PgauditSource, locate
from model.event import AuditLogged, Event, SessionEnded, StatementsExecuted
from model.statement import Source, Statement
from tests.kernel.conftest import compiled_probes
from tests.live.postgres import PostgresCluster, server_folder

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(not server_folder().exists(), reason="PostgreSQL 15 is not installed"),
]
__all__ = ["compiled_probes"]

SCHEMA = """
create table item(id int primary key, v text);
insert into item select g, 'item ' || g from generate_series(1, 20) as g;
create table secret(id int);
create function items() returns bigint language sql as 'select count(*) from item';
create function add_item(n int) returns void language plpgsql as
    'begin perform items(); insert into item values (n, null); end';
create procedure drop_item(n int) language plpgsql as
    'begin delete from item where id = n; commit; perform 1; end';
create role clerk login;
grant all on item to clerk;
"""
SAVEPOINTS = (
    "begin isolation level repeatable read",
    "set local statement_timeout = '10s'; set local lock_timeout = '2s'",
    "select count(*) from item",
    "savepoint kind",
    "select v from item where id = 1",
    "savepoint kind",
    "select * from secret",  # 42501 in the permission check
    "rollback to savepoint kind",
    "savepoint kind",
    "select v from item where id = 2",
    "savepoint kind",
    "selec 1",  # 42601 in the parser
    "rollback to savepoint kind",
    "savepoint kind",
    "select v from item where id = 1",
    "select 1 / (id - 3) from item",  # 22012 while it runs
    "rollback to savepoint kind",
    "release savepoint kind",
    "select v from item where id = 1",
    "commit",
)
ABORTED = ("begin", "select * from nowhere", "select 1", "commit", "begin", "select 1", "commit")
STRINGS = (
    "select 1; select 2 from item; select 1",
    "select 1; select id / 0 from item; select 3",
    "begin; insert into item values (100, 'x'); savepoint s; delete from item where id = 100",
    "rollback to s; commit",
    "",
    "-- nothing but a comment",
)
PREPARED = (
    "prepare p(int) as select v from item where id = $1",
    "execute p(1)",
    "execute p(2)",
    "execute p(2)",
    "prepare w(int) as update item set v = 'new' where id = $1",
    "execute w(5)",
    "create table made as execute p(3)",
    "explain analyze execute p(4)",
    "execute nothing(4)",
    "deallocate p",
    "deallocate all",
)
NESTED = (
    "do $$ begin perform * from item; insert into item values (200, 'do'); end $$",
    "do $$ begin perform * from item; perform 1 / 0; end $$",
    "select items()",
    "select add_item(300)",
    "call drop_item(300)",
    "select items(), items()",
)
OTHERS = (
    "declare c cursor with hold for select * from item",
    "fetch 2 from c",
    "fetch all from c",
    "close c",
    "show work_mem",
    "set work_mem = '5MB'",
    "reset work_mem",
    "explain select * from item",
    "vacuum item",
    "analyze item",
    "create table t(id serial primary key, v text unique)",
    "create view few as select * from item limit 3",
    "select * from few",
    "alter table t add column w int default 7",
    "create role other login password 'hush'",
    "lock table item",
    "listen news",
    "notify news, 'x'",
    "checkpoint",
    "drop role other; drop table t; drop view few",
    "discard all",
)


# What pgaudit by design writes nothing of, and we know from the probes alone.
UNLOGGED = Counter(
    {
        # It fails before it executes: in the parser, the permission check, the planner, Bind.
        ("select * from secret", "42501"): 3,
        ("selec 1", "42601"): 3,
        ("select * from nowhere", "42P01"): 1,
        ("select 1 / $1", "22012"): 1,
        ("select 1; select 2; select 1 / 0", "22012"): 1,
        # Any command in a failed transaction, and what ends that.
        ("select 1", "25P02"): 1,
        ("rollback to savepoint kind", "00000"): 9,
        ("commit", "00000"): 1,
        # Commands that are refused before they do anything; pgaudit writes after the check.
        ("execute nothing(4)", "26000"): 1,
        ("lock table item", "25P01"): 1,
    }
)

LONG = "select pg_advisory_lock(7), 'long'"


@dataclass
class Told:
    """What each source told, and both in the order in which they were asked."""

    probe: list[Event] = field(default_factory=list)
    log: list[Event] = field(default_factory=list)
    as_polled: list[Event] = field(default_factory=list)

    def hear(self, probe: EbpfSource, log: PgauditSource) -> None:
        seen, read = probe.poll(20), log.poll(0)
        self.probe += seen
        self.log += read
        self.as_polled += seen + read

    def of(self, pid: int) -> list[AuditLogged]:
        return [e for e in self.log if isinstance(e, AuditLogged) and e.backend.pid == pid]

    def orders(self) -> dict[str, list[Event]]:
        return {
            "as polled": self.as_polled,
            "probe first": self.probe + self.log,
            "log first": self.log + self.probe,
            "by time": sorted(self.probe + self.log, key=happened_ns),
        }


def happened_ns(event: Event) -> int:
    if isinstance(event, StatementsExecuted):
        return max(one.started_at_us + one.duration_us for one in event.executions) * 1000
    return event.at_ns


def merged(events: list[Event]) -> list[Statement]:
    tracker = SessionTracker(1)
    out = [item for event in events for item in tracker.observe(event)]
    end_us = max(map(happened_ns, events)) // 1000
    for step in range(40):
        out += tracker.expire(end_us + step * 100_000)
    # A record that came too late to be told would count here.
    assert set(tracker.losses()) <= {"statement_start_unseen"}
    return [item for item in out if isinstance(item, Statement)]


def run(connection: psycopg.Connection, texts: tuple[str, ...]) -> None:
    for text in texts:
        with suppress(psycopg.Error):
            connection.execute(text)


def work(cluster: PostgresCluster) -> None:
    with cluster.connect(user="clerk", application_name="savepoints") as clerk:
        for _ in range(3):
            run(clerk, SAVEPOINTS)
        run(clerk, ABORTED)
    with cluster.connect(application_name="statements") as connection:
        run(connection, ("select 7",) * 60)
        for texts in (STRINGS, PREPARED, NESTED, OTHERS):
            run(connection, texts)
    with cluster.connect(application_name="extended") as connection:
        for number in range(8):
            connection.execute("select v from item where id = %s", (number,), prepare=True)
        with suppress(psycopg.Error):
            connection.execute("select 1 / %s", (0,), prepare=True)
        with connection.pipeline():
            for number in range(5):
                connection.execute("select v from item where id = %s", (number,))
        with connection.cursor() as cursor:
            with cursor.copy("copy item to stdout") as copy:
                rows = b"".join(bytes(block) for block in copy)
            cursor.execute("create temporary table taken (like item)")
            with cursor.copy("copy taken from stdin") as copy:
                copy.write(rows)
            with suppress(psycopg.Error), cursor.copy("copy taken from stdin") as copy:
                copy.write(b"not a number\tx\n")
    cluster.psql("select 1; select 2; select 1 / 0")
    cluster.psql("copy (select * from item) to stdout")
    cluster.psql("\\d item")


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    with PostgresCluster() as cluster:
        with cluster.connect() as admin:
            admin.execute(SCHEMA)
        yield cluster


@pytest.fixture(scope="module")
def loader(compiled_probes) -> Loader:
    return open_loader("libbpf")


@contextmanager
def log_of(cluster: PostgresCluster, folder: Path) -> Iterator[PgauditSource]:
    with cluster.connect() as admin:
        location = locate(admin)
    source = PgauditSource(
        "main", location.directory, location.pattern, LogFormat(location.format),
        folder / "state.json", prefix=location.prefix, zone=location.zone,
    )  # fmt: skip
    try:
        yield source
    finally:
        source.close()


def waits_for_lock(by: psycopg.Connection, one: psycopg.Connection) -> bool:
    query = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
    return by.execute(query, (one.info.backend_pid,)).fetchone() == (True,)


def hear_until_the_end(
    cluster: PostgresCluster, probe: EbpfSource, log: PgauditSource, told: Told
) -> None:
    """Until both sources have told of a last statement, and of a session's end."""
    with cluster.connect() as last:
        last.execute("select 'the end'")
        pid = last.info.backend_pid
    deadline = time.monotonic() + 10
    while not (
        told.of(pid)
        and any(isinstance(e, SessionEnded) and e.backend.pid == pid for e in told.probe)
    ):
        assert time.monotonic() < deadline, "the end was not told"
        told.hear(probe, log)


@pytest.fixture(scope="module")
def told(cluster, loader, tmp_path_factory) -> Told:
    told = Told()
    with (
        log_of(cluster, tmp_path_factory.mktemp("log")) as log,
        EbpfSource(loader=loader, grouped=False) as probe,
    ):
        probe.add(cluster_at(cluster.postmaster_pid))
        worker = threading.Thread(target=work, args=(cluster,))
        worker.start()
        while worker.is_alive():
            told.hear(probe, log)
        hear_until_the_end(cluster, probe, log, told)
        assert probe.losses() == log.losses() == []
    return told


@pytest.mark.parametrize("order", ["as polled", "probe first", "log first", "by time"])
def test_what_pgaudit_logged_is_told_once_with_what_both_know(told, order):
    said = merged(told.orders()[order])
    logged = {(e.backend.pid, e.statement_id) for e in told.log}
    both = [s for s in said if s.source is Source.BOTH]
    assert len([s for s in both if s.parent_id == 0]) == len(logged)
    assert not [s for s in said if s.source is Source.PGAUDIT]
    assert len({s.id for s in said}) == len(said)
    for statement in both:
        assert statement.audit is not None
        assert statement.duration_us >= 0


@pytest.mark.parametrize("order", ["as polled", "probe first", "log first", "by time"])
def test_what_pgaudit_leaves_out_by_design_the_probes_tell(told, order):
    said = merged(told.orders()[order])
    alone = Counter((s.text.decode(), s.sqlstate) for s in said if s.source is Source.EBPF)
    assert alone == UNLOGGED


def test_the_outcome_and_the_audit_of_one_statement_belong_together(told):
    said = merged(told.as_polled)
    by_text = {s.text.decode(): s for s in said}
    failed = by_text["select 1 / (id - 3) from item"]
    assert (failed.sqlstate, failed.audit.audit_class) == ("22012", "READ")
    assert by_text["call drop_item(300)"].audit.command == "CALL"
    assert by_text["create table made as execute p(3)"].audit.command == "CREATE TABLE AS"
    executed = [s for s in said if s.parent_id]
    parents = {s.id: s for s in said}
    assert len(executed) == 5
    for child in executed:
        parent = parents[child.parent_id]
        assert child.source is parent.source is Source.BOTH
        assert child.audit.command in ("SELECT", "UPDATE")
        assert parent.audit.command in ("EXECUTE", "CREATE TABLE AS")


def test_what_runs_for_longer_than_one_source_waits_for_the_other_is_told_once(
    cluster, loader, tmp_path
):
    said: list[Statement] = []
    with (
        log_of(cluster, tmp_path) as log,
        EbpfSource(loader=loader, grouped=False) as probe,
        cluster.connect() as connection,
    ):
        probe.add(cluster_at(cluster.postmaster_pid))
        log.poll(0)
        tracker = SessionTracker(1, 300_000, runs_since=probe.runs_since)
        worker = threading.Thread(target=connection.execute, args=("select pg_sleep(2), 'slow'",))
        worker.start()
        deadline = time.monotonic() + 10
        while worker.is_alive() or not any("slow" in s.text.decode() for s in said):
            assert time.monotonic() < deadline, "it was not told"
            out = [o for e in (*probe.poll(20), *log.poll(0)) for o in tracker.observe(e)]
            out += tracker.expire(time.time_ns() // 1000)
            said += [each for each in out if isinstance(each, Statement)]
        worker.join()
    slow = [s for s in said if "slow" in s.text.decode()]
    assert [(s.source, s.audit.command) for s in slow] == [(Source.BOTH, "SELECT")]
    assert slow[0].duration_us > 1_900_000


def test_a_session_that_ran_before_the_probes_came_is_told_without_a_gap_or_a_double(
    cluster, loader, tmp_path
):
    told = Told()
    stop = threading.Event()
    ran: list[str] = []

    def keep_working(connection: psycopg.Connection) -> None:
        while not stop.is_set():
            for text in (f"select {len(ran)} as number", "select v from item where id = 1"):
                connection.execute(text)
                ran.append(text)
                stop.wait(0.002)  # log times are cut to milliseconds

    with (
        log_of(cluster, tmp_path) as log,
        EbpfSource(loader=loader, grouped=False) as probe,
        cluster.connect() as holder,
        cluster.connect() as busy,
        cluster.connect() as waiting,
    ):
        holder.execute("select pg_advisory_lock(7)")
        threads = [
            threading.Thread(target=keep_working, args=(busy,)),
            threading.Thread(target=waiting.execute, args=(LONG,)),
        ]
        for thread in threads:
            thread.start()
        # pgaudit has written of it before it runs.
        while len(told.of(busy.info.backend_pid)) < 50 or not waits_for_lock(holder, waiting):
            read = log.poll(0.02)
            told.log += read
            told.as_polled += read
        probe.add(cluster_at(cluster.postmaster_pid))
        holder.execute("select pg_advisory_unlock(7)")
        known = len(ran)
        while len(ran) < known + 100 or threads[1].is_alive():
            told.hear(probe, log)
        stop.set()
        threads[0].join()
        hear_until_the_end(cluster, probe, log, told)
        pids = busy.info.backend_pid, waiting.info.backend_pid
    for order, events in told.orders().items():
        said = merged(events)
        mine = [s for s in said if s.session.key.pid == pids[0]]
        assert Counter(s.text.decode() for s in mine) == Counter(ran), order
        sources = [s.source for s in sorted(mine, key=lambda s: s.started_at_us)]
        assert set(sources) == {Source.PGAUDIT, Source.BOTH}, order
        met = [s for s in said if s.session.key.pid == pids[1]]
        assert [(s.source, s.text.decode(), s.sqlstate, s.rows) for s in met] == [
            (Source.BOTH, LONG, "00000", 1)
        ], order
