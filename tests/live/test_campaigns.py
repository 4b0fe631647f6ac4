"""Campaigns by real clients on a real server, after a fortnight of ordinary work: told in 10 s."""

from __future__ import annotations

import contextlib
import os
import time

import psycopg
import pytest

from tests.live import ordinary_days
from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]
TOLD_SECONDS = 10
CUSTOMERS = 60_000
QUIET_SECONDS = 3
CAST = (*ordinary_days.PEOPLE, ordinary_days.PROGRAM)
CONFIG = {
    "agent": {
        "identities": [
            {"user": ordinary_days.PROGRAM, "kind": "service", "name": ordinary_days.PROGRAM},
            *({"user": name, "kind": "human", "name": name} for name in ordinary_days.PEOPLE),
        ]
    }
}
TABLES = f"""
    CREATE TABLE shop.customers AS
        SELECT i AS id, 'name ' || i AS name, i || '@example.com' AS email
        FROM generate_series(1, {CUSTOMERS}) i;
    CREATE SCHEMA hr;
    CREATE TABLE hr.salaries AS SELECT i AS id, i * 1000 AS pay FROM generate_series(1, 400) i;
    GRANT USAGE ON SCHEMA hr, shop TO PUBLIC;
    GRANT SELECT ON shop.customers TO PUBLIC;
    GRANT SELECT ON hr.salaries TO app;
    """


@pytest.fixture(scope="module")
def running():
    with PostgresCluster() as cluster:
        prepare(cluster)
        with cluster.connect() as connection:
            connection.execute(TABLES)
            for name in ordinary_days.PEOPLE:
                connection.execute(f"CREATE ROLE {name} LOGIN")
        up = Running(cluster, CONFIG)
        ordinary_days.write(up.data_dir, time.time_ns() // 1000)
        with up:
            yield up


@pytest.fixture(scope="module", autouse=True)
def ordinary(running):
    """Ordinary work of today, of which nobody hears."""
    with running.cluster.connect(user="app", application_name="orders-api") as connection:
        for number in range(50):
            connection.execute(ordinary_days.LOOKING_UP.replace("$1", "%s"), (number,))
    for name in ordinary_days.PEOPLE:
        running.cluster.psql(ordinary_days.READING, user=name)
    last = f"user_name = '{name}' AND text_bytes > 0 AND pid > 7"
    running.wait_sql(f"SELECT 1 FROM statements WHERE {last}")
    time.sleep(QUIET_SECONDS)
    assert findings(running) == []


def findings(running, *identities):
    """About them, or all who are in the history: pgwarden's own login is new on this server."""
    names = ", ".join(f"'{name}'" for name in identities or CAST)
    return running.sql(
        "SELECT detector, identity, sentence FROM findings "
        f"WHERE kind = 'anomaly' AND identity IN ({names})"
    )


def is_told(running, identity, detector, since):
    """Within TOLD_SECONDS of ``since`` (monotonic), when the campaign's last statement was over."""
    running.wait(
        lambda: detector in {each["detector"] for each in findings(running, identity)},
        f"{detector} tells of {identity}; so far {findings(running)}",
        since + TOLD_SECONDS - time.monotonic(),
    )
    return True


def test_a_table_taken_whole_by_psql(running):
    taken = running.cluster.psql("SELECT * FROM shop.customers", user="ann")
    over = time.monotonic()
    assert taken.stdout.count("\n") == CUSTOMERS
    assert is_told(running, "ann", "volume", over)


def test_doors_tried_by_psycopg(running):
    with running.cluster.connect(user="ben", application_name="python") as connection:
        for statement in (
            "SELECT usename, passwd FROM pg_shadow",
            "COPY shop.customers TO PROGRAM 'cat > /dev/null'",
            *(f"SELECT * FROM hr.salaries WHERE id = {number}" for number in range(80)),
        ):
            with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
        over = time.monotonic()
    for detector in ("error_burst", "first_act", "role_profile"):
        assert is_told(running, "ben", detector, over)


def test_a_programs_login_used_by_a_person_is_told_on_the_same_noisy_day(running):
    for statement in ("SELECT rolname FROM pg_roles", "SELECT * FROM hr.salaries"):
        assert running.cluster.psql(statement, user="app").returncode == 0
    assert is_told(running, "app", "origin", time.monotonic())
