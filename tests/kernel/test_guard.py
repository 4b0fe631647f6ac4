"""The guard against a real PostgreSQL: what a deny rule matches does not execute."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from agent.guard.decision import ALLOW, Decision, DecisionKind
from agent.guard.hold import SPARED, OnTimeout
from agent.guard.memory import PTRACE_DETACH, PTRACE_SEIZE, WAIT_ALL
from agent.guard.server import ERROR_DATA
from model.event import StatementStarted
from model.verdict import Outcome
from tests.kernel.guard_stage import DENY, Stage, deny_drops, stopped, wait_until
from tests.live.postgres import PostgresCluster

pytestmark = [pytest.mark.kernel, pytest.mark.live]

libc = ctypes.CDLL(None)

REFUSAL = (
    "permission denied for database shop "
    "(blocked by pgwarden: rule ddl.drop: DROP on a protected schema; ask dba@example.com)"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    with PostgresCluster() as running:
        yield running


@pytest.fixture
def orders(cluster: PostgresCluster) -> Iterator[PostgresCluster]:
    assert cluster.psql("CREATE TABLE orders AS SELECT 1 AS id").returncode == 0
    yield cluster
    assert cluster.psql("DROP TABLE orders").returncode == 0


def rows(cluster: PostgresCluster) -> str:
    return cluster.psql("SELECT count(*) FROM orders").stdout.strip()


def test_psql_shows_our_refusal_and_the_table_is_still_there(orders):
    with Stage(orders, deny_drops) as stage:
        answer = orders.psql("DROP TABLE orders")
        assert answer.stderr == f"ERROR:  {REFUSAL}\nHINT:  Ask dba@example.com.\n"
        assert answer.returncode == 1
        assert rows(orders) == "1"
    assert [settled.outcome for settled in stage.of(b"DROP")] == [Outcome.PREVENTED]


@pytest.mark.parametrize("prepare", [False, True], ids=["simple", "extended"])
def test_a_driver_raises_insufficient_privilege_and_its_session_goes_on(orders, prepare):
    with Stage(orders, deny_drops), orders.connect() as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
            connection.execute("DROP TABLE orders", prepare=prepare)
        assert refused.value.diag.message_primary == REFUSAL
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (1,)


def test_a_named_prepared_statement_is_refused_at_every_execution(orders):
    with Stage(orders, deny_drops) as stage, orders.connect() as connection:
        connection.prepare_threshold = 0
        for _ in range(3):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("DROP TABLE IF EXISTS orders")
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert len(stage.of(b"DROP")) == 3
        assert rows(orders) == "1"


def test_a_refusal_inside_a_transaction_aborts_it_and_rollback_works(orders):
    with Stage(orders, deny_drops), orders.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO orders VALUES (2)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DROP TABLE orders")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("SELECT 1")
        connection.execute("ROLLBACK")
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (1,)


def test_a_refusal_after_a_savepoint_can_be_rolled_back_to_it(orders):
    with Stage(orders, deny_drops), orders.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO orders VALUES (2)")
        connection.execute("SAVEPOINT here")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DROP TABLE orders")
        connection.execute("ROLLBACK TO here")
        connection.execute("COMMIT")
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (2,)


def test_a_drop_among_other_statements_of_one_string_undoes_them_all(orders):
    with Stage(orders, deny_drops):
        answer = orders.psql("INSERT INTO orders VALUES (2); DROP TABLE orders; SELECT 1")
        assert REFUSAL in answer.stderr
        assert rows(orders) == "1"


def test_what_is_allowed_gives_its_rows_untouched(orders):
    with Stage(orders, deny_drops) as stage, orders.connect() as connection:
        numbers = connection.execute("SELECT generate_series(1, 1000)").fetchall()
        assert numbers == [(number,) for number in range(1, 1001)]
    assert [settled.outcome for settled in stage.of(b"generate_series")] == [None]


def test_a_cancel_stops_the_statement_before_it_runs(orders):
    cancel = Decision(DecisionKind.CANCEL)
    judge = lambda event: cancel if b"DROP" in event.text else ALLOW  # noqa: E731
    with Stage(orders, judge) as stage, orders.connect() as connection:
        for _ in range(20):
            with pytest.raises(psycopg.errors.QueryCanceled):
                connection.execute("DROP TABLE orders")
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (1,)
    assert {settled.outcome for settled in stage.of(b"DROP")} == {Outcome.CANCELLED}


def test_a_termination_ends_the_session_and_the_statement_never_runs(orders):
    end = Decision(DecisionKind.TERMINATE, "r1", "out", "shop")
    judge = lambda event: end if b"DROP" in event.text else ALLOW  # noqa: E731
    with Stage(orders, judge) as stage:
        connection = orders.connect()
        with pytest.raises(psycopg.Error):
            connection.execute("DROP TABLE orders")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
        assert rows(orders) == "1"
    assert [settled.outcome for settled in stage.of(b"DROP")] == [Outcome.TERMINATED]


def test_where_no_session_may_be_ended_the_statement_is_refused_and_its_session_lives(orders):
    end = Decision(DecisionKind.TERMINATE, "r1", "out", "shop")
    judge = lambda event: end if b"DROP" in event.text else ALLOW  # noqa: E731
    with (
        Stage(orders, judge, may_end=lambda: False) as stage,
        orders.connect() as connection,
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DROP TABLE orders")
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (1,)
    (settled,) = stage.of(b"DROP")
    assert (settled.outcome, settled.reason) == (Outcome.PREVENTED, SPARED)


def test_an_unverified_version_is_cancelled_instead_and_the_outcome_says_so(orders, monkeypatch):
    monkeypatch.delitem(ERROR_DATA, 15)
    with Stage(orders, deny_drops) as stage, orders.connect() as connection:
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("DROP TABLE orders")
        assert rows(orders) == "1"
    (settled,) = stage.of(b"DROP")
    assert settled.outcome is Outcome.CANCELLED
    assert "PostgreSQL 15" in settled.reason


def test_a_backend_that_a_debugger_holds_is_cancelled_instead(orders):
    """The kernel refuses a second tracer, as it refuses the first where ptrace is forbidden."""
    with Stage(orders, deny_drops) as stage, orders.connect() as connection:
        pid = connection.info.backend_pid
        attached = threading.Event()

        def debug() -> None:
            libc.ptrace(PTRACE_SEIZE, pid, None, None)
            attached.set()
            os.waitpid(pid, WAIT_ALL)
            wait_until(lambda: stage.of(b"DROP"), 10, "settled")
            libc.ptrace(PTRACE_DETACH, pid, None, None)

        debugger = threading.Thread(target=debug)
        debugger.start()
        assert attached.wait(10)
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("DROP TABLE orders")
        debugger.join()
        assert rows(orders) == "1"
        assert stopped(stage.server) == []
    (settled,) = stage.of(b"DROP")
    assert settled.outcome is Outcome.CANCELLED
    assert "not permitted" in settled.reason


SIGNAL_STORM = ("DROP TABLE orders", "DO $$BEGIN DROP TABLE orders; END$$")
"""At the top a cancel would do as well. Inside, PostgreSQL looks for one too late."""


@pytest.mark.parametrize("sql", SIGNAL_STORM, ids=["top", "inside"])
def test_what_comes_together_with_a_signal_is_refused_like_everything_else(orders, sql):
    """PostgreSQL's own wake-ups (SIGUSR1) run their handler first, and return into the error."""
    with Stage(orders, refuse_drop_itself, deadline_ms=5000) as stage, orders.connect() as client:
        pid = client.info.backend_pid
        with signals_to(pid):
            for _ in range(500):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    client.execute(sql)
        assert client.execute("SELECT pg_backend_pid()").fetchone() == (pid,)
        assert rows(orders) == "1"
    outcomes = [one.outcome for one in stage.of(b"DROP") if one.decision.kind is DecisionKind.DENY]
    assert outcomes == [Outcome.PREVENTED] * 500


def refuse_drop_itself(event: StatementStarted) -> Decision:
    return DENY if event.text.startswith(b"DROP") else ALLOW


@contextmanager
def signals_to(pid: int) -> Iterator[None]:
    done = threading.Event()

    def storm() -> None:
        while not done.is_set():
            os.kill(pid, signal.SIGUSR1)
            time.sleep(0.0002)

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_a_judge_that_hangs_is_released_at_the_deadline(orders):
    def hang(event: StatementStarted) -> Decision:
        if b"hard" in event.text:
            time.sleep(2)
        return ALLOW

    with Stage(orders, hang, deadline_ms=100) as stage, orders.connect() as connection:
        began = time.monotonic()
        assert connection.execute("SELECT 'hard'").fetchone() == ("hard",)
        assert 0.1 <= time.monotonic() - began < 0.2
        assert connection.execute("SELECT 'easy'").fetchone() == ("easy",)
    (settled,) = stage.of(b"hard")
    assert settled.late
    assert settled.outcome is None
    assert not stage.of(b"easy")[0].late


def test_a_judge_that_hangs_refuses_at_the_deadline_where_so_configured(orders):
    def hang(event: StatementStarted) -> Decision:
        if b"DROP" in event.text:
            time.sleep(1)
        return ALLOW

    options = {"deadline_ms": 50, "on_timeout": OnTimeout.DENY}
    with Stage(orders, hang, **options) as stage, orders.connect() as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="judge-late"):
            connection.execute("DROP TABLE orders")
        assert rows(orders) == "1"
    (settled,) = stage.of(b"DROP")
    assert settled.late
    assert settled.outcome is Outcome.PREVENTED


def test_holds_that_queue_behind_a_hanging_judge_do_not_add_up(orders):
    def hang(event: StatementStarted) -> Decision:
        time.sleep(1 if b"generate_series" in event.text else 0)
        return ALLOW

    sql = "SELECT count(*) FROM generate_series(1, 5)"
    with Stage(orders, hang, deadline_ms=100) as stage:
        clients = [
            subprocess.Popen(["psql", "-qAtX", "-c", sql, orders.dsn()], stdout=subprocess.PIPE)
            for _ in range(8)
        ]
        answers = [client.communicate(timeout=30)[0] for client in clients]
        assert answers == [b"5\n"] * 8
    assert max(settled.held_us for settled in stage.of(b"generate_series")) < 400_000


def test_five_hundred_refusals_under_load_leave_every_backend_alive(orders, tmp_path):
    script = tmp_path / "load.sql"
    script.write_text("SELECT count(*) FROM generate_series(1, 50);\n")
    log_before = crashes(orders)
    with Stage(orders, deny_drops) as stage:
        load = subprocess.Popen(
            ["pgbench", "-n", "-c", "3", "-T", "60", "-f", str(script), orders.dsn()],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            with orders.connect() as connection:
                backend = connection.info.backend_pid
                for attempt in range(500):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        connection.execute("DROP TABLE orders", prepare=bool(attempt % 2))
                assert connection.execute("SELECT pg_backend_pid()").fetchone() == (backend,)
            assert load.poll() is None
        finally:
            load.terminate()
            load.communicate(timeout=30)
        assert {settled.outcome for settled in stage.of(b"DROP")} == {Outcome.PREVENTED}
        assert len(stage.of(b"generate_series")) > 500
        assert rows(orders) == "1"
    assert crashes(orders) == log_before


def crashes(cluster: PostgresCluster) -> int:
    text = "".join(file.read_text() for file in cluster.log_directory.glob("*.csv"))
    return text.count("terminated by signal")


def test_a_fast_shutdown_succeeds_while_statements_are_being_held(tmp_path):
    script = tmp_path / "load.sql"
    script.write_text("SELECT 1;\n")
    with PostgresCluster() as own, Stage(own, deny_drops) as stage:
        load = subprocess.Popen(
            ["pgbench", "-n", "-c", "4", "-T", "30", "-f", str(script), own.dsn()],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(lambda: len(stage.settled) > 1000, 20, "load")
        began = time.monotonic()
        own.stop("fast")
        assert time.monotonic() - began < 10
        load.wait(timeout=30)


def test_the_refusal_reaches_the_server_log_with_its_statement(orders):
    with Stage(orders, deny_drops):
        orders.psql("DROP TABLE orders /* logged */")
    text = "".join(file.read_text() for file in orders.log_directory.glob("*.csv"))
    assert "blocked by pgwarden: rule ddl.drop" in text
    assert "DROP TABLE orders /* logged */" in text
