"""Real clients at work: pgbench for the service, psql for people, psycopg for the AI agent."""

from __future__ import annotations

import os
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from cli.demo.cluster import PostgresCluster
from cli.demo.world import AI_AGENT, DATABASE, SERVICE, SERVICE_SCRIPT

SERVICE_RATE_PER_SECOND = 10
ASSISTANT_PAUSE_SECONDS = 0.15
ASSISTANT_READS: tuple[LiteralString, ...] = (
    "SELECT name, price FROM shop.products WHERE price < %s LIMIT 20",
    "SELECT count(*) FROM shop.orders WHERE customer = %s",
    "SELECT name FROM shop.customers WHERE id = %s",
)


class Service:
    """The orders service: pgbench with a script of three statements."""

    def __init__(self, cluster: PostgresCluster, folder: Path) -> None:
        script = folder / "orders-api.sql"
        script.write_text(SERVICE_SCRIPT)
        self._log = (folder / "pgbench.log").open("wb")
        self._process = subprocess.Popen(
            [
                "pgbench", "--no-vacuum", "--client=2", f"--rate={SERVICE_RATE_PER_SECOND}",
                "--time=86400", "--protocol=prepared", f"--file={script}",
                "--host=127.0.0.1", f"--port={cluster.port}", f"--username={SERVICE}", DATABASE,
            ],
            stdout=self._log, stderr=self._log, env=os.environ | {"PGAPPNAME": "orders-api"},
        )  # fmt: skip

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()


class Assistant:
    """An AI agent that answers questions about the shop, over one long connection."""

    def __init__(self, cluster: PostgresCluster) -> None:
        self._connection = psycopg.connect(
            cluster.dsn(user=AI_AGENT, dbname=DATABASE, application_name="shopping-assistant"),
            autocommit=True,
        )
        self.pid = self._connection.info.backend_pid
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def tries(self, sql: LiteralString) -> str:
        """What the server answers: ``ok``, or its error as the driver shows it."""
        try:
            with self._lock:
                self._connection.execute(sql)
        except psycopg.Error as error:
            return f"{type(error).__name__}: {str(error).strip()}"
        return "ok"

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(5)
        with suppress(psycopg.Error):
            self._connection.close()

    def _work(self) -> None:
        turn = 0
        while not self._stop.wait(ASSISTANT_PAUSE_SECONDS):
            read = ASSISTANT_READS[turn % len(ASSISTANT_READS)]
            turn += 1
            try:
                with self._lock:
                    self._connection.execute(read, (turn % 100,))
            except psycopg.Error:
                # Its session was terminated: that is the end of the story, not a failure.
                return


def psql(cluster: PostgresCluster, user: str, sql: str) -> subprocess.CompletedProcess[str]:
    """One person's statement, as psql shows its result."""
    return cluster.psql(sql, user=user, dbname=DATABASE)


def connections_of(cluster: PostgresCluster, pid: int) -> int:
    """1 while the backend lives, else 0."""
    with cluster.connect() as connection:
        row: tuple[Any, ...] | None = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", (pid,)
        ).fetchone()
    return int(row[0]) if row else 0
