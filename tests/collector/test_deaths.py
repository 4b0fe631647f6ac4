"""No thread of the collector ends in silence, and no group of batches ends the commits."""

import threading

import pytest

from agent.spool.spool import Spool
from collector import segments
from collector.deaths import Deaths
from tests.collector.road import collector_at, statements, uplink_to


def run(name):
    def fall():
        raise ZeroDivisionError

    thread = threading.Thread(target=fall, name=name)
    thread.start()
    thread.join()


def test_a_thread_that_ends_by_an_error_is_a_problem_but_not_that_of_one_stream(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    deaths = Deaths()
    deaths.watch()
    run("heads")
    run("read-db1")
    assert deaths.problems == ["thread heads ended (ZeroDivisionError): restart the collector"]


@pytest.mark.parametrize("part", ["opened", "ranges", "sealed_events"])
def test_whatever_breaks_one_commit_the_next_ones_are_made(tmp_path, monkeypatch, part):
    real, left = getattr(segments, part), [2]

    def breaks(*arguments):
        left[0] -= 1
        if left[0] >= 0:
            raise ZeroDivisionError
        return real(*arguments)

    spool = Spool(tmp_path / "spool.db", lambda *_: None)
    with collector_at(tmp_path) as collector, uplink_to(collector.address, spool) as uplink:
        monkeypatch.setattr(segments, part, breaks)
        spool.append(statements(0, 5))
        assert uplink.drain(20)
        assert collector.count() == 5
        assert collector.store.segments.counters.listener_failures == 2
        assert collector.store.segments.alive
    spool.close()
