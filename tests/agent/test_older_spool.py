"""An agent upgraded while its spool is full delivers what the older release had put there."""

import gzip
from pathlib import Path

from agent.spool.spool import Spool
from tests.collector.road import collector_at, uplink_to

OLDER = Path(__file__).parent / "golden/spool-2026-11.db.gz"
"""Twenty batches of five statements, written by the release of November 2026."""


def test_every_row_of_an_older_releases_spool_arrives_once(tmp_path):
    (tmp_path / "spool.db").write_bytes(gzip.decompress(OLDER.read_bytes()))
    losses = []
    spool = Spool(tmp_path / "spool.db", lambda *loss: losses.append(loss))
    assert spool.depth == 20
    with collector_at(tmp_path) as collector, uplink_to(collector.address, spool) as uplink:
        assert uplink.drain(10)
        told = "SELECT count(*), count(DISTINCT id), min(id), max(id) FROM statements"
        assert collector.store.query(told) == [(100, 100, 0, 99)]
    spool.close()
    assert losses == []
