"""Since Linux 6.15 a ring's lock may be given up where the ring has room: nothing is lost by that.
The probes are built so that so many of eight tries fail as if the bulk ring's could not be had."""

import time
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from agent.probes.bcc_loader import BccLoader
from agent.probes.build import SOURCE, build
from agent.probes.layout import LOST_STATEMENTS
from agent.probes.libbpf import LibbpfLoader
from agent.probes.loader import Loader
from agent.sources.ebpf import EbpfSource
from model.event import StatementsExecuted, StatementStarted
from tests.kernel.test_exact_losses import (
    Clients,
    administrators,
    classes,
    drained,
    errors,
    lost_by_reason,
    pipelines,
    singles,
)

pytestmark = [pytest.mark.kernel, pytest.mark.live]

BUSY_SECONDS = 3
PAUSE_SECONDS = 0.02
"""What may be borrowed is little: a reader that has to wait for a processor must be in time."""
UNREAD = 2000
"""Statements that nobody reads of: more than may borrow room, and than the bulk ring takes."""


class GivingUp(NamedTuple):
    loader: Loader
    always: bool


@pytest.fixture(scope="module", params=["libbpf-4", "libbpf-8", "bcc-8"])
def giving_up(request, compiled_probes, tmp_path_factory):
    """Probes for which so many of eight tries fail."""
    name, _, tries = request.param.partition("-")
    defines = (f"LOCK_GIVES_UP={tries}",)
    if name == "bcc":
        return GivingUp(BccLoader(SOURCE, defines), tries == "8")
    folder = tmp_path_factory.mktemp("probes")
    loader = LibbpfLoader(build(output=folder / "given_up.bpf.o", defines=defines))
    return GivingUp(loader, tries == "8")


@pytest.fixture(scope="module")
def source(giving_up, cluster):
    with EbpfSource(loader=giving_up.loader) as source:
        source.add(cluster)
        yield source


def paced(work):
    def run(connection, number):
        time.sleep(PAUSE_SECONDS)
        return work(connection, number)

    return run


def texts(events):
    """By backend, as they were told."""
    told = {}
    for event in events:
        if isinstance(event, StatementStarted | StatementsExecuted):
            count = len(event.executions) if isinstance(event, StatementsExecuted) else 1
            told.setdefault(event.backend.pid, []).extend([event.text.decode()] * count)
    return told


def test_nothing_is_lost_while_rings_have_room(source, postgres):
    drained(source, 0.1)
    lost_by_reason(source)
    clients = Clients(postgres)
    with ExitStack() as stack:
        stack.callback(clients.stop)
        for work in (singles, pipelines, errors, administrators):
            clients.run(paced(work))
        events = drained(source, BUSY_SECONDS)
    events += drained(source, 0.5)
    lost = lost_by_reason(source)
    print(f"ran {dict(clients.ran)}, told {dict(classes(events))}, lost {dict(lost)}")
    assert classes(events) == clients.ran
    assert lost == {}


def test_each_backends_statements_come_in_their_order(source, postgres):
    drained(source, 0.1)
    asked = [f"SELECT {number}" for number in range(300)]
    with postgres.connect() as connection:
        connection.prepare_threshold = None
        pid = connection.info.backend_pid
        for text in asked:
            connection.execute(text)
    assert texts(drained(source, 0.5))[pid] == asked


def test_what_is_urgent_keeps_its_room_however_much_would_borrow_of_it(
    giving_up, cluster, postgres
):
    with (
        EbpfSource(ring_bytes=1 << 20, loader=giving_up.loader) as source,
        postgres.connect() as connection,
    ):
        source.add(cluster)
        source.poll(0)
        connection.prepare_threshold = None
        for number in range(UNREAD):
            connection.execute(f"SELECT {number} /* {'x' * 1500} */")
            if number % 2 == 0:
                connection.execute(f"DO $$ BEGIN /* {number} */ END $$")
        time.sleep(0.1)
        told = texts(drained(source, 0.5))[connection.info.backend_pid]
        lost = lost_by_reason(source)
    urgent = sum(text.startswith("DO") for text in told)
    everyday = sum(text.startswith("SELECT") for text in told)
    print(f"told {urgent} urgent and {everyday} others, lost {dict(lost)}")
    assert urgent == UNREAD / 2
    assert 0 < everyday < UNREAD
    assert everyday + sum(lost[reason] for reason in LOST_STATEMENTS) == UNREAD
    if giving_up.always:
        assert LOST_STATEMENTS & lost.keys() == {"no_lock"}, "not full: it stays empty"
