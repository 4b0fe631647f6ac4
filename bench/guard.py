"""What enforcing costs a statement, beside pgbouncer as the cheapest proxy, and how long it holds.

``latency_us``: one client of pgbench, through nothing, through pgbouncer (session mode, no TLS, no
limits) and with an agent in mode enforce. Server and client share one CPU; pgbouncer or the agent
have the other. ``known`` are texts that rules have let pass before (prepared, and simple ones that
differ in a number), ``unseen`` simple ones of which each has a name that no other has.

``hold_us``: one client that pauses between unseen statements, on a machine without other work. The
agent runs with the rules that come with it and one more, which makes a verdict of each statement: a
verdict says how long its statement was held.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson
import psycopg

from bench import rounds
from bench.capture import AGENT_CPU, SERVER_CPU, address, find, pgwarden, pin
from cli.demo.cluster import PostgresCluster, free_port
from rules.ruleset import DEFAULT_PACKS

PGBOUNCER = Path("/usr/sbin/pgbouncer")
HIGHEST = 9_223_372_036_854_775_807
UNSEEN = f"\\set r random(1, {HIGHEST})\nSELECT 1 AS x:r;\n"
WORKLOADS = {
    "known_simple": ("--select-only", "--protocol=simple"),
    "known_prepared": ("--select-only", "--protocol=prepared"),
    "unseen": ("--protocol=simple",),
}
VARIANTS = ("none", "pgbouncer", "enforce")
EVERY_STATEMENT = """rules:
  - id: bench-every-statement
    title: Every statement
    severity: informational
    action: alert
    when: "true"
    examples: {match: ["SELECT 1"]}
"""
PAUSE_SECONDS = 0.003


def main(argv: list[str] | None = None) -> int:
    arguments = rounds.parser(__doc__ or "", rounds=7)
    arguments.add_argument("--seconds", type=int, default=5, help="of each pgbench run")
    arguments.add_argument("--holds", type=int, default=2000, help="unseen statements to time")
    options = arguments.parse_args(argv)
    with _cluster() as cluster:
        holds = _holds(cluster, options.holds)
        print("  hold_us  " + "  ".join(f"{name} {value:,.0f}" for name, value in holds.items()))
        latency, results = _latency(cluster, options.rounds, options.seconds)
    report = {
        "machine": rounds.machine(), "seconds": options.seconds, "rounds": options.rounds,
        "latency_us": latency, "hold_us": holds, "latency_us_rounds": results,
    }  # fmt: skip
    rounds.write(options.json, report)
    return 0


def _latency(
    cluster: PostgresCluster, count: int, seconds: int
) -> tuple[dict[str, dict[str, float]], dict[str, list[dict[str, float]]]]:
    """Medians by variant, ``enforce`` split into known and unseen; and all rounds."""
    results = rounds.interleaved(
        {name: _variant(cluster, name, seconds) for name in VARIANTS}, count
    )
    middle = rounds.medians(results)
    known = [name for name in WORKLOADS if name != "unseen"]
    enforce = middle.pop("enforce")
    found = {
        **middle,
        "enforce_known": {name: enforce[name] for name in known},
        "enforce_unseen": {"unseen": enforce["unseen"]},
    }
    for name in WORKLOADS:
        none, proxy = middle["none"][name], middle["pgbouncer"][name]
        print(
            f"  {name:15} none {none:,.1f} us  pgbouncer +{proxy - none:,.1f}"
            f"  enforce {enforce[name] - none:+,.1f}"
        )
    return found, results


def _variant(cluster: PostgresCluster, name: str, seconds: int) -> Callable[[], dict[str, float]]:
    def run() -> dict[str, float]:
        with _through(cluster, name) as port:
            return {workload: _pgbench(cluster, port, workload, seconds) for workload in WORKLOADS}

    return run


@contextmanager
def _through(cluster: PostgresCluster, name: str) -> Iterator[int]:
    """The port that clients connect to."""
    if name == "pgbouncer":
        with _pgbouncer(cluster) as port:
            yield port
    elif name == "enforce":
        with pgwarden(cluster, "enforce", AGENT_CPU):
            yield cluster.port
    else:
        yield cluster.port


def _pgbench(cluster: PostgresCluster, port: int, workload: str, seconds: int) -> float:
    """Average latency of a statement in microseconds."""
    script = cluster.folder / "unseen.sql"
    script.write_text(UNSEEN)
    own = [f"--file={script}"] if workload == "unseen" else []
    done = subprocess.run(
        [
            "taskset", "-c", SERVER_CPU, "pgbench", "--no-vacuum", "--client=1",
            f"--time={seconds}", f"--random-seed={secrets.randbits(31)}", *WORKLOADS[workload],
            *own, *address(cluster), f"--port={port}",
        ],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return 1000 * float(find(r"latency average = ([\d.]+) ms", done.stdout))


def _holds(cluster: PostgresCluster, count: int) -> dict[str, float]:
    """p50, p99 and max of what unseen statements were held, in microseconds."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgwarden-bench-")))
        rule = folder / "every.yaml"
        rule.write_text(EVERY_STATEMENT)
        packs = [str(DEFAULT_PACKS), str(rule)]
        agent = stack.enter_context(pgwarden(cluster, "enforce", packs=packs))
        connection = stack.enter_context(cluster.connect(application_name="bench"))
        for _ in range(count):
            connection.execute(f"SELECT 1 AS x{secrets.token_hex(8)}")
            time.sleep(PAUSE_SECONDS)
        where = "rule_id = 'bench-every-statement' AND application_name = 'bench' AND held_us > 0"
        deadline = time.monotonic() + 30
        while True:
            figures = _sql(
                agent.config,
                "SELECT count(*) AS count, quantile_cont(held_us, 0.5) AS p50,"
                " quantile_cont(held_us, 0.99) AS p99, max(held_us) AS max"
                f" FROM verdicts WHERE {where}",
            )
            if figures["count"] >= count:
                return figures
            if time.monotonic() > deadline:
                raise RuntimeError(f"{figures} of {count} held statements are on record")
            time.sleep(0.5)


def _sql(config: Path, query: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "sql", query, "--json", "--config", str(config)],
        check=True, capture_output=True,
    )  # fmt: skip
    row: dict[str, float] = orjson.loads(done.stdout.splitlines()[0])
    return {name: float(value or 0) for name, value in row.items()}


@contextmanager
def _cluster() -> Iterator[PostgresCluster]:
    settings = {"shared_buffers": "256MB", "synchronous_commit": "off"}
    with PostgresCluster(pgaudit=False, settings=settings) as cluster:
        with cluster.connect() as connection:
            connection.execute("CREATE ROLE pgwarden LOGIN IN ROLE pg_monitor")
        subprocess.run(
            ["pgbench", "--initialize", "--scale=10", "--quiet", *address(cluster)],
            check=True, capture_output=True,
        )  # fmt: skip
        pin(cluster.postmaster_pid, SERVER_CPU)
        yield cluster


@contextmanager
def _pgbouncer(cluster: PostgresCluster) -> Iterator[int]:
    folder, port = Path(tempfile.mkdtemp(prefix="pgwarden-pooler-")), free_port()
    folder.chmod(0o755)
    users, config = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text('"postgres" ""\n')
    config.write_text(
        f"[databases]\npostgres = host=127.0.0.1 port={cluster.port} dbname=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {users}\npool_mode = session\n"
        "server_tls_sslmode = disable\n"
    )
    process = subprocess.Popen(
        [
            "taskset", "-c", AGENT_CPU, "setpriv", "--reuid=nobody", "--regid=nogroup",
            "--clear-groups", str(PGBOUNCER), "-q", str(config),
        ],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_until_it_listens(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def _wait_until_it_listens(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            psycopg.connect(f"host=127.0.0.1 port={port} user=postgres dbname=postgres").close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


if __name__ == "__main__":
    sys.exit(main())
