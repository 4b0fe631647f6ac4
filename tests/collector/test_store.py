"""The durable record: what is damaged is found and set aside, the rest goes on."""

import contextlib
import json
import random
import shutil

import pytest

from agent.wire.batch import to_wire
from collector import ledger_reading as ledger
from collector.columns import PoisonError
from collector.intake import decode_batch, decode_message
from collector.ledger import Ledger
from collector.ledger_reading import verify
from collector.merge import merge_small_segments
from collector.segments import Accepted
from collector.store import Store, StoreError, open_views
from collector.store_rebuild import rebuild_index
from collector.submission import BatchId, Owner, Submission
from protos.pgwarden.v1 import uplink_pb2 as pb
from tests.collector.road import START_US, statements
from tests.waiting import wait_until


def batch(sequence, rows=10, agent="host-a", owner=None, settled=None):
    frames = decode_batch(pb.Batch.FromString(statements(sequence * 1000, rows).body), agent).frames
    return Submission(frames, BatchId(agent, 1, sequence), owner or Owner(), (), settled)


def count(data_dir, table="statements"):
    with open_views(data_dir) as views:
        return views.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


@pytest.fixture
def opened(tmp_path):
    store = Store(tmp_path / "data", commit_seconds=0.01)
    store.start()
    yield store
    store.close()


@pytest.fixture
def sealed(tmp_path):
    """A data directory of five commits, closed."""
    store = Store(tmp_path / "data", commit_seconds=0.01)
    store.start()
    for sequence in range(1, 6):
        store.segments.submit(batch(sequence))
        assert store.segments.flush()
    store.close()
    return tmp_path / "data"


def test_replayed_batches_add_no_rows_whether_durable_or_still_waiting(opened):
    for _ in range(3):
        for sequence in range(1, 200):
            opened.segments.submit(batch(sequence, rows=2))
    assert opened.segments.flush()
    assert opened.segments.submit(batch(7)) is Accepted.DUPLICATE
    assert opened.segments.flush()
    assert count(opened.data_dir) == 398
    assert opened.segments.counters.duplicates == 399


def test_replays_are_known_after_a_restart_from_the_ledger_alone(sealed):
    (sealed / "index.duckdb").unlink()
    store = Store(sealed, commit_seconds=0.01)
    store.start()
    assert store.segments.durable_sequence("host-a", 1) == 5
    assert store.segments.submit(batch(5)) is Accepted.DUPLICATE
    assert store.segments.submit(batch(6)) is Accepted.NEW
    store.close()
    assert count(sealed) == 60


def test_a_duplicate_of_a_waiting_batch_is_acknowledged_only_once_that_is_durable(tmp_path):
    store = Store(tmp_path / "data", commit_seconds=0.01)
    order = []
    store.segments.submit(batch(1, settled=lambda good: order.append(("first", good))))
    store.segments.submit(batch(1, settled=lambda good: order.append(("repeat", good))))
    assert order == []
    store.start()
    assert store.segments.flush()
    assert order == [("first", True), ("repeat", True)]
    store.close()


def test_a_failed_commit_acknowledges_nothing_and_breaks_the_stream_so_nothing_is_skipped(
    tmp_path,
):
    store = Store(tmp_path / "data", commit_seconds=0.01)
    folder = store.data_dir / "segments" / "statements"
    folder.rmdir()
    folder.write_text("in the way")
    owner, settled = Owner(), []
    store.segments.submit(batch(1, owner=owner, settled=settled.append))
    store.append(
        "losses", [{"occurred_at": START_US, "source": "test", "reason": "kept", "count": 1}]
    )
    store.start()
    assert not store.segments.flush()
    assert settled == [False]
    assert not store.segments.healthy
    assert store.segments.submit(batch(2, owner=owner)) is Accepted.BROKEN
    assert store.segments.submit(batch(1)) is Accepted.NEW, "a new stream may send it again"
    folder.unlink()
    folder.mkdir()
    store.segments.submit(batch(1))
    store.close()
    assert count(store.data_dir, "losses") == 1, "our own rows wait for the disk"


def test_a_replaced_stream_can_add_nothing(opened):
    owner = Owner()
    opened.segments.replace_owner(owner)
    assert opened.segments.submit(batch(1, owner=owner)) is Accepted.BROKEN


def test_a_listener_that_fails_does_not_stop_the_record(tmp_path):
    def fail(_):
        raise RuntimeError("analytics is broken")

    store = Store(tmp_path / "data", fail, commit_seconds=0.01)
    store.start()
    for sequence in (1, 2):
        store.segments.submit(batch(sequence))
        assert store.segments.flush()
    wait_until(lambda: store.segments.counters.listener_failures == 2)
    store.close()


def test_every_flipped_ledger_byte_is_detected(sealed):
    path = sealed / ledger.NAME
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        assert verify(sealed), f"byte {position}"
    path.write_bytes(whole)
    assert verify(sealed) == []


def test_deleted_and_reordered_ledger_lines_are_detected(sealed):
    path = sealed / ledger.NAME
    lines = path.read_bytes().splitlines(keepends=True)
    for changed in (lines[1:], lines[:2] + lines[3:], [lines[1], lines[0], *lines[2:]]):
        path.write_bytes(b"".join(changed))
        assert verify(sealed)


def test_a_flipped_bit_in_any_segment_is_detected(sealed):
    for path in (sealed / "segments").rglob("*.parquet"):
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[len(whole) // 2] ^= 4
        path.write_bytes(damaged)
        (problem,) = verify(sealed)
        assert path.name in problem.message
        path.write_bytes(whole)


def test_a_ledger_cut_at_any_byte_opens_with_its_whole_lines_and_keeps_the_tail(sealed, tmp_path):
    whole = (sealed / ledger.NAME).read_bytes()
    lines = whole.splitlines(keepends=True)
    for cut in range(0, len(whole), 97):
        folder = tmp_path / f"cut-{cut}"
        folder.mkdir()
        (folder / ledger.NAME).write_bytes(whole[:cut])
        opened = Ledger(folder)
        kept = whole[:cut].count(b"\n")
        assert opened.seq == kept
        assert opened.problems == []
        tail = cut - sum(map(len, lines[:kept]))
        quarantined = list((folder / "quarantine").glob("ledger-tail-*"))
        assert [file.stat().st_size for file in quarantined] == ([tail] if tail else [])
        opened.append(1, ())
        opened.close()
        assert verify(folder) == [] or kept  # segments are elsewhere; the chain must hold
        assert not [p for p in verify(folder) if "follow" in p.message or "hash" in p.message]


def test_segments_that_the_ledger_does_not_name_are_set_aside_at_the_start(sealed):
    source = sealed / "segments/statements/000000000001.parquet"
    shutil.copy(source, sealed / "segments/statements/000000000099.parquet")
    (sealed / "segments/statements/000000000100.tmp").write_bytes(b"half")
    store = Store(sealed)
    assert len(store.quarantined) == 2
    assert len(list((sealed / "quarantine").iterdir())) == 2
    store.close()
    assert count(sealed) == 50
    assert verify(sealed) == []


def test_a_damaged_segment_is_set_aside_at_the_start_the_ledger_says_so_the_rest_is_read(sealed):
    victim = sealed / "segments/statements/000000000003.parquet"
    victim.write_bytes(victim.read_bytes()[:-10])
    store = Store(sealed)
    assert "000000000003.parquet" in store.quarantined[0]
    store.close()
    assert count(sealed) == 40
    assert verify(sealed) == []
    last = json.loads((sealed / ledger.NAME).read_text().splitlines()[-1])
    assert (last["reason"], last["removed"]) == (
        "damaged",
        ["segments/statements/000000000003.parquet"],
    )


@pytest.mark.parametrize("damage", ["missing", "garbage", "stale"])
def test_the_index_is_rebuilt_from_the_ledger_whatever_became_of_it(sealed, damage, tmp_path):
    index = sealed / "index.duckdb"
    if damage == "missing":
        index.unlink()
    elif damage == "garbage":
        index.write_bytes(b"not a database" * 1000)
    else:
        stale = tmp_path / "stale.duckdb"
        shutil.copy(index, stale)
        store = Store(sealed, commit_seconds=0.01)
        store.start()
        store.segments.submit(batch(9))
        store.close()
        shutil.copy(stale, index)
    store = Store(sealed)
    live = len(store.ledger.files)
    assert store._index.execute("SELECT count(*) FROM segments").fetchone() == (live,)
    store.close()
    assert rebuild_index(sealed).segments == live


def test_a_second_collector_on_the_same_directory_is_refused_with_the_remedy(opened):
    with pytest.raises(StoreError, match="another collector"):
        Store(opened.data_dir)


def test_many_small_segments_are_merged_and_the_record_stays_the_same(tmp_path):
    store = Store(tmp_path / "data", commit_seconds=0.001)
    store.start()
    for sequence in range(1, 41):
        store.segments.submit(batch(sequence, rows=3))
        store.append("findings", [{"id": "f", "score": float(sequence), "occurred_at": START_US}])
        assert store.segments.flush()
    store.segments.stop()
    replaced = [
        path
        for table in ("statements", "findings")
        for path in merge_small_segments(store.data_dir, store.ledger, table, store.damage)
    ]
    assert len(replaced) >= 64
    assert all(path.exists() for path in replaced), "readers may still have them open"
    store.close()
    again = Store(store.data_dir, commit_seconds=0.001)
    assert again.quarantined == []
    assert not any(path.exists() for path in replaced)
    again.start()
    assert again.query("SELECT count(*), count(DISTINCT id) FROM statements") == [(120, 120)]
    assert again.query("SELECT score FROM findings") == [(40.0,)]
    again.append("findings", [{"id": "f", "score": 41.0, "occurred_at": START_US}])
    assert again.segments.flush()
    assert again.query("SELECT score FROM findings") == [(41.0,)]
    again.close()
    assert verify(again.data_dir) == []


@pytest.mark.parametrize(
    ("table", "row"),
    [("nothing", {}), ("losses", {"colour": 1}), ("losses", {"count": "many"})],
)
def test_our_own_rows_must_fit_their_table(opened, table, row):
    with pytest.raises(StoreError):
        opened.append(table, [row])


def test_a_batch_is_refused_whole_when_any_rule_of_the_wire_is_broken():
    good = pb.Batch.FromString(statements(0, 3).body)

    def broken(change):
        batch = pb.Batch()
        batch.CopyFrom(good)
        change(batch)
        return batch

    mistakes = [
        lambda b: b.statements.id.append(1),
        lambda b: b.statements.shape.__setitem__(0, 9),
        lambda b: b.statements.user_s.__setitem__(0, 10_000),
        lambda b: b.strings.__setitem__(0, "x"),
        lambda b: b.strings.clear(),
        lambda b: b.shapes.clear(),
        lambda b: b.statements.started_at_us.__setitem__(0, -1),
        lambda b: b.statements.started_at_us.__setitem__(0, 2**62),
        lambda b: b.losses.add(at_us=2**62, count=1),
        lambda b: b.snapshots.add(at_us=-5),
        lambda b: b.sessions.pid.append(1),
    ]
    for mistake in mistakes:
        with pytest.raises(PoisonError):
            decode_batch(broken(mistake), "host-a")


def test_damaged_bytes_are_refused_or_decoded_but_never_crash_intake():
    dice = random.Random(7)
    whole = to_wire(statements(0, 20).body, 3, 4)
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(dice.randrange(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        data = bytes(data[: dice.randrange(len(data))]) if dice.random() < 0.3 else bytes(data)
        with contextlib.suppress(PoisonError):
            decode_batch(decode_message(data).batch, "host-a")
