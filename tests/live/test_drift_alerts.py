"""A difference alerts somebody, and the alert ends when the difference does."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from tests.collector.alerts.samples import HttpReceiver
from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]


class Paged:
    """What somebody is told by a webhook."""

    def __init__(self, running: Running, hook: HttpReceiver) -> None:
        self.running, self.hook = running, hook

    def told(self, about: str, status: str) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            bodies = (request.json for request in list(self.hook.received))
            return next((b for b in bodies if about in str(b) and b.get("status") == status), None)

        return self.running.wait(found, f"{status}: {about} in {self.hook.received}", 20)

    def did(self, *sql: str) -> None:
        with self.running.cluster.connect(user="alice", application_name="psql") as connection:
            for text in sql:
                connection.execute(text)


@pytest.fixture(scope="module")
def paged():
    with HttpReceiver() as hook, PostgresCluster() as cluster:
        prepare(cluster)
        with cluster.connect() as connection:
            connection.execute("CREATE ROLE alice LOGIN SUPERUSER; CREATE ROLE etl")
        receiver = {"type": "webhook", "name": "hook", "url": f"{hook.url}/page"}
        config = {"collector": {"alerts": {"receivers": [receiver], "min_severity": "low"}}}
        with Running(cluster, config) as running:
            running.wait_sql("SELECT 1 FROM findings WHERE detector = 'drift.baseline'", 30)
            yield Paged(running, hook)


def test_an_alert_of_a_difference_ends_when_somebody_brings_it_back(paged):
    paged.did("ALTER ROLE etl BYPASSRLS")
    assert "by alice" in paged.told("etl", "firing")["summary"]
    paged.did("ALTER ROLE etl NOBYPASSRLS")
    assert "since then reverted by alice" in paged.told("etl", "resolved")["summary"]
    (row,) = paged.running.wait_sql(
        "SELECT outcome, resolved_by FROM drift WHERE name = 'etl' AND resolved_at IS NOT NULL"
    )
    assert row == {"outcome": "reverted", "resolved_by": "alice"}
    rows = paged.running.sql("SELECT DISTINCT status FROM alerts WHERE title LIKE '%etl%'")
    assert {each["status"] for each in rows} == {"firing", "resolved"}


def test_an_alert_of_an_edited_file_ends_when_the_line_is_taken_out(paged):
    path = paged.running.cluster.data / "pg_hba.conf"
    before = path.read_text()
    began = time.monotonic()
    path.write_text(f"host all mallory 10.9.8.7/32 trust\n{before}")
    paged.told("mallory", "firing")
    print(f"paged {time.monotonic() - began:.1f} s after the edit")
    path.write_text(before)
    paged.told("mallory", "resolved")


def test_of_several_differences_of_one_statement_the_alert_ends_with_the_last(paged):
    paged.did("GRANT SELECT ON shop.orders, shop.prices TO etl")
    paged.told("<-etl", "firing")
    paged.did("REVOKE SELECT ON shop.orders FROM etl")
    time.sleep(6)
    assert not [
        r for r in paged.hook.received if "<-etl" in str(r.json) and "resolved" in str(r.json)
    ]
    paged.did("REVOKE SELECT ON shop.prices FROM etl")
    paged.told("<-etl", "resolved")


def test_accepting_a_difference_ends_its_alert(paged):
    paged.did("CREATE TABLE shop.accepted (i int)")
    paged.told("shop.accepted", "firing")
    done = paged.running.pgwarden(
        "drift", "accept", "--name", "shop.accepted", "--reason", "release 7"
    )
    assert done.returncode == 0, done.stderr
    paged.told("shop.accepted", "resolved")
