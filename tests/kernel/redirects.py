"""Thousands of refusals, and not one backend crash: ``python -m tests.kernel.redirects``.

Refuses ``DROP`` in sessions that do all that a transaction can be in the middle of, and calls of
functions that stand in no statement, on a server of each version under the load of pgbench, and
looks at the server afterwards: the same postmaster, the same backends, no word of a crash in the
log, the table still there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from agent.guard.decision import ALLOW, Decision
from model.event import StatementStarted
from model.verdict import Outcome
from tests.conformance.servers import MAJORS, Server, fetch
from tests.kernel.guard_stage import DENY, Stage, deny_drops

SESSIONS = 2
PATIENCE_MS = 20_000
"""However busy the machine is, no hold is given up: this is about crashes, not about time."""
CRASHES = (b"terminated by signal", b"recovery", b"not properly shut down", b"PANIC")


@dataclass(frozen=True)
class Report:
    major: int
    count: int
    seconds: float
    situations: dict[str, int]
    by_outcome: dict[str, int]
    load_transactions: int


def simple(connection: psycopg.Connection) -> None:
    refused(connection, "DROP TABLE orders")


def extended(connection: psycopg.Connection) -> None:
    refused(connection, "DROP TABLE orders", prepare=True)


def of_several(connection: psycopg.Connection) -> None:
    refused(connection, "INSERT INTO orders VALUES (2); DROP TABLE orders; SELECT 1")


def in_transaction(connection: psycopg.Connection) -> None:
    connection.execute("BEGIN")
    connection.execute("INSERT INTO orders VALUES (2)")
    refused(connection, "DROP TABLE orders")
    connection.execute("ROLLBACK")


def after_savepoint(connection: psycopg.Connection) -> None:
    connection.execute("BEGIN")
    connection.execute("SAVEPOINT a")
    connection.execute("UPDATE orders SET id = id")
    connection.execute("SAVEPOINT b")
    refused(connection, "DROP TABLE orders", prepare=True)
    connection.execute("ROLLBACK TO b")
    refused(connection, "DROP TABLE orders")
    connection.execute("ROLLBACK TO a")
    assert connection.execute("SELECT count(*) FROM orders").fetchone() == (1,)
    connection.execute("COMMIT")


def with_cursor_open(connection: psycopg.Connection) -> None:
    connection.execute("BEGIN")
    connection.execute("DECLARE c CURSOR FOR SELECT generate_series(1, 1000)")
    connection.execute("FETCH 10 FROM c")
    refused(connection, "DROP TABLE orders")
    connection.execute("ROLLBACK")


def called_in_expression(connection: psycopg.Connection) -> None:
    refused(connection, "SELECT makes(4711)")


def called_prepared(connection: psycopg.Connection) -> None:
    refused(connection, "SELECT makes(4711)", prepare=True)


def called_by_sql(connection: psycopg.Connection) -> None:
    refused(connection, "SELECT sum(makes_in_sql(n)) FROM generate_series(1, 5) n")


def called_in_subtransactions(connection: psycopg.Connection) -> None:
    """Each refusal ends a subtransaction, whose handler goes on."""
    assert connection.execute("SELECT tries(5)").fetchone() == (5,)


def called_after_savepoint(connection: psycopg.Connection) -> None:
    connection.execute("BEGIN")
    connection.execute("SAVEPOINT a")
    connection.execute("UPDATE orders SET id = id")
    refused(connection, "SELECT makes(4711)")
    connection.execute("ROLLBACK TO a")
    assert connection.execute("SELECT tries(2)").fetchone() == (2,)
    connection.execute("COMMIT")


def called_from_cursor(connection: psycopg.Connection) -> None:
    connection.execute("BEGIN")
    connection.execute("DECLARE c CURSOR FOR SELECT makes(n) FROM generate_series(1, 9) n")
    refused(connection, "FETCH 1 FROM c")
    connection.execute("ROLLBACK")


def called_to_order(connection: psycopg.Connection) -> None:
    refused(connection, "SELECT n FROM generate_series(1, 9) n ORDER BY makes_in_sql(n)")


Situation = Callable[[psycopg.Connection], None]
REFUSALS = {
    after_savepoint: 2, called_in_subtransactions: 5, called_after_savepoint: 3,
}  # fmt: skip
"""Of one situation, if not 1."""
SITUATIONS: tuple[Situation, ...] = (
    simple, extended, of_several, in_transaction, after_savepoint, with_cursor_open,
)  # fmt: skip
CALLED: tuple[Situation, ...] = (
    called_in_expression, called_prepared, called_by_sql, called_in_subtransactions,
    called_after_savepoint, called_from_cursor, called_to_order,
)  # fmt: skip
FUNCTIONS = """
CREATE FUNCTION makes(int) RETURNS int LANGUAGE plpgsql AS
  $$ BEGIN RETURN lo_create($1::oid)::int; END $$;
CREATE FUNCTION makes_in_sql(int) RETURNS int LANGUAGE sql AS 'SELECT lo_create($1::oid)::int';
CREATE FUNCTION tries(int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE caught int := 0;
BEGIN
  FOR i IN 1..$1 LOOP
    BEGIN
      UPDATE orders SET id = id;
      IF lo_create(4711::oid) > 0 THEN RETURN -1; END IF;
    EXCEPTION WHEN insufficient_privilege THEN caught := caught + 1;
    END;
  END LOOP;
  RETURN caught;
END $$;
"""
CALL = b"SELECT lo_create($1)"


def deny_calls(event: StatementStarted) -> Decision:
    return DENY if event.calls == "lo_create" else ALLOW


def refused(connection: psycopg.Connection, sql: str, *, prepare: bool = False) -> None:
    try:
        connection.execute(sql, prepare=prepare)
    except psycopg.errors.InsufficientPrivilege:
        return
    raise AssertionError(f"not refused: {sql}")


def refuse(major: int, count: int, *, calls: bool = False) -> Report:
    """Until ``count`` statements have been refused, or calls that stand in none. Raises
    AssertionError for whatever is wrong."""
    scenes, judge, text = SITUATIONS, deny_drops, b"DROP"
    if calls:
        scenes, judge, text = CALLED, deny_calls, CALL
    with Server(major=major, pgaudit=False) as server:
        server.psql("CREATE TABLE orders AS SELECT 1 AS id")
        server.psql(FUNCTIONS)
        postmaster = server.postmaster_pid
        began = time.monotonic()
        options = {"hold_window_ms": PATIENCE_MS, "deadline_ms": PATIENCE_MS}
        if calls:
            options["calls"] = frozenset({"lo_create"})
        with Stage(server, judge, **options) as stage, load(server) as transactions:
            situations: Counter[str] = Counter()
            errors: list[BaseException] = []
            made = [0]

            def session() -> None:
                try:
                    with server.connect() as connection:
                        backend = connection.info.backend_pid
                        while made[0] < count and not errors:
                            for situation in scenes:
                                situation(connection)
                                situations[situation.__name__] += 1
                                made[0] += REFUSALS.get(situation, 1)
                        assert connection.execute("SELECT pg_backend_pid()").fetchone() == (
                            backend,
                        )
                except BaseException as error:  # noqa: BLE001 - told after the others have ended
                    errors.append(error)

            threads = [threading.Thread(target=session) for _ in range(SESSIONS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert errors == [], errors
            outcomes = Counter(str(settled.outcome) for settled in stage.of(text))
            done = transactions()
        assert set(outcomes) == {str(Outcome.PREVENTED)}, outcomes
        assert server.postmaster_pid == postmaster
        assert server.psql("SELECT count(*) FROM orders").stdout == "1\n"
        assert server.psql("SELECT count(*) FROM pg_largeobject_metadata").stdout == "0\n"
        assert crashes(server) == []
        return Report(
            major,
            outcomes.total(),
            time.monotonic() - began,
            dict(situations),
            dict(outcomes),
            done,
        )


@contextmanager
def load(server: Server) -> Iterator[Callable[[], int]]:
    """pgbench beside it, whose statements are held and let go; gives how many it ran."""
    script = server.folder / "load.sql"
    script.write_text("BEGIN;\nSELECT count(*) FROM generate_series(1, 50);\nEND;\n")
    process = subprocess.Popen(
        ["pgbench", "-n", "-c", "2", "-T", "3600", "-f", str(script), server.dsn()],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip

    def transactions() -> int:
        assert process.poll() is None, process.communicate()[0]
        found = server.psql("SELECT xact_commit FROM pg_stat_database WHERE datname = 'postgres'")
        return int(found.stdout)

    try:
        yield transactions
    finally:
        process.terminate()
        process.communicate(timeout=30)


def crashes(server: Server) -> list[bytes]:
    logs = b"".join(file.read_bytes() for file in server.log_directory.iterdir())
    return [line for line in logs.splitlines() if any(word in line for word in CRASHES)]


def main(argv: list[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--count", type=int, default=10_000)
    arguments.add_argument("--version", type=int, nargs="+", choices=MAJORS, default=MAJORS)
    arguments.add_argument("--calls", action="store_true", help="calls that stand in no statement")
    options = arguments.parse_args(argv)
    fetch()
    for major in options.version:
        print(refuse(major, options.count, calls=options.calls), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
