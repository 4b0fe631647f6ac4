"""What looking at the catalog costs the server, by the number of tables: processor time of the
backend that answers, from /proc, in milliseconds.

``whole``: everything is read. ``asked``: transactions have ended, and one question tells that
nothing changed. While no transaction has ended anywhere, not even that is asked.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from agent.catalog import take_snapshot
from agent.catalog.changes import probe_cluster, probe_database
from cli.demo.cluster import PostgresCluster

SIZES = (100, 1000, 5000)
ROLES = 500
AT_ONCE = 250
ROUNDS = 5
ASKED_TIMES = 20
TABLES = """
DO $$ BEGIN FOR i IN {first}..{last} LOOP
  EXECUTE format('CREATE TABLE s.t%s (id bigint PRIMARY KEY, a text NOT NULL, b int DEFAULT 3,
    c numeric, d timestamptz, e text, f jsonb, g date)', i);
  EXECUTE format('CREATE INDEX ON s.t%s (a)', i);
  EXECUTE format('GRANT SELECT ON s.t%s TO role_%s', i, i % {roles});
END LOOP; END $$
"""
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def costs(sizes: tuple[int, ...] = SIZES) -> dict[str, dict[str, float]]:
    """By number of tables: medians of ``whole_ms`` and ``asked_ms``."""
    with PostgresCluster(pgaudit=False) as cluster:
        with cluster.connect() as connection:
            connection.execute("CREATE ROLE pgwarden LOGIN")
            connection.execute("GRANT pg_monitor TO pgwarden")
            connection.execute(
                f"DO $$ BEGIN FOR i IN 0..{ROLES - 1} LOOP"
                " EXECUTE format('CREATE ROLE role_%s', i); END LOOP; END $$"
            )
        return {str(size): _of_size(cluster, size) for size in sizes}


def _of_size(cluster: PostgresCluster, tables: int) -> dict[str, float]:
    database = f"with_{tables}"
    with cluster.connect() as connection:
        connection.execute(f"CREATE DATABASE {database}")
    with cluster.connect(dbname=database) as connection:
        connection.execute("CREATE SCHEMA s")
        for first in range(0, tables, AT_ONCE):
            last = min(first + AT_ONCE, tables) - 1
            connection.execute(TABLES.format(first=first, last=last, roles=ROLES))
        connection.execute("VACUUM ANALYZE")
    with cluster.connect(user="pgwarden", dbname=database) as connection:
        take_snapshot(connection, "bench")  # the server's caches are warm from here on
        whole = [
            processor_ms(connection, lambda: take_snapshot(connection, "bench"))
            for _ in range(ROUNDS)
        ]
        asked = [processor_ms(connection, lambda: _ask(connection)) for _ in range(ROUNDS)]
    figures = {
        "whole_ms": statistics.median(whole),
        "asked_ms": statistics.median(asked) / ASKED_TIMES,
    }
    print(f"  {tables} tables: " + ", ".join(f"{k} {v:,.1f}" for k, v in figures.items()))
    return figures


def _ask(connection: psycopg.Connection[Any]) -> None:
    for _ in range(ASKED_TIMES):
        probe_database(connection, None)
        probe_cluster(connection, None)


def processor_ms(connection: psycopg.Connection[Any], work: Callable[[], object]) -> float:
    """What its backend took for ``work``: a busy machine makes it no more."""
    before = _ticks(connection.info.backend_pid)
    work()
    return (_ticks(connection.info.backend_pid) - before) * 1000 / TICKS_PER_SECOND


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
