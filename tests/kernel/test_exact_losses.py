"""With a bulk ring of one page and a reader that does not read, every statement that clients ran is
told or counted as lost, and nothing urgent is among the lost."""

import contextlib
import logging
import threading
import time
from collections import Counter

import psycopg
import pytest

from agent.probes.layout import LOST_STATEMENTS, Aggregation
from agent.sources.ebpf import EbpfSource
from model.event import (
    ResponseSent,
    StatementsCounted,
    StatementsExecuted,
    StatementStarted,
)

pytestmark = [pytest.mark.kernel, pytest.mark.live]

logging.getLogger("psycopg").setLevel(logging.ERROR)  # a pipeline that ends with an error is meant

FROZEN_SECONDS = 3
ONE_PAGE = 4096
URGENT = (b"CREATE", b"ALTER", b"GRANT", b"REVOKE", b"DROP", b"COMMENT")
LONG = "x" * 3000
LONGER = "x" * 150_000
FAILS_BEFORE = ("SELEC 1", "SELECT nowhere", "SELECT 1/0")
FAILS_RUNNING = "SELECT 1 / (g - g) FROM generate_series(1, 1) AS g"


class Clients:
    """Sessions that run ``rounds`` until told to stop, and count what they ran by class."""

    def __init__(self, postgres):
        self._postgres = postgres
        self._stop = threading.Event()
        self._threads = []
        self._lock = threading.Lock()
        self.ran = Counter()
        self.rows = 0

    def run(self, work):
        thread = threading.Thread(target=self._loop, args=(work,))
        self._threads.append(thread)
        thread.start()

    def _loop(self, work):
        number, bulk, urgent = 0, 0, 0
        with self._postgres.connect(application_name="exact") as connection:
            connection.prepare_threshold = None  # or the driver says DEALLOCATE after each DROP
            while not self._stop.is_set():
                done = work(connection, number)
                bulk, urgent, number = bulk + done[0], urgent + done[1], number + 1
        with self._lock:
            self.ran["bulk"] += bulk
            self.ran["urgent"] += urgent

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()


def singles(connection, number):
    connection.execute(f"SELECT {number % 5}")
    connection.execute("SELECT 'again'", prepare=True)
    return 2, 0


def strings(connection, number):
    connection.execute(f"SELECT {number}; SELECT 2; SELECT '{LONG}'")
    with contextlib.suppress(psycopg.Error):
        connection.execute(f"SELECT 1; {FAILS_RUNNING}; SELECT 'never'")
    return 5, 0


def pipelines(connection, number):
    with connection.pipeline():
        for each in range(20):
            connection.execute("SELECT %s::int", (each,), prepare=number % 2 == 0)
    return 20, 0


def errors(connection, number):
    for text in (*FAILS_BEFORE, FAILS_RUNNING):
        with contextlib.suppress(psycopg.Error):
            connection.execute(text)
    with contextlib.suppress(psycopg.Error), connection.pipeline():
        connection.execute("SELECT 'before the error'")
        connection.execute("SELECT nowhere")
        connection.execute("SELECT 'never'")
    return len(FAILS_BEFORE) + 1 + 2, 0


def long_texts(connection, number):
    connection.execute(f"SELECT length('{LONG}{number}')")
    connection.execute(f"SELECT length('{LONGER}{number}')")
    return 2, 0


def administrators(connection, number):
    connection.execute(f"CREATE TABLE exact_{number} (id int)")
    connection.execute(f"GRANT SELECT ON exact_{number} TO pg_monitor")
    connection.execute("ALTER ROLE postgres SET work_mem = '4MB'")  # one text, again and again
    with contextlib.suppress(psycopg.Error):
        connection.execute(f"DROP TABLE no_such_{number}")
    connection.execute(f"COMMENT ON TABLE exact_{number} IS '{LONG}'")
    connection.execute(f"SELECT 'in one string'; DROP TABLE exact_{number}")
    time.sleep(0.05)
    return 1, 6


BUSY = (singles, strings, pipelines, errors, long_texts)


def classes(events):
    """How many statements are told, by class."""
    told = Counter()
    strings = Counter()
    for event in events:
        match event:
            case StatementStarted(depth=0, text=text) if b"in one string" in text:
                strings[text] += 1
            case StatementStarted(depth=0, text=text):
                told["urgent" if text.startswith(URGENT) else "bulk"] += 1
            case StatementsExecuted(text=text, executions=executions):
                told["urgent" if text.startswith(URGENT) else "bulk"] += len(executions)
            case StatementsCounted(count=count):
                told["bulk"] += count
            case ResponseSent(failed_text=text) if text is not None:
                told["bulk"] += 1
    # Of two statements in one string the second is urgent: what is told of one at all is that one.
    told["urgent"] += len(strings)
    told["bulk"] += sum(strings.values()) - len(strings)
    return told


def lost_by_reason(source):
    lost = Counter()
    for one in source.losses():
        lost[one.reason] += one.count
    return lost


def drained(source, seconds):
    events, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        events += source.poll(50)
    return events


@pytest.mark.parametrize("aggregate", [Aggregation.NEVER, Aggregation.OVERLOAD])
def test_what_clients_ran_is_told_or_counted_to_the_last_one(libbpf, cluster, postgres, aggregate):
    with EbpfSource(ring_bytes=ONE_PAGE, loader=libbpf, aggregate=aggregate) as source:
        source.add(cluster)
        clients = Clients(postgres)
        for work in (*BUSY, administrators):
            clients.run(work)
        events = []
        # A reader that keeps up teaches the kernel which texts come again.
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            events += source.poll(5)
        time.sleep(FROZEN_SECONDS)
        clients.stop()
        # What the kernel counted comes when its epoch is over.
        events += drained(source, 2.5 if aggregate else 0.3)
        lost = lost_by_reason(source)
        told = classes(events)
        by_kernel = [one for one in events if isinstance(one, StatementsCounted)]
        counted = sum(one.count for one in by_kernel)
        print(f"{aggregate.name}: ran {dict(clients.ran)}, told {dict(told)}, of these {counted} "
              f"counted by the kernel, lost {dict(lost)}")  # fmt: skip
        assert lost["urgent_statement"] == 0
        assert lost["urgent_response"] == 0
        assert told["urgent"] == clients.ran["urgent"]
        missing = sum(count for reason, count in lost.items() if reason in LOST_STATEMENTS)
        assert missing > 0
        assert told["bulk"] + missing == clients.ran["bulk"]
        assert counted == sum(one.rows for one in by_kernel), "each gave one row"
        assert (counted > 0) == (aggregate is not Aggregation.NEVER)
