"""fsync of the spool's own file fails: nothing is promised on it, and it goes on in another one."""

import json
import shutil
import subprocess
import sys

import pytest

from agent.spool import moving as spool_moving
from agent.spool.spool import Spool
from agent.wire.batch import Payload
from tests.collector.process import ROOT
from tests.faults.power import PowerDisk

APPENDS = 30
WRITER = """
import json, os, pathlib, signal, sys, agent.spool.keeping, agent.spool.spool
from agent.wire.batch import Payload
agent.spool.keeping.MOVE_SECONDS = float(sys.argv[2])
losses = []
spool = agent.spool.spool.Spool(pathlib.Path(sys.argv[1]), lambda *loss: losses.append(loss))
for number in range(1, 31):
    losses.clear()
    spool.append(Payload(number.to_bytes(4, "big") * 700, {"statements": 1}))
    if number == 8:
        spool.forget(3)
    report = [losses, spool.problem, spool.fsync_failures, spool.depth]
    print(json.dumps([number, spool.epoch, *report]), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def appended(tmp_path):
    """``appended(when)``: what a spool said of each append; of its log's fsyncs those of ``when``
    fail (as strace counts them). It was killed at the end."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")

    def append(when, move_seconds=5):
        path = tmp_path / "spool" / "spool.db"
        inject = [f"-einject=fsync,fdatasync:error=EIO:when={when}", "-etrace=fsync,fdatasync"]
        command = ["strace", "-f", "-qq", "-o", "/dev/null", f"-P{path}-wal", *inject]
        command += [sys.executable, "-c", WRITER, str(path), str(move_seconds)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
        assert [each[0] for each in said] == list(range(1, APPENDS + 1)), done.stderr
        assert len({each[1] for each in said}) == 1, "the epoch stays"
        return path, [each[2:] for each in said], done.stdout

    return append


def kept(path):
    """Numbers of what is there after a restart, in order."""
    losses = []
    spool = Spool(path, lambda *loss: losses.append(loss))
    found = [int.from_bytes(each.body[:4], "big") for each in spool.read_from(1, 1000)]
    assert all(each.body == each.body[:4] * 700 for each in spool.read_from(1, 1000))
    spool.close()
    assert losses == []
    return found


def test_a_failed_fsync_costs_nothing_where_another_file_can_be_used(appended, dice):
    path, said, printed = appended(str(dice.randrange(6, APPENDS)))
    assert [losses for losses, *_ in said] == [[]] * APPENDS
    assert said[-1][1:] == ["", 1, APPENDS - 3]
    assert "spool.fsync_failed" in printed
    assert "spool.moved" in printed
    assert kept(path) == list(range(4, APPENDS + 1))
    assert sorted(file.name for file in path.parent.iterdir()) == ["spool.db", "spool.db.owed"]


def test_while_every_fsync_fails_nothing_is_taken_for_durable_and_what_waited_stays(appended):
    path, said, _ = appended("15+")
    refused = [number for number, (losses, *_) in enumerate(said, 1) if losses]
    assert refused == list(range(refused[0], APPENDS + 1))
    assert 10 < refused[0] < 16
    assert all(losses in ([], [["spool", "disk_failed", 1]]) for losses, *_ in said)
    assert "could not be synced" in said[-1][1]
    assert said[-1][3] == refused[0] - 1 - 3
    assert set(range(4, refused[0])) <= set(kept(path))


def test_it_takes_batches_again_when_the_disk_does(appended):
    path, said, _ = appended("12..17", move_seconds=0)
    refused = [number for number, (losses, *_) in enumerate(said, 1) if losses]
    assert refused
    assert refused[-1] < APPENDS - 5
    assert said[-1][1] == ""
    stored = kept(path)
    assert stored == sorted(set(stored))
    assert set(range(4, APPENDS + 1)) - set(refused) == set(stored)


@pytest.mark.parametrize("syncs", range(4))
def test_an_agent_killed_while_its_spool_moves_finds_all_of_it(tmp_path, monkeypatch, syncs):
    """At each of the move's syncs."""
    path = tmp_path / "spool" / "spool.db"
    spool = Spool(path, lambda *_: None)
    for number in range(1, 11):
        spool.append(Payload(number.to_bytes(4, "big") * 700, {"statements": 1}))
    left, real = [syncs], spool_moving.fsync

    def killed(place):
        if not left[0]:
            shutil.copytree(path.parent, tmp_path / "left")
            raise OSError
        left[0] -= 1
        real(place)

    monkeypatch.setattr(spool_moving, "fsync", killed)
    with pytest.raises(OSError):  # noqa: PT011 - it is our own
        spool_moving.move(spool._db, path)
    monkeypatch.undo()
    opened = Spool(tmp_path / "left/spool.db", lambda *_: None)
    assert (opened.epoch, opened.last_sequence, opened.depth) == (spool.epoch, 10, 10)
    opened.close()
    assert kept(tmp_path / "left/spool.db") == list(range(1, 11))
    spool.close()


def test_a_power_cut_while_its_spool_moves_takes_no_batch(tmp_path, tier, dice):
    path = tmp_path / "spool" / "spool.db"
    spool = Spool(path, lambda *_: None)
    for number in range(1, 11):
        spool.append(Payload(number.to_bytes(4, "big") * 700, {"statements": 1}))
    disk = PowerDisk(path.parent, lambda: 0)
    with disk.watch():
        spool_moving.move(spool._db, path)
    assert len(disk.moments) == 4
    assert kept(path) == list(range(1, 11)), "and nothing is lost where the power stays"
    for number in range(tier(100, 10_000)):
        after = tmp_path / "after"
        disk.cut(dice, after)
        (after / "spool.db-shm").unlink(missing_ok=True)  # shared memory: a start makes it anew
        opened = Spool(after / "spool.db", lambda *_: None)
        assert (opened.epoch, opened.last_sequence) == (spool.epoch, 10), number
        opened.close()
        assert kept(after / "spool.db") == list(range(1, 11)), number
        shutil.rmtree(after)
