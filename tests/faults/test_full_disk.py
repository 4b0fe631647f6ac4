"""The collector's disk is full: intake stops and says so, and goes on by itself."""

import os

import pytest

from agent.spool.spool import Spool
from agent.wire.batch import Payload
from collector import ledger as ledger_module
from collector.ledger import Ledger
from collector.ledger_reading import verify
from collector.pgwarden_verify import check_folder
from collector.store import Store, StoreError
from protos.pgwarden.v1 import uplink_pb2 as pb
from tests.collector.road import collector_at, statements, uplink_to
from tests.waiting import wait_until

ROWS = 20
POISON = pb.Batch(strings=[""], statements=pb.StatementColumns(id=[1, 2], rows=[1]))


def test_intake_stops_on_a_full_disk_and_goes_on_when_there_is_room(tmp_path, disk):
    losses = []
    spool = Spool(tmp_path / "spool.db", lambda *loss: losses.append(loss))
    (disk / "data").mkdir()
    ballast = disk / "ballast"
    with (
        collector_at(disk, f"unix:{tmp_path}/collector.sock") as collector,
        uplink_to(collector.address, spool) as uplink,
    ):
        sent = 0
        for _ in range(3):
            spool.append(statements(sent, ROWS))
            sent += ROWS
            assert uplink.drain(30)
            _fill(ballast)
            for _ in range(5):
                spool.append(statements(sent, ROWS))
                sent += ROWS
            wait_until(lambda: not collector.store.segments.healthy, 30)
            assert "No space" in collector.store.segments.counters.last_error
            assert not collector.store.segments.broken, "no restart is needed"
            assert spool.depth, "nothing is acknowledged that is not durable"
            ballast.unlink()
            assert uplink.drain(60)
            assert collector.store.segments.healthy
        total, distinct = collector.store.query(
            "SELECT count(*), count(DISTINCT id) FROM statements"
        )[0]
    spool.close()
    assert total == distinct == sent
    assert losses == []
    assert verify(disk / "data") == []
    assert check_folder(disk / "data").problems == []


def test_poison_on_a_full_disk_is_refused_and_stops_no_commit(tmp_path, disk):
    losses = []
    spool = Spool(tmp_path / "spool.db", lambda *loss: losses.append(loss))
    (disk / "data").mkdir()
    ballast = disk / "ballast"
    with (
        collector_at(disk, f"unix:{tmp_path}/collector.sock") as collector,
        uplink_to(collector.address, spool) as uplink,
    ):
        spool.append(statements(0, ROWS))
        assert uplink.drain(30)
        _fill(ballast)
        spool.append(Payload(POISON.SerializeToString(), {"statements": 2}))
        for number in range(1, 6):
            spool.append(statements(number * ROWS, ROWS))
        wait_until(lambda: not collector.store.segments.healthy, 30)
        wait_until(lambda: losses, 30, "a refusal needs no room")
        ballast.unlink()
        assert uplink.drain(60)
        assert collector.store.segments.healthy
        assert collector.store.segments.alive
        assert collector.count() == 6 * ROWS
    spool.close()
    assert losses == [("spool", "rejected", 2)]


def test_a_start_without_room_for_the_index_says_so(disk):
    Store(disk / "data").close()
    (disk / "data/index.duckdb").unlink()
    _fill(disk / "ballast")
    with pytest.raises(StoreError, match=r"data: no index: .*check owner and disk"):
        Store(disk / "data")
    (disk / "ballast").unlink()
    Store(disk / "data").close()


def _fill(ballast):
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 4096, 1):
            try:
                while file.write(os.urandom(size)) == size:
                    pass
            except OSError:
                continue


def test_a_ledger_line_without_room_is_taken_back_whole(tmp_path, disk):
    """At every length of room that is left within the page."""
    ledger = Ledger(disk)
    ledger.append(1, ())
    ballast = disk / "ballast"
    refused = 0
    for number in range(60):
        _fill(ballast)
        before = (ledger.seq, ledger.head, ledger.state, (disk / "ledger.jsonl").read_bytes())
        for _ in range(40):
            try:
                ledger.append(2, (), notes=({"kind": "x" * (37 * (number + 1))},))
                before = (ledger.seq, ledger.head, ledger.state, ledger._path.read_bytes())
            except ledger_module.NoRoomError:
                refused += 1
                break
        assert before == (ledger.seq, ledger.head, ledger.state, ledger._path.read_bytes())
        ballast.unlink()
        ledger.append(3, ())
    ledger.close()
    assert refused > 30
    assert verify(disk) == []


def test_a_failed_fsync_is_never_tried_again(tmp_path, monkeypatch):
    """What the kernel dropped then is gone, and a later fsync would say that all is well."""
    with collector_at(tmp_path) as collector:
        spool = Spool(tmp_path / "spool.db", lambda *_: None)
        with uplink_to(collector.address, spool):
            spool.append(statements(0, ROWS))
            wait_until(lambda: collector.count() == ROWS)
            real, path = os.fsync, str(tmp_path / "data/ledger.jsonl")

            def broken(descriptor):
                if os.readlink(f"/proc/self/fd/{descriptor}") == path:
                    raise OSError(5, "Input/output error")
                real(descriptor)

            monkeypatch.setattr(os, "fsync", broken)
            spool.append(statements(ROWS, ROWS))
            wait_until(lambda: collector.store.segments.broken)
            monkeypatch.undo()
            spool.append(statements(2 * ROWS, ROWS))
            wait_until(lambda: spool.depth == 2)
            assert collector.count() in (ROWS, 2 * ROWS), "the line may have reached the disk"
    with collector_at(tmp_path) as collector, uplink_to(collector.address, spool) as uplink:
        assert uplink.drain(20), "a restart reads the truth back"
        assert collector.count() == 3 * ROWS
    spool.close()
    assert verify(tmp_path / "data") == []
