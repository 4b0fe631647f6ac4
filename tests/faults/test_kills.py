"""SIGKILL and SIGSTOP of agent and collector: what was spooled is stored, once."""

import json
import os
import signal
import statistics
import time

from agent.spool.spool import Spool
from collector.ledger_reading import verify
from collector.pgwarden_verify import check_folder
from tests.collector import process
from tests.collector.road import collector_at, uplink_to
from tests.faults import producer
from tests.faults.forked import Forked

ROUNDS = int(os.environ.get("PGWARDEN_KILLS", "1000"))
"""Of the long tier, each with a SIGKILL of both sides."""
KILLED_EARLY = 0.1
"""The chance that one is killed while it starts: it opens, recovers and replays then."""
START_SECONDS = 60.0
DRAIN_SECONDS = 60.0, 600.0
"""Each row is a batch, and more are spooled than a collector takes that is killed all the time."""


class Side:
    """Of the road: a new one on the same folder each time it was killed."""

    def __init__(self, folder, dice):
        self.folder, self._dice = folder, dice
        self.kills = 0
        self.starts = []
        """How long each took until it was at work."""

    def arguments(self):
        return (self.folder,)

    def hear(self, lines):
        """What one has said until it was killed."""

    def start(self):
        while self._dice.random() < KILLED_EARLY:
            self._fork()
            time.sleep(self._dice.uniform(0, 0.3))
            self.kill()
        began = time.monotonic()
        self._fork()
        while not self._running.said.stat().st_size:
            assert self._running.is_alive, self._running.log.read_text()
            assert time.monotonic() - began < START_SECONDS, self._running.log.read_text()
            time.sleep(0.005)
        self.starts.append(time.monotonic() - began)

    def kill(self):
        self._running.kill()
        self.kills += 1
        whole, _, _ = self._running.said.read_text().rpartition("\n")
        self.hear(whole.splitlines())

    def freeze(self):
        self._running.signal(signal.SIGSTOP)
        time.sleep(self._dice.uniform(0, 0.5))
        self._running.signal(signal.SIGCONT)

    def __str__(self):
        usual, last = statistics.median(self.starts), statistics.median(self.starts[-50:])
        times = f"{usual:.2f} s to start, {last:.2f} s at the end, {max(self.starts):.2f} s at most"
        return f"{type(self).__name__}: {self.kills} kills, {times}"

    def _fork(self):
        name = type(self).__name__.lower()
        said, log = self.folder / f"{name}.said", self.folder / f"{name}.log"
        self._running = Forked(self.program, *self.arguments(), said=said, log=log)


class Collector(Side):
    program = staticmethod(process.main)


class Producer(Side):
    """An agent's spool and uplink."""

    program = staticmethod(producer.main)

    def __init__(self, folder, dice):
        super().__init__(folder, dice)
        self.tried, self.kept = set(), set()
        """Rows that it tried to spool, and those of which it was told that they are durable."""
        self._first = 1

    def arguments(self):
        return self.folder, self._first

    def hear(self, lines):
        assert "lost" not in lines
        said = [(word, int(number)) for word, number in map(str.split, lines)]
        tried = {number for word, number in said if word == "try"}
        self.tried |= tried
        self.kept |= {number for word, number in said if word == "kept"}
        self._first = max(tried, default=self._first - 1) + 1

    def write(self, file):
        """For whoever looks into what a run of hours leaves behind."""
        file.write_text(json.dumps({"tried": sorted(self.tried), "kept": sorted(self.kept)}))


def test_nothing_is_lost_or_doubled_when_either_side_is_killed_or_frozen(tmp_path, tier, dice):
    collector, agent = Collector(tmp_path, dice), Producer(tmp_path, dice)
    collector.start()
    for _ in range(tier(10, ROUNDS)):
        agent.start()
        for _ in range(dice.choice((1, 2))):
            time.sleep(dice.uniform(0, 0.3))
            if dice.random() < 0.2:
                dice.choice((collector, agent)).freeze()
        collector.kill()
        time.sleep(dice.uniform(0, 0.1))
        collector.start()
        agent.kill()
    collector.kill()
    print(f"{collector}\n{agent}")
    agent.write(tmp_path / "kept.json")
    losses = []
    spool = Spool(tmp_path / "spool.db", lambda *loss: losses.append(loss))
    with (
        collector_at(tmp_path) as last,
        uplink_to(last.address, spool) as uplink,
    ):
        assert uplink.drain(tier(*DRAIN_SECONDS))
        stored = [number for (number,) in last.store.query("SELECT id FROM statements")]
        assert last.store.contradictions == []
    spool.close()
    print(f"{len(agent.tried)} rows tried, {len(agent.kept)} kept, {len(stored)} stored")
    assert agent.kept
    assert len(stored) == len(set(stored)), "nothing twice"
    assert agent.kept <= set(stored) <= agent.tried
    assert losses == []
    assert verify(tmp_path / "data") == []
    assert check_folder(tmp_path / "data").problems == []
