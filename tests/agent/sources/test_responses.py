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


def whole(data: bytes, *, index: int = 0, begins: int = 0, failed: bool = False) -> Write:
    return Write(data, b"", b"", 0, index, begins, data[-6:-1] == ready()[:-1], failed)


def cut(stream: bytes, edges: list[int]) -> list[Write]:
    """As the kernel tells them, which follows the messages."""
    starts, errors, at = [], [], 0
    while at < len(stream):
        starts.append(at)
        length = 1 + struct.unpack_from(">I", stream, at + 1)[0]
        errors += [at + length] * (stream[at : at + 1] == b"E")
        at += length
    return [
        whole(
            stream[a:b],
            index=index,
            begins=min([each for each in starts if each >= a] + [b]) - a,
            failed=any(a < end <= b for end in errors),
        )
        for index, (a, b) in enumerate(pairwise(edges))
    ]


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
    assert reading.error == ErrorReport("ERROR", "22012", "division by zero", "f")


@pytest.mark.parametrize("at", range(1, len(STREAM)))
def test_a_response_cut_anywhere_reads_the_same(at):
    reading = read_all(cut(STREAM, [0, at, len(STREAM)]))
    assert reading.completions == EXPECTED
    assert reading.error == ErrorReport("ERROR", "22012", "division by zero", "f")


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=9, unique=True))
def test_a_response_cut_into_many_writes_reads_the_same(cuts):
    edges = [0, *sorted(cuts), len(STREAM)]
    reading = read_all(cut(STREAM, edges))
    assert reading.completions == EXPECTED
    assert reading.endings == len(EXPECTED)


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=9, unique=True))
def test_writes_in_which_nothing_ends_are_not_needed(cuts):
    """Not sent is what holds no part of a CommandComplete or an ErrorResponse."""
    edges = [0, *sorted(cuts), len(STREAM)]
    kept = [
        write
        for write, (a, b) in zip(cut(STREAM, edges), pairwise(edges), strict=True)
        if any(a < end and start < b for start, end in telling(STREAM))
    ]
    assert read_all(kept).completions == EXPECTED


def telling(stream: bytes) -> list[tuple[int, int]]:
    found, at = [], 0
    while at < len(stream):
        end = at + 1 + struct.unpack_from(">I", stream, at + 1)[0]
        if stream[at : at + 1] in (b"C", b"s", b"E"):
            found.append((at, end))
        at = end
    return found


@pytest.mark.parametrize("before", range(BUFFER_BYTES))
def test_the_last_completion_is_found_when_only_the_end_was_copied(before):
    """Rows fill the buffer; the writes in front are not copied but for their last bytes."""
    stream = row(b"x" * (BUFFER_BYTES * 3 + before)) + complete("SELECT 1") + ready()
    full = len(stream) // BUFFER_BYTES * BUFFER_BYTES
    last, carry = stream[full:], stream[full - CARRY_BYTES : full]
    if not last:
        last, carry = stream[-BUFFER_BYTES:], stream[-BUFFER_BYTES - CARRY_BYTES : -BUFFER_BYTES]
    reading = read_all([Write(last, b"", carry, 0, 3, -1, True)])
    assert reading.completions == [Completion("SELECT", 1)]


@pytest.mark.parametrize("end", [b"C", b"C\0", b"C\0\0", b"C\0\0\0", b"C\0\0\0\r"])
def test_an_answer_that_ends_where_a_completion_would_begin_has_none(end):
    assert last_completion(b"SELECT 1" + end) is None
    assert last_completion(end) is None


LATE = [
    message(b"S", b"application_name\0psql\0"),
    message(b"S", b"search_path\0" + b"s" * 800 + b"\0"),
    message(b"A", b"\0\0\1\2S\0\0"),  # of channel S, without a payload
    message(b"3", b""),
    message(b"n", b""),
]


@given(st.lists(st.sampled_from(LATE), max_size=5))
@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (complete("SET"), Completion("SET", -1)),
        (complete("SELECT 3"), Completion("SELECT", 3)),
        (message(b"s", b""), Completion("", -1)),
    ],
)
def test_what_the_server_tells_behind_a_completion_hides_it_from_nobody(end, expected, late):
    """Since 14 a new value of a setting comes right before ReadyForQuery."""
    data = row(b"x")[3:] + end + b"".join(late) + ready()
    assert read_all([whole(data, begins=-1)]).completions == [expected]


@pytest.mark.parametrize("late", LATE)
def test_what_comes_behind_an_error_has_no_completion(late):
    assert read_all([whole(late + ready("I"), begins=-1)]) == Reading()


def test_a_write_of_which_the_middle_is_missing_keeps_both_ends():
    stream = complete("SET") + row(b"y" * 500) + complete("SELECT 1") + ready()
    write = Write(stream[:100], stream[-60:], b"", len(stream) - 160, 0, 0, True)
    assert read_all([write]).completions == [Completion("SET", -1), Completion("SELECT", 1)]


def test_a_row_that_imitates_a_completion_is_not_one():
    forged = complete("DROP TABLE")
    assert read_all([whole(row(forged) + complete("SELECT 1") + ready())]).completions == [
        Completion("SELECT", 1)
    ]
    unaligned = Write(row(forged) + complete("SELECT 1") + ready(), b"", b"", 0, 5, -1, True)
    assert read_all([unaligned]).completions == [Completion("SELECT", 1)]


@pytest.mark.parametrize("forged", [complete("DROP TABLE"), error("42501", "permission denied")])
def test_a_row_that_ends_a_full_buffer_is_no_message(forged):
    """The writes before it were not copied, so nobody knows where a message begins."""
    full = row(b"x" * SEND_BUFFER_BYTES + forged)[-SEND_BUFFER_BYTES:]
    reading = read_all([Write(full, b"", b"", 0, 5, -1, False)])
    assert (reading.completions, reading.error, reading.endings) == ([], None, 0)
    part = Write(full[:1024], full[-512:], b"", len(full) - 1536, 5, -1, False)
    assert read_all([part]).completions == []


def test_a_long_error_is_read_from_what_there_is():
    """Its text is told with its last write."""
    data = error("22P02", "z" * 60_000)
    reader = ResponseReader()
    *parts, last = cut(data, [*range(0, len(data), 8192), len(data)])
    for part in parts:
        assert reader.read(part) == Reading()
    assert reader.read(last).error.sqlstate == "22P02"


def test_an_error_of_which_a_part_was_not_copied_is_read_from_what_there_is():
    """Since 17 a long one is written by itself, behind a full buffer with its beginning."""
    data = error("22P02", "z" * 9_000)
    reader = ResponseReader()
    assert reader.read(whole(row(b"x") + data[:50], index=3)) == Reading()
    rest = len(data) - 50
    whole_rest = Write(data[50 : 50 + 8192], b"", b"", rest - 8192, 4, rest, False, True)
    assert reader.read(whole_rest).error.sqlstate == "22P02"


@given(st.binary(max_size=300), st.integers(-1, 400), st.booleans())
def test_damaged_bytes_never_raise(data, begins, is_ready):
    reader = ResponseReader()
    for index in range(3):
        reader.read(Write(data, data[:9], data[3:], index, index, begins, is_ready, is_ready))


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


def test_an_end_that_is_cut_is_none():
    body = complete("SELECT 1")
    assert last_completion(body) == Completion("SELECT", 1)
    assert [last_completion(body[:end]) for end in range(len(body))] == [None] * len(body)


def test_an_error_without_its_fields_is_no_error_report():
    assert error_report(b"SERROR\0") is None
    assert error_report(b"") is None


@pytest.mark.parametrize("routine", ["exec_stmt_raise", "exec_stmt_assert"])
def test_what_application_code_says_in_the_servers_words_is_not_taken_for_them(routine):
    fields = f'VERROR\0C42704\0Mrole "secret" does not exist\0R{routine}\0\0'.encode()
    assert error_report(fields) == ErrorReport("ERROR", "42704", "(message withheld)", routine)
