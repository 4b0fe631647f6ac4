"""A finding from real statements: shown with what stands behind it, judged, and remembered."""

import contextlib
import json
import os

import psycopg
import pytest

from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]


@pytest.fixture(scope="module")
def running():
    with PostgresCluster() as cluster:
        prepare(cluster)
        with Running(cluster) as up:
            yield up


@pytest.fixture(scope="module")
def finding(running):
    """Somebody tries a door that is shut, six hundred times."""
    with running.cluster.connect(user="bot", application_name="tries") as connection:
        connection.autocommit = True
        for _ in range(600):
            with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                connection.execute("DELETE FROM shop.orders WHERE id = -1")
    (row, *_) = running.wait_sql("SELECT * FROM findings WHERE detector = 'error_burst'")
    return row["id"]


def told(running, *words):
    done = running.pgwarden("findings", *words)
    assert done.returncode == 0, (done.stdout, done.stderr, running.log[-2000:])
    return done.stdout


def moved(running):
    return json.loads(told(running, "thresholds", "--json"))["moved"]


def test_a_finding_is_shown_with_its_statements_evidence_and_week(running, finding):
    shown = told(running, "show", finding[:10])
    for said in ("bot", "bits", "DELETE FROM shop.orders", "42501", "errors by hour", "◀"):
        assert said in shown, shown


def test_a_dismissal_counts_at_once_and_after_a_restart(running, finding):
    said = told(running, "dismiss", finding, "--because", "load test of ticket 7")
    assert "more than others" in said
    (row,) = running.wait_sql("SELECT * FROM finding_feedback")
    assert (row["opinion"], row["because"]) == ("dismissed", "load test of ticket 7")
    assert row["author"]
    running.wait(lambda: moved(running), "the running collector has taken it")
    assert moved(running)[0]["bits"] > 0
    running.stop()
    running.start()
    assert moved(running)[0]["bits"] > 0
    shown = told(running, "show", finding)
    assert "load test of ticket 7" in shown
    assert "bits more than others" in shown


def test_a_later_confirmation_replaces_the_dismissal(running, finding):
    assert "less than others" in told(running, "confirm", finding)
    running.wait(lambda: moved(running)[0]["bits"] < 0, "the confirmation counts")
