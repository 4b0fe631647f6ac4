"""What older agents send, and what an older collector stored, is read with the columns of today."""

from dataclasses import replace
from pathlib import Path

import pytest

from collector import schema
from collector.columns import PoisonError
from collector.intake import decode_batch
from collector.ledger import Ledger
from collector.merge import FEWEST, merge_small_segments
from collector.segment_file import write_segment
from collector.segments import FOLDER
from collector.store import Store, frame_of, open_views
from protos.pgwarden.v1 import uplink_pb2 as pb
from tests.collector.road import SESSION, statements


def old_batch(first, rows=3):
    batch = pb.Batch.FromString(statements(first, rows).body)
    batch.statements.ClearField("trace_parent_s")
    return batch


def old_segments(data_dir, count):
    """As version 1 wrote them."""
    (data_dir / FOLDER / "statements").mkdir(parents=True, exist_ok=True)
    ledger = Ledger(data_dir)
    for number in range(1, count + 1):
        frame = decode_batch(old_batch(number * 100), "a").frames["statements"]
        path = Path(FOLDER) / "statements" / f"{ledger.seq + 1:012d}.parquet"
        file = write_segment(data_dir, path, "statements", frame.drop("trace_parent"))
        ledger.append(1, (replace(file, schema=1),))
    ledger.close()


def test_a_batch_without_the_columns_of_today_is_taken_with_empty_ones():
    frame = decode_batch(old_batch(1), "a").frames["statements"]
    assert frame["trace_parent"].to_list() == ["", "", ""]
    assert frame.columns == list(schema.STATEMENTS.dtypes)


def test_how_sure_an_identity_is_reads_as_it_was_said_and_as_unknown_from_an_older_agent():
    batch = old_batch(1)
    frame = decode_batch(batch, "a").frames["statements"]
    assert frame["identity_confidence"].to_list() == [0.9, 0.9, 0.9]
    assert frame["identity_evidence"].to_list() == ["login", "login", "login"]
    batch.statements.ClearField("confidence")
    batch.statements.ClearField("evidence_s")
    frame = decode_batch(batch, "a").frames["statements"]
    assert frame["identity_confidence"].to_list() == [None, None, None]
    assert frame["identity_evidence"].to_list() == ["", "", ""]


def test_a_column_that_only_some_rows_have_is_still_refused():
    batch = old_batch(1)
    batch.statements.trace_parent_s.append(0)
    with pytest.raises(PoisonError, match="different lengths"):
        decode_batch(batch, "a")
    batch = old_batch(1)
    batch.statements.ClearField("rule_s")
    with pytest.raises(PoisonError, match="different lengths"):
        decode_batch(batch, "a")


@pytest.mark.parametrize("newer", [0, 2])
def test_old_segments_read_as_null_alone_and_beside_new_ones(tmp_path, newer):
    old_segments(tmp_path, 2)
    with_new = Store(tmp_path, commit_seconds=0.01)
    with_new.start()
    for number in range(newer):
        with_new.append("statements", [{"id": number, "trace_parent": "t", "started_at": 10**15}])
        assert with_new.segments.flush()
    with_new.close()
    with open_views(tmp_path) as views:
        found = views.execute(
            "SELECT trace_parent, count(*) FROM statements GROUP BY ALL ORDER BY ALL NULLS LAST"
        ).fetchall()
    assert found == ([("t", newer)] if newer else []) + [(None, 6)]


def test_old_segments_are_merged_with_the_columns_of_today(tmp_path):
    old_segments(tmp_path, FEWEST)
    store = Store(tmp_path, commit_seconds=0.01)
    assert len(merge_small_segments(tmp_path, store.ledger, "statements", store.damage)) == FEWEST
    store.close()
    with open_views(tmp_path) as views:
        (row,) = views.execute("SELECT count(*), count(trace_parent) FROM statements").fetchall()
    assert row == (FEWEST * 3, 0)


def test_the_last_row_of_a_session_counts_across_old_and_new_segments(tmp_path):
    key = {"agent": "a", "pid": SESSION.key.pid, "backend_started_at": SESSION.key.started_at_us}
    old = frame_of("sessions", [{**key, "seen_at": 10**15, "user_name": "x"}]).drop("origin")
    (tmp_path / FOLDER / "sessions").mkdir(parents=True)
    ledger = Ledger(tmp_path)
    path = Path(FOLDER) / "sessions" / f"{ledger.seq + 1:012d}.parquet"
    ledger.append(1, (replace(write_segment(tmp_path, path, "sessions", old), schema=1),))
    ledger.close()
    with open_views(tmp_path) as views:
        assert views.execute("SELECT user_name, origin FROM sessions").fetchall() == [("x", None)]
    store = Store(tmp_path, commit_seconds=0.01)
    store.start()
    store.append("sessions", [{**key, "seen_at": 10**15 + 1, "origin": "process pid 7"}])
    assert store.segments.flush()
    store.close()
    with open_views(tmp_path) as views:
        assert views.execute("SELECT origin FROM sessions").fetchall() == [("process pid 7",)]
