"""Statements and backends that are ended from outside, and commands on a replication connection."""

import os
import signal
import threading
import time
from collections.abc import Callable

import psycopg

from tests.conformance.clients import psycopg3
from tests.conformance.diary import Diary
from tests.conformance.expected import Outcome
from tests.conformance.messages import has_shape, shape_of
from tests.conformance.place import Place, Step, agree, step

PAUSE_SECONDS = 0.2
SLEEP = "SELECT pg_sleep(30)"


def _meanwhile(place: Place, pid: int, work: Callable[[], object]) -> threading.Thread:
    """``work`` when the backend's statement has run for PAUSE_SECONDS."""

    def when_it_runs() -> None:
        with place.admin() as admin:
            ask = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
            while admin.execute(ask, (pid,)).fetchone() is None:
                time.sleep(0.01)
        time.sleep(PAUSE_SECONDS)
        work()

    thread = threading.Thread(target=when_it_runs)
    thread.start()
    return thread


def _fails(connection: psycopg.Connection, one: Step, params: tuple | None = None) -> None:
    try:
        connection.execute(one.sql.replace("$1", "%s"), params)
    except psycopg.Error as error:
        agree(one, one.outcomes[0].sqlstate, error.sqlstate or "")
        if error.diag.message_primary:
            shape = shape_of(one.outcomes[0])
            agree(one, True, has_shape(error.diag.message_primary, shape))
    else:
        agree(one, one.outcomes[0].sqlstate, "no error")


def cancelled(place: Place) -> Diary:
    """By a cancel request of the client itself, in both protocols; the session lives on."""
    with psycopg3.connect(place) as connection:
        diary = psycopg3.attentive(place, connection)
        for sql, params in ((SLEEP, None), ("SELECT pg_sleep($1::int)", (30,))):
            one = step(sql, error="57014", at_least_seconds=PAUSE_SECONDS)
            thread = _meanwhile(place, connection.info.backend_pid, connection.cancel)
            with diary.doing(one):
                _fails(connection, one, params)
            thread.join()
        with diary.doing(step("SELECT 1", 1)):
            connection.execute("SELECT 1")
    return diary


def cancelled_while_it_sends(place: Place) -> Diary:
    """In the middle of a result."""
    one = step(
        "SELECT repeat('x', 100), pg_sleep(0.001) FROM generate_series(1, 100000)", error="57014"
    )
    with psycopg3.connect(place) as connection:
        diary = psycopg3.attentive(place, connection)
        thread = _meanwhile(place, connection.info.backend_pid, connection.cancel)
        with diary.doing(one):
            _fails(connection, one)
        thread.join()
    return diary


def terminated(place: Place) -> Diary:
    """By pg_terminate_backend: a FATAL error is the last that the client hears."""
    return _ended(place, "57P01", lambda pid: _terminate(place, pid))


def _terminate(place: Place, pid: int) -> None:
    with place.admin() as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", (pid,))


def killed(place: Place) -> Diary:
    """SIGKILL: nobody says how the statement ended. The server restarts all its backends."""
    diary = _ended(place, "", lambda pid: os.kill(pid, signal.SIGKILL))
    while True:
        try:
            place.admin().close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return diary


def _ended(place: Place, sqlstate: str, end: Callable[[int], object]) -> Diary:
    diary = Diary(place)
    one = Step(SLEEP, (Outcome(None, sqlstate, at_least_seconds=PAUSE_SECONDS),))
    connection = psycopg3.connect(place)
    pid = connection.info.backend_pid
    thread = _meanwhile(place, pid, lambda: end(pid))
    with diary.doing(one):
        _fails(connection, one)
    thread.join()
    connection.close()
    return diary


def vanished(place: Place) -> Diary:
    """The client goes away while its statement runs; the server notices when it answers."""
    diary = Diary(place)
    one = step("SELECT pg_sleep(0.3)", 1, at_least_seconds=0.3)
    connection = psycopg3.connect(place)
    with diary.doing(one):
        connection.pgconn.send_query(one.sql.encode())
        time.sleep(0.1)
        connection.close()
        time.sleep(0.5)
    return diary


def lock_timeout(place: Place) -> Diary:
    lock = "SELECT count(*) FROM guarded"
    steps = (step("SET lock_timeout = '100ms'"), step(lock, error="55P03", at_least_seconds=0.1))
    with place.admin() as admin, psycopg3.connect(place) as connection, admin.transaction():
        diary = psycopg3.attentive(place, connection)
        admin.execute("LOCK guarded IN ACCESS EXCLUSIVE MODE")
        with diary.doing(steps[0]):
            connection.execute(steps[0].sql)
        with diary.doing(steps[1]):
            _fails(connection, steps[1])
    return diary


def replication(place: Place) -> Diary:
    """Commands of the replication protocol, and SQL on the same connection."""
    commands = (
        step("IDENTIFY_SYSTEM"),
        step("SHOW work_mem"),
        step('CREATE_REPLICATION_SLOT "conf" TEMPORARY LOGICAL test_decoding'),
        step("SELECT 1", 1),
        step('DROP_REPLICATION_SLOT "conf"'),
    )
    with psycopg.connect(**place.words(), replication="database", autocommit=True) as connection:
        diary = psycopg3.attentive(place, connection)
        for one in commands:
            protocol = "query" if one.sql == "SELECT 1" else "replication"
            with diary.doing(one, protocol=protocol):
                connection.execute(one.sql)
    return diary
