"""What a batch costs the collector is bounded, however small it is on the wire."""

import duckdb
import pytest

from agent.wire.batch import BatchBuilder
from collector import weight as module
from collector.columns import PoisonError
from collector.intake import decode_batch
from collector.segment_file import GROUP_TEXT_BYTES, write_segment
from collector.weight import MESSAGE_ROWS, spread_bytes, weight
from protos.pgwarden.v1 import uplink_pb2 as pb
from tests.collector.road import SHAPE, statement

MIB = 1 << 20


def batch(rows, size=0, where="application_name_s"):
    """``size``: of one text that all rows point at."""
    builder = BatchBuilder()
    for number in range(rows):
        builder.add(statement(number), SHAPE)
    (payload,) = builder.take()
    made = pb.Batch.FromString(payload.body)
    if where == "shape":
        made.shapes[0].redacted_text = "x" * size
    elif size:
        made.strings.append("x" * size)
        getattr(made.statements, where)[:] = [len(made.strings) - 1] * rows
    return made


def test_usual_batches_weigh_their_rows():
    made = batch(2000)
    assert weight(made, made.ByteSize()) == 2000


def test_a_message_weighs_something_however_little_is_in_it():
    assert weight(pb.Batch(epoch=1, sequence=1), 10) == MESSAGE_ROWS


def test_large_texts_weigh_by_their_bytes():
    made = batch(1, MIB)
    assert weight(made, made.ByteSize()) > 8000


@pytest.mark.parametrize("where", ["application_name_s", "shape"])
def test_a_text_counts_as_often_as_rows_point_at_it(where):
    made = batch(100, MIB, where)
    assert 100 * MIB <= spread_bytes(made) < 101 * MIB
    assert weight(made, made.ByteSize()) > 20_000


@pytest.mark.parametrize("where", ["application_name_s", "shape"])
def test_a_megabyte_that_would_be_gigabytes_is_refused(where):
    with pytest.raises(PoisonError, match="repeat"):
        weight(batch(1000, MIB, where), 0)


def test_a_list_of_many_names_counts_as_often_as_rows_point_at_it():
    made = batch(1000)
    made.shapes[0].columns.extend(["a"] * 40_000)
    with pytest.raises(PoisonError, match="repeat"):
        weight(made, made.ByteSize())


def test_an_index_past_the_end_is_left_to_the_decoder():
    made = batch(100, MIB)
    made.statements.user_s[0] = 10_000
    assert spread_bytes(made)
    with pytest.raises(PoisonError, match="past"):
        decode_batch(made, "host-a")


@pytest.mark.parametrize("kind", ["losses", "shapes", "strings"])
def test_a_batch_of_millions_of_empty_parts_is_refused(kind):
    data = bytes((pb.Batch.DESCRIPTOR.fields_by_name[kind].number << 3 | 2, 0)) * (2 * MIB)
    with pytest.raises(PoisonError, match="parts"):
        weight(pb.Batch.FromString(data), len(data))


def test_what_is_counted_is_no_less_than_what_is_stored(monkeypatch):
    monkeypatch.setattr(module, "UNCOUNTED_SPREAD_BYTES", 0)
    made = batch(50, 1000)
    frame = decode_batch(made, "host-a").frames["statements"]
    assert spread_bytes(made) >= frame["application_name"].str.len_bytes().sum()


def row_groups(folder, size):
    frame = decode_batch(batch(1000, size, "shape"), "host-a").frames["statements"]
    file = folder / f"{size}.parquet"
    assert write_segment(folder, file, "statements", frame).rows == 1000
    sql = "SELECT count(DISTINCT row_group_id) FROM parquet_metadata(?)"
    return duckdb.execute(sql, [str(file)]).fetchall()[0][0]


def test_a_text_that_rows_share_is_written_in_parts_that_memory_holds(tmp_path):
    """A group is laid out in memory with all of its texts: these would take a gigabyte."""
    assert row_groups(tmp_path, 100) == 1
    assert row_groups(tmp_path, MIB) >= 1000 * MIB // GROUP_TEXT_BYTES
