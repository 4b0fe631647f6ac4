"""When the commit thread commits, and whom it tells."""

import threading
import time

import pytest

from collector.ledger import Ledger
from collector.segments import Segments
from collector.store import frame_of
from collector.submission import BatchId, Owner, Submission
from tests.collector.road import START_US
from tests.waiting import wait_until

COMMIT_SECONDS = 2.0


@pytest.fixture
def opened(tmp_path):
    """Commits at once, and keeps the sequences of what settled in ``settled``."""
    ledger = Ledger(tmp_path)
    segments = Segments(tmp_path, ledger, commit_seconds=0.01)
    yield segments
    segments.stop()
    ledger.close()


def batch(owner, sequence, settled, agent="host-a"):
    frame = frame_of("losses", [{"occurred_at": START_US, "count": 1}])
    return Submission({"losses": frame}, BatchId(agent, 1, sequence), owner, settled=settled)


def test_a_stream_hears_once_of_all_that_a_commit_made_durable(opened):
    told = []
    streams = {name: Owner() for name in ("host-a", "host-b")}
    for sequence in (1, 2, 3):
        for name, owner in streams.items():
            note = lambda good, told=told, name=name, at=sequence: told.append((name, at, good))  # noqa: E731
            opened.submit(batch(owner, sequence, note, name))
    opened.start()
    assert opened.flush()
    assert sorted(told) == [("host-a", 3, True), ("host-b", 3, True)]


def test_all_of_a_stream_hear_that_they_were_dropped(opened, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    told = []
    monkeypatch.setattr(opened, "commit", fail)
    owner = Owner()
    for sequence in (1, 2, 3):
        opened.submit(batch(owner, sequence, told.append))
    opened.start()
    wait_until(lambda: told == [False] * 3)


def test_what_came_during_a_commit_has_waited_already(tmp_path):
    """Otherwise a collector that is busy adds the time of gathering to that of the last commit."""
    busy, free = threading.Event(), threading.Event()

    def listener(_):
        busy.set()
        free.wait(30)

    ledger = Ledger(tmp_path)
    segments = Segments(tmp_path, ledger, listener, commit_seconds=COMMIT_SECONDS)
    segments.start()
    settled = threading.Event()
    segments.submit(batch(Owner(), 1, lambda _: None))
    assert busy.wait(30)
    segments.submit(batch(Owner(), 2, lambda _: settled.set()))
    time.sleep(COMMIT_SECONDS)
    free.set()
    assert settled.wait(COMMIT_SECONDS / 2), "at once, not after another time of gathering"
    segments.stop()
    ledger.close()
