"""Is every change to a database noticed, how soon, and with the right actor?

A made-up history (``bench/drift_history.py``, ``bench/drift_deeds.py``,
``bench/drift_dependents.py``) is played on a real server
that ``pgwarden up`` watches, group by group: all changes of a group at once from many sessions,
then the record is compared with the truth. Now and then the collector is killed while a group is
played, and the agent between two. A quiet stretch of ordinary work follows, in which nothing may
be told, then a whole day of it (``bench/drift_quiet.py``).
``recall``: differences that were recorded; ``actor_right``: of those that somebody made, the ones
with the right actor (of two who made one, both named), and of the edits of files, the ones with
none; ``invented``: differences that nobody made.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg

from bench import drift_quiet, rounds
from bench.capture import Agent, child, pgwarden, wait_until_ready
from bench.drift_cost import costs
from bench.drift_deeds import WATCHED, Deeds
from bench.drift_dependents import Dependents
from bench.drift_history import History
from bench.drift_mixed import Mixed, Row, rows_of
from bench.drift_tally import Tally, Told, compare
from bench.drift_town import DATABASE, OPERATORS, STRINGS, Change, Key
from cli.demo.cluster import PostgresCluster
from collector.views import open_views

GROUP = (11, 6, 4)
"""Changes of schema, grants and settings in a group."""
GROUP_SECONDS = 20.0
LINGER_SECONDS = 2.0
"""After all was seen: what comes now was invented."""
POLL_SECONDS = 0.25
ACCEPT_SECONDS = 30.0
TRIES = 30
"""Two GRANTs and ALTERs on one table at once: the server refuses one of them."""


def main(argv: list[str] | None = None) -> int:
    arguments = rounds.parser(__doc__ or "", rounds=1)
    arguments.add_argument("--groups", type=int, default=55)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--tables", type=int, default=1000)
    arguments.add_argument("--roles", type=int, default=100)
    arguments.add_argument("--quiet-seconds", type=int, default=120)
    arguments.add_argument("--quiet-minutes", type=int, default=drift_quiet.MINUTES, help="0: none")
    arguments.add_argument("--restart-every", type=int, default=6, help="groups; 0: never")
    arguments.add_argument("--no-cost", action="store_true", help="the history and the quiet only")
    arguments.add_argument("--nested", action="store_true", help="as agent.capture.nested: true")
    options = arguments.parse_args(argv)
    history, deeds = History(options.seed, options.tables, options.roles), Deeds(options.seed)
    dependents, mixed = Dependents(options.seed), Mixed(options.seed)
    tally = Tally()
    with PostgresCluster(pgaudit=False) as cluster:
        _set_up(cluster, (*history.setup(), *deeds.setup(), *dependents.setup(), *mixed.setup()))
        with pgwarden(cluster, "observe", nested=options.nested, watched=WATCHED) as agent:
            watch = Watch(agent)
            watch.wait_for_baseline()
            with Sessions(cluster) as sessions:
                for number in range(1, options.groups + 1):
                    group = [*history.group(*GROUP), *deeds.group(history), *dependents.group()]
                    due = options.restart_every and number % options.restart_every == 0
                    _play(group, sessions, watch, tally, kill_collector=due)
                    watch.accept()
                    mixed.play(sessions.run, watch.rows)
                    watch.accept()
                    if due:
                        watch.kill_agent()
                        tally.restarts += 2
                    _say(f"group {number}/{options.groups}", tally)
                quiet = _quiet(cluster, watch, options.quiet_seconds)
    quiet_day = drift_quiet.figures(options.quiet_minutes) if options.quiet_minutes else {}
    cost = {}
    if not options.no_cost:
        print("cost of a look, of the server's processor time:")
        cost = costs()
    report = {
        "machine": rounds.machine(), "seed": options.seed, "tables": options.tables,
        "roles": options.roles, "nested": options.nested, "history": tally.figures(),
        "mixed": mixed.figures(), "quiet": quiet, "quiet_day": quiet_day, "cost": cost,
    }  # fmt: skip
    for name, value in (*tally.figures().items(), *quiet.items(), *mixed.figures().items()):
        print(f"  {name:20} {value}")
    rounds.write(options.json, report)
    return 0


def _set_up(cluster: PostgresCluster, setup: Iterable[str]) -> None:
    with cluster.connect() as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
        connection.execute("CREATE ROLE pgwarden LOGIN")
        connection.execute("GRANT pg_monitor TO pgwarden")
    with cluster.connect(dbname=DATABASE) as connection:
        for sql in setup:
            connection.execute(sql)


class Sessions:
    """One session for each operator, and one that reloads after a file was edited."""

    def __init__(self, cluster: PostgresCluster) -> None:
        self._cluster = cluster
        self._sessions: dict[str, psycopg.Connection[Any]] = {}

    def __enter__(self) -> Sessions:
        for name in OPERATORS:
            self._sessions[name] = self._cluster.connect(
                dbname=DATABASE, user=name, application_name="psql"
            )
        return self

    def __exit__(self, *_: object) -> None:
        for session in self._sessions.values():
            session.close()

    def play(self, actor: str, changes: Iterable[Change]) -> dict[Key, float]:
        """Each key with the moment at which its change was done."""
        done: dict[Key, float] = {}
        for change in changes:
            self._persist(self._sessions[actor], change)
            done |= dict.fromkeys(change.keys, time.time())
        return done

    def run(self, actor: str, sql: str) -> None:
        self._sessions[actor].execute(sql)

    def edit(self, changes: Iterable[Change]) -> dict[Key, float]:
        """Lines at the end of postgresql.conf, and the signal of ``pg_ctl reload``."""
        changes = list(changes)
        if not changes:
            return {}
        with (self._cluster.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{change.sql}\n" for change in changes)
        self._cluster.reload()
        return {key: time.time() for change in changes for key in change.keys}

    def _persist(self, session: psycopg.Connection[Any], change: Change) -> None:
        for _ in range(TRIES):
            try:
                return self._do(session, change)
            except psycopg.errors.InternalError_ as error:
                if "concurrently" not in str(error):
                    raise
                session.rollback()
        raise SystemExit(f"the server refused {TRIES} times: {change.sql}")

    @staticmethod
    def _do(session: psycopg.Connection[Any], change: Change) -> None:
        quoted = change.sql.replace("'", "''")
        if change.path == "do":
            session.execute(f"DO $do$ BEGIN {change.sql}; END $do$")
        elif change.path == "function":
            session.execute(f"SELECT ops.run('{quoted}')")
        elif change.path == "transaction":
            with session.transaction():
                session.execute("SELECT 1")
                session.execute(change.sql)
        elif change.path in STRINGS:
            for message in STRINGS[change.path]:
                session.execute(message.format(change.sql))
        else:
            session.execute(change.sql, prepare=change.path == "prepared")
        if change.sql.startswith("ALTER SYSTEM"):
            session.execute("SELECT pg_reload_conf()")


class Watch:
    """What the record says, read as an investigator reads it: from the files of the collector."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._config = agent.config
        self._data = agent.config.parent / "collector"

    def wait_for_baseline(self, seconds: float = 60) -> None:
        query = (
            f"SELECT count(*) FROM findings WHERE detector = 'drift.baseline'"
            f" AND database = '{DATABASE}'"
        )
        deadline = time.monotonic() + seconds
        while not self._rows(query)[0][0]:
            if time.monotonic() > deadline:
                raise SystemExit(f"no baseline within {seconds} s")
            time.sleep(POLL_SECONDS)

    def since(self, moment: float) -> dict[Key, list[Told]]:
        """Differences detected since then."""
        query = (
            "SELECT kind, database, name, actor, note FROM drift"
            f" WHERE epoch_us(occurred_at) >= {int(moment * 1e6)} ORDER BY occurred_at"
        )
        found: dict[Key, list[Told]] = {}
        for kind, database, name, actor, note in self._rows(query):
            found.setdefault((kind, database, name), []).append((actor, note))
        return found

    def rows(self, moment: float) -> dict[Key, list[Row]]:
        """The same line by line, with what is over."""
        return rows_of(self._rows(
            "SELECT kind, database, name, change, desired, observed, actor,"
            " resolved_at IS NOT NULL, note"
            f" FROM drift WHERE epoch_us(occurred_at) >= {int(moment * 1e6)} ORDER BY occurred_at"
        ))  # fmt: skip

    def findings(self, moment: float) -> list[str]:
        query = (
            "SELECT sentence FROM findings WHERE kind = 'drift' AND resolved_at IS NULL"
            f" AND epoch_us(occurred_at) >= {int(moment * 1e6)}"
        )
        return [row[0] for row in self._rows(query)]

    def accept(self) -> None:
        """As soon as the collector listens, which may just have been started anew."""
        words = ["drift", "accept", "--reason", "the bench goes on", "--by", "bench"]
        command = [sys.executable, "-m", "cli.main", *words, "--config", str(self._config)]
        deadline = time.monotonic() + ACCEPT_SECONDS
        while (done := subprocess.run(command, check=False, capture_output=True)).returncode:
            if time.monotonic() > deadline:
                raise SystemExit(f"nothing was accepted: {done.stderr.decode()}")
            time.sleep(POLL_SECONDS)

    def kill_collector(self) -> None:
        os.kill(child(self._agent.parent, "collector"), signal.SIGKILL)

    def kill_agent(self) -> None:
        """And wait for the next one: what is done while none is there nobody can be named for."""
        pid = child(self._agent.parent, "agent")
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + GROUP_SECONDS
        while self._agent_or_none() in (None, pid):
            if time.monotonic() > deadline:
                raise SystemExit("the agent was not started anew")
            time.sleep(POLL_SECONDS)
        wait_until_ready(self._agent.port, self._config.parent / "log")

    def _agent_or_none(self) -> int | None:
        try:
            return child(self._agent.parent, "agent")
        except (RuntimeError, OSError):
            return None

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        with open_views(self._data) as connection:
            return connection.execute(query).fetchall()


def _play(
    group: list[Change], sessions: Sessions, watch: Watch, tally: Tally, *, kill_collector: bool
) -> None:
    begun = time.time()
    by_actor = {name: [c for c in group if c.actor == name] for name in OPERATORS}
    with ThreadPoolExecutor(len(OPERATORS)) as pool:
        playing = [pool.submit(sessions.play, *pair) for pair in by_actor.items()]
        if kill_collector:
            watch.kill_collector()
        played = [each.result() for each in playing]
    done = {
        key: at for part in (*played, sessions.edit(by_nobody(group))) for key, at in part.items()
    }
    changes: dict[Key, list[Change]] = {}
    for change in group:
        for key in change.keys:
            changes.setdefault(key, []).append(change)
    seen: dict[Key, list[Told]] = {}
    deadline = time.monotonic() + GROUP_SECONDS
    while time.monotonic() < deadline:
        found = watch.since(begun)
        for key in found.keys() & done.keys() - seen.keys():
            of_file = changes[key][0].path == "file"
            measured = tally.file_seconds if of_file else tally.seconds
            if not kill_collector:
                measured.append(max(0.0, time.time() - done[key]))
        seen = found
        if done.keys() <= seen.keys():
            deadline = min(deadline, time.monotonic() + LINGER_SECONDS)
        time.sleep(POLL_SECONDS)
    seen = watch.since(begun)
    compare(changes, seen, tally)


def by_nobody(group: list[Change]) -> list[Change]:
    return [change for change in group if change.path == "file"]


def _quiet(cluster: PostgresCluster, watch: Watch, seconds: int) -> dict[str, Any]:
    """Ordinary work: temporary tables, scheduled partitions, statistics, sequences, vacuum."""
    begun = time.time()
    with cluster.connect(dbname=DATABASE, user="alice", application_name="scheduler") as one:
        one.execute(
            "CREATE TABLE sales.events (id bigint, day int) PARTITION BY LIST (day);"
            "CREATE TABLE sales.events_0 PARTITION OF sales.events FOR VALUES IN (0);"
            "CREATE SEQUENCE sales.tickets;"
            "CREATE TABLE sales.ordinary (id int PRIMARY KEY);"
            "CREATE MATERIALIZED VIEW sales.sums AS SELECT sum(id) AS s FROM sales.ordinary"
        )
        time.sleep(GROUP_SECONDS / 2)
        watch.accept()
        begun, day = time.time(), 0
        while time.time() - begun < seconds:
            day += 1
            _ordinary_minute(one, day)
            time.sleep(1)
    time.sleep(LINGER_SECONDS * 2)
    found = watch.findings(begun)
    return {"quiet_seconds": seconds, "false_findings": len(found), "false_examples": found[:20]}


def _ordinary_minute(session: psycopg.Connection[Any], day: int) -> None:
    session.execute(
        f"CREATE TEMP TABLE work_{day} AS SELECT g AS id FROM generate_series(1, 1000) g;"
        f"DROP TABLE work_{day}"
    )
    session.execute(
        f"CREATE TABLE sales.events_{day} PARTITION OF sales.events FOR VALUES IN ({day})"
    )
    session.execute(f"INSERT INTO sales.events SELECT g, {day} FROM generate_series(1, 1000) g")
    session.execute("SELECT nextval('sales.tickets')")
    session.execute("ANALYZE sales.events")
    session.execute("VACUUM pg_catalog.pg_class")
    session.execute("REINDEX TABLE sales.ordinary")
    session.execute("VACUUM FULL sales.ordinary")
    session.execute("TRUNCATE sales.ordinary")
    session.execute("REFRESH MATERIALIZED VIEW sales.sums")
    session.execute("SELECT setval('sales.tickets', 1)")
    session.execute("CREATE TEMP VIEW looking AS SELECT 1 AS one; DROP VIEW looking")
    session.execute("SET work_mem = '8MB'")
    session.execute("RESET work_mem")


def _say(where: str, tally: Tally) -> None:
    print(
        f"  {where}: {tally.seen} of {tally.expected} seen, {tally.right} with the right actor,"
        f" {len(tally.invented)} invented",
        flush=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())
