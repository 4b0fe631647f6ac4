"""The disk under an agent is full: it is told where people look, nothing is counted that is not
lost, and what is lost stays counted though the agent stops before there is room."""

import os
import shutil
import subprocess
import time
from collections import Counter
from functools import partial

import pytest
import structlog

from agent.positions import UnwrittenPositions
from agent.spool import reserve as reserve_module
from agent.spool.reserve import SLOT_BYTES, NoReserveError, Reserve
from agent.spool.shortage import QUIET_SECONDS, Shortage
from agent.spool.spool import Spool
from model.event import Lost
from tests.agent.test_recorder import Setup
from tests.agent.test_spool import Losses, bulk, losses_payload
from tests.waiting import wait_until


@pytest.fixture
def disk(tmp_path):
    """A file system of its own of 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    """To the last byte; gives the file that does it."""
    filler = folder / "filler"
    with filler.open("ab", buffering=0) as file:
        while free := shutil.disk_usage(folder).free:
            file.write(bytes(free))
    return filler


def refused(spool):
    """Append until the disk takes nothing; gives the number of events in what it refused."""
    lost = 0
    for _ in range(2_000):
        before = spool.last_sequence
        if spool.append(bulk(2_000)) == before:
            lost += 3
        if lost >= 9:
            return lost
    raise AssertionError("the disk is not full")


def test_a_full_disk_is_a_problem_that_says_where_since_when_and_how_much(disk):
    spool = Spool(disk / "spool.db", Losses())
    filler = fill(disk)
    assert spool.problems == []
    with structlog.testing.capture_logs() as logs:
        lost = refused(spool)
    (sentence,) = spool.problems
    assert str(disk / "spool.db") in sentence
    assert f" {lost} events are lost" in sentence
    assert time.strftime("since %Y-%m-%d", time.gmtime()) in sentence
    assert f"make room on the disk that holds {disk}" in sentence
    (line,) = [each for each in logs if each["event"] == "spool.disk_full"]
    assert line["log_level"] == "error"
    assert str(disk) in line["remedy"]
    filler.unlink()
    spool.append(bulk(2_000))
    wait_until(lambda: spool.problems == [], QUIET_SECONDS + 20, "there is room again")
    spool.close()


def test_a_spool_that_is_full_names_its_own_remedy(tmp_path):
    spool = Spool(tmp_path / "spool.db", Losses(), max_bytes=1_000)
    spool.append(bulk(2_000, rows=4))
    (sentence,) = spool.problems
    assert " 4 events are lost" in sentence
    assert "agent.spool.max_bytes" in sentence
    spool.close()


def test_a_small_batch_that_fits_now_and_then_ends_no_shortage(tmp_path):
    now = [0.0]
    shortage = Shortage(tmp_path / "spool.db", lambda: now[0])
    with structlog.testing.capture_logs() as logs:
        for _ in range(100):
            shortage.refused("disk_full", "full", 2)
            shortage.took()
            now[0] += QUIET_SECONDS / 2
            assert "events are lost" in shortage.sentence
        now[0] += QUIET_SECONDS
        assert shortage.sentence == ""
    assert [each["event"] for each in logs] == ["spool.disk_full", "spool.disk_full_over"]
    assert logs[-1]["lost"] == 200


def test_losses_that_no_batch_had_room_for_are_on_record_after_a_restart_on_a_full_disk(disk):
    spool = Spool(disk / "spool.db", Losses())
    filler = fill(disk)
    refused(spool)
    for count in (5, 7):
        spool.append(losses_payload(count), bulk(8_000))
    owed = {("ebpf", "ring_full"): 12}
    spool.close()
    filler.unlink()
    for _ in range(2):
        spool = Spool(disk / "spool.db", Losses())
        (loss,) = spool._owed.values()
        assert {(loss.source, loss.reason): loss.count} == owed
        spool.close()


@pytest.mark.parametrize("full_at_restart", [True, False])
def test_an_agent_that_stops_before_there_is_room_has_its_losses_told_by_the_next(
    disk, full_at_restart
):
    setup = Setup(disk)
    filler = fill(disk)
    refused(setup.spool)
    setup.recorder.start()
    for _ in range(300):
        setup.inbox.offer(["poison"])
    wait_until(lambda: setup.counted["agent", "error_TypeError"] == 300)
    setup.recorder.stop()
    setup.spool.close()
    counted = Counter(setup.counted)
    if not full_at_restart:
        filler.unlink()
    again = Setup(disk)
    again.recorder.start()
    if full_at_restart:
        wait_until(lambda: again.spool.problems or again.recorded())
        filler.unlink()
    wait_until(lambda: sum(again.recorded().values()) >= sum(counted.values()))
    again.recorder.stop()
    assert again.recorded() == counted
    again.spool.close()
    last = Setup(disk)
    assert last.spool.owed() == [], "told once"
    last.spool.close()


LOSS = Lost(7, "spool", "disk_full", 3)
OWED = {("spool", "disk_full"): LOSS}


def opened(path, last):
    kept = Reserve(path)
    owed = kept.open(last)
    return kept, owed


def test_a_crash_around_the_commit_tells_a_loss_exactly_once(tmp_path):
    path = tmp_path / "owed"
    kept, owed = opened(path, 10)
    assert owed == {}
    kept.settle(OWED, 10)
    kept.prepare({}, 11)
    kept.close()  # a crash here, before and after the commit of 11
    shutil.copy(path, tmp_path / "before")
    assert opened(path, 11)[1] == {}
    kept, owed = opened(tmp_path / "before", 10)
    assert owed == OWED
    kept.close()
    assert opened(tmp_path / "before", 11)[1] == OWED, "what was prepared is void"


def test_what_is_prepared_for_a_commit_that_fails_does_not_come_true_later(tmp_path):
    path = tmp_path / "owed"
    kept, _ = opened(path, 1)
    kept.prepare(OWED, 2)
    kept.settle({}, 1)
    kept.close()
    assert opened(path, 2)[1] == {}


def test_a_loss_that_was_settled_is_not_told_again_by_a_spool_that_began_anew(tmp_path):
    path = tmp_path / "owed"
    kept, _ = opened(path, 10)
    kept.settle(OWED, 10)
    kept.prepare({}, 11)
    kept.settle({}, 11)
    kept.close()
    kept, owed = opened(path, 0)
    assert owed == {}
    kept.settle(OWED, 0)
    kept.prepare({}, 1)
    kept.close()
    assert opened(path, 0)[1] == OWED, "and what was not settled is told still"


def test_what_is_owed_stays_owed_when_the_file_is_replaced_while_the_agent_runs(tmp_path):
    spool = Spool(tmp_path / "spool.db", Losses())
    for _ in range(9):
        spool.append(bulk(100))
    spool._refuse(losses_payload(5), "disk_full")
    spool._reserve.settle(spool._owed, spool.last_sequence)
    spool._db.close()
    (tmp_path / "spool.db").write_bytes(b"x" * 8192)
    assert spool.read_from(1) == [], "it is met, and a new one begins at 1"
    spool._reserve.prepare({}, 1)  # a crash before the commit that would tell it
    spool.close()
    spool = Spool(tmp_path / "spool.db", Losses())
    assert [(loss.source, loss.count) for loss in spool.owed()] == [("ebpf", 5)]
    spool.close()


def test_a_torn_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "owed"
    kept, _ = opened(path, 1)
    kept.settle(OWED, 1)
    whole = path.read_bytes()
    kept.settle({**OWED, ("a", "b"): LOSS}, 1)
    torn = path.read_bytes()
    changed = next(i for i in range(len(whole)) if whole[i] != torn[i])
    path.write_bytes(torn[: changed + 9] + whole[changed + 9 :])
    assert opened(path, 1)[1] == OWED


def test_a_reserve_of_which_nothing_can_be_read_is_a_loss(tmp_path):
    path = tmp_path / "spool.db.owed"
    path.write_bytes(b"\xff" * 2 * SLOT_BYTES)
    losses = Losses()
    for _ in range(3):
        Spool(tmp_path / "spool.db", losses).close()
    assert losses == {("spool", "spool_damaged"): 1}, "and it is told once"
    path.write_bytes(b"\xff" * 2 * SLOT_BYTES)
    with pytest.raises(NoReserveError):
        Reserve(path).open(0)


def test_more_reasons_than_a_slot_has_room_for_are_one_sum(tmp_path):
    path = tmp_path / "owed"
    many = {("s", f"{'r' * 50}{n}"): Lost(1, "s", f"{'r' * 50}{n}", n) for n in range(1_000)}
    kept, _ = opened(path, 1)
    kept.settle(many, 1)
    owed = opened(path, 1)[1]
    assert sum(each.count for each in owed.values()) == sum(range(1_000))
    assert reserve_module._REST in owed


def test_a_position_of_the_log_that_finds_no_room_is_no_loss_and_is_written_later(tmp_path):
    setup, confirmed, room = Setup(tmp_path), [], []

    def confirm(position):
        if not room:
            raise OSError(28, "No space left on device")
        confirmed.append(position)

    for position in (1, 2):
        setup.recorder._confirms.append((0, partial(confirm, position)))
    now = [100.0]
    setup.recorder._unwritten = UnwrittenPositions(lambda: now[0])
    with structlog.testing.capture_logs() as logs:
        for _ in range(250):  # 125 seconds
            setup.recorder._flush()
            now[0] += 0.5
        assert setup.counted == {}
        room.append(True)
        setup.recorder._flush()
        setup.recorder._flush()
    assert confirmed == [2]
    assert [(each["event"], each["log_level"]) for each in logs] == [
        *[("log.position_not_written", "warning")] * 3,
        ("log.position_written", "warning"),
    ]
    assert [each["times"] for each in logs[:3]] == [1, 120, 120]
    assert logs[0]["reason"] == "No space left on device"
    assert logs[3]["times_refused"] == 250
    setup.spool.close()
