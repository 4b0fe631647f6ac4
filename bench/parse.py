"""What it costs to understand a text, beside a peer in process.

CPU microseconds a text, of agent and worker together, for texts that come again (``repeated``),
that differ from earlier ones in their literals only (``literals``), and that are of a new shape
each (``shapes``). The peer calls libpg_query's ``fingerprint`` and ``scan`` in this process: less
than half of what a worker does (which also parses, classifies, redacts and crosses two process
borders), and unsafe. ``round_trip`` is one text of a new shape at a time, as the guard asks while a
backend is held.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import pglast.parser

from agent.sql.client import ParserClient
from bench import rounds

FORMS = (
    "SELECT abalance FROM pgbench_accounts{shape} WHERE aid = {n};",
    "SELECT o.id, o.total, c.name FROM orders{shape} o JOIN customers c ON c.id = o.customer_id"
    " WHERE o.created > '2024-01-01' AND c.region = 'EU{n}' LIMIT 10",
    "UPDATE pgbench_accounts{shape} SET abalance = abalance + {n} WHERE aid = 5;",
    "INSERT INTO pgbench_history{shape} (tid, bid, aid, delta, mtime)"
    " VALUES (1, 2, 3, {n}, CURRENT_TIMESTAMP);",
    'SELECT "app_user"."id", "app_user"."email" FROM "app_user{shape}" WHERE "app_user"."id" = {n}'
    " LIMIT 21 /*action='login',traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-{n:016x}-01'*/",
)
BATCH = 256


def main(argv: list[str] | None = None) -> int:
    arguments = rounds.parser(__doc__ or "", rounds=5)
    arguments.add_argument("--statements", type=int, default=20_000, help="of each run")
    options = arguments.parse_args(argv)
    numbers = itertools.count()
    with ParserClient() as client:
        runs: dict[str, Callable[[], rounds.Figures]] = {
            "in_process": lambda: _in_process(_texts(numbers, options.statements // 4)),
            "repeated": lambda: _through(client, _repeated(options.statements)),
            "literals": lambda: _through(client, _texts(numbers, options.statements)),
            "shapes": lambda: _through(client, _shapes(numbers, options.statements // 4)),
            "round_trip": lambda: _round_trips(client, _shapes(numbers, options.statements // 10)),
        }
        results = rounds.interleaved(runs, options.rounds)
    middle = rounds.medians(results)
    peer = middle["in_process"]["cpu_us"]
    print(f"\npeer: {peer:.1f} us of CPU a text")
    for name in ("repeated", "literals", "shapes"):
        figures = middle[name]
        print(
            f"{name}: {figures['cpu_us']:.2f} us of CPU a text ({figures['agent_us']:.2f} in the"
            f" agent, {figures['worker_us']:.2f} in the worker), {figures['cpu_us'] / peer:.2f} of"
            f" the peer; {figures['per_second']:,.0f}/s"
        )
    trip = middle["round_trip"]
    print(f"one text of a new shape: p50 {trip['p50_us']:.0f} us, p99 {trip['p99_us']:.0f} us")
    rounds.write(options.json, {"machine": rounds.machine(), "median": middle, "rounds": results})
    return 0


def _texts(numbers: Iterator[int], count: int) -> list[bytes]:
    """Never the same text twice, over all runs; always the same few shapes."""
    return [_written(n, n) for n in itertools.islice(numbers, count)]


def _shapes(numbers: Iterator[int], count: int) -> list[bytes]:
    """Never the same names twice."""
    return [_written(n, n, str(n)) for n in itertools.islice(numbers, count)]


def _repeated(count: int) -> list[bytes]:
    """A hundred texts over and over, each time new bytes as a capture would bring them."""
    return [_written(n, n % 100) for n in range(count)]


def _written(form: int, number: int, shape: str = "") -> bytes:
    return FORMS[form % len(FORMS)].format(n=number, shape=shape).encode()


def _in_process(texts: list[bytes]) -> rounds.Figures:
    started, cpu = time.perf_counter(), time.process_time()
    for text in texts:
        decoded = text.decode()
        pglast.parser.fingerprint(decoded)
        pglast.parser.scan(decoded)
    return {
        "per_second": len(texts) / (time.perf_counter() - started),
        "cpu_us": (time.process_time() - cpu) / len(texts) * 1e6,
    }


def _through(client: ParserClient, texts: list[bytes]) -> rounds.Figures:
    lengths = [len(text) for text in texts]
    started, agent, worker = time.perf_counter(), time.process_time(), _worker_seconds(client)
    for at in range(0, len(texts), BATCH):
        client.shapes(texts[at : at + BATCH], lengths[at : at + BATCH])
    agent_us = (time.process_time() - agent) / len(texts) * 1e6
    worker_us = (_worker_seconds(client) - worker) / len(texts) * 1e6
    return {
        "per_second": len(texts) / (time.perf_counter() - started),
        "cpu_us": agent_us + worker_us,
        "agent_us": agent_us,
        "worker_us": worker_us,
    }


def _worker_seconds(client: ParserClient) -> float:
    """CPU time that the worker has used so far; a replaced one would show as less than nothing."""
    return time.clock_gettime((~client.worker_pid << 3) | 2)  # MAKE_PROCESS_CPUCLOCK


def _round_trips(client: ParserClient, texts: list[bytes]) -> rounds.Figures:
    times_us = []
    for text in texts:
        started = time.perf_counter_ns()
        client.shapes([text], [len(text)])
        times_us.append((time.perf_counter_ns() - started) / 1_000)
    times_us.sort()
    return {
        "p50_us": times_us[len(times_us) // 2],
        "p99_us": times_us[len(times_us) * 99 // 100],
    }


if __name__ == "__main__":
    raise SystemExit(main())
