"""Events a second from gRPC bytes into durable segments on one core, beside DuckDB as the peer.

``intake`` decodes and checks the bytes of the stream, seals Parquet segments, fsyncs and writes the
ledger; ``wide`` is the same where no text repeats. The peer is handed the decoded frames (Arrow, no
copy), inserts them into a table of its own and commits: it neither decodes nor hashes anything.
``--agents N`` (200; 0: none) plays that many agents at a real collector afterwards (``fleet.py``);
``--flood`` plays them once more beside one that sends as fast as it can.
"""

from __future__ import annotations

import os

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # read when polars is imported

import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import polars as pl
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.recorder import FLUSH_SECONDS
from agent.wire.batch import BatchBuilder, to_wire
from bench import fleet, rounds
from collector import schema
from collector.entry_signature import Signer
from collector.intake import decode_batches, decode_message
from collector.ledger import Ledger
from collector.ledger_reading import verify
from collector.segments import Segments
from collector.submission import BatchId, Submission, opened
from model.session import BackendKey, Identity, IdentityKind, Session
from model.statement import ParseStatus, Shape, Source, Statement

BATCH_ROWS = 2_000
COMMIT_BATCHES = 50
SHAPES = 400
HEADLINE = ("end_to_end_p99_seconds", "agents", "rss_mb")
START_US = 1_790_000_000_000_000


def main(argv: list[str] | None = None) -> int:
    arguments = rounds.parser(__doc__ or "", rounds=5)
    arguments.add_argument("--events", type=int, default=400_000, help="of each run")
    arguments.add_argument("--agents", type=int, default=200, help="played at once; 0: none")
    arguments.add_argument("--rate", type=int, default=10_000, help="events a second of them all")
    arguments.add_argument("--seconds", type=float, default=30.0, help="for so long")
    arguments.add_argument("--flood", action="store_true", help="once more beside a hostile one")
    options = arguments.parse_args(argv)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    batches = max(1, options.events // BATCH_ROWS)
    usual, wide = _messages(batches, SHAPES), _messages(max(1, batches // 4), None)
    frames = list(_decoded(usual))
    variants: dict[str, Callable[[], rounds.Figures]] = {
        "intake": lambda: _intake(usual),
        "wide": lambda: _intake(wide),
        "duckdb_append": lambda: _duckdb(frames),
    }
    results = rounds.interleaved(variants, options.rounds)
    middle = rounds.medians(results)
    share = middle["intake"]["events_per_second"] / middle["duckdb_append"]["events_per_second"]
    print(
        f"\nintake: {middle['intake']['events_per_second']:,.0f} events/s on one core,"
        f" {middle['intake']['cpu_us_per_event']:.2f} us CPU each, {share:.2f} of the peer's rate"
    )
    os.sched_setaffinity(0, cores)
    played = _fleet(options.agents, options.rate, options.seconds) if options.agents else {}
    flooded = _fleet(options.agents, options.rate, options.seconds, True) if options.flood else {}
    per_core = {"events_per_second_per_core": middle["intake"]["events_per_second"]}
    workload = {"batch_rows": BATCH_ROWS, "commit_batches": COMMIT_BATCHES, "shapes": SHAPES}
    report = {"machine": rounds.machine(), "workload": workload, "median": middle}
    report |= {"fleet": played, "flooded": flooded}
    report |= per_core | {name: played[name] for name in HEADLINE if name in played}
    rounds.write(options.json, {**report, "rounds": results})
    return 0


def _intake(wire: list[bytes]) -> rounds.Figures:
    with _folder() as folder:
        ledger = Ledger(folder, sign=Signer(Ed25519PrivateKey.generate()))
        segments = Segments(folder, ledger)
        stop = _stopwatch()
        for start in range(0, len(wire), COMMIT_BATCHES):
            group = []
            for data in wire[start : start + COMMIT_BATCHES]:
                batch = decode_message(data).batch
                number = BatchId("bench", batch.epoch, batch.sequence)
                group.append(Submission({}, number, message=batch))
            contents, poison = opened(group)
            assert not poison
            segments.commit(group, contents)
        figures = stop(len(wire) * BATCH_ROWS)
        ledger.close()
        if verify(folder):
            raise SystemExit("the ledger does not verify")
        size = sum(file.bytes for file in ledger.files.values())
        return {**figures, "bytes_per_event": size / (len(wire) * BATCH_ROWS)}


class _Arrow:
    """Only the Arrow stream of a frame: DuckDB would want pyarrow for a Polars frame."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._frame.__arrow_c_stream__(requested_schema)


def _duckdb(frames: list[pl.DataFrame]) -> rounds.Figures:
    columns = ", ".join(f'"{c.name}" {c.duckdb_type}' for c in schema.STATEMENTS.columns)
    with _folder() as folder, duckdb.connect(str(folder / "peer.duckdb")) as peer:
        peer.execute("SET threads = 1")
        peer.execute(f"CREATE TABLE statements ({columns})")
        stop = _stopwatch()
        for frame in frames:
            peer.register("batch", _Arrow(frame))
            peer.execute("INSERT INTO statements SELECT * FROM batch")  # commits, with fsync
            peer.unregister("batch")
        figures = stop(sum(frame.height for frame in frames))
        peer.execute("CHECKPOINT")
        return figures


def _decoded(wire: list[bytes]) -> Iterator[pl.DataFrame]:
    """One frame for each commit, as intake would gather it."""
    for start in range(0, len(wire), COMMIT_BATCHES):
        group = wire[start : start + COMMIT_BATCHES]
        batches = [("bench", decode_message(data).batch) for data in group]
        yield decode_batches(batches).frames["statements"]


def _fleet(agents: int, rate: int, seconds: float, flooded: bool = False) -> rounds.Figures:
    rows = max(1, round(rate * FLUSH_SECONDS / agents))
    wire = _messages(20, SHAPES, rows)
    flood = _body(_messages(1, SHAPES)[0]) if flooded else b""
    figures = fleet.play([_body(message) for message in wire], rows, agents, seconds, flood)
    print(
        f"  {'flooded' if flooded else 'fleet'} "
        + ", ".join(f"{name} {value:,.3f}" for name, value in figures.items())
    )
    return figures


def _body(message: bytes) -> bytes:
    """A batch without its number, as a spool keeps it."""
    batch = decode_message(message).batch
    batch.ClearField("epoch")
    batch.ClearField("sequence")
    return batch.SerializeToString()


def _messages(batches: int, shapes: int | None, rows: int = BATCH_ROWS) -> list[bytes]:
    """What agents send: 200 sessions; ``shapes`` texts, a few of them most of the time, or None:
    every text its own."""
    dice = random.Random(42)
    texts = [_shape(number, dice) for number in range(shapes or 0)]
    sessions = [_session(number) for number in range(200)]
    made = []
    for sequence in range(1, batches + 1):
        builder = BatchBuilder()
        for row in range(rows):
            number = sequence * rows + row
            skewed = min(int(dice.expovariate(1 / 40)), len(texts) - 1)
            shape = texts[skewed] if texts else _shape(number, dice)
            builder.add(_statement(number, dice.choice(sessions), dice), shape)
        (payload,) = builder.take()
        made.append(to_wire(payload.body, 1, sequence))
    return made


def _shape(number: int, dice: random.Random) -> Shape:
    tables = tuple(f"public.table_{dice.randrange(60)}" for _ in range(dice.randrange(1, 4)))
    columns = tuple(f"column_{dice.randrange(90)}" for _ in range(dice.randrange(2, 12)))
    text = f"SELECT {', '.join(columns)} FROM {', '.join(tables)} WHERE c{number} = $1"
    return Shape(
        ParseStatus.PARSED,
        f"{number:064x}",
        text,
        operation="select",
        summary="SELECT " + " ".join(tables),
        verbs=("select",),
        reads=tables,
        columns=columns,
        fingerprint=f"{number:016x}",
        statements=1,
    )


def _session(number: int) -> Session:
    return Session(
        BackendKey(1000 + number, START_US + number),
        cluster="5432",
        user=f"user_{number % 20}",
        database=f"db_{number % 5}",
        application_name=f"service {number % 30}",
        client_address=f"10.0.{number % 16}.{number}",
        client_port=40_000 + number,
        identity=Identity(IdentityKind.SERVICE, f"service-{number % 30}", 0.9),
    )


def _statement(number: int, session: Session, dice: random.Random) -> Statement:
    return Statement(
        id=(1_790_000_000 << 32) + number,
        session=session,
        text=b"",
        text_bytes=dice.randrange(40, 600),
        started_at_us=START_US + number * 7,
        source=Source.BOTH,
        duration_us=int(dice.lognormvariate(6, 1.5)),
        rows=dice.randrange(100),
        bytes_sent=dice.randrange(5000),
        tag="SELECT",
        sqlstate="00000",
    )


def _stopwatch() -> Callable[[int], dict[str, float]]:
    wall, cpu = time.perf_counter(), time.process_time()

    def stop(events: int) -> dict[str, float]:
        cpu_seconds, wall_seconds = time.process_time() - cpu, time.perf_counter() - wall
        return {
            "events_per_second": events / wall_seconds,
            "cpu_us_per_event": cpu_seconds / events * 1e6,
        }

    return stop


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bench-intake-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    raise SystemExit(main())
