"""What capture costs PostgreSQL, beside what pgaudit and an empty probe cost it.

Server and pgbench share one CPU, agent and collector have the other, as on a host with a core to
spare; then the same once more where the scheduler decides (``--unpinned-rounds``). One cluster, one
data set; a round runs every variant once.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from bench import probe_costs, rounds
from bench.noop import noop_probes
from cli.demo.cluster import PostgresCluster, free_port

SERVER_CPU, AGENT_CPU = "0", "1"
CLIENTS = 2
WORKLOADS = {
    "select_simple": ("--select-only", "--protocol=simple"),
    "select_prepared": ("--select-only", "--protocol=prepared"),
    "tpcb_simple": ("--protocol=simple",),
    "tpcb_durable": ("--protocol=simple",),
}
"""``select_simple``: every text is another; ``select_prepared``: one text. TPC-B-like without and
with a wait for the disk at each commit, which is PostgreSQL's default."""
DURABLE = frozenset(("tpcb_durable",))
STATEMENTS_PER_TRANSACTION = {"tpcb_simple": 7, "tpcb_durable": 7}
AGENT = "agent_"
VARIANTS = ("none", "noop_uprobe", "observe", "enforce", "pgaudit")


def main(argv: list[str] | None = None) -> int:
    arguments = rounds.parser(__doc__ or "", rounds=7)
    arguments.add_argument("--seconds", type=int, default=5, help="of each pgbench run")
    arguments.add_argument("--unpinned-rounds", type=int, default=1)
    arguments.add_argument(
        "--probe-seconds", type=int, default=2, help="of a run that counts the probes; 0: none"
    )
    arguments.add_argument("--workload", choices=WORKLOADS, action="append")
    options = arguments.parse_args(argv)
    chosen = options.workload or list(WORKLOADS)
    report: dict[str, object] = {
        "machine": rounds.machine(), "seconds": options.seconds, "clients": CLIENTS
    }  # fmt: skip
    for pinned, count in ((True, options.rounds), (False, options.unpinned_rounds)):
        if count:
            report["pinned" if pinned else "unpinned"] = _measure(
                pinned, count, options.seconds, chosen
            )
    if options.probe_seconds:
        report["probes"] = _probes(options.probe_seconds, chosen)
    rounds.write(options.json, report)
    return 0


def _measure(pinned: bool, count: int, seconds: int, chosen: list[str]) -> dict[str, object]:
    """By workload, then by variant: ``tps``, ``latency_us``, ``tps_ratio`` (to ``none``) and, where
    an agent ran, ``agent``: ``cpu_us_per_statement``, ``pss_mb`` and ``lost`` of all its
    processes, ``rss_mb`` of the agent's own."""
    found: dict[str, object] = {"rounds": count}
    with ExitStack() as stack:
        bench = stack.enter_context(_Bench.prepared(pinned, seconds))
        for workload in chosen:
            print(f"{workload} ({'pinned' if pinned else 'unpinned'})")
            results = rounds.interleaved(
                {name: bench.variant(name, workload) for name in VARIANTS}, count
            )
            middle = rounds.medians(results)
            found[workload] = {name: _told(figures, middle) for name, figures in middle.items()}
            for name, figures in middle.items():
                ratio = figures["tps"] / middle["none"]["tps"]
                print(f"  {name:14} tps {figures['tps']:9,.0f}  ratio {ratio:.3f}")
            found[f"{workload}_rounds"] = results
    return found


def _probes(seconds: int, chosen: list[str]) -> dict[str, object]:
    """By workload and mode, of each program: ``hits`` a transaction, ``ns`` a hit inside it, and
    the share of a second (``busy``) that it took."""
    found: dict[str, dict[str, object]] = {}
    with _Bench.prepared(True, seconds) as bench:
        for workload in chosen:
            for mode in ("observe", "enforce"):
                programs = bench.counted(mode, workload)
                found.setdefault(workload, {})[mode] = programs
                print(f"{workload}, {mode}: in its programs")
                for name, each in sorted(programs.items(), key=lambda one: -one[1]["busy"]):
                    print(
                        f"  {name:16} {each['hits']:6.2f} hits a transaction, "
                        f"{each['ns']:6,.0f} ns each, {100 * each['busy']:5.2f} % of a second"
                    )
    return dict(found)


def _told(figures: dict[str, float], middle: dict[str, dict[str, float]]) -> dict[str, object]:
    own = {name.removeprefix(AGENT): value for name, value in figures.items() if AGENT in name}
    told: dict[str, object] = {
        "tps": figures["tps"],
        "latency_us": figures["latency_us"],
        "tps_ratio": figures["tps"] / middle["none"]["tps"],
    }
    return told | {"agent": own} if own else told


@dataclass(frozen=True)
class Agent:
    pid: int
    port: int
    """Of its metrics."""
    config: Path
    parent: int = 0
    """Of agent and collector: it starts one that ended anew."""


class _Bench:
    def __init__(self, cluster: PostgresCluster, pinned: bool, seconds: int) -> None:
        self._cluster = cluster
        self._pinned = pinned
        self._seconds = seconds

    @classmethod
    @contextmanager
    def prepared(cls, pinned: bool, seconds: int) -> Iterator[_Bench]:
        settings = {"pgaudit.log": "none", "shared_buffers": "256MB", "synchronous_commit": "off"}
        with PostgresCluster(settings=settings) as cluster:
            if pinned:
                pin(cluster.postmaster_pid, SERVER_CPU)
            with cluster.connect() as connection:
                connection.execute("CREATE ROLE pgwarden LOGIN IN ROLE pg_monitor")
            subprocess.run(
                ["pgbench", "--initialize", "--scale=10", "--quiet", *address(cluster)],
                check=True, capture_output=True,
            )  # fmt: skip
            yield cls(cluster, pinned, seconds)

    def variant(self, name: str, workload: str) -> Callable[[], dict[str, float]]:
        def run() -> dict[str, float]:
            with self._around(name) as agent:
                return self._pgbench(workload, agent)

        return run

    def counted(self, mode: str, workload: str) -> dict[str, dict[str, float]]:
        with self._pgwarden(mode) as agent, probe_costs.counted() as counts:
            transactions = self._pgbench(workload, agent)["tps"] * self._seconds
            return {
                name: {
                    "hits": hits / transactions,
                    "ns": ns / hits,
                    "busy": ns / 1e9 / self._seconds,
                }
                for name, (hits, ns) in counts().items()
            }

    @contextmanager
    def _around(self, name: str) -> Iterator[Agent | None]:
        """What runs beside the server; yields the agent where there is one."""
        if name == "none":
            yield None
        elif name == "noop_uprobe":
            with noop_probes(self._cluster.binary):
                yield None
        elif name == "pgaudit":
            self._audit("all")
            try:
                yield None
            finally:
                self._audit("none")
        else:
            with self._pgwarden(name) as agent:
                yield agent

    def _audit(self, classes: str) -> None:
        with self._cluster.connect() as connection:
            connection.execute(f"ALTER SYSTEM SET pgaudit.log = '{classes}'".encode())
            connection.execute("SELECT pg_reload_conf()")

    @contextmanager
    def _pgwarden(self, mode: str) -> Iterator[Agent]:
        with pgwarden(self._cluster, mode, AGENT_CPU if self._pinned else "") as agent:
            yield agent

    def _pgbench(self, workload: str, agent: Agent | None) -> dict[str, float]:
        taskset = ["taskset", "-c", SERVER_CPU] if self._pinned else []
        commit = "on" if workload in DURABLE else "off"
        before = _cpu_seconds(agent.pid) if agent else 0.0
        done = subprocess.run(
            [
                *taskset, "pgbench", "--no-vacuum", f"--client={CLIENTS}",
                f"--time={self._seconds}", *WORKLOADS[workload], *address(self._cluster),
            ],
            check=True, capture_output=True, text=True,
            env={**os.environ, "PGOPTIONS": f"-c synchronous_commit={commit}"},
        )  # fmt: skip
        figures = {
            "tps": float(find(r"tps = ([\d.]+)", done.stdout)),
            "latency_us": 1000 * float(find(r"latency average = ([\d.]+) ms", done.stdout)),
        }
        if agent:
            time.sleep(0.5)  # what the agent has taken but not yet worked off
            transactions = float(find(r"actually processed: (\d+)", done.stdout))
            statements = transactions * STATEMENTS_PER_TRANSACTION.get(workload, 1)
            spent = _cpu_seconds(agent.pid) - before
            figures["agent_cpu_us_per_statement"] = 1e6 * spent / statements
            figures["agent_rss_mb"] = _rss_bytes(agent.pid) / 2**20
            figures["agent_pss_mb"] = _pss_bytes(agent.pid) / 2**20
            figures["agent_lost"] = _lost(agent.port)
        return figures


@contextmanager
def pgwarden(
    cluster: PostgresCluster,
    mode: str,
    cpu: str = "",
    packs: list[str] | None = None,
    nested: bool = False,
    watched: Sequence[Mapping[str, Any]] = (),
) -> Iterator[Agent]:
    """Agent and collector in full, as a user runs them; on one ``cpu``, if given."""
    with tempfile.TemporaryDirectory(prefix="pgwarden-bench-") as name:
        folder = Path(name)
        port = free_port()
        config = folder / "pgwarden.yaml"
        settings = _configuration(cluster, folder, mode, port)
        settings["agent"]["capture"]["nested"] = nested
        settings["agent"]["catalog"] = {"watched": [dict(each) for each in watched]}
        if packs is not None:
            settings["agent"]["rules"] = {"packs": packs}
        config.write_text(yaml.safe_dump(settings))
        taskset = ["taskset", "-c", cpu] if cpu else []
        with (folder / "log").open("wb") as log:
            up = subprocess.Popen(
                [*taskset, sys.executable, "-m", "cli.main", "up", "--config", str(config)],
                stdout=log, stderr=log,
            )  # fmt: skip
            try:
                wait_until_ready(port, folder / "log")
                yield Agent(child(up.pid, "agent"), port, config, up.pid)
            finally:
                up.send_signal(signal.SIGTERM)
                up.wait(30)


def _configuration(cluster: PostgresCluster, folder: Path, mode: str, port: int) -> dict[str, Any]:
    socket = f"unix:{folder}/collector.sock"
    return {
        "agent": {
            "name": "bench",
            "state_dir": str(folder / "agent"),
            "collector": socket,
            "metrics": {"port": port},
            "capture": {"pgaudit": False},
            "guard": {"mode": mode},
            "only_configured_clusters": True,
            "clusters": [
                {
                    "port": cluster.port,
                    "data_directory": str(cluster.data),
                    "dsn": cluster.dsn(user="pgwarden"),
                }
            ],
        },
        "collector": {
            "data_dir": str(folder / "collector"),
            "listen": [socket],
            "metrics": {"port": free_port()},
            "analytics": {"enabled": False},
        },
    }


def wait_until_ready(port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"the agent was not ready in time:\n{log.read_text()[:6000]}")


def child(parent: int, word: str) -> int:
    pids = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    for pid in pids:
        if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return int(pid)
    raise RuntimeError(f"process {parent} has no child that runs {word}")


def pin(pid: int, cpu: str) -> None:
    subprocess.run(["taskset", "-a", "-p", "-c", cpu, str(pid)], check=True, capture_output=True)


def address(cluster: PostgresCluster) -> list[str]:
    return ["--host=127.0.0.1", f"--port={cluster.port}", "--username=postgres", "postgres"]


def find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"no {pattern!r} in:\n{text}")
    return found.group(1)


def _cpu_seconds(pid: int) -> float:
    """User and system time of the process, its parser workers and its watchdogs."""
    ticks = 0
    for each in _family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _lost(port: int) -> float:
    """Events that the agent counted as lost; for what reasons is printed."""
    lost = 0.0
    for line in httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines():
        if line.startswith("pgwarden_agent_events_lost_total"):
            labels, _, count = line.rpartition(" ")
            lost += float(count)
            if float(count):
                print(f"  lost: {labels} {count}")
    return lost


def _family(pid: int) -> list[int]:
    """The process and its children."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def _pss_bytes(pid: int) -> int:
    """Of the whole family; what several processes share counts once, in parts."""
    rollups = (Path(f"/proc/{each}/smaps_rollup").read_text() for each in _family(pid))
    return 1024 * sum(int(find(r"(?m)^Pss: +(\d+) kB", rollup)) for rollup in rollups)


def _rss_bytes(pid: int) -> int:
    """Of the agent's own process, without its children."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
