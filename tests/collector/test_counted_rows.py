"""Executions that the kernel counted together reach the record as one row that says so."""

from agent.sessions import SessionTracker
from agent.wire.batch import BatchBuilder
from collector.intake import decode_batch
from model.event import StatementsCounted
from model.session import BackendKey
from model.statement import ParseStatus, Shape
from protos.pgwarden.v1 import uplink_pb2 as pb

AT_US = 1_700_000_000_000_000
DURATIONS = (0, 0, 40, 30, 20, 0, 8, 2)
SHAPE = Shape(ParseStatus.PARSED, "00" * 32, "SELECT 1", operation="select", verbs=("select",))


def test_its_row_has_the_number_the_sums_and_the_histogram_of_durations():
    counted = StatementsCounted(
        BackendKey(7, AT_US - 1), b"SELECT 1", 100, 300, 6600, 90_000, AT_US, AT_US + 900, DURATIONS
    )
    *_, statement = SessionTracker(5).observe(counted)
    builder = BatchBuilder()
    builder.add(statement, SHAPE)
    (payload,) = builder.take()
    assert payload.facts == 100
    frame = decode_batch(pb.Batch.FromString(payload.body), "host-a").frames["statements"]
    (row,) = frame.to_dicts()
    assert (row["executions"], row["rows"], row["bytes_sent"]) == (100, 300, 6600)
    assert row["duration_us"] == 90_000
    assert row["durations"] == "0,0,40,30,20,0,8,2"
