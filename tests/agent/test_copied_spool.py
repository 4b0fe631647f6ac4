"""A spool that is there twice: restored from a copy, or with a cloned host."""

import shutil
import time
from contextlib import contextmanager

import pytest

from agent.spool.spool import Spool
from tests.collector.road import collector_at, statements, uplink_to
from tests.waiting import wait_until


@contextmanager
def spool_at(path, losses):
    spool = Spool(path, lambda *loss: losses.append(loss))
    yield spool
    spool.close()


def copied(path, target):
    """Of a spool that is closed."""
    for suffix in ("", "-wal", "-shm"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    shutil.copy(path, target)


def append(spool, numbers):
    for number in numbers:
        spool.append(statements(number, 1))


def ids(collector):
    return [number for (number,) in collector.store.query("SELECT id FROM statements ORDER BY 1")]


@pytest.mark.parametrize("restarts", [0, 1, 3])
def test_what_a_restored_spool_takes_before_it_reaches_the_collector_arrives(tmp_path, restarts):
    path, backup, losses = tmp_path / "spool.db", tmp_path / "backup.db", []
    with collector_at(tmp_path) as collector:
        with spool_at(path, losses) as spool, uplink_to(collector.address, spool) as uplink:
            append(spool, range(10))
            assert uplink.drain(10)
        copied(path, backup)
        # Without a restart the collector knows one epoch more; what the copy knows is older.
        with spool_at(path, losses) as spool, uplink_to(collector.address, spool) as uplink:
            append(spool, range(10, 20))
            assert uplink.drain(10)
        copied(backup, path)
        for start in range(restarts):
            with spool_at(path, losses) as spool:
                append(spool, range(100 + start * 10, 110 + start * 10))
        with spool_at(path, losses) as spool, uplink_to(collector.address, spool) as uplink:
            append(spool, range(200, 205))
            assert uplink.drain(10)
        taken = [*range(20), *range(100, 100 + 10 * restarts), *range(200, 205)]
        assert ids(collector) == taken
    assert losses == []


def test_a_restored_spool_sends_what_it_had_and_says_that_it_is_older(tmp_path):
    """Copied while it ran: what came after it in the same epoch is with the collector."""
    path, backup, losses = tmp_path / "spool.db", tmp_path / "backup.db", []
    with collector_at(tmp_path) as collector:
        with spool_at(path, losses) as spool:
            append(spool, range(10))
            spool._db.execute("VACUUM INTO ?", (str(backup),))
            append(spool, range(10, 20))
            with uplink_to(collector.address, spool) as uplink:
                assert uplink.drain(10)
        copied(backup, path)
        for start in range(2):
            with spool_at(path, losses) as spool:
                append(spool, range(100 + start * 10, 110 + start * 10))
        with spool_at(path, losses) as spool, uplink_to(collector.address, spool) as uplink:
            assert uplink.drain(10)
        assert ids(collector) == [*range(20), *range(100, 120)]
    assert losses == [("spool", "spool_regressed", 1)]


def test_two_agents_with_one_name_and_one_copied_spool_lose_nothing_and_are_told(tmp_path):
    path, clone, losses = tmp_path / "spool.db", tmp_path / "clone.db", []
    with collector_at(tmp_path) as collector:
        with spool_at(path, losses) as spool:
            append(spool, range(10))
        copied(path, clone)
        with (
            spool_at(path, losses) as one,
            spool_at(clone, losses) as other,
            uplink_to(collector.address, one),
            uplink_to(collector.address, other),
        ):
            for number in range(40):
                append(one, [1000 + number])
                append(other, [2000 + number])
                time.sleep(0.02)
            wait_until(lambda: not (one.depth or other.depth), 30)
            assert "two agents have this name" in collector.agents.twins()["host-a"]
        assert ids(collector) == [*range(10), *range(1000, 1040), *range(2000, 2040)]
    assert losses == []
