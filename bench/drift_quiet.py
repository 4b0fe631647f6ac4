"""A day on which nobody changes anything: 1,440 minutes of ordinary work, one after another.

Each minute is played on a real server, then the agent looks at the catalog and the collector hears
of it, both with clocks that are put on by a minute; so whole snapshots go out each six hours. The
server's own clock runs as ever: what is to happen by the clock (a password that expires) is due
soon. Nothing may be told; at the end one grant shows that somebody was awake.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from agent.catalog import SnapshotWatcher, Watched, take_snapshot
from agent.catalog.host_files import HostFiles
from bench import rounds
from bench.drift_history import History
from bench.drift_town import DATABASE
from cli.demo.cluster import PostgresCluster, as_server_account, server_folder
from collector.drift.engine import Drift
from collector.drift.news import DriftNews
from model.catalog import Snapshot
from model.finding import Finding

MINUTES = 24 * 60
EXPIRES_SECONDS = 5
MINUTE_US = 60_000_000
SETTINGS = {
    "wal_level": "logical", "autovacuum_naptime": "1s", "autovacuum_vacuum_threshold": "20",
    "autovacuum_analyze_threshold": "20", "max_prepared_transactions": "5",
    "track_functions": "all", "checkpoint_timeout": "30s", "log_rotation_size": "64kB",
}  # fmt: skip
SET_UP = """
CREATE ROLE app LOGIN; CREATE ROLE reader; CREATE ROLE pgwarden LOGIN;
GRANT pg_monitor TO pgwarden;
GRANT SELECT ON pg_catalog.pg_hba_file_rules, pg_catalog.pg_file_settings TO pgwarden;
GRANT EXECUTE ON FUNCTION pg_hba_file_rules(), pg_show_all_file_settings() TO pgwarden;
GRANT USAGE ON SCHEMA sales TO app, reader, pgwarden;
ALTER DEFAULT PRIVILEGES IN SCHEMA sales GRANT SELECT ON TABLES TO reader;
CREATE TABLE sales.events (id bigint, hour int, note text, PRIMARY KEY (id, hour))
  PARTITION BY LIST (hour);
CREATE INDEX ON sales.events (note);
GRANT INSERT ON sales.events TO app;
CREATE TABLE sales.events_0 PARTITION OF sales.events FOR VALUES IN (0);
CREATE SEQUENCE sales.tickets;
CREATE TABLE sales.ordinary (id int PRIMARY KEY, n int, at timestamptz);
CREATE TABLE sales.flags (name text PRIMARY KEY, value text);
INSERT INTO sales.flags SELECT 'f' || n, 'off' FROM generate_series(1, 50) n;
GRANT SELECT ON sales.flags TO pgwarden;
CREATE MATERIALIZED VIEW sales.sums AS SELECT 1 AS one, count(*) AS n FROM sales.ordinary;
CREATE UNIQUE INDEX ON sales.sums (one);
CREATE FUNCTION sales.touch() RETURNS trigger LANGUAGE plpgsql
  AS 'BEGIN NEW.at := now(); RETURN NEW; END';
CREATE TRIGGER touch BEFORE UPDATE ON sales.ordinary FOR EACH ROW EXECUTE FUNCTION sales.touch();
CREATE PUBLICATION news FOR TABLE sales.ordinary;
SELECT pg_create_physical_replication_slot('standby', true);
"""
LOGICAL = "SELECT pg_create_logical_replication_slot('reader', 'test_decoding')"
"""In a transaction of its own."""
EACH_MINUTE = (
    "CREATE TEMP TABLE work AS SELECT g AS id FROM generate_series(1, 200) g; DROP TABLE work",
    "BEGIN; CREATE TEMP TABLE once (i serial PRIMARY KEY) ON COMMIT DROP; COMMIT",
    "CREATE TEMP VIEW looking AS SELECT 1 AS one; DROP VIEW looking",
    "CREATE FUNCTION pg_temp.twice(i int) RETURNS int LANGUAGE sql AS 'SELECT 2 * i';"
    "DROP FUNCTION pg_temp.twice(int)",
    "BEGIN; CREATE TABLE sales.never (i int); GRANT SELECT ON sales.never TO app; ROLLBACK",
    "INSERT INTO sales.ordinary SELECT g, 0 FROM generate_series(1, 50) g"
    " ON CONFLICT (id) DO UPDATE SET n = ordinary.n + 1",
    "DELETE FROM sales.ordinary WHERE id % 7 = 0",
    "SELECT nextval('sales.tickets')",
    "UPDATE sales.flags SET value = value WHERE name = 'f1'",
    "BEGIN; UPDATE sales.flags SET value = 'on'; ROLLBACK",
    "BEGIN; SET LOCAL work_mem = '8MB'; SELECT count(*) FROM sales.ordinary; COMMIT",
    "SET statement_timeout = '9s'; RESET ALL",
    "BEGIN; DELETE FROM sales.ordinary WHERE id = 1; PREPARE TRANSACTION 'two'",
    "COMMIT PREPARED 'two'",
    "LISTEN news; NOTIFY news; UNLISTEN news",
)
EACH_HOUR = (
    "CREATE TABLE sales.events_{hour} PARTITION OF sales.events FOR VALUES IN ({hour})",
    "INSERT INTO sales.events SELECT g, {hour}, 'n' FROM generate_series(1, 500) g",
    "ANALYZE",
    "VACUUM sales.ordinary",
    "VACUUM pg_catalog.pg_class",
    "CHECKPOINT",
    "SELECT pg_switch_wal()",
    "SELECT pg_rotate_logfile()",
    "SELECT pg_reload_conf()",
    "REFRESH MATERIALIZED VIEW CONCURRENTLY sales.sums",
    "SELECT setval('sales.tickets', 1)",
    "SELECT count(*) FROM pg_logical_slot_get_changes('reader', NULL, NULL)",
    "SELECT pg_replication_slot_advance('standby', pg_current_wal_lsn())",
    "SELECT pg_stat_reset(), pg_stat_reset_shared('bgwriter')",
    "TRUNCATE sales.ordinary",
)
EACH_NIGHT = (
    "VACUUM (FULL, ANALYZE) sales.ordinary",
    "VACUUM (FREEZE) sales.flags",
    "VACUUM (FREEZE)",
    "REINDEX TABLE CONCURRENTLY sales.ordinary",
    "REINDEX SCHEMA sales",
    "CLUSTER sales.ordinary USING ordinary_pkey",
    "REFRESH MATERIALIZED VIEW sales.sums",
    "REINDEX SYSTEM {database}",
    "VACUUM FULL pg_catalog.pg_attribute",
)
NIGHT = 3 * 60
"""The minute of maintenance: backups, a restart, a comment in each configuration file."""


@dataclass
class Clock:
    """Both programs' own; the server has another one."""

    minutes: int = 0

    def seconds(self) -> float:
        return self.minutes * 60.0

    def us(self) -> int:
        return time.time_ns() // 1000 + self.minutes * MINUTE_US


@dataclass
class Heard:
    """What the agent sent and what the collector said to it."""

    drift: Drift
    clock: Clock
    messages: int = 0
    whole: int = 0
    findings: list[Finding] = field(default_factory=list)

    def send(self, snapshot: Snapshot) -> None:
        self.messages += 1
        self.whole += not snapshot.base_at_us
        seen = [("host", snapshot)]
        self._hear(self.drift.on_commit({}, seen, self.messages, self.clock.us()))

    def minute_is_over(self) -> None:
        self._hear(self.drift.tick(self.clock.us()))

    def _hear(self, news: DriftNews) -> None:
        self.findings += [each for each in news.findings if each.detector != "drift.baseline"]
        self.drift.changes_settled(news.changes, True)


class Day:
    """``play`` minutes on a server of its own."""

    def __init__(self, cluster: PostgresCluster, folder: Path) -> None:
        self.cluster = cluster
        self.clock = Clock()
        self.heard = Heard(Drift(folder, clock_us=self.clock.us), self.clock)
        files = HostFiles(Path("/"), cluster.data)
        watched = [Watched("sales.flags", "sales.flags", database=DATABASE, key=("name",))]
        self.watcher = SnapshotWatcher(
            lambda database: cluster.connect(
                user="pgwarden", dbname=database or DATABASE, application_name="pgwarden"
            ),
            "main",
            self.heard.send,
            clock=self.clock.seconds,
            watched=watched,
            take=partial(take_snapshot, files=files),
        )
        self._session = self._connect()

    def play(self, minutes: int) -> None:
        self._look()
        for minute in range(1, minutes + 1):
            for sql in EACH_MINUTE:
                self._session.execute(sql)
            self._refused()
            if minute % 60 == 0:
                self._each(EACH_HOUR, hour=minute // 60)
            if minute % MINUTES == NIGHT:
                self._night()
            self.clock.minutes += 1
            self._look()

    def wakes(self) -> list[str]:
        """What is told of a grant, after the quiet."""
        self._session.execute("GRANT SELECT ON sales.ordinary TO app")
        self._look()
        self.clock.minutes += 1
        self.heard.minute_is_over()
        return [each.sentence for each in self.heard.findings]

    def _look(self) -> None:
        self.watcher.look()
        if self.watcher.problems:
            raise SystemExit(f"the catalog was not read in full: {self.watcher.problems}")
        self.heard.minute_is_over()

    def _connect(self) -> psycopg.Connection[Any]:
        return self.cluster.connect(dbname=DATABASE, application_name="scheduler")

    def _each(self, statements: tuple[str, ...], **words: object) -> None:
        for sql in statements:
            self._session.execute(sql.format(**words))

    def _refused(self) -> None:
        try:
            self._session.execute("CREATE TABLE sales.flags (i int)")
        except psycopg.errors.DuplicateTable:
            return
        raise SystemExit("the server made a table twice")

    def _night(self) -> None:
        self._each(EACH_NIGHT, database=DATABASE)
        self._tool("pg_dump", "--file=/dev/null", self.cluster.dsn(dbname=DATABASE))
        with tempfile.TemporaryDirectory(dir=self.cluster.folder) as folder:
            Path(folder).chmod(0o777)
            target = f"--pgdata={folder}/copy"
            self._tool("pg_basebackup", target, f"--dbname={self.cluster.dsn()}", "--no-sync")
        for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf"):
            path = self.cluster.data / name
            path.write_text(f"# nothing is changed here\n{path.read_text()}")
        self.cluster.reload()
        self._session.close()
        self.cluster.restart()
        self._session = self._connect()

    def _tool(self, tool: str, *words: str) -> None:
        program = server_folder(self.cluster.major) / "bin" / tool
        command = [*as_server_account(), str(program), *words]
        subprocess.run(command, check=True, capture_output=True, cwd="/")


@contextmanager
def day(tables: int = 200, roles: int = 40, major: int = 15) -> Iterator[Day]:
    with (
        PostgresCluster(pgaudit=False, settings=SETTINGS, major=major) as cluster,
        tempfile.TemporaryDirectory() as folder,
    ):
        with cluster.connect() as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}")
        with cluster.connect(dbname=DATABASE) as connection:
            for sql in (*History(1, tables, roles).setup(), SET_UP, LOGICAL):
                connection.execute(sql)
            connection.execute(
                "DO $$ BEGIN EXECUTE format('CREATE ROLE leaver LOGIN PASSWORD ''x'' VALID UNTIL"
                f" %L', now() + interval '{EXPIRES_SECONDS} s'); END $$"
            )
        yield Day(cluster, Path(folder))


def figures(minutes: int, say: Callable[[str], None] = print, **words: Any) -> dict[str, Any]:
    began = time.monotonic()
    with day(**words) as quiet:
        quiet.play(minutes)
        false = [each.sentence for each in quiet.heard.findings]
        messages, whole, looks = quiet.heard.messages, quiet.heard.whole, quiet.watcher.taken
        awake = quiet.wakes()[len(false) :]
    found = {
        "minutes": minutes, "looks": looks, "snapshots": messages, "whole_snapshots": whole,
        "false_findings": len(false), "false_examples": false[:20], "awake": len(awake) == 1,
        "seconds": time.monotonic() - began,
    }  # fmt: skip
    say("  a quiet day: " + ", ".join(f"{name} {value}" for name, value in found.items()))
    return found


def main(argv: list[str] | None = None) -> int:
    arguments: argparse.ArgumentParser = rounds.parser(__doc__ or "", rounds=1)
    arguments.add_argument("--minutes", type=int, default=MINUTES)
    arguments.add_argument("--major", type=int, default=15)
    options = arguments.parse_args(argv)
    found = figures(options.minutes, major=options.major)
    rounds.write(options.json, {"machine": rounds.machine(), "quiet_day": found})
    return int(bool(found["false_findings"]) or not found["awake"])


if __name__ == "__main__":
    raise SystemExit(main())
