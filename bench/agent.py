"""What a statement costs the agent alone: no server, no kernel, no other thread.

Records as the ring buffer holds them while pgbench runs go the agent's way in one thread: ring,
order, decoder, inbox, tracker, parser, rules, columns, sealed batch. CPU microseconds a statement,
of this process and of the parser's. ``simple``: every text is another; ``prepared``: one text, by
number. Left out is what needs others: the spool's disk, the uplink, the threads' switching.

``--beside FOLDER`` runs another checkout of this repository in turn, and says whether both made the
same batches of the same records.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson

from agent.__main__ import calm_collector
from agent.digests import sealed_with
from agent.identity import Claims
from agent.inbox import Inbox
from agent.metrics import AgentMetrics
from agent.pipeline import Pipeline
from agent.probes.layout import EXECUTION, SESSION, TAIL_BYTES, RecordKind
from agent.recorder import FLUSH_ROWS
from agent.sessions import SessionTracker
from agent.sources.order import Order
from agent.sources.records import POSTGRES_EPOCH_US, Decoder
from agent.sql.client import ParserClient
from agent.sql.messages import redact_message
from bench import rounds
from model.statement import Shape, StatementRun
from model.verdict import Mode
from rules import Judge, RuleSet

WORKLOADS = ("simple", "prepared")
POLL_RECORDS = 100
"""At 10,000 statements a second the ring is drained with so many in it."""
CLIENTS = 2
WARM_UP = 4_000
SESSION_US = 800_000_000_000_000
TAIL = (b"C\0\0\0\x0dSELECT 1\0" + b"Z\0\0\0\x05I").rjust(TAIL_BYTES, b"\0")
PREPARED = b"SELECT abalance FROM pgbench_accounts WHERE aid = $1;"
AT_US = POSTGRES_EPOCH_US + SESSION_US
KEY = bytes(32)


def main(argv: list[str] | None = None) -> int:
    arguments = rounds.parser(__doc__ or "", rounds=7)
    arguments.add_argument("--statements", type=int, default=40_000, help="of each run")
    arguments.add_argument("--beside", type=Path, help="another checkout")
    arguments.add_argument("--once", choices=WORKLOADS, help=argparse.SUPPRESS)
    options = arguments.parse_args(argv)
    if options.once:
        sys.stdout.buffer.write(orjson.dumps(_once(options.once, options.statements)))
        return 0
    checkouts = {"here": Path(__file__).parent.parent}
    if options.beside:
        checkouts["beside"] = options.beside.resolve()
    made: dict[str, set[str]] = {workload: set() for workload in WORKLOADS}

    def run(workload: str, folder: Path) -> Callable[[], rounds.Figures]:
        def figures() -> rounds.Figures:
            found = _in_process_of(folder, workload, options.statements)
            made[workload].add(found.pop("batches"))
            return found

        return figures

    variants = {
        f"{workload}_{name}": run(workload, folder)
        for workload in WORKLOADS
        for name, folder in checkouts.items()
    }
    results = rounds.interleaved(variants, options.rounds)
    best = {
        name: {figure: min(one[figure] for one in each) for figure in each[0]}
        for name, each in results.items()
    }
    for name, figures in best.items():
        print(f"{name}: {figures['cpu_us']:.2f} us of CPU a statement at best")
    same = all(len(each) == 1 for each in made.values())
    print("all runs of a workload made the same batches" if same else "THE BATCHES DIFFER")
    rounds.write(options.json, {"machine": rounds.machine(), "best": best, "rounds": results})
    return 0 if same else 1


def _in_process_of(folder: Path, workload: str, statements: int) -> dict[str, float | str]:
    """This file with the code of that checkout."""
    done = subprocess.run(
        [
            sys.executable, "-P", str(Path(__file__).resolve()),
            "--once", workload, "--statements", str(statements),
        ],
        check=True, capture_output=True, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)},
    )  # fmt: skip
    return dict(orjson.loads(done.stdout))


def _once(workload: str, statements: int) -> dict[str, float | str]:
    polls = [list(each) for each in _polls(workload, WARM_UP + statements)]
    with ParserClient() as parser:
        way = Way(parser)
        for records in polls[: WARM_UP // POLL_RECORDS]:
            way.go(records)
        way.batch()
        calm_collector()
        worker = _cpu_seconds(parser.worker_pid)
        began = time.process_time()
        for records in polls[WARM_UP // POLL_RECORDS :]:
            way.go(records)
        way.batch()
        spent = time.process_time() - began
        worker = _cpu_seconds(parser.worker_pid) - worker
    assert way.statements == WARM_UP + statements
    return {
        "cpu_us": 1e6 * (spent + worker) / statements,
        "worker_us": 1e6 * worker / statements,
        "batches": way.made.hexdigest(),
    }


class Way:
    """Each record's, from the ring to a batch for the spool."""

    def __init__(self, parser: ParserClient) -> None:
        metrics = AgentMetrics("bench")
        judge = Judge(RuleSet.load())
        self.statements = 0
        self.made = hashlib.sha256()

        def ran(run: StatementRun, shape: Shape) -> None:
            count = len(run.executions)
            metrics.statements("ebpf", count)
            metrics.parsed(shape.status, count)
            self.statements += count

        self._decoder, self._order, self._inbox = Decoder(lambda number: "main"), Order(), Inbox()
        self._pipeline = Pipeline(
            tracker=SessionTracker(1, 0),
            parser=parser,
            judges=lambda _: (judge,),
            mode=Mode.OBSERVE,
            redact_message=redact_message,
            on_change=lambda touched: None,
            on_verdict=lambda verdict: None,
            on_statement=lambda statement, shape: None,
            on_run=ran,
            on_held=lambda settled: None,
            on_lost=lambda lost: None,
            claims=Claims(),
            seal_digest=sealed_with(KEY),
        )

    def go(self, records: list[bytes]) -> None:
        self._order.add(records, [], (0, 0), urgent_unread=False)
        taken = self._order.take(len(records))
        # No stranger among them, as the servers are known.
        events = self._decoder.decode(taken, POSTGRES_EPOCH_US * 1000, 0)
        self._inbox.offer(events)  # type: ignore[arg-type]
        while (polled := self._inbox.take(0)) is not None:
            self._pipeline.take(polled.events, AT_US)
        if self._pipeline.rows >= FLUSH_ROWS:
            self.batch()

    def batch(self) -> None:
        self._pipeline.tick(AT_US)
        for payload in self._pipeline.payloads():
            self.made.update(payload.body)


def _polls(workload: str, statements: int) -> Iterator[Iterator[bytes]]:
    for client in range(CLIENTS):
        head = RecordKind.SESSION, 100 + client, SESSION_US * 1000, SESSION_US + client
        names = b"app", b"shop", b"pgbench"
        yield iter((SESSION.pack(*head, 0, 1, 0, socket.AF_INET, 0, bytes(16), *names),))
    for first in range(0, statements, POLL_RECORDS):
        yield (_record(workload, number) for number in range(first, first + POLL_RECORDS))


def _record(workload: str, number: int) -> bytes:
    client = number % CLIENTS
    at_ns = SESSION_US * 1000 + number * 40_000
    text, text_id = b"SELECT abalance FROM pgbench_accounts WHERE aid = %d;" % number, 0
    key = number.to_bytes(16, "little")
    if workload == "prepared":
        # Twice in full, then by the number that the decoder has given it.
        text, text_id, key = (PREPARED, 0, KEY[:16]) if number < 2 else (b"", 1, KEY[:16])
    return EXECUTION.pack(
        RecordKind.EXECUTION, 100 + client, at_ns + 60_000 + number % 7000, SESSION_US + client,
        at_ns + 20_000, at_ns // 1000, 60 + number % 9, key, len(text), text_id, 0, TAIL_BYTES,
        ord("I"), 0, TAIL,
    ) + text  # fmt: skip


def _cpu_seconds(pid: int) -> float:
    return time.clock_gettime((~pid << 3) | 2)  # the kernel's MAKE_PROCESS_CPUCLOCK


if __name__ == "__main__":
    sys.exit(main())
