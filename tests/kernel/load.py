"""Clients whose every statement is held, and an agent that stands still."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.live.postgres import PostgresCluster

HELD = "SELECT pg_sleep(0) AS {}"
"""What the judge of ``hanging_agent`` never answers."""
SEED = int(os.environ.get("PGWARDEN_SEED", "7"))


class Load:
    """Clients that send texts of which no two are alike, so that each of them is held."""

    def __init__(self, cluster: PostgresCluster, clients: int, sql: str = "SELECT 1 AS {}") -> None:
        self.answered = 0
        self.errors: list[psycopg.Error] = []
        self.slowest_ms = 0.0
        self._sql = sql
        self._stop = threading.Event()
        self._connections = [cluster.connect() for _ in range(clients)]
        self._threads = [
            threading.Thread(target=self._run, args=(connection, number))
            for number, connection in enumerate(self._connections)
        ]

    def _run(self, connection: psycopg.Connection, number: int) -> None:
        words = random.Random(SEED * 1000 + number)
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                connection.execute(self._sql.format(f"x{words.getrandbits(64):x}"))
                self.answered += 1
            except psycopg.Error as error:
                self.errors.append(error)
            self.slowest_ms = max(self.slowest_ms, (time.monotonic() - began) * 1000)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in self._threads)
        for connection in self._connections:
            connection.close()


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
