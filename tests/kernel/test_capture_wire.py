"""What drivers do not send, and rows that imitate the end of an answer."""

import struct
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from agent.discovery import cluster_at
from agent.probes.layout import SEND_BUFFER_BYTES, TEXT_HUGE
from agent.probes.loader import open_loader
from agent.sessions import SessionTracker
from agent.sources.ebpf import EbpfSource
from model.event import Protocol
from model.statement import Statement
from tests.conformance.clients.wire import Wire
from tests.conformance.servers import DEBIAN_MAJOR, Server, fetch
from tests.kernel.capture import Capture, completions, responses, starts
from tests.kernel.long_answers import SCENES, Scene, straddling
from tests.kernel.long_answers import SCHEMA as LATE
from tests.kernel.majors import MAJORS

pytestmark = [pytest.mark.kernel, pytest.mark.live]

ROW_HEAD_BYTES = 11
"""DataRow with one value: tag, length, columns, length of the value."""
READY = b"Z\0\0\0\5I"
FORGED_END = b"C\0\0\0\x0dSELECT 1\0" + READY
ROWS = 100
SCHEMA = """
create function big(int) returns text language sql as $$select repeat('b', $1)$$;
create function same(bytea, int) returns bytea language sql
    as $$select $1 || convert_to(repeat('b', $2), 'UTF8')$$;
"""


@pytest.fixture(scope="module", params=MAJORS)
def server(request) -> Iterator[Server]:
    if request.param != DEBIAN_MAJOR:
        fetch()
    with Server(major=request.param, settings={"wal_level": "logical"}) as running:
        running.psql(SCHEMA + LATE)
        yield running


@pytest.fixture(
    scope="module", params=[("libbpf", False), ("libbpf", True), ("bcc", False)], ids=str
)
def capture(request, compiled_probes, server) -> Iterator[Capture]:
    """Statements inside others have a part in it where they are told."""
    loader, nested = request.param
    with EbpfSource(loader=open_loader(loader), nested=nested) as source:
        source.add(cluster_at(server.postmaster_pid))
        yield Capture(source, server)


@pytest.fixture
def connect(server):
    place = SimpleNamespace(
        transport="tcp", host="127.0.0.1", port=server.port, application_name="by hand"
    )
    return lambda **startup: Wire(place, user="postgres", database="postgres", **startup)


@pytest.fixture
def wire(connect) -> Iterator[Wire]:
    with connect() as opened:
        yield opened


def ask(capture: Capture, wire: Wire) -> list:
    """What is told of one round trip: all its bytes, and only one end."""
    capture.forget()
    wire.heard()
    wire.send().until(b"Z")
    (trip,) = wire.heard()
    events = capture.round_trips(wire.process_id, 1)
    assert sum(event.bytes_sent for event in responses(events)) == trip.bytes
    assert sum(event.ready for event in responses(events)) == 1
    return events


def told(capture: Capture, wire: Wire) -> tuple[list[tuple[int, bytes]], list[tuple[str, int]]]:
    """Depth and text of each start, and how each ended."""
    events = ask(capture, wire)
    return [(start.depth, start.text) for start in starts(events)], completions(events)


def record(capture: Capture, wire: Wire) -> tuple[list[Statement], dict[str, int]]:
    """What one round trip leaves on record, and what was left out of it."""
    tracker = SessionTracker(1, merge_window_us=0)
    told = [each for event in ask(capture, wire) for each in tracker.observe(event)]
    outer = [each for each in told if isinstance(each, Statement) and not each.parent_id]
    return sorted(outer, key=lambda one: one.id), tracker.losses()


def play(capture: Capture, wire: Wire, scene: Scene) -> None:
    scene.ask(wire)
    statements, lost = record(capture, wire)
    assert [(one.tag, one.rows, one.sqlstate) for one in statements] == scene.ended
    assert lost == {}


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_each_statement_of_a_long_round_trip_has_its_own_end(capture, wire, scene):
    play(capture, wire, scene)


def test_an_end_that_a_buffers_end_cuts_is_read(capture, wire):
    for scene in straddling(around=40):
        play(capture, wire, scene)


def test_a_call_behind_long_answers_takes_the_end_of_none(capture, wire):
    number = oid_of(wire, "big")
    for length in (10, 9_000, 100_000):
        text = "SELECT i FROM generate_series(1, 100000) AS i"
        wire.parse(text).bind().execute().parse(text).bind().execute()
        statements, lost = record(capture, wire.call(number, struct.pack("!I", length)))
        assert [(one.tag, one.rows, one.sqlstate) for one in statements] == [
            ("SELECT", 100_000, "00000"),
            ("SELECT", 100_000, "00000"),
            ("", -1, "00000"),
        ]
        assert lost == {}


def test_a_query_behind_an_execute_without_sync_is_a_statement_of_its_own(capture, wire):
    """It runs deeper in the server's stack than the Execute did."""
    wire.parse("SELECT 'first'").bind().execute().query("CREATE ROLE hidden; DROP ROLE hidden")
    started, ended = told(capture, wire)
    text = b"CREATE ROLE hidden; DROP ROLE hidden"
    assert started == [(0, b"SELECT 'first'"), (0, text), (0, text)]
    assert ended == [("SELECT", 1), ("CREATE ROLE", -1), ("DROP ROLE", -1)]


def test_what_execute_runs_is_inside_it_also_behind_another_execute(capture, wire):
    wire.query("PREPARE inner_one AS SELECT 5").send().until(b"Z")
    wire.parse("SELECT 'first'").bind().execute()
    started, ended = told(capture, wire.query("EXECUTE inner_one"))
    assert started[:2] == [(0, b"SELECT 'first'"), (0, b"EXECUTE inner_one")]
    assert started[2:] == [(1, b"PREPARE inner_one AS SELECT 5")]
    assert ended == [("SELECT", 1), ("SELECT", 1)]


@pytest.mark.parametrize("behind", [0, 1, 30_000])
def test_a_row_that_ends_a_full_buffer_as_an_answer_ends_is_a_row(capture, wire, behind):
    before = len(b"1\0\0\0\4" + b"2\0\0\0\4") + ROW_HEAD_BYTES + len(FORGED_END)
    value = b"p" * (SEND_BUFFER_BYTES - before) + FORGED_END + b"q" * behind
    text = f"SELECT '\\x{value.hex()}'::bytea UNION ALL SELECT repeat('r', 600)::bytea " + (
        f"FROM generate_series(1, {ROWS})"
    )
    assert completions(ask(capture, wire.parse(text).bind(binary=True).execute().sync())) == [
        ("SELECT", ROWS + 1)
    ]
    assert completions(ask(capture, wire.query("SELECT 2"))) == [("SELECT", 1)]


def test_a_long_value_that_ends_as_an_answer_ends_is_a_row(capture, wire):
    """Since 17 what does not fit into the buffer is written by itself."""
    text = f"SELECT repeat('p', 50000)::bytea || '\\x{FORGED_END.hex()}' FROM generate_series(1, 5)"
    assert completions(ask(capture, wire.parse(text).bind(binary=True).execute().sync())) == [
        ("SELECT", 5)
    ]


def test_two_values_can_imitate_the_end_in_text_as_well(capture, wire):
    names = 1 + 4 + 2 + 2 * (len("a\0") + 18)
    fill = SEND_BUFFER_BYTES - names - ROW_HEAD_BYTES - len("\0\0\0\5I")
    text = (
        f"SELECT repeat('x', {fill - 1}) || 'Z' AS a, 'Ixxxx' AS b "
        f"UNION ALL SELECT repeat('r', 600), 's' FROM generate_series(1, {ROWS})"
    )
    assert completions(ask(capture, wire.query(text))) == [("SELECT", ROWS + 1)]


@pytest.mark.parametrize("buffers", [1, 2, 3])
def test_an_answer_that_fills_its_last_buffer_ends_there(capture, wire, buffers):
    around = 1 + 4 + 2 + len("repeat\0") + 18 + ROW_HEAD_BYTES + len(FORGED_END)
    for width in range(-2, 3):
        length = buffers * SEND_BUFFER_BYTES - around + width
        assert completions(ask(capture, wire.query(f"SELECT repeat('z', {length})"))) == [
            ("SELECT", 1)
        ]


def oid_of(wire: Wire, function: str) -> int:
    messages = wire.query(f"SELECT '{function}'::regproc::oid::text").send().until(b"Z")
    return int(next(data[6:] for kind, data in messages if kind == b"D"))


@pytest.mark.parametrize("buffers", [1, 2, 3])
def test_the_result_of_a_call_that_fills_its_last_buffer_ends_there(capture, wire, buffers):
    around = len(b"V") + 4 + 4 + len(READY)
    number = oid_of(wire, "big")
    for width in range(-2, 3):
        length = buffers * SEND_BUFFER_BYTES - around + width
        ask(capture, wire.call(number, struct.pack("!I", length)))
        assert completions(ask(capture, wire.query("SELECT 2"))) == [("SELECT", 1)]


@pytest.mark.parametrize("behind", [0, 1, 30_000])
def test_the_result_of_a_call_cannot_imitate_its_end(capture, wire, behind):
    value = b"p" * (SEND_BUFFER_BYTES - 9 - len(READY)) + READY
    for given in (value, 5 * b"p" * SEND_BUFFER_BYTES + READY):
        ask(capture, wire.call(oid_of(wire, "same"), given, struct.pack("!I", behind)))
        assert completions(ask(capture, wire.query("SELECT 2"))) == [("SELECT", 1)]


def test_a_walsender_ends_its_answers_as_every_backend_does(capture, connect):
    with connect(replication="database") as wire:
        for asked in ("IDENTIFY_SYSTEM", "SELECT 1", "SHOW work_mem", "IDENTIFY_SYSTEM"):
            ask(capture, wire.query(asked))


@pytest.mark.parametrize("length", [10, 2_040, 2_050, 100_000, 2_000_000])
@pytest.mark.parametrize(
    ("asked", "protocol", "sqlstate"),
    [
        ("SELECT 1", Protocol.QUERY, "00000"),
        ("SELECT 1 / (generate_series(1, 2) - 2)", Protocol.QUERY, "22012"),
        ("SELECT nothing()", Protocol.QUERY, "42883"),
        ("IDENTIFY_SYSTEM", Protocol.REPLICATION, "00000"),
        ("DROP_REPLICATION_SLOT none", Protocol.REPLICATION, "42704"),
    ],
)
def test_what_a_walsender_is_asked_for_is_recorded_once_however_long_it_is(
    capture, connect, asked, protocol, sqlstate, length
):
    text = asked + " " * length
    with connect(replication="database") as wire:
        (one,), lost = record(capture, wire.query(text))
    kept = text.encode()[: TEXT_HUGE - 1]
    assert (one.text, one.text_bytes, one.protocol) == (kept, len(text), protocol)
    assert one.sqlstate == sqlstate
    assert lost == {}


def test_an_empty_query_of_a_walsender_is_no_statement_as_elsewhere(capture, connect):
    for replication in ({}, {"replication": "database"}):
        with connect(**replication) as wire:
            for text in ("", "-- nothing", " ; ", "/* " + 3_000 * "x" + " */"):
                assert record(capture, wire.query(text)) == ([], {})
            (one,), lost = record(capture, wire.query("SELECT 1/0"))
            assert (one.protocol, one.sqlstate, lost) == (Protocol.QUERY, "22012", {})


STREAM = 'CREATE_REPLICATION_SLOT "forging" TEMPORARY LOGICAL test_decoding'
FORGED_ERROR = b"E\0\0\0\x29SERROR\0VERROR\0C22012\0Mforged message\0\0"


@pytest.fixture
def stream(connect):
    """A walsender in the middle of a stream."""
    with connect(replication="database") as wire:
        wire.query(STREAM).send().until(b"Z")
        wire.query('START_REPLICATION SLOT "forging" LOGICAL 0/0').send().until(b"W")
        yield wire


def emit(server, fill: int, content: bytes):
    """Into the stream, as the end of a CopyData."""
    value = f"convert_to(repeat('x', {fill}), 'UTF8') || '\\x{content.hex()}'"
    server.psql(f"SELECT pg_logical_emit_message(false, 'p', {value})")


def test_what_is_streamed_cannot_imitate_its_end(capture, server, stream):
    capture.forget()
    for imitation in (READY, FORGED_END, FORGED_ERROR):
        for before in (0, 10_000):
            emit(server, before, imitation)
            while imitation not in stream.until(b"d")[-1][1]:
                pass
    capture.events += capture.source.poll(200)
    assert responses(capture.of(stream.process_id)) == []
    stream.add(b"c").send().until(b"Z")
    events = capture.round_trips(stream.process_id, 1)
    (stopped, *told_twice) = completions(events)
    assert stopped == ("COPY", 0)
    assert told_twice in ([], [("SELECT", -1)], [("START_REPLICATION", -1)])
    assert [each.error for each in responses(events)] == [None]


def test_a_slice_of_a_portal_that_has_given_rows_before_says_so(capture, wire):
    """Which one it continues no text tells: the same one may be bound anew meanwhile."""
    series = "SELECT generate_series(1, 5)"
    wire.query("BEGIN").send().until(b"Z")
    slices = []
    for portal, new in (("a", 1), ("a", 0), ("b", 1), ("a", 0), ("b", 0), ("b", 0), ("a", 0)):
        if new:
            wire.parse(series).bind(portal=portal)
        (start,) = starts(ask(capture, wire.execute(2, portal).sync()))
        slices.append((portal, start.continued))
    wire.parse(series).bind(portal="one").bind(portal="other")
    together = starts(
        ask(capture, wire.execute(3, "one").execute(3, "other").execute(3, "one").sync())
    )
    wire.query("COMMIT").send().until(b"Z")
    assert slices == [
        ("a", False), ("a", True), ("b", False), ("a", True), ("b", True), ("b", True), ("a", True)
    ]  # fmt: skip
    assert [start.continued for start in together] == [False, False, True]
