"""What drivers do not send, and what rows look like that imitate the protocol."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from agent.probes.loader import open_loader
from agent.sources.ebpf import EbpfSource
from tests.conformance.clients.wire import Wire
from tests.kernel.capture import Capture, completions, starts

pytestmark = [pytest.mark.kernel, pytest.mark.live]


@pytest.fixture(
    scope="module", params=[("libbpf", False), ("libbpf", True), ("bcc", False)], ids=str
)
def capture(request, compiled_probes, cluster, postgres) -> Iterator[Capture]:
    """Statements inside others have a part in it where they are told."""
    loader, nested = request.param
    with EbpfSource(loader=open_loader(loader), nested=nested) as source:
        source.add(cluster)
        yield Capture(source, postgres)


@pytest.fixture
def wire(postgres) -> Iterator[Wire]:
    place = SimpleNamespace(
        transport="tcp", host="127.0.0.1", port=postgres.port, application_name="by hand"
    )
    with Wire(place, user="postgres", database="postgres") as opened:
        yield opened


def told(capture: Capture, wire: Wire) -> tuple[list[tuple[int, bytes]], list[tuple[str, int]]]:
    """Depth and text of each start of one round trip, and how each ended."""
    capture.forget()
    wire.send().until(b"Z")
    events = capture.round_trips(wire.process_id, 1)
    return [(start.depth, start.text) for start in starts(events)], completions(events)


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
