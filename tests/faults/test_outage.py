"""The collector is away while events come, and a log is rotated under a fast writer."""

import threading
import time

import pytest

from agent.sources.pgaudit.source import LogFormat, PgauditSource
from agent.spool.spool import Spool
from collector.ledger_reading import verify
from tests.agent.sources.test_pgaudit_tail import numbers, record, settle
from tests.collector.road import collector_at, statements, uplink_to

EVENTS_PER_SECOND = 5_000
BATCH = 500


def test_what_came_while_the_collector_was_away_is_stored_once_when_it_is_back(tmp_path, tier):
    losses = []
    spool = Spool(tmp_path / "spool.db", lambda *loss: losses.append(loss), max_bytes=4 << 30)
    address = f"unix:{tmp_path}/collector.sock"
    batches = int(tier(2, 600) * EVENTS_PER_SECOND / BATCH)
    with uplink_to(address, spool) as uplink:
        with collector_at(tmp_path, address):
            spool.append(statements(0, BATCH))
            assert uplink.drain(20)
        began = time.monotonic()
        for number in range(1, batches + 1):
            spool.append(statements(number * BATCH, BATCH))
            due = began + number * BATCH / EVENTS_PER_SECOND
            time.sleep(max(0.0, due - time.monotonic()))
        back = time.monotonic()
        with collector_at(tmp_path, address) as collector:
            assert uplink.drain(300), "drained within five minutes"
            print(f"drained in {time.monotonic() - back:.1f} s")
            total, distinct = collector.store.query(
                "SELECT count(*), count(DISTINCT id) FROM statements"
            )[0]
    spool.close()
    assert total == distinct == (batches + 1) * BATCH
    assert losses == []
    assert verify(tmp_path / "data") == []


def test_a_thousand_rotations_lose_and_repeat_nothing(tmp_path, tier):
    rotations, lines = tier(0, 1000), 200
    if not rotations:
        pytest.skip("200 rotations are in tests/agent; this many are for the long tier")
    log = tmp_path / "log" / "pg.json"
    log.parent.mkdir()
    source = PgauditSource(
        "main", log.parent, "pg.json*", LogFormat.JSONLOG, tmp_path / "state.json"
    )

    def write():
        for part in range(rotations):
            began = time.monotonic()
            with log.open("ab", buffering=0) as file:
                for number in range(part * lines, part * lines + lines):
                    file.write(record(number))
                log.rename(log.with_name(f"pg.json.{part}"))
                file.write(record(rotations * lines + part))  # it has not noticed the rename
            time.sleep(max(0.0, began + lines / EVENTS_PER_SECOND - time.monotonic()))
            if part >= 20:
                log.with_name(f"pg.json.{part - 20}").unlink()

    writer = threading.Thread(target=write)
    writer.start()
    events = []
    while writer.is_alive():
        events += source.poll(0.01)
    events += settle(source, 1.5)
    assert sorted(numbers(events)) == list(range(rotations * lines + rotations))
    assert source.losses() == []
    source.close()
