"""Statements a second through the sandboxed parser, beside its peer in process.

The peer calls libpg_query's ``fingerprint`` and ``scan`` in this process: less than half of what a
worker does (which also parses, classifies, redacts and crosses two process borders), and unsafe.
``round_trip`` is one unseen text at a time, as the guard asks while a backend is held.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import pglast.parser

from agent.sql.cache import ShapeCache
from agent.sql.client import ParserClient
from bench import rounds

FORMS = (
    "SELECT abalance FROM pgbench_accounts WHERE aid = {n}",
    "SELECT o.id, o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer_id"
    " WHERE o.created > '2024-01-01' AND c.region = 'EU' LIMIT {n}",
    "UPDATE pgbench_accounts SET abalance = abalance + {n} WHERE aid = 5",
    "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 2, 3, {n}, now())",
    "BEGIN /* {n} */",
)
BATCH = 256


def main(argv: list[str] | None = None) -> int:
    arguments = rounds.parser(__doc__ or "", rounds=5)
    arguments.add_argument("--statements", type=int, default=20_000, help="of each run")
    options = arguments.parse_args(argv)
    numbers = itertools.count()
    with ParserClient(ShapeCache(max_entries=50)) as cold, ParserClient() as warm:
        runs: dict[str, Callable[[], rounds.Figures]] = {
            "in_process": lambda: _in_process(_texts(numbers, options.statements)),
            "distinct": lambda: _through(cold, _texts(numbers, options.statements)),
            "repeated": lambda: _through(warm, _repeated(options.statements)),
            "round_trip": lambda: _round_trips(cold, _texts(numbers, options.statements // 10)),
        }
        results = rounds.interleaved(runs, options.rounds)
    middle = rounds.medians(results)
    share = middle["distinct"]["per_second"] / middle["in_process"]["per_second"]
    print(f"\ndistinct texts: {middle['distinct']['per_second']:,.0f}/s, {share:.2f} of the peer")
    print(f"repeated texts: {middle['repeated']['per_second']:,.0f}/s")
    trip = middle["round_trip"]
    print(f"one unseen text: p50 {trip['p50_us']:.0f} us, p99 {trip['p99_us']:.0f} us")
    rounds.write(options.json, {"machine": rounds.machine(), "median": middle, "rounds": results})
    return 0


def _texts(numbers: Iterator[int], count: int) -> list[bytes]:
    """Never the same text twice, over all runs."""
    return [FORMS[n % len(FORMS)].format(n=n).encode() for n in itertools.islice(numbers, count)]


def _repeated(count: int) -> list[bytes]:
    """A hundred texts over and over, each time new bytes as a capture would bring them."""
    return [FORMS[n % len(FORMS)].format(n=n % 100).encode() for n in range(count)]


def _in_process(texts: list[bytes]) -> rounds.Figures:
    started = time.perf_counter()
    for text in texts:
        decoded = text.decode()
        pglast.parser.fingerprint(decoded)
        pglast.parser.scan(decoded)
    return {"per_second": len(texts) / (time.perf_counter() - started)}


def _through(client: ParserClient, texts: list[bytes]) -> rounds.Figures:
    started = time.perf_counter()
    for at in range(0, len(texts), BATCH):
        batch = texts[at : at + BATCH]
        client.shapes(batch, [len(text) for text in batch])
    return {"per_second": len(texts) / (time.perf_counter() - started)}


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
