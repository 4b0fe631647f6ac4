"""What pgaudit writes while a portal is open has the number of the portal's statement. Which one it
is about is found all the same, with the real server, pgaudit and probes.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from agent.discovery import cluster_at
from agent.sessions import SessionTracker
from agent.sources.ebpf import EbpfSource
from model.statement import Source, Statement
from tests.conformance.clients.wire import Wire
from tests.kernel.conftest import compiled_probes
from tests.live.postgres import PostgresCluster, server_folder
from tests.live.test_merge import Told, hear_until_the_end, loader, log_of

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="PostgreSQL 15 is not installed"),
]
__all__ = ["compiled_probes", "loader"]

SCHEMA = """
create table item(id int primary key, v text);
insert into item select g, 'item ' || g from generate_series(1, 20) as g;
create table news(id int);
create table log(id int);
create function note() returns trigger language plpgsql as
    'begin insert into log values (new.id); return null; end';
create constraint trigger late after insert on news deferrable initially deferred
    for each row execute function note();
create function six() returns int language plpgsql immutable as
    'declare n int; begin select count(*) into n from item where id < 7; return n; end';
"""
SERIES = "select id, v from item order by id"
NEWS = "select * from news"
PAUSE_SECONDS = 0.8
"""Longer than what the clocks may differ."""

Play = Callable[[Wire], None]


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    with PostgresCluster() as running:
        with running.connect() as admin:
            admin.execute(SCHEMA)
            admin.execute("alter system set pgaudit.log_relation = on")
            admin.execute("select pg_reload_conf()")
        yield running


def ask(wire: Wire, text: str = "") -> None:
    (wire.query(text) if text else wire.sync()).send().until(b"Z")


def flushed(wire: Wire) -> None:
    """Until the server has done it."""
    wire.flush().send().until(b"2", b"C", b"s")


def slices(wire: Wire) -> None:
    ask(wire, "begin")
    ask(wire.parse(SERIES).bind(portal="C_1").execute(5, "C_1"))
    ask(wire, "insert into log values (1)")
    ask(wire.execute(5, "C_1"))
    ask(wire, NEWS)
    ask(wire, "do $$ begin perform * from news; end $$")
    ask(wire.execute(5, "C_1"))
    ask(wire, "commit")
    ask(wire, "select 'after'")


def slices_to_the_end(wire: Wire) -> None:
    ask(wire, "begin")
    ask(wire.parse(SERIES).bind(portal="C_1").execute(15, "C_1"))
    ask(wire.parse(SERIES).bind(portal="C_2").execute(15, "C_2"))
    ask(wire.execute(15, "C_1"))
    ask(wire.close_portal("C_1"))
    ask(wire.parse(NEWS).bind().execute())
    ask(wire.execute(15, "C_2"))
    ask(wire.close_portal("C_2"))
    ask(wire, NEWS)
    ask(wire, "commit")


def slices_in_one_round_trip(wire: Wire) -> None:
    ask(wire.parse(SERIES).bind().execute(15).execute(15))
    ask(wire.parse(SERIES).bind().execute(15).parse(NEWS).bind().execute())
    flushed(wire.parse(SERIES).bind().execute(15))
    ask(wire.execute(15))


def executed_again_at_their_end(wire: Wire) -> None:
    ask(wire.parse(NEWS).bind().execute().execute())
    ask(wire, "begin")
    ask(wire.parse(SERIES).bind(portal="C_1").execute(0, "C_1"))
    ask(wire, "insert into log values (2)")
    ask(wire.execute(0, "C_1"))
    ask(wire, "commit")


def executed_late(wire: Wire) -> None:
    ask(wire, "select 'before'")
    flushed(wire.parse(SERIES).bind())
    time.sleep(PAUSE_SECONDS)
    ask(wire.execute())


def executed_late_behind_others(wire: Wire) -> None:
    ask(wire, "begin")
    ask(wire.parse(SERIES).bind(portal="C_1"))
    ask(wire, "insert into log values (2)")
    time.sleep(PAUSE_SECONDS)
    ask(wire, NEWS)
    ask(wire.execute(0, "C_1"))
    ask(wire, "commit")


def cursor(wire: Wire) -> None:
    ask(wire, "begin")
    ask(wire, "declare c cursor for " + SERIES)
    ask(wire, "insert into log values (3)")
    ask(wire, "fetch 5 from c")
    ask(wire, NEWS)
    ask(wire, "fetch 5 from c")
    ask(wire, "close c")
    ask(wire, "select 'closed'")
    ask(wire, "commit")


def deferred(wire: Wire) -> None:
    ask(wire, "begin")
    ask(wire, "insert into news values (5)")
    ask(wire, "commit")
    ask(wire, "delete from news")


def planned(wire: Wire) -> None:
    ask(wire, "select v from item where id = six()")


PLAYS = {
    play.__name__: play
    for play in (
        slices, slices_to_the_end, slices_in_one_round_trip,
        executed_again_at_their_end, executed_late,
        executed_late_behind_others, cursor, deferred, planned,
    )
}  # fmt: skip
OBJECTS = {
    SERIES: {"table:public.item"},
    "declare c cursor for " + SERIES: {"table:public.item"},
    NEWS: {"table:public.news"},
    "do $$ begin perform * from news; end $$": {"table:public.news"},
    "select v from item where id = six()": {"table:public.item"},
    "insert into news values (5)": {"table:public.news"},
    "delete from news": {"table:public.news"},
} | {f"insert into log values ({n})": {"table:public.log"} for n in (1, 2, 3)}


@pytest.fixture(scope="module", params=PLAYS)
def told(request, cluster, loader, tmp_path_factory) -> tuple[Told, int]:
    told = Told()
    place = SimpleNamespace(
        transport="tcp", host="127.0.0.1", port=cluster.port, application_name=request.param
    )
    with (
        log_of(cluster, tmp_path_factory.mktemp("log")) as log,
        EbpfSource(loader=loader, grouped=False) as probe,
    ):
        probe.add(cluster_at(cluster.postmaster_pid))
        with Wire(place, user="postgres", database="postgres") as wire:
            worker = threading.Thread(target=PLAYS[request.param], args=(wire,))
            worker.start()
            while worker.is_alive():
                told.hear(probe, log)
            pid = wire.process_id
        hear_until_the_end(cluster, probe, log, told)
        assert probe.losses() == log.losses() == []
    return told, pid


def merged(events, pid: int) -> list[Statement]:
    """In time: what waits is asked for at each event."""
    tracker = SessionTracker(1)
    out, lost, now_us = [], {}, 0
    for event in events:
        at_us = getattr(event, "at_ns", 0) // 1000
        out += tracker.observe(event)
        now_us = max(now_us, at_us)
        out += tracker.expire(now_us)
        lost |= tracker.losses()
    for step in range(400):
        out += tracker.expire(now_us + step * 100_000)
    assert lost | tracker.losses() == {}
    return [s for s in out if isinstance(s, Statement) and s.session.key.pid == pid]


@pytest.mark.parametrize("order", ["as polled", "probe first", "log first", "by time"])
def test_each_statement_beside_an_open_portal_has_its_own_record(told, order):
    events, pid = told
    said = merged(events.orders()[order], pid)
    asked = [s for s in said if not s.parent_id]
    assert [(s.source, s.text.decode()) for s in asked if s.source is not Source.BOTH] == []
    wrong = {
        (s.text.decode(), s.audit.objects)
        for s in asked
        if set(s.audit.objects) != OBJECTS.get(s.text.decode(), set())
    }
    assert not wrong
    ids = {s.id for s in asked}
    assert all(s.parent_id in ids for s in said if s.parent_id)
    assert len({s.id for s in said}) == len(said)
