"""Connections that come and go, more than any server here makes: records, decoder, tracker."""

import gc
import sys
import time

from agent.probes.layout import EXECUTION, RECORD_HEAD, SESSION, TAIL_BYTES, RecordKind
from agent.sessions import SessionTracker
from agent.sources.records import POSTGRES_EPOCH_US, Decoder
from model.session import Session
from model.statement import StatementRun

CONNECTIONS = 5_000
"""Of one second."""
SECONDS = 8
FULL_AFTER = 5
"""By then as many ended sessions are remembered as may be."""
LINGER_SECONDS = 31
PIDS = 32_768
START_US = 800_000_000_000_000
TAIL = (b"C\0\0\0\x0dSELECT 1\0" + b"Z\0\0\0\x05I").rjust(TAIL_BYTES, b"\0")


def records(number):
    """One connection: it is announced, runs a statement, ends."""
    pid = 100 + number % PIDS
    session_us = START_US + number * 1_000_000 // CONNECTIONS
    at_ns = session_us * 1000
    login = f"login_{number % 50}".encode()
    text = f"SELECT 'login_{number % 50}'".encode()
    head = pid, at_ns, session_us
    return (
        SESSION.pack(RecordKind.SESSION, *head, 0, 1, 0, 0, 0, bytes(16), login, b"shop", b"app"),
        EXECUTION.pack(
            RecordKind.EXECUTION, *head, at_ns, session_us, 60, bytes(16), len(text), 0, 0,
            TAIL_BYTES, ord("I"), 0, 0, TAIL,
        ) + text,
        RECORD_HEAD.pack(RecordKind.EXIT, *head),
    )  # fmt: skip


def second(decoder, tracker, each):
    """What is said of a second's connections, which is over."""
    lot = [
        record
        for number in range(each * CONNECTIONS, (each + 1) * CONNECTIONS)
        for record in records(number)
    ]
    said = []
    for event in decoder.decode(lot, POSTGRES_EPOCH_US * 1000, 0):
        said += tracker.observe(event)
    return said + tracker.expire(POSTGRES_EPOCH_US + START_US + (each + 1) * 1_000_000)


def test_five_thousand_connections_a_second_are_attributed_and_leave_nothing_behind():
    decoder, tracker = Decoder(lambda number: "main"), SessionTracker(1, 0)
    spent, blocks = 0.0, []
    for each in range(SECONDS):
        began = time.process_time()
        said = second(decoder, tracker, each)
        spent += time.process_time() - began
        runs = [item for item in said if isinstance(item, StatementRun)]
        assert len(runs) == CONNECTIONS
        assert all(run.text == f"SELECT '{run.session.user}'".encode() for run in runs)
        ended = {item.key for item in said if isinstance(item, Session) and item.ended_at_us}
        assert ended == {run.session.key for run in runs}
        assert tracker.sessions() == []
        assert decoder._backends == {}
        del said, runs, ended
        gc.collect()
        blocks.append(sys.getallocatedblocks())
    print(f"{SECONDS * CONNECTIONS / spent:.0f} connections for each second of processor")
    assert tracker.losses() == {}
    assert blocks[-1] < blocks[FULL_AFTER] * 1.02, "memory is flat"
    tracker.expire(POSTGRES_EPOCH_US + START_US + (SECONDS + LINGER_SECONDS) * 1_000_000)
    assert tracker._backends == tracker._by_pid == {}
