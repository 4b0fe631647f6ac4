"""A wrong password given to a real server, by psql."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from agent.sessions import SessionTracker
from agent.sources.pgaudit import LogFormat, PgauditSource, locate
from model.event import LoginFailed
from model.statement import Statement
from tests.live.postgres import PostgresCluster, server_folder

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not server_folder().exists(), reason="PostgreSQL 15 is not installed"),
]


@pytest.fixture(params=["csvlog", "jsonlog", "stderr"])
def cluster(request):
    with PostgresCluster(log_format=request.param) as cluster:
        with cluster.connect() as connection:
            connection.execute("SET password_encryption = 'scram-sha-256'")
            connection.execute("CREATE ROLE alice LOGIN PASSWORD 'right'")
            hba = Path(connection.execute("SHOW hba_file").fetchone()[0])
            rules = "host all alice 127.0.0.1/32 scram-sha-256\nhost all mallory all reject\n"
            hba.write_text(rules + hba.read_text())
            connection.execute("SELECT pg_reload_conf()")
        yield cluster


def psql(cluster, user, password):
    return subprocess.run(
        ["psql", "-h", "127.0.0.1", "-p", str(cluster.port), "-U", user,
         "-d", "postgres", "-c", "SELECT 1"],
        env=os.environ | {"PGPASSWORD": password},
        capture_output=True,
        timeout=20,
        check=False,
    )  # fmt: skip


def test_a_wrong_password_and_a_refused_host_are_on_the_record_once_each(cluster, tmp_path):
    with cluster.connect() as connection:
        location = locate(connection)
    source = PgauditSource(
        "main", location.directory, location.pattern, LogFormat(location.format),
        tmp_path / "state.json", prefix=location.prefix, zone=location.zone,
    )  # fmt: skip
    deadline = time.monotonic() + 10
    while psql(cluster, "alice", "right").returncode and time.monotonic() < deadline:
        time.sleep(0.1)
    assert psql(cluster, "alice", "wrong").returncode == 2
    assert psql(cluster, "mallory", "").returncode == 2
    events = []
    deadline = time.monotonic() + 10
    while len(events) < 2 and time.monotonic() < deadline:
        events += [event for event in source.poll(0.2) if isinstance(event, LoginFailed)]
    source.close()
    tracker = SessionTracker(1)
    rows = [row for event in events for row in tracker.observe(event)]
    assert all(isinstance(row, Statement) for row in rows)
    told = [(row.session.user, row.session.database, row.sqlstate) for row in rows]
    assert told == [("alice", "postgres", "28P01"), ("mallory", "postgres", "28000")]
    assert tracker.sessions() == []
    if cluster.log_format != "stderr" or "%h" in location.prefix or "%r" in location.prefix:
        assert {row.session.client_address for row in rows} == {"127.0.0.1"}
