"""What capture costs the backend whose answers are followed, in CPU time of that process.

Rates say little on a machine that others work on; the time that the kernel counts for one backend
says more. Given are nanoseconds a row (``rows_*``) or a statement. ``none`` is without probes;
``--beside FOLDER`` runs another checkout in turn.
"""

from __future__ import annotations

import argparse
import os
import select
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bench import rounds
from bench.capture import AGENT_CPU, SERVER_CPU, pin
from cli.demo.cluster import PostgresCluster

PREPARED = b"asked"
ROWS = 10_000
LOOKS = 60
"""Of a millisecond or two each, in every round."""
READY = b"Z\0\0\0\5I"


@dataclass(frozen=True)
class Asked:
    messages: bytes
    round_trips: int
    units: int
    """What its time is shared among."""


def main(argv: list[str] | None = None) -> int:
    arguments = rounds.parser(__doc__ or "", rounds=21)
    arguments.add_argument("--beside", type=Path, help="another checkout, with its probes compiled")
    arguments.add_argument("--workload", choices=WORKLOADS, action="append")
    arguments.add_argument("--watch", type=int, help=argparse.SUPPRESS)
    options = arguments.parse_args(argv)
    if options.watch:
        return _watch(options.watch)
    checkouts: dict[str, Path | None] = {"none": None, "here": Path(__file__).parent.parent}
    if options.beside:
        checkouts["beside"] = options.beside.resolve()
    chosen = options.workload or list(WORKLOADS)
    with _backend() as (connection, postmaster):

        def variant(folder: Path | None) -> Callable[[], rounds.Figures]:
            def run() -> rounds.Figures:
                with _watched(folder, postmaster):
                    return {name: _spent_ns(connection, WORKLOADS[name]) for name in chosen}

            return run

        variants = {name: variant(folder) for name, folder in checkouts.items()}
        results = rounds.interleaved(variants, options.rounds)
    summary = {workload: _summary(workload, results) for workload in chosen}
    rounds.write(options.json, {"machine": rounds.machine(), "ns": summary, "rounds": results})
    return 0


def _summary(
    workload: str, results: dict[str, list[dict[str, float]]]
) -> dict[str, dict[str, float]]:
    """Of each variant the median and the lower quartile of all rounds, and by how much it took more
    than ``none`` in the same round (median)."""
    none = [each[workload] for each in results["none"]]
    found = {}
    for name, each in results.items():
        ns = [figures[workload] for figures in each]
        more = statistics.median(a - b for a, b in zip(ns, none, strict=True))
        found[name] = {
            "median": statistics.median(ns),
            "low": statistics.quantiles(ns, n=4)[0],
            "more": more,
        }
        told = "  ".join(f"{key} {value:9,.1f}" for key, value in found[name].items())
        print(f"{workload:12} {name:8} {told}")
    return found


@contextmanager
def _backend() -> Iterator[tuple[psycopg.Connection, int]]:
    os.sched_setaffinity(0, {int(AGENT_CPU)})
    with PostgresCluster(settings={"jit": "off", "autovacuum": "off"}) as cluster:
        pin(cluster.postmaster_pid, SERVER_CPU)
        with cluster.connect() as connection:
            os.set_blocking(connection.pgconn.socket, True)
            connection.pgconn.prepare(PREPARED, b"SELECT 1")
            yield connection, cluster.postmaster_pid


@contextmanager
def _watched(folder: Path | None, postmaster: int) -> Iterator[None]:
    """By a capture with the code of that checkout, which does nothing with what it reads."""
    if folder is None:
        yield
        return
    with subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__).resolve()), "--watch", str(postmaster)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
    ) as watcher:  # fmt: skip
        if watcher.stdout is None or watcher.stdout.readline() != b"ready\n":
            raise RuntimeError(f"no probes of {folder}")
        try:
            yield
        finally:
            watcher.communicate()


def _watch(postmaster: int) -> int:
    from agent.discovery import cluster_at
    from agent.sources.ebpf import EbpfSource

    with EbpfSource() as source:
        source.add(cluster_at(postmaster))
        print("ready", flush=True)
        while not select.select([0], [], [], 0)[0]:
            source.poll(20)
    return 0


def _spent_ns(connection: psycopg.Connection, asked: Asked) -> float:
    """The lower decile of all looks: the others were disturbed."""
    clock = (~connection.info.backend_pid << 3) | 2  # the kernel's MAKE_PROCESS_CPUCLOCK
    looks = []
    for _ in range(LOOKS):
        began = time.clock_gettime_ns(clock)
        _ask(connection.pgconn.socket, asked)
        looks.append((time.clock_gettime_ns(clock) - began) / asked.units)
    return statistics.quantiles(looks, n=10)[0]


def _ask(client: int, asked: Asked) -> None:
    """All at once, so that the backend need not sleep and wake in between. No row imitates an
    end."""
    os.write(client, asked.messages)
    data = bytearray()
    while not data.endswith(READY) or data.count(READY) < asked.round_trips:
        data += os.read(client, 1 << 20)


def _message(tag: bytes, body: bytes) -> bytes:
    return tag + struct.pack(">I", len(body) + 4) + body


def _query(text: str) -> bytes:
    return _message(b"Q", text.encode() + b"\0")


SYNC = _message(b"S", b"")
EXECUTE = _message(b"B", b"\0" + PREPARED + bytes(7)) + _message(b"E", bytes(5))
WORKLOADS = {
    "simple": Asked(_query("SELECT 1") * 200, 200, 200),
    "prepared": Asked((EXECUTE + SYNC) * 200, 200, 200),
    "string": Asked(_query("; ".join(["SELECT 1"] * 20)) * 10, 10, 200),
    "pipeline": Asked((EXECUTE * 20 + SYNC) * 10, 10, 200),
    "rows_tiny": Asked(_query(f"SELECT 7 FROM generate_series(1, {ROWS})"), 1, ROWS),
    "rows_four": Asked(_query(f"SELECT i, i, i, i FROM generate_series(1, {ROWS}) i"), 1, ROWS),
    "rows_100": Asked(_query(f"SELECT repeat('x', 100) FROM generate_series(1, {ROWS})"), 1, ROWS),
}
"""Rows of one digit, of four numbers and of 100 bytes."""


if __name__ == "__main__":
    sys.exit(main())
