"""Replication goes on beside holds: a standby, and the workers of a subscription."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from agent.guard.decision import ALLOW, Decision
from agent.guard.hold import Judge
from cli.demo.cluster import SERVER_ACCOUNT, as_server_account
from model.event import StatementStarted
from tests.kernel.guard_stage import DENY, Stage, states, wait_until
from tests.live.postgres import PostgresCluster, server_folder

pytestmark = [pytest.mark.kernel, pytest.mark.live]

HOLDS = 100
ARRIVAL_SECONDS = 20
SETTINGS = {"wal_level": "logical", "max_replication_slots": "8"}


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresCluster]:
    with PostgresCluster(pgaudit=False, settings=SETTINGS) as running:
        with running.connect() as admin:
            admin.execute("CREATE TABLE moved (id int PRIMARY KEY)")
        yield running


@pytest.fixture(scope="module")
def standby(primary: PostgresCluster) -> Iterator[PostgresCluster]:
    copy = PostgresCluster(pgaudit=False)
    try:
        copy.sockets.mkdir()
        for folder in (copy.folder, copy.sockets):
            shutil.chown(folder, SERVER_ACCOUNT, SERVER_ACCOUNT)
        subprocess.run(
            [
                *as_server_account(), str(server_folder() / "bin" / "pg_basebackup"),
                "--pgdata", str(copy.data), "--dbname", primary.dsn(dbname=""),
                "--write-recovery-conf", "--checkpoint=fast", "--no-sync",
            ],
            check=True, capture_output=True, timeout=60, cwd="/",
        )  # fmt: skip
        with (copy.data / "postgresql.conf").open("a") as conf:
            conf.write(f"\nport = {copy.port}\nunix_socket_directories = '{copy.sockets}'\n")
        copy.start()
        with primary.connect() as admin:
            wait_until(lambda: streams(admin), ARRIVAL_SECONDS, "the standby streams")
        yield copy
    finally:
        copy.remove()


@pytest.fixture
def subscriber() -> Iterator[PostgresCluster]:
    with PostgresCluster(pgaudit=False, settings=SETTINGS) as running:
        yield running


def streams(admin: psycopg.Connection, name: str = "walreceiver") -> list[tuple]:
    """Who streams to it: process and since when, so another one after a restart differs."""
    return admin.execute(
        "SELECT pid, backend_start FROM pg_stat_replication"
        " WHERE state = 'streaming' AND application_name = %s",
        (name,),
    ).fetchall()


def workers(admin: psycopg.Connection, kinds: str) -> list[tuple]:
    return admin.execute(
        "SELECT pid, backend_start FROM pg_stat_activity WHERE backend_type ~ %s ORDER BY 1",
        (kinds,),
    ).fetchall()


def count(connection: psycopg.Connection, table: str = "moved") -> int:
    return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def denies_all_but(connection: psycopg.Connection) -> Judge:
    def judge(event: StatementStarted) -> Decision:
        return ALLOW if event.backend.pid == connection.info.backend_pid else DENY

    return judge


@contextmanager
def watched(stage: Stage) -> Iterator[set[int]]:
    """Every process of the server that was seen stopped meanwhile."""
    found: set[int] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.001):
            found.update(pid for pid, state in states(stage.server).items() if state in "Tt")

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def test_a_standby_follows_while_a_hundred_statements_are_held(primary, standby):
    with primary.connect() as client, standby.connect() as reader:
        sender = streams(client)
        with Stage(primary, lambda event: ALLOW) as stage, watched(stage) as stopped:
            for number in range(HOLDS):
                client.execute(f"INSERT INTO moved VALUES ({number})")
            wait_until(lambda: count(reader) == HOLDS, ARRIVAL_SECONDS, "every row has arrived")
        assert len(stage.of(b"INSERT INTO moved")) == HOLDS
        assert streams(client) == sender, "it is the same sender as before"
        assert stopped <= {client.info.backend_pid}
        assert {event.backend.pid for event in stage.seen} == {client.info.backend_pid}


def test_a_guarded_standby_receives_while_its_readers_are_refused(primary, standby):
    with primary.connect() as client, standby.connect() as reader:
        received = workers(reader, "^(walreceiver|startup)$")
        assert len(received) == 2
        with Stage(standby, denies_all_but(reader)) as stage, watched(stage) as stopped:
            before = count(client)
            for number in range(HOLDS):
                client.execute(f"INSERT INTO moved VALUES ({1000 + number})")
            with standby.connect() as other:
                for _ in range(HOLDS):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        other.execute("SELECT count(*) FROM moved")
            wait_until(
                lambda: count(reader) == before + HOLDS, ARRIVAL_SECONDS, "every row has arrived"
            )
        assert workers(reader, "^(walreceiver|startup)$") == received
        assert not stopped & {pid for pid, _ in received}


def test_a_subscription_copies_and_applies_while_clients_are_refused(primary, subscriber):
    """Its workers run SQL (a trigger's) that every client would be refused."""
    with primary.connect() as source, subscriber.connect() as ours:
        source.execute(
            "CREATE TABLE published (id int PRIMARY KEY);"
            "INSERT INTO published SELECT generate_series(1, 500);"
            "CREATE PUBLICATION everything FOR TABLE published"
        )
        ours.execute(
            "CREATE TABLE published (id int PRIMARY KEY); CREATE TABLE seen (id int);"
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN INSERT INTO public.seen VALUES (NEW.id); RETURN NEW; END $$;"
            "CREATE TRIGGER note AFTER INSERT ON published FOR EACH ROW EXECUTE FUNCTION note();"
            "ALTER TABLE published ENABLE ALWAYS TRIGGER note"
        )
        with Stage(subscriber, denies_all_but(ours)) as stage, watched(stage) as stopped:
            dsn = primary.dsn().replace("'", "''")
            ours.execute(f"CREATE SUBSCRIPTION s CONNECTION '{dsn}' PUBLICATION everything")
            wait_until(
                lambda: count(ours, "published") == 500, ARRIVAL_SECONDS, "the table was copied"
            )
            with subscriber.connect() as other:
                for number in range(HOLDS):
                    source.execute(f"INSERT INTO published VALUES ({1000 + number})")
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        other.execute("SELECT count(*) FROM published")
            wait_until(
                lambda: count(ours, "seen") == 500 + HOLDS, ARRIVAL_SECONDS, "rows were applied"
            )
            refused = other.info.backend_pid if not other.closed else None
        clients = {event.backend.pid for event in stage.seen}
        applying = {pid for pid, _ in workers(ours, "logical replication")}
        assert applying
        assert not applying & (clients | stopped)
        assert refused is None or refused in clients
        ours.execute("DROP SUBSCRIPTION s")


def test_a_guarded_publisher_serves_copy_and_stream(primary, subscriber):
    with primary.connect() as source, subscriber.connect() as target:
        source.execute(
            "CREATE TABLE sent AS SELECT generate_series(1, 500) AS id;"
            "CREATE PUBLICATION growing FOR TABLE sent"
        )
        target.execute("CREATE TABLE sent (id int)")
        with Stage(primary, lambda event: ALLOW) as stage, watched(stage) as stopped:
            dsn = primary.dsn().replace("'", "''")
            target.execute(f"CREATE SUBSCRIPTION t CONNECTION '{dsn}' PUBLICATION growing")
            wait_until(lambda: count(target, "sent") == 500, ARRIVAL_SECONDS, "it was copied")
            with primary.connect() as client:
                wait_until(lambda: streams(client, "t"), ARRIVAL_SECONDS, "it streams")
                stopped.clear()
                sending = {pid for pid, _ in streams(client, "t")}
                for number in range(HOLDS):
                    client.execute(f"INSERT INTO sent VALUES ({1000 + number})")
                wait_until(
                    lambda: count(target, "sent") == 500 + HOLDS, ARRIVAL_SECONDS, "rows arrived"
                )
                assert {pid for pid, _ in streams(client, "t")} == sending
        assert len(stage.of(b"INSERT INTO sent")) == HOLDS
        assert not stopped & sending
        target.execute("DROP SUBSCRIPTION t")


OWN_SUBSCRIPTION = """
CREATE TABLE kept (id int);
CREATE TABLE carrier (id int);
CREATE FUNCTION drops() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN DROP TABLE IF EXISTS public.kept; RETURN NULL; END $$;
CREATE TRIGGER drops BEFORE INSERT ON carrier FOR EACH ROW EXECUTE FUNCTION drops();
ALTER TABLE carrier ENABLE REPLICA TRIGGER drops;
CREATE PUBLICATION own FOR TABLE carrier;
"""


def test_what_a_trigger_does_in_an_apply_worker_is_not_held(subscriber):
    """README says so: no process without a client is ever held. A client's DROP is refused."""
    with subscriber.connect() as admin:
        admin.execute(OWN_SUBSCRIPTION)
        admin.execute("SELECT pg_create_logical_replication_slot('own', 'pgoutput')")
        admin.execute(
            f"CREATE SUBSCRIPTION own CONNECTION '{subscriber.dsn()}' PUBLICATION own"
            " WITH (create_slot = false, copy_data = false)"
        )
        with Stage(subscriber, lambda event: DENY if b"DROP TABLE" in event.text else ALLOW):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                admin.execute("DROP TABLE kept")
            admin.execute("INSERT INTO carrier VALUES (1)")
            gone = "SELECT to_regclass('public.kept') IS NULL"
            wait_until(lambda: admin.execute(gone).fetchone() == (True,), ARRIVAL_SECONDS, "gone")
        admin.execute("DROP SUBSCRIPTION own")
