"""SIGKILL and SIGSTOP of agent and collector: what was spooled is stored, once."""

import signal
import subprocess
import sys
import time

from agent.spool.spool import Spool
from collector.ledger_reading import verify
from collector.pgwarden_verify import check_folder
from tests.collector.process import ROOT, spawn
from tests.collector.road import collector_at, uplink_to


class Producer:
    """Kept as a file, so that what it said before a kill can be read."""

    def __init__(self, folder, first):
        self._said = folder / f"said-{first}"
        command = [sys.executable, "-m", "tests.faults.producer", str(folder), str(first)]
        with self._said.open("wb") as out, (folder / "producer.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=log)

    def wait_for_first(self):
        while not self._said.stat().st_size:
            assert self.process.poll() is None, "see producer.log"
            time.sleep(0.01)

    def end(self):
        """Rows that it tried to spool, and those of which it was told that they are durable."""
        self.process.kill()
        self.process.wait()
        lines = self._said.read_text().splitlines()
        assert "lost" not in lines
        words = [line.split() for line in lines if line.startswith(("try ", "kept "))]
        said = [(word, int(number)) for word, number in words]
        self._said.unlink()
        return {n for word, n in said if word == "try"}, {n for word, n in said if word == "kept"}


def started(folder):
    process = spawn(folder)
    assert process.stdout.readline() == b"ready\n", (folder / "collector.log").read_text()
    return process


def test_nothing_is_lost_or_doubled_when_either_side_is_killed_or_frozen(tmp_path, tier, dice):
    rounds = tier(4, 1000)
    tried, kept = set(), set()
    collector = started(tmp_path)
    for number in range(rounds):
        producer = Producer(tmp_path, max(tried, default=0) + 1)
        producer.wait_for_first()
        for _ in range(1 if number % 2 else 2):
            time.sleep(dice.uniform(0, 0.3))
            if dice.random() < 0.2:
                frozen = dice.choice((collector, producer.process))
                frozen.send_signal(signal.SIGSTOP)
                time.sleep(dice.uniform(0, 0.5))
                frozen.send_signal(signal.SIGCONT)
        if number % 2 == 0 or rounds > 100:
            collector.kill()
            collector.wait()
            collector.stdout.close()
            time.sleep(dice.uniform(0, 0.1))
            collector = started(tmp_path)
        more_tried, more_kept = producer.end()
        tried |= more_tried
        kept |= more_kept
    collector.kill()
    collector.wait()
    collector.stdout.close()
    losses = []
    spool = Spool(tmp_path / "spool.db", lambda *loss: losses.append(loss))
    with (
        collector_at(tmp_path) as last,
        uplink_to(last.address, spool) as uplink,
    ):
        assert uplink.drain(60)
        stored = [number for (number,) in last.store.query("SELECT id FROM statements")]
        assert last.store.contradictions == []
    spool.close()
    assert kept
    assert len(stored) == len(set(stored)), "nothing twice"
    assert kept <= set(stored) <= tried
    assert losses == []
    assert verify(tmp_path / "data") == []
    assert check_folder(tmp_path / "data").problems == []
