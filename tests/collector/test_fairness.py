"""An agent that sends more than the disk takes waits, and the others do not wait for it."""

import threading
import time

from collector import segments
from collector.segments import Accepted
from collector.store import Store, frame_of
from collector.submission import BatchId, Submission
from tests.collector.road import START_US
from tests.waiting import wait_until


def test_a_flood_of_one_agent_leaves_room_for_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "MAX_WAITING_ROWS", 40)
    monkeypatch.setattr(segments, "MAX_ROWS_OF_AGENT", 20)
    store = Store(tmp_path / "data", commit_seconds=0.01)  # it commits nothing before its start
    frame = frame_of("losses", [{"occurred_at": START_US, "count": 1}] * 5)
    sent, settled = [], []

    def send(agent, sequence):
        batch = BatchId(agent, 1, sequence)
        outcome = store.segments.submit(
            Submission({"losses": frame}, batch, settled=settled.append)
        )
        sent.append(agent)
        return outcome

    def flood():
        for sequence in range(1, 21):
            send("hostile", sequence)

    flooding = threading.Thread(target=flood)
    flooding.start()
    wait_until(lambda: len(sent) == 5)
    time.sleep(0.3)
    assert sent == ["hostile"] * 5, "more than its share waits outside"
    assert send("honest", 1) is Accepted.NEW
    store.start()
    flooding.join(10)
    assert store.segments.flush()
    assert store.query("SELECT count(*) FROM losses") == [(21 * 5,)]
    assert settled == [True] * 21
    assert not store.segments._load_of
    store.close()
