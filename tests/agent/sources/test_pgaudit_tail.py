"""What rotation, truncation, unlinking and restarts do to a followed log."""

import json
import os
import re
import shutil
import threading
import time

import pytest

from agent.sources.pgaudit.source import LogFormat, PgauditSource
from tests.agent.sources.test_pgaudit_formats import audit_message, json_record

NUMBER = re.compile(r"select (\d+)")


def record(number, text=b"select %d"):
    """A log line as the server writes it: with a time of its own, so no two heads are equal."""
    line = json.loads(json_record(audit_message(text % number, number)))
    line["timestamp"] = f"2026-11-23 13:14:{number // 1000 % 60:02}.{number % 1000:03} UTC"
    return json.dumps(line).encode() + b"\n"


@pytest.fixture
def log(tmp_path):
    folder = tmp_path / "log"
    folder.mkdir()
    return folder / "pg.json"


@pytest.fixture
def follow(log, tmp_path):
    opened = []

    def start(**more):
        source = PgauditSource(
            "main", log.parent, "pg.json*", LogFormat.JSONLOG, tmp_path / "state.json", **more
        )
        opened.append(source)
        return source

    yield start
    for source in opened:
        source.close()


def append(path, *records):
    with path.open("ab") as file:
        file.write(b"".join(records))


def numbers(events):
    return [int(NUMBER.match(event.text)[1]) for event in events]


def settle(source, seconds=0.3):
    """All that comes until nothing has come for a while."""
    events = []
    while new := source.poll(seconds):
        events += new
    return events


def look(source):
    """A look at the folder now, as a notification would cause it."""
    source._hint.set()
    return source.poll(0)


def test_the_first_start_begins_at_the_end(log, follow):
    append(log, record(1))
    source = follow()
    append(log, record(2))
    assert numbers(source.poll(1)) == [2]


def test_the_first_start_may_begin_at_the_beginning(log, follow):
    append(log, record(1))
    assert numbers(follow(from_beginning=True).poll(1)) == [1]


def test_the_numbers_of_a_server_in_a_container_are_marked_as_its_own(log, follow):
    own, hosts = follow(from_beginning=True, own_pids=True), follow(from_beginning=True)
    append(log, record(1))
    assert [event.own_pids for source in (own, hosts) for event in source.poll(1)] == [True, False]


def test_a_half_line_is_one_event_when_it_is_finished(log, follow):
    source = follow()
    append(log, record(1)[:50])
    assert source.poll(0.2) == []
    append(log, record(1)[50:])
    assert numbers(source.poll(1)) == [1]


def test_a_restart_goes_on_after_what_was_confirmed(log, follow):
    source = follow()
    append(log, record(1), record(2), record(3)[:60])
    assert numbers(settle(source)) == [1, 2]
    source.confirm(source.position())
    append(log, record(3)[60:], record(4))
    assert numbers(settle(source)) == [3, 4]  # given out, never confirmed
    source.close()
    assert numbers(settle(follow())) == [3, 4]


def test_a_restart_reads_what_was_rotated_and_created_meanwhile(log, follow):
    source = follow()
    append(log, record(1))
    settle(source)
    source.confirm(source.position())
    source.close()
    append(log, record(2))
    log.rename(log.with_name("pg.json.2"))
    append(log, record(3))
    log.rename(log.with_name("pg.json.1"))
    append(log, record(4))
    assert numbers(settle(follow())) == [2, 3, 4]


def test_two_hundred_rotations_under_a_writer_lose_and_repeat_nothing(log, follow):
    source = follow()
    total, rotations = 20_000, 200

    def write():
        for part in range(rotations):
            with log.open("ab", buffering=0) as file:
                for number in range(part * 100, part * 100 + 100):
                    file.write(record(number))
                log.rename(log.with_name(f"pg.json.{rotations - part}"))
                file.write(record(total + part))  # the writer has not noticed the rename

    writer = threading.Thread(target=write)
    writer.start()
    events = []
    while writer.is_alive():
        events += source.poll(0.01)
    events += settle(source, 1.5)
    got = numbers(events)
    assert sorted(got) == list(range(total + rotations))
    assert source.losses() == []


def test_a_truncated_log_is_counted_and_not_read_again(log, follow):
    source = follow()
    append(log, record(1), record(2))
    assert numbers(settle(source)) == [1, 2]
    os.truncate(log, 0)
    append(log, record(3))
    assert numbers(settle(source)) == [3]
    assert [(lost.reason, lost.count) for lost in source.losses()] == [("log_truncated", 1)]


def test_a_log_truncated_and_filled_beyond_its_former_size_is_noticed(log, follow):
    source = follow()
    append(log, record(1))
    settle(source)
    os.truncate(log, 0)
    append(log, *[record(n) for n in range(10, 20)])
    assert numbers(settle(source)) == list(range(10, 20))
    assert [lost.reason for lost in source.losses()] == ["log_truncated"]


@pytest.mark.parametrize("seen_before_the_cut", [True, False])
def test_the_copy_of_copytruncate_gives_only_what_was_not_read(log, follow, seen_before_the_cut):
    source = follow()
    append(log, record(1), record(2))
    assert numbers(settle(source)) == [1, 2]
    append(log, record(3))
    shutil.copy(log, log.with_name("pg.json.1"))
    if seen_before_the_cut:
        assert numbers(look(source)) == [3]
    os.truncate(log, 0)
    append(log, record(4))
    assert sorted(numbers(settle(source, 1.5))) == ([4] if seen_before_the_cut else [3, 4])
    assert [lost.reason for lost in source.losses()] == ["log_truncated"]


def test_copytruncate_while_away_is_read_once(log, follow):
    source = follow()
    append(log, record(1), record(2))
    settle(source)
    source.confirm(source.position())
    source.close()
    append(log, record(3))
    shutil.copy(log, log.with_name("pg.json.1"))
    os.truncate(log, 0)
    append(log, record(4))
    assert sorted(numbers(settle(follow(), 1.2))) == [3, 4]


def test_an_unlinked_log_is_read_to_its_end(log, follow):
    source = follow()
    with log.open("ab", buffering=0) as writer:
        writer.write(record(1))
        settle(source)
        log.unlink()
        writer.write(record(2))
        assert numbers(look(source) + settle(source)) == [2]


def test_a_reused_inode_is_another_file(log, follow):
    source = follow()
    append(log, record(1))
    settle(source)
    inode = log.stat().st_ino
    source.confirm(source.position())
    source.close()
    for number in range(100):
        log.unlink()
        append(log, record(number + 500), record(number + 600))
        if log.stat().st_ino == inode:
            break
    else:
        pytest.skip("this file system does not reuse inodes at once")
    assert numbers(settle(follow())) == [number + 500, number + 600]


def test_a_log_with_the_inode_and_the_size_of_one_that_was_removed_is_read(log, follow):
    """Of more files than are kept open, so that nothing holds the inode of the oldest."""
    source = follow()
    oldest = log.with_name("pg.json.100")
    for number in range(100, 130):
        append(log.with_name(f"pg.json.{number}"), record(number))
    assert len(settle(source, 1.5)) == 30
    inode = oldest.stat().st_ino
    oldest.unlink()
    append(log, record(500))
    if log.stat().st_ino != inode:
        pytest.skip("this file system does not reuse inodes at once")
    assert numbers(settle(source, 1.5)) == [500]
    assert source.losses() == []


def test_compressed_logs_are_left_alone(log, follow):
    source = follow()
    append(log.with_name("pg.json.2.gz"), record(1))
    append(log, record(2))
    assert numbers(settle(source)) == [2]


def test_a_missing_folder_is_a_sentence_and_is_found_later(log, follow):
    log.parent.rmdir()
    source = follow()
    assert "does not exist" in source.problem
    assert "log_directory" in source.problem
    log.parent.mkdir()
    append(log, record(1))
    assert numbers(source.poll(3)) == [1]
    assert source.problem == ""


def test_a_folder_that_is_no_folder_is_a_sentence(log, follow):
    log.parent.rmdir()
    log.parent.write_text("")
    assert "cannot read log folder" in follow().problem


def test_a_damaged_state_file_is_counted_and_reading_begins_at_the_end(log, follow, tmp_path):
    for damage in (b"{", b"[]", b'{"version": 1, "files": [{"device": 1}]}', b'{"version": 9}'):
        (tmp_path / "state.json").write_bytes(damage)
        append(log, record(1))
        source = follow()
        assert [lost.reason for lost in source.losses()] == ["state_file_damaged"]
        assert source.poll(0) == []


def test_damaged_records_are_counted_by_reason(log, follow):
    source = follow()
    append(log, b'{"message":"AUDIT: SESS\n', json_record(b"AUDIT: nonsense"), record(1))
    assert numbers(settle(source)) == [1]
    lost = {lost.reason: lost.count for lost in source.losses()}
    assert lost == {"damaged_audit": 1, "damaged_record": 1}
    assert source.losses() == []


def test_a_line_of_ten_megabytes_keeps_memory_and_the_next_line(log, follow):
    source = follow()
    append(log, record(1, b"select %d" + b"x" * 10_000_000), record(2))
    events = settle(source)
    assert numbers(events) == [1, 2]
    assert len(events[0].text) < (1 << 20)
    assert [lost.reason for lost in source.losses()] == ["record_cut"]


def test_an_idle_poll_waits_and_a_write_ends_the_wait(log, follow):
    source = follow()
    append(log, record(0))
    settle(source)
    timer = threading.Timer(0.3, append, (log, record(1)))
    timer.start()
    began = time.monotonic()
    assert numbers(source.poll(5)) == [1]
    assert time.monotonic() - began < 2
