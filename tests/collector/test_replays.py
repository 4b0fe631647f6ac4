"""Whoever recorded an agent's stream can play it back as often as he likes."""

from collector.store import Store, frame_of
from collector.submission import BatchId, Submission
from tests.collector.road import START_US

BATCHES = 10
REPLAYS = 10_000


def test_10_000_replays_add_no_row_and_no_entry(tmp_path):
    frame = frame_of("losses", [{"occurred_at": START_US, "agent": "host-a", "count": 1}])
    store = Store(tmp_path / "data", commit_seconds=0.01)
    store.start()
    settled: list[bool] = []

    def send(sequence: int) -> None:
        batch = BatchId("host-a", 3, sequence)
        store.segments.submit(Submission({"losses": frame}, batch, settled=settled.append))

    try:
        for sequence in range(1, BATCHES + 1):
            send(sequence)
        assert store.segments.flush()
        entries = store.ledger.seq
        for number in range(REPLAYS):
            send(number % BATCHES + 1)
        assert store.segments.flush()
        assert store.query("SELECT count(*) FROM losses") == [(BATCHES,)]
        assert store.ledger.seq == entries
        assert store.segments.counters.duplicates == REPLAYS
        assert settled == [True] * (BATCHES + REPLAYS)
    finally:
        store.close()
