"""``pgwarden up`` on a cluster of ours, the way an operator runs it, and what its record says."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import yaml
from duckdb import DuckDBPyConnection
from typer.testing import CliRunner

from cli.main import app
from cli.sql import ask
from collector.views import open_views, refresh_views
from tests.live.postgres import PostgresCluster, free_port

READY_SECONDS = 30
WAIT_SECONDS = 15
LOOK_SECONDS = 0.05
ASK_AGAIN_SECONDS = 1.0
COMMAND = [sys.executable, "-m", "cli.main"]
HTTP = httpx.Client(verify=False)
"""Our pages are plain HTTP. To read certificates that nobody asks for would take ten times as long
as the page itself."""


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merged(out[key], value) if both else value
    return out


class Running:
    """Started by ``with``; ``config`` is laid over a configuration that watches ``cluster``.
    ``ready``: the agent will be, once it has started."""

    def __init__(
        self, cluster: PostgresCluster, config: dict[str, Any] | None = None, ready: bool = True
    ) -> None:
        self._ready = ready
        self.cluster = cluster
        self.folder = Path(tempfile.mkdtemp(prefix="pgwarden-up-"))
        self.agent_port, self.collector_port = free_port(), free_port()
        socket = f"unix:{self.folder}/collector.sock"
        base = {
            "agent": {
                "name": "test-host",
                "state_dir": str(self.folder / "agent"),
                "collector": socket,
                "metrics": {"port": self.agent_port},
                "only_configured_clusters": True,
                "clusters": [
                    {
                        "port": cluster.port,
                        "data_directory": str(cluster.data),
                        "name": "main",
                        "dsn": cluster.dsn(user="pgwarden"),
                    }
                ],
                "catalog": {"interval_seconds": 2},
                "capture": {"rescan_seconds": 0.5},
                # Ten times the default: whether verdicts are in time is asked by tests that run
                # alone, and others than these may have the processors.
                "guard": {"deadline_ms": 2000},
            },
            "collector": {
                "data_dir": str(self.folder / "collector"),
                "listen": [socket],
                "metrics": {"port": self.collector_port},
            },
        }
        self.config = self.folder / "pgwarden.yaml"
        self.config.write_text(yaml.safe_dump(merged(base, config or {})))
        self.data_dir = self.folder / "collector"
        self.process: subprocess.Popen[bytes] | None = None
        self._views: DuckDBPyConnection | None = None
        self._asking = threading.Lock()

    def __enter__(self) -> "Running":
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._views is not None:
            self._views.close()
        subprocess.run(["rm", "-rf", str(self.folder)], check=True)

    def start(self, program: str = "up", wait: bool = True) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, program, "--config", str(self.config)], stdout=log, stderr=log
            )
        if wait:
            agent = (self.agent_port,) if self._ready else ()
            ports = {"up": (self.collector_port, *agent), "agent": agent}
            for port in ports.get(program, (self.collector_port,)):
                self.wait_ready(port)

    def stop(self) -> int:
        if self.process is None or self.process.poll() is not None:
            return self.process.returncode if self.process else 0
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="backslashreplace")

    def child(self, name: str) -> int:
        """Pid of the agent or collector."""
        pid = self.child_or_none(name)
        assert pid is not None, f"no {name} runs:\n{self.log}"
        return pid

    def child_or_none(self, name: str) -> int | None:
        assert self.process is not None
        parent = self.process.pid
        for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            if name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return int(pid)
        return None

    def pgwarden(self, *words: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *words, "--config", str(self.config)],
            capture_output=True, text=True, timeout=timeout, check=False,
            env=os.environ | {"COLUMNS": "200"},
        )  # fmt: skip

    def answered(self, *words: str) -> subprocess.CompletedProcess[str]:
        """As ``pgwarden`` answers, without a process for each question: for what is asked again
        and again until it is so."""
        result = CliRunner().invoke(
            app, [*words, "--config", str(self.config)], env={"COLUMNS": "200"}
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return subprocess.CompletedProcess(words, result.exit_code, result.stdout, result.stderr)

    def sql(self, query: str) -> list[dict[str, Any]]:
        """As ``pgwarden sql --json`` answers, without a process and a session for each question."""
        with self._asking:
            if self._views is None:
                self._views = open_views(self.data_dir)
            else:
                refresh_views(self._views, self.data_dir)
            answer = ask(self._views, query)
            rows = [dict(zip(answer.names, row, strict=True)) for row in answer.rows()]
        return [orjson.loads(orjson.dumps(row, default=str)) for row in rows]

    def wait_sql(self, query: str, timeout: float = WAIT_SECONDS) -> list[dict[str, Any]]:
        """Until the query has rows. It costs 20 ms of processor time, so it is asked where the
        ledger has grown, and each second all the same: rows may depend on the time as well."""
        asked_of, again_at = -1, 0.0

        def ask() -> list[dict[str, Any]]:
            nonlocal asked_of, again_at
            size = self._ledger_bytes()  # before the answer: it may grow meanwhile
            if size == asked_of and time.monotonic() < again_at:
                return []
            asked_of, again_at = size, time.monotonic() + ASK_AGAIN_SECONDS
            return self.sql(query)

        return self.wait(ask, query, timeout, LOOK_SECONDS)

    def _ledger_bytes(self) -> int:
        ledger = self.data_dir / "ledger.jsonl"
        return ledger.stat().st_size if ledger.exists() else 0

    def wait(
        self,
        ask: Callable[[], Any],
        what: str,
        timeout: float = WAIT_SECONDS,
        every: float = 0.2,
    ) -> Any:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            answer = ask()
            if answer:
                return answer
            time.sleep(every)
        raise AssertionError(f"not within {timeout} s: {what}\n{self.log[-3000:]}")

    def wait_ready(self, port: int) -> None:
        def ready() -> bool:
            try:
                return HTTP.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
            except httpx.TransportError:
                return False

        self.wait(ready, f"ready on {port}", READY_SECONDS)

    def metrics(self, port: int) -> dict[str, float]:
        """``name{labels}`` -> value."""
        text = HTTP.get(f"http://127.0.0.1:{port}/metrics").text
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}


def prepare(cluster: PostgresCluster) -> None:
    """Roles and tables that the tests speak of."""
    with cluster.connect() as connection:
        connection.execute(
            "CREATE ROLE pgwarden LOGIN IN ROLE pg_monitor;"
            "CREATE ROLE app LOGIN; CREATE ROLE bot LOGIN; CREATE ROLE analyst;"
            "CREATE SCHEMA shop; CREATE TABLE shop.orders (id int PRIMARY KEY, note text);"
            "CREATE TABLE shop.prices (id int); ALTER TABLE shop.orders OWNER TO app;"
            "INSERT INTO shop.orders SELECT i, 'n' FROM generate_series(1, 100) i;"
            "GRANT USAGE ON SCHEMA shop TO app, bot;"
            "GRANT SELECT ON ALL TABLES IN SCHEMA shop TO bot"
        )


def freeze(pid: int) -> None:
    """SIGSTOP, until no thread runs any more: the signal comes to one, which stops the others."""
    os.kill(pid, signal.SIGSTOP)
    limit = time.monotonic() + 10
    while not all(
        (task / "stat").read_text().rpartition(")")[2].split()[0] == "T"
        for task in Path(f"/proc/{pid}/task").iterdir()
    ):
        assert time.monotonic() < limit, "it does not stop"
        time.sleep(0.001)
