"""A whole road in one process, from model values to durable rows, for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent.spool.spool import Spool
from agent.uplink import Greeting, Uplink
from agent.wire.batch import BatchBuilder, Payload
from collector.commands import Agents
from collector.missing_batches import MissingBatches
from collector.operator_service import OperatorService, Tails
from collector.rule_bundles import RuleBundles
from collector.segments import Committed
from collector.server import Server
from collector.service import UplinkService
from collector.sessions import LiveSessions
from collector.store import Store
from model.session import BackendKey, Identity, IdentityKind, Session
from model.statement import ParseStatus, Shape, Source, Statement
from protos.pgwarden.v1 import uplink_pb2 as pb

START_US = 1_790_000_000_000_000
SESSION = Session(
    BackendKey(4711, START_US - 1_000_000),
    cluster="5432",
    user="alice",
    database="shop",
    application_name="psql",
    client_address="10.0.0.7",
    client_port=50_000,
    identity=Identity(IdentityKind.HUMAN, "alice", 0.9, ("login",)),
)
SHAPE = Shape(
    ParseStatus.PARSED,
    "ab" * 32,
    "SELECT * FROM orders WHERE id = $1",
    operation="select",
    summary="SELECT orders",
    verbs=("select",),
    reads=("public.orders",),
    fingerprint="f00",
    statements=1,
)


def statement(number: int, session: Session = SESSION, **fields: object) -> Statement:
    defaults: dict[str, object] = {
        "text": b"SELECT * FROM orders WHERE id = 42",
        "text_bytes": 34,
        "started_at_us": START_US + number,
        "source": Source.EBPF,
        "rows": 1,
        "sqlstate": "00000",
    }
    return Statement(id=number, session=session, **{**defaults, **fields})


def statements(first: int, count: int) -> Payload:
    builder = BatchBuilder()
    for number in range(first, first + count):
        builder.add(statement(number), SHAPE)
    (payload,) = builder.take()
    return payload


def refuse(command: pb.Command) -> pb.CommandResult:
    return pb.CommandResult(outcome="refused", message="no guard in this test")


@dataclass
class Collector:
    store: Store
    server: Server
    agents: Agents
    uplink: UplinkService
    rules: RuleBundles
    commits: list[Committed] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self.server.addresses[0]

    def count(self, table: str = "statements") -> int:
        return self.store.query(f"SELECT count(*) FROM {table}")[0][0]

    def close(self) -> None:
        self.rules.stop()
        self.server.stop(0.2)
        self.store.close()


def start_collector(
    folder: Path, address: str = "", tls=None, drift=None, bundles: Path | None = None
) -> Collector:
    commits: list[Committed] = []
    sessions, tails = LiveSessions(), Tails()

    def heard(committed: Committed) -> None:
        commits.append(committed)
        sessions.observe(committed)
        tails.publish(committed)

    store = Store(folder / "data", heard, commit_seconds=0.05)
    agents = Agents()
    rules = RuleBundles(bundles, agents.tell_all, look_seconds=0.05)
    uplink = UplinkService(
        store.segments,
        agents,
        store.data_dir / "quarantine",
        lambda agent: [newest] if (newest := rules.newest()) is not None else [],
        missing=MissingBatches(store.append, store.note),
    )
    operator = OperatorService(agents, sessions, tails, drift, note_change=store.note_change)
    server = Server([address or f"unix:{folder}/collector.sock"], uplink, operator, tls)
    store.start()
    rules.start()
    server.start()
    return Collector(store, server, agents, uplink, rules, commits)


@contextmanager
def collector_at(folder: Path, address: str = "", **settings) -> Iterator[Collector]:
    running = start_collector(folder, address, **settings)
    try:
        yield running
    finally:
        running.close()


@contextmanager
def uplink_to(
    address: str,
    spool: Spool,
    agent: str = "host-a",
    on_command=refuse,
    version="0.1.0",
    **settings,
) -> Iterator[Uplink]:
    greeting = Greeting(agent, version, "host-a", "boot")
    uplink = Uplink(spool, address, greeting, on_command, backoff_seconds=(0.02, 0.1), **settings)
    uplink.start()
    try:
        yield uplink
    finally:
        uplink.stop()
