"""The spool keeps what it took, counts what it did not, and survives what happens to disks."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
import structlog

from agent.spool.spool import Spool, SpoolError
from agent.wire.batch import BatchBuilder, Payload
from model.event import Lost
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


class Losses(Counter):
    def __call__(self, source, reason, count):
        self[source, reason] += count


def bulk(size=100, rows=3):
    return Payload(os.urandom(size), {"statements": rows})


def verdicts(size=100, rows=1):
    return Payload(os.urandom(size), {"verdicts": rows}, priority=True)


def losses_payload(count):
    builder = BatchBuilder()
    builder.add_loss(Lost(0, "ebpf", "ring_full", count))
    return builder.take()[0]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool.db"


def test_what_is_appended_is_read_back_in_order_until_it_is_forgotten(path):
    spool = Spool(path, Losses())
    payloads = [bulk() for _ in range(5)]
    assert spool.append(*payloads[:3]) == 3
    assert spool.append(*payloads[3:]) == 5
    assert [b.body for b in spool.read_from(2)] == [p.body for p in payloads[1:]]
    spool.forget(4)
    assert [b.sequence for b in spool.read_from(1)] == [5]
    assert (spool.depth, spool.bytes) == (1, 100)


def test_sequences_go_on_after_a_restart_even_when_all_was_forgotten(path):
    spool = Spool(path, Losses())
    spool.append(bulk(), bulk())
    spool.forget(2)
    spool.close()
    again = Spool(path, Losses())
    assert again.append(bulk()) == 3


def test_what_is_appended_after_an_opening_is_sent_in_an_epoch_of_its_own_after_what_waited(path):
    spool = Spool(path, Losses())
    spool.append(bulk(), bulk())
    first = spool.begin()
    spool.close()
    again = Spool(path, Losses())
    again.append(bulk())
    assert again.begin() == first, "it may have been sent in it"
    assert again.next_of(first, 1).sequence == 1
    assert again.next_of(first, 2).sequence == 2
    assert again.next_of(first, 3) is None
    assert not again.is_over(first)
    assert not again.acknowledged(first, 2)
    assert again.is_over(first)
    second = again.begin()
    assert second != first
    assert again.next_of(second, 1).sequence == 3
    again.close()


def test_epochs_end_with_a_batch_that_is_set_aside_and_are_kept_over_restarts(path):
    spool = Spool(path, Losses())
    spool.append(bulk(), bulk())
    first = spool.begin()
    spool.close()
    spool = Spool(path, Losses())
    spool.append(bulk())
    spool.close()
    spool = Spool(path, Losses())
    spool.append(bulk())
    assert spool.begin() == first
    spool.acknowledged(first, 1)
    spool.quarantine(2, "rejected: poison")
    second = spool.begin()
    assert [spool.next_of(second, 1).sequence, spool.next_of(second, 4)] == [3, None]
    spool.close()
    spool = Spool(path, Losses())
    assert spool.begin() == second
    spool.acknowledged(second, 3)
    third = spool.begin()
    assert spool.next_of(third, 1).sequence == 4
    assert len({first, second, third}) == 3
    spool.close()


def test_every_append_that_returned_survives_sigkill(path):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    program = (
        "import sys, pathlib; from agent.wire.batch import Payload\n"
        "from agent.spool.spool import Spool\n"
        "spool = Spool(pathlib.Path(sys.argv[1]), print)\n"
        "while True: print(spool.append(Payload(b'x' * 5000, {'statements': 1})), flush=True)\n"
    )
    last = 0
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(path)], cwd=ROOT, stdout=subprocess.PIPE
        )
        wanted = last + dice.randrange(1, 60)
        for line in process.stdout:
            last = int(line)
            if last >= wanted:
                break
        process.kill()
        rest = process.stdout.read().split()  # printed before the kill, not read yet
        process.wait()
        process.stdout.close()
        last = int(rest[-1]) if rest else last
        spool = Spool(path, Losses())
        kept = [batch.sequence for batch in spool.read_from(1, 100_000)]
        assert kept[:last] == list(range(1, last + 1))
        last = spool.last_sequence
        spool.close()


def test_a_full_spool_refuses_statements_counts_them_and_still_takes_verdicts(path):
    losses = Losses()
    spool = Spool(path, losses, max_bytes=8000)
    for _ in range(10):
        spool.append(bulk(1000, rows=3))
    assert losses == {("spool", "spool_full"): 9}
    spool.append(verdicts(500))
    assert (spool.depth, spool.bytes) == (8, 7500)
    spool.forget(2)
    spool.append(bulk(1000, rows=3))
    assert losses == {("spool", "spool_full"): 9}, "there is room again"


def test_what_is_refused_is_counted_by_class_and_by_execution(path):
    losses = Losses()
    spool = Spool(path, losses, max_bytes=1000)
    mixed = Payload(b"x" * 2000, {"statements": 5, "sessions": 2}, folded=40, urgent=3)
    apart = Payload(b"x" * 2000, {"statements": 4}, priority=True, urgent=4)
    spool.append(mixed, apart, verdicts(2000, rows=6))
    assert losses == {
        ("spool", "spool_full"): 42,
        ("spool", "urgent_spool_full"): 3 + 4 + 6,
        ("spool", "session_spool_full"): 2,
    }


def test_half_of_a_spool_is_for_what_is_not_sorted_by_class(path):
    spool = Spool(path, Losses(), max_bytes=8000)
    room = [spool.mixed_room]
    for _ in range(6):
        spool.append(bulk(1000))
        room.append(spool.mixed_room)
    assert room == [4000, 3000, 2000, 1000, 0, 0, 0]
    spool.close()
    spool = Spool(path, Losses(), max_bytes=8000)
    assert spool.mixed_room == 0, "what waits since the last run takes its room"
    spool.forget(5)
    assert spool.mixed_room == 3000


def test_what_has_room_of_its_own_takes_none_from_what_comes_with_it(path):
    losses = Losses()
    spool = Spool(path, losses, max_bytes=8000)
    mixed = Payload(b"x" * 4000, {"statements": 5}, urgent=3)
    spool.append(verdicts(3500), mixed, verdicts(3500))
    assert [len(batch.body) for batch in spool.read_from(1)] == [3500, 4000]
    assert losses == {("spool", "urgent_spool_full"): 1}


def test_a_full_disk_takes_what_is_urgent_before_anything_else(path):
    losses = Losses()
    spool = Spool(path, losses)
    spool._db.execute("PRAGMA max_page_count = 30")
    taken = spool.append(bulk(200_000, rows=7), verdicts(5000))
    assert taken == 1
    assert [batch.rows for batch in spool.read_from(1)] == [1]
    assert losses == {("spool", "disk_full"): 7}
    assert spool.mixed_room == 0


def test_a_refused_loss_is_owed_with_its_own_count_and_not_counted_again(path):
    losses = Losses()
    spool = Spool(path, losses, max_bytes=1000)
    spool.append(verdicts(995))
    spool.append(losses_payload(12345))
    spool.append(losses_payload(5))
    assert [(lost.source, lost.reason, lost.count) for lost in spool.owed()] == [
        ("ebpf", "ring_full", 12350)
    ]
    assert not spool.owed()
    assert not losses


def test_a_new_spool_on_a_full_disk_asks_for_room(small_disk):
    with (small_disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while ballast.write(bytes(4096)):
            pass
    with pytest.raises(SpoolError, match="make room on the disk"):
        Spool(small_disk / "spool.db", Losses())


def test_the_file_is_private_and_a_second_agent_is_refused_with_the_remedy(path):
    spool = Spool(path, Losses())
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(SpoolError, match="another agent"):
        Spool(path, Losses())
    spool.close()


@pytest.mark.parametrize(("closed", "part"), [(False, "-wal"), (True, "")])
def test_a_spool_cut_at_any_byte_opens_and_never_hands_out_wrong_bytes(
    path, tmp_path, closed, part
):
    spool = Spool(path, Losses())
    epoch = spool.epoch
    bodies = [bulk(3000).body for _ in range(20)]
    for body in bodies:
        spool.append(Payload(body, {"statements": 1}))
    if closed:
        spool.close()  # folds the log into the main file
    whole = {file.name: file.read_bytes() for file in tmp_path.glob("spool.db*")}
    size = len(whole[f"spool.db{part}"])
    for number, cut in enumerate(range(0, size, size // 60)):
        folder = tmp_path / f"cut-{number}"
        folder.mkdir()
        for name, data in whole.items():
            (folder / name).write_bytes(data[:cut] if name == f"spool.db{part}" else data)
        losses = Losses()
        opened = Spool(folder / "spool.db", losses)
        kept = [batch.body for batch in opened.read_from(1, 1000)]
        assert kept == bodies[: len(kept)]
        if opened.epoch != epoch and closed and cut:
            assert losses["spool", "spool_damaged"] == 1
            assert list(folder.glob("*.damaged-*")), "set aside for a person to look at"
        assert opened.append(bulk()) > len(kept)
        opened.close()


def copies(path):
    """Damaged spools beside it, by the time when they were set aside."""
    return sorted({each.name.split("damaged-")[1][:19] for each in path.parent.glob("*.damaged-*")})


def damaged_again(path, times, max_bytes):
    """Sizes of the copies, as they came; how many were removed and told; the last copies."""
    removed, seen = 0, []
    with structlog.testing.capture_logs() as logs:
        for _ in range(times):
            path.write_bytes(b"x" * 300_000)
            spool = Spool(path, Losses(), max_bytes)
            spool.append(bulk())
            spool.close()
            removed += spool.copies_removed
            seen += [each for each in copies(path) if each not in seen]
    told = [each for each in logs if each["event"] == "spool.copy_removed"]
    assert len(told) == removed == times - len(copies(path))
    assert len(seen) == times
    assert copies(path) == seen[-len(copies(path)) :], "the newest"
    return len(copies(path))


@pytest.mark.parametrize(("max_bytes", "kept"), [(10_000_000, 4), (700_000, 2), (1_000, 1)])
def test_copies_of_damaged_spools_are_bounded_in_number_and_bytes(path, max_bytes, kept):
    assert damaged_again(path, 6, max_bytes) == kept


def test_a_spool_that_is_damaged_while_it_is_used_removes_older_copies_as_well(path):
    damaged_again(path, 4, 10_000_000)
    spool = Spool(path, Losses())
    for _ in range(3):
        spool.append(bulk())
        spool._recover()
        assert len(copies(path)) == 4
    assert spool.copies_removed == 3
    spool.close()


def test_a_flipped_bit_in_a_batch_is_found_set_aside_and_counted(path):
    losses = Losses()
    spool = Spool(path, losses)
    spool.append(bulk(rows=7), bulk())
    spool.close()
    with sqlite3.connect(path) as db:
        (body,) = db.execute("SELECT body FROM batch WHERE sequence = 1").fetchone()
        flipped = bytes([body[0] ^ 1]) + body[1:]
        db.execute("UPDATE batch SET body = ? WHERE sequence = 1", (flipped,))
    db.close()
    spool = Spool(path, losses)
    assert [batch.sequence for batch in spool.read_from(1)] == [2]
    assert losses == {("spool", "spool_damaged"): 7}
    assert spool.depth == 1


def test_a_full_disk_drops_with_a_count_and_recovers_by_itself(path):
    losses = Losses()
    spool = Spool(path, losses)
    spool._db.execute("PRAGMA max_page_count = 30")
    for _ in range(60):
        spool.append(bulk(4000, rows=2))
    stored = spool.depth
    assert losses["spool", "disk_full"] == (60 - stored) * 2
    assert 0 < stored < 60
    spool._db.execute("PRAGMA max_page_count = 100000")
    spool.append(bulk())
    assert spool.depth == stored + 1


def test_numbers_that_the_collector_has_and_this_process_did_not_send_get_another_epoch(path):
    losses = Losses()
    spool = Spool(path, losses)
    spool.append(bulk(), bulk(), bulk())
    epoch = spool.begin()
    assert not spool.acknowledged(epoch, 0)
    spool.next_of(epoch, 1)
    assert spool.acknowledged(epoch, 3), "as when a host goes on from a copy of its memory"
    spool.begin()
    other = spool.epoch
    assert other != epoch
    assert [batch.sequence for batch in spool.read_from(1)] == [2, 3]
    spool.close()
    again = Spool(path, losses)
    assert again.begin() == other
    again.close()
    assert losses == {}


def test_what_the_collector_acknowledged_is_known_after_a_restart_in_its_own_epoch_alone(path):
    spool = Spool(path, Losses())
    spool.append(bulk(), bulk())
    first = spool.begin()
    spool.acknowledged(first, 0)
    assert spool.known_acknowledged(first) == 0
    spool.next_of(first, 1)
    spool.acknowledged(first, 1)
    assert spool.known_acknowledged(first) == 1
    spool.close()
    again = Spool(path, Losses())
    again.append(bulk())
    assert again.known_acknowledged(again.begin()) == 1
    again.acknowledged(first, 2)
    second = again.begin()
    assert again.known_acknowledged(second) == 0
    assert again.acknowledged(second, 9), "numbers of somebody else"
    assert again.known_acknowledged(again.begin()) == 0
    assert [each.sequence for each in again.read_from(1)] == [3]
    again.close()


def test_a_spool_older_than_the_collector_says_so_once_and_keeps_what_it_never_sent(path):
    losses = Losses()
    spool = Spool(path, losses)
    spool.append(bulk(), bulk(), bulk())
    epoch = spool.epoch
    spool.close()
    restored = Spool(path, losses)
    restored.append(bulk())  # number 4, but the collector has seen 9
    assert restored.acknowledged(restored.begin(), 9)
    assert restored.begin() != epoch
    assert [batch.sequence for batch in restored.read_from(1)] == [4]
    assert losses == {("spool", "spool_regressed"): 1}


def test_what_the_collector_already_has_is_forgotten_at_the_start_of_a_stream(path):
    spool = Spool(path, Losses())
    spool.append(bulk(), bulk(), bulk())
    spool.close()
    again = Spool(path, Losses())
    assert not again.acknowledged(again.begin(), 2)
    assert [batch.sequence for batch in again.read_from(1)] == [3]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own of 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize(
    ("size", "step"), [(1_000, 50), (30_000, 1), (30_000, 1_000_000), (400_000, 1), (400_000, 9)]
)
def test_a_small_disk_that_was_full_takes_batches_again_once_the_collector_has_them(
    small_disk, size, step
):
    losses = Losses()
    spool = Spool(small_disk / "spool.db", losses)
    epoch, taken = spool.epoch, 0
    for _ in range(3):
        refused = 0
        while refused < 5:
            before = spool.last_sequence
            taken += (took := spool.append(*[bulk(size, rows=1)] * 2)) - before
            refused += took == before
        last = spool.last_sequence
        assert spool.depth
        sent = [each.sequence for each in spool.read_from(1, 1_000_000)]
        for upto in [*sent[::step], last]:
            spool.forget(upto)
        assert (spool.depth, spool.bytes) == (0, 0)
        used = sum(file.stat().st_blocks * 512 for file in small_disk.iterdir())
        assert used < 3 * 1024 * 1024 - 2 * size, "there is room again"
        assert spool.append(bulk(size, rows=1)) == last + 1
        taken += 1
        spool.forget(last + 1)
    assert spool.epoch == epoch
    assert losses == {("spool", "disk_full"): 3 * 5 * 2}
    spool.close()
    again = Spool(small_disk / "spool.db", losses)
    assert (again.last_sequence, again.depth) == (taken, 0)
    again.close()


def test_a_disk_with_no_room_for_a_new_spool_stops_nothing_and_is_used_once_it_has_some(small_disk):
    losses = Losses()
    spool = Spool(small_disk / "spool.db", losses)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free))
    spool._db.close()
    (small_disk / "spool.db").write_bytes(b"x" * 4096)
    for _ in range(20):
        spool.append(bulk(1000, rows=1))
    assert losses["spool", "disk_full"] + losses["spool", "spool_damaged"] >= 20
    assert len(list(small_disk.iterdir())) < 8
    assert any("make room on the disk" in each for each in spool.problems)
    filler.unlink()
    wait_until(lambda: spool.append(bulk(1000, rows=1)) and spool.depth)
    assert not any("is damaged" in each for each in spool.problems)
    spool.close()


def test_the_log_is_folded_before_it_is_much_larger_than_a_mebibyte(path):
    spool = Spool(path, Losses())
    for _ in range(200):
        spool.append(bulk(50_000))
        assert path.with_name("spool.db-wal").stat().st_size < 1_400_000
