"""SIGKILL at random moments: acknowledged is a subset of stored, and nothing is stored twice."""

import random
import threading

from agent.spool.spool import Spool
from collector.ledger_reading import verify
from tests.collector.process import spawn
from tests.collector.road import collector_at, statements, uplink_to

KILLS = 15
ROWS = 40


def test_nothing_acknowledged_is_lost_or_stored_twice_when_the_collector_is_killed(tmp_path):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    spool = Spool(tmp_path / "spool.db", lambda *_: None)
    batches, stop = [0], threading.Event()

    def produce():
        while not stop.wait(0.01):
            spool.append(statements(batches[0] * ROWS, ROWS))
            batches[0] += 1

    producer = threading.Thread(target=produce)
    producer.start()
    with uplink_to(f"unix:{tmp_path}/collector.sock", spool) as uplink:
        for _ in range(KILLS):
            process = spawn(tmp_path)
            assert process.stdout.readline() == b"ready\n", (tmp_path / "collector.log").read_text()
            stop.wait(dice.uniform(0, 0.25))
            process.kill()
            process.wait()
            process.stdout.close()
        stop.set()
        producer.join()
        acknowledged_while_killing = spool.last_sequence - spool.depth
        with collector_at(tmp_path) as collector:
            assert uplink.drain(20)
            total, distinct = collector.store.query(
                "SELECT count(*), count(DISTINCT id) FROM statements"
            )[0]
    assert acknowledged_while_killing > 0
    assert total == distinct == batches[0] * ROWS
    assert verify(tmp_path / "data") == []
