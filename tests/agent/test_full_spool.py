"""While the collector is away and the spool is full, DDL and roles are kept and ordinary statements
are lost, and both are counted to the last one."""

import time
from collections import Counter
from dataclasses import replace

import pytest

from agent.inbox import Inbox
from agent.pipeline import Pipeline
from agent.recorder import Recorder
from agent.sessions import SessionTracker
from agent.spool.spool import Spool
from agent.sql.client import ParserClient
from agent.sql.messages import redact_message
from agent.wire.batch import BatchBuilder
from model.event import Executed, Lost, StatementsCounted, StatementsExecuted
from model.session import BackendKey
from model.verdict import Mode
from protos.pgwarden.v1 import uplink_pb2 as pb
from rules import Judge, RuleSet
from tests.agent.test_wire import SHAPE, statement
from tests.waiting import wait_until

CLIENT, ADMIN = BackendKey(41, 1_700_000_000_000_000), BackendKey(42, 1_700_000_000_000_000)
AT_US = 1_700_000_001_000_000
EVERYDAY, COUNTED, URGENT = 12_000, 70, 600
AT_ONCE = 50
"""Each time the parser is asked once."""
MAX_BYTES = 1024 * 1024
"""Far more than what is recorded between two looks at how full it is."""
MANY = 2_000
GROWING = (400, 400, 400, 2_000, 2_000, 400)
"""Statements between two looks at how full it is, on a host that was busy and is so no more."""
DROPS = (b"DROP TABLE t%d", b"CREATE ROLE r%d", b"GRANT a TO b%d")


class Agent:
    """From the inbox to the spool, as it is wired in earnest; nobody takes what is spooled."""

    def __init__(self, path, parser, max_bytes=MAX_BYTES):
        self.inbox = Inbox()
        self.lost = Counter()
        self.spool = Spool(path / "spool.db", self._lost_soon, max_bytes)
        judge = Judge(RuleSet.load())
        pipeline = Pipeline(
            tracker=SessionTracker(1, 0),
            parser=parser,
            judges=lambda at_us: (judge,),
            mode=Mode.OFF,
            redact_message=redact_message,
            on_change=lambda touched: None,
            on_verdict=lambda verdict: None,
            on_statement=lambda *_: None,
            on_run=lambda *_: None,
            on_lost=self._count,
            on_held=lambda settled: None,
        )
        self.recorder = Recorder(self.inbox, pipeline, self.spool, lambda: None, self._count, 0)

    def _lost_soon(self, source, reason, count):
        self.inbox.overflow.append(Lost(time.time_ns(), source, reason, count))

    def _count(self, lost):
        self.lost[lost.reason] += lost.count

    def offer(self, *events):
        while self.inbox.fill > 0.5:
            time.sleep(0.01)
        self.inbox.offer(list(events))

    def stop(self):
        """Also on a host where to work it off takes longer than a stopping agent waits."""
        self.recorder.stop()
        wait_until(lambda: not self.recorder.alive, 60, "the recorder has worked off its queue")

    def batches(self):
        return [pb.Batch.FromString(one.body) for one in self.spool.read_from(1, 100_000)]

    def stored(self):
        """Executions by operation."""
        found = Counter()
        for batch in self.batches():
            rows = batch.statements
            for shape, executions in zip(rows.shape, rows.executions, strict=True):
                found[batch.shapes[shape].operation] += executions
        return found


def executed(backend, text, number):
    return StatementsExecuted(
        backend, text, "", "II", [Executed(AT_US + number, 10, 1, 1, 60)], backend is ADMIN
    )


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Everyday statements, of which some stand for many, and in between and behind them urgent
    ones."""
    with ParserClient() as parser:
        agent = Agent(tmp_path_factory.mktemp("full"), parser)
        agent.recorder.start()
        for first in range(0, EVERYDAY, AT_ONCE):
            agent.offer(*everyday(range(first, first + AT_ONCE)))
        agent.stop()
        yield agent


def everyday(numbers):
    for number in numbers:
        yield executed(CLIENT, b"SELECT 1 AS column_%d" % number, number)
        if number % 20 == 0:
            yield executed(ADMIN, DROPS[number // 20 % 3] % number, number)
        if number % 1000 == 0:
            yield StatementsCounted(CLIENT, b"SELECT 1", COUNTED, COUNTED, 0, 9, 1, 2, (COUNTED,))


def test_everything_urgent_is_kept(filled):
    kept = filled.stored()
    assert kept["drop"] == kept["create"] == kept["grant"] == URGENT // 3
    assert not [reason for reason in filled.lost if reason.startswith("urgent_")]


def test_of_everything_else_what_is_not_stored_is_counted_to_the_last_execution(filled):
    sent = EVERYDAY + EVERYDAY // 1000 * COUNTED
    lost = filled.lost["spool_full"]
    assert 0 < lost < sent
    assert filled.stored()["select"] + lost == sent


def test_the_losses_themselves_are_on_record(filled):
    recorded = Counter()
    for batch in filled.batches():
        for loss in batch.losses:
            recorded[loss.reason] += loss.count
    assert recorded == filled.lost


def test_what_is_urgent_is_kept_however_much_comes_between_two_looks(tmp_path):
    lost = Counter()
    spool = Spool(tmp_path / "spool.db", lambda _, reason, n: lost.update({reason: n}), MAX_BYTES)
    builder = BatchBuilder()
    for count in GROWING:
        builder.mix(spool.mixed_room)
        for number in range(count):
            shape = replace(SHAPE, redacted_text=f"SELECT $1 AS {'c' * 300}{number}")
            builder.add(statement(number), shape, urgent=number % 20 == 0)
        spool.append(*builder.take())
    assert lost.keys() == {"spool_full"}
    assert lost["spool_full"] + sum(each.rows for each in spool.read_from(1, 1_000)) == sum(GROWING)


def test_more_that_is_urgent_than_there_is_room_for_is_counted_by_itself(tmp_path):
    with ParserClient() as parser:
        agent = Agent(tmp_path, parser, MAX_BYTES // 4)
        agent.recorder.start()
        for first in range(0, MANY, AT_ONCE):
            numbers = range(first, first + AT_ONCE)
            made = (b"CREATE ROLE " + b"r" * 60 + b"%d" % number for number in numbers)
            agent.offer(*(executed(ADMIN, t, n) for t, n in zip(made, numbers, strict=True)))
        agent.stop()
    lost = agent.lost["urgent_spool_full"]
    assert lost > 0
    assert agent.stored()["create"] + lost == MANY
    assert set(agent.lost) <= {"urgent_spool_full", "session_spool_full", "unattributed"}
