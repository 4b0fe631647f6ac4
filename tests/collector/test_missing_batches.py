"""A record put back from a copy: what was acknowledged since is missing, and is counted."""

import shutil

import pytest

from agent.spool.spool import Spool
from agent.wire.batch import Payload
from collector.missing_batches import MissingBatches
from collector.pgwarden_verify import check_folder
from protos.pgwarden.v1 import uplink_pb2 as pb
from tests.collector.road import collector_at, statements, uplink_to

POISON = pb.Batch(strings=[""], statements=pb.StatementColumns(id=[1, 2], rows=[1]))


def spooled(tmp_path):
    return Spool(tmp_path / "spool.db", lambda *loss: None)


def deliver(tmp_path, spool, numbers):
    with collector_at(tmp_path) as collector, uplink_to(collector.address, spool) as uplink:
        for number in numbers:
            spool.append(statements(number, 1))
        assert uplink.drain(10)
        assert collector.store.segments.flush()
        return (
            [number for (number,) in collector.store.query("SELECT id FROM statements ORDER BY 1")],
            collector.store.query("SELECT agent, source, reason, count FROM losses"),
        )


@pytest.mark.parametrize("is_restarted", [False, True])
def test_what_a_restored_record_lacks_is_counted_once(tmp_path, is_restarted):
    spool = spooled(tmp_path)
    deliver(tmp_path, spool, range(5))
    shutil.copytree(tmp_path / "data", tmp_path / "backup")
    deliver(tmp_path, spool, range(5, 15))
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "backup").rename(tmp_path / "data")
    if is_restarted:
        spool.close()
        spool = spooled(tmp_path)
    ids, losses = deliver(tmp_path, spool, range(15, 20))
    assert ids == [*range(5), *range(15, 20)]
    assert losses == [("host-a", "uplink", "record_older", 10)]
    ids, losses = deliver(tmp_path, spool, range(20, 21))
    assert losses == [("host-a", "uplink", "record_older", 10)], "and not again"
    spool.close()
    ledger = (tmp_path / "data/ledger.jsonl").read_text()
    assert ledger.count('"kind":"batches_missing"') == 1
    assert check_folder(tmp_path / "data").problems == []


def test_an_agent_that_comes_from_another_collector_has_no_gap_here(tmp_path):
    spool = spooled(tmp_path)
    deliver(tmp_path, spool, range(5))
    shutil.rmtree(tmp_path / "data")
    ids, losses = deliver(tmp_path, spool, range(5, 10))
    assert (ids, losses) == ([5, 6, 7, 8, 9], [])
    spool.close()


def test_what_was_refused_or_set_aside_is_not_missing(tmp_path):
    spool = spooled(tmp_path)
    deliver(tmp_path, spool, range(3))
    spool.append(Payload(POISON.SerializeToString(), {"statements": 2}))
    deliver(tmp_path, spool, [])
    for _ in range(2):
        spool.close()
        spool = spooled(tmp_path)
        assert deliver(tmp_path, spool, [])[1] == []
    spool.close()


def test_streams_of_one_epoch_tell_of_it_once_and_those_of_older_agents_never():
    rows, notes = [], []
    missing = MissingBatches(
        lambda table, each: rows.extend(each), lambda kind, **facts: notes.append(facts)
    )
    for _ in range(3):
        missing.heard(pb.Hello(agent="a", epoch=1, acknowledged=15), 5, 7)
    missing.heard(pb.Hello(agent="a", epoch=2), 5, 7)
    missing.heard(pb.Hello(agent="a", epoch=2, acknowledged=5), 5, 7)
    assert [row["count"] for row in rows] == [10]
    assert notes == [{"agent": "a", "epoch": 1, "first": 6, "last": 15}]
    assert missing.count == 10
