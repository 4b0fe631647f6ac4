"""Completions and errors are read from protocol bytes, however they are cut into writes."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.probes.layout import SEND_BUFFER_BYTES
from agent.sources.responses import (
    Reading,
    ResponseReader,
    Write,
    completion,
    error_report,
    last_completion,
)
from model.event import Completion, ErrorReport

BUFFER_BYTES = 64
CARRY_BYTES = 48


def message(tag: bytes, body: bytes) -> bytes:
    return tag + struct.pack(">I", len(body) + 4) + body


def complete(tag: str) -> bytes:
    return message(b"C", tag.encode() + b"\0")


def row(value: bytes) -> bytes:
    return message(b"D", struct.pack(">HI", 1, len(value)) + value)


def error(sqlstate: str, text: str) -> bytes:
    fields = ["SERROR", "VERROR", f"C{sqlstate}", f"M{text}", "Fx.c", "L1", "Rf"]
    return message(b"E", b"\0".join(field.encode() for field in fields) + b"\0\0")


def ready(status: str = "I") -> bytes:
    return message(b"Z", status.encode())


def whole(data: bytes, *, index: int = 0, aligned: bool = True) -> Write:
    return Write(data, b"", b"", 0, index, aligned, data[-6:-1] == ready()[:-1])


def read_all(writes: list[Write]) -> Reading:
    reader, total = ResponseReader(), Reading()
    for write in writes:
        reading = reader.read(write)
        total.completions += reading.completions
        total.error = reading.error or total.error
        total.endings += reading.endings
    return total


STREAM = (
    message(b"T", b"\0\1a\0" + bytes(18))
    + row(b"one")
    + complete("SELECT 1")
    + complete("INSERT 0 5")
    + row(b"C\0\0\0\x0dSELECT 9\0")
    + complete("SELECT 1")
    + error("22012", "division by zero")
    + ready("E")
)
EXPECTED = [Completion("SELECT", 1), Completion("INSERT", 5), Completion("SELECT", 1)]


def test_a_whole_response_is_read_in_order():
    reading = read_all([whole(STREAM)])
    assert reading.completions == EXPECTED
    assert reading.error == ErrorReport("ERROR", "22012", "division by zero")


@pytest.mark.parametrize("at", range(1, len(STREAM)))
def test_a_response_cut_anywhere_reads_the_same(at):
    reading = read_all([whole(STREAM[:at]), whole(STREAM[at:], index=1, aligned=False)])
    assert reading.completions == EXPECTED
    assert reading.error == ErrorReport("ERROR", "22012", "division by zero")


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=9, unique=True))
def test_a_response_cut_into_many_writes_reads_the_same(cuts):
    edges = [0, *sorted(cuts), len(STREAM)]
    parts = [STREAM[a:b] for a, b in pairwise(edges)]
    writes = [whole(part, index=n, aligned=n == 0) for n, part in enumerate(parts)]
    reading = read_all(writes)
    assert reading.completions == EXPECTED
    assert reading.endings == len(EXPECTED)


@pytest.mark.parametrize("before", range(BUFFER_BYTES))
def test_the_last_completion_is_found_when_only_the_end_was_copied(before):
    """Rows fill the buffer; the writes in front are not copied but for their last bytes."""
    stream = row(b"x" * (BUFFER_BYTES * 3 + before)) + complete("SELECT 1") + ready()
    full = len(stream) // BUFFER_BYTES * BUFFER_BYTES
    last, carry = stream[full:], stream[full - CARRY_BYTES : full]
    if not last:
        last, carry = stream[-BUFFER_BYTES:], stream[-BUFFER_BYTES - CARRY_BYTES : -BUFFER_BYTES]
    reading = read_all([Write(last, b"", carry, 0, 3, False, True)])
    assert reading.completions == [Completion("SELECT", 1)]


@pytest.mark.parametrize("end", [b"C", b"C\0", b"C\0\0", b"C\0\0\0", b"C\0\0\0\r"])
def test_an_answer_that_ends_where_a_completion_would_begin_has_none(end):
    assert last_completion(b"SELECT 1" + end) is None
    assert last_completion(end) is None


def test_a_write_of_which_the_middle_is_missing_keeps_both_ends():
    stream = complete("SET") + row(b"y" * 500) + complete("SELECT 1") + ready()
    write = Write(stream[:100], stream[-60:], b"", len(stream) - 160, 0, True, True)
    assert read_all([write]).completions == [Completion("SET", -1), Completion("SELECT", 1)]


def test_a_row_that_imitates_a_completion_is_not_one():
    forged = complete("DROP TABLE")
    assert read_all([whole(row(forged) + complete("SELECT 1") + ready())]).completions == [
        Completion("SELECT", 1)
    ]
    unaligned = Write(row(forged) + complete("SELECT 1") + ready(), b"", b"", 0, 5, False, True)
    assert read_all([unaligned]).completions == [Completion("SELECT", 1)]


@pytest.mark.parametrize("forged", [complete("DROP TABLE"), error("42501", "permission denied")])
def test_a_row_that_ends_a_full_buffer_is_no_message(forged):
    """The writes before it were not copied, so nobody knows where a message begins."""
    full = row(b"x" * SEND_BUFFER_BYTES + forged)[-SEND_BUFFER_BYTES:]
    reading = read_all([Write(full, b"", b"", 0, 5, False, False)])
    assert (reading.completions, reading.error, reading.endings) == ([], None, 0)
    part = Write(full[:1024], full[-512:], b"", len(full) - 1536, 5, False, False)
    assert read_all([part]).completions == []


def test_a_long_error_is_read_from_what_there_is():
    data = error("22P02", "z" * 60_000)
    first = read_all([Write(data[:8192], b"", b"", 0, 0, True, False)])
    assert first.error is not None
    assert first.error.sqlstate == "22P02"
    reader = ResponseReader()
    reader.read(Write(data[:8192], b"", b"", 0, 0, True, False))
    for index, at in enumerate(range(8192, len(data), 8192), start=1):
        reading = reader.read(whole(data[at : at + 8192], index=index, aligned=False))
        assert reading.error is None
        assert reading.completions == []


@given(st.binary(max_size=300), st.booleans(), st.booleans())
def test_damaged_bytes_never_raise(data, aligned, is_ready):
    reader = ResponseReader()
    for index in range(3):
        reader.read(Write(data, data[:9], data[3:], index, index, aligned, is_ready))


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        (b"INSERT 0 5", Completion("INSERT", 5)),
        (b"SELECT 12", Completion("SELECT", 12)),
        (b"CREATE TABLE", Completion("CREATE TABLE", -1)),
        (b"CREATE TABLE AS", Completion("CREATE TABLE AS", -1)),
        (b"BEGIN", Completion("BEGIN", -1)),
        (b"", Completion("", -1)),
        (b"\xff\xfe", Completion("\ufffd\ufffd", -1)),
    ],
)
def test_a_tag_is_split_into_command_and_count(tag, expected):
    assert completion(tag) == expected


def test_an_error_without_its_fields_is_no_error_report():
    assert error_report(b"SERROR\0") is None
    assert error_report(b"") is None
