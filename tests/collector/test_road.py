"""From the agent's spool to the collector's segments, over real gRPC."""

from agent.spool.spool import Spool
from collector.ledger_reading import verify
from tests.collector.road import collector_at, statements, uplink_to


def ignore(*_):
    pass


def test_what_is_acknowledged_is_stored_and_forgotten_by_the_spool(tmp_path):
    spool = Spool(tmp_path / "spool.db", ignore)
    with collector_at(tmp_path) as collector, uplink_to(collector.address, spool) as uplink:
        for first in range(0, 1000, 100):
            spool.append(statements(first, 100))
        assert uplink.drain(10)
        assert collector.count() == 1000
        assert collector.store.query("SELECT DISTINCT agent, text FROM statements") == [
            ("host-a", "SELECT * FROM orders WHERE id = $1")
        ]
        assert verify(collector.store.data_dir) == []
