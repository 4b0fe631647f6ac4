"""Server, agent and collector on a host whose clock is set: all of it is on the record, once.

libfaketime sets the clock of these programs alone, of all at once. What counts up since the host
started is left, as where somebody sets the clock.
"""

import os
import subprocess
import time
from pathlib import Path

import pytest

from cli.demo import cluster
from collector.ledger_reading import verify
from collector.pgwarden_verify import check_folder
from tests.live.postgres import PostgresCluster, server_folder
from tests.live.private_server import open_folder
from tests.live.running import COMMAND, Running, prepare

LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
HOUR_SECONDS = 3600
MOVES = (HOUR_SECONDS, -HOUR_SECONDS, 24 * HOUR_SECONDS, 0, HOUR_SECONDS, 0)
"""Seconds from the right time: one way and the other, by an hour, by two, and by a day."""
AT_EACH = 20
PAUSE_SECONDS = 0.05
LATE_SECONDS = 3.0
"""What would be there twice comes after the first of it."""
FIRST = "SELECT count(*) AS first FROM shop.orders"
STATEMENT = "SELECT count(*) FROM shop.orders"
MATCHED = "SELECT 1 FROM statements WHERE text = '{text}' AND source = 'both'"
"""Each is of a record of eBPF and one of pgaudit."""
RECORDED = f"""
SELECT sum(executions)::int AS ran, count(*) = count(DISTINCT id) AS once,
    bool_and(source = 'both') AS matched, max(duration_us) < 60_000_000 AS short
FROM statements WHERE user_name = 'app' AND text = '{STATEMENT}'
"""
QUIET = {"agent": {"capture": {"canary_interval_seconds": 0}, "catalog": {"enabled": False}}}

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
    pytest.mark.skipif(not LIBRARY.exists(), reason="./run setup installs libfaketime"),
]


class Clock:
    """Of programs that start with ``words`` in their environment; ``set`` moves it for all."""

    def __init__(self, file):
        self._file = file
        self.set(0)
        self.words = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds):
        part = self._file.with_suffix(".part")
        part.write_text(f"{seconds:+d}\n")
        part.chmod(0o644)
        part.replace(self._file)


@pytest.fixture
def clock():
    with open_folder() as folder:
        yield Clock(folder / "clock")


@pytest.fixture
def server(clock, monkeypatch):
    # After the change of accounts: what the library shares with children is its maker's alone.
    account = [*cluster.as_server_account(), "env", *map("=".join, clock.words.items())]
    monkeypatch.setattr(cluster, "as_server_account", lambda: account)
    with PostgresCluster() as running:
        prepare(running)
        yield running


@pytest.fixture
def running(clock, server):
    """Agent and collector, each for itself: ``pgwarden up`` sleeps, and the library breaks that."""
    made = Running(server, QUIET)
    agent = None
    try:
        with pytest.MonkeyPatch.context() as environment:
            for name, value in clock.words.items():
                environment.setenv(name, value)
            made.start("collector")
            with (made.folder / "log").open("ab") as log:
                command = [*COMMAND, "agent", "--config", str(made.config)]
                agent = subprocess.Popen(command, stdout=log, stderr=log)
        made.wait_ready(made.agent_port)
        yield made
    finally:
        if agent is not None:
            agent.terminate()
            agent.wait(30)
        made.__exit__()


def recorded(running, text, app):
    """Whether it is on the record, with its record of pgaudit; it runs again for the answer."""
    app.execute(text)
    return running.sql(MATCHED.format(text=text))


def test_what_runs_while_the_clock_is_set_is_recorded_once(clock, server, running):
    with server.connect(user="app") as app:
        running.wait(lambda: recorded(running, FIRST, app), "probes and the log are read")
        for seconds in MOVES:
            for number in range(AT_EACH):
                if number == AT_EACH // 2:
                    clock.set(seconds)
                app.execute(STATEMENT)
                time.sleep(PAUSE_SECONDS)
    ran = len(MOVES) * AT_EACH
    running.wait(lambda: (running.sql(RECORDED)[0]["ran"] or 0) >= ran, f"all {ran} statements")
    time.sleep(LATE_SECONDS)
    assert running.sql(RECORDED) == [{"ran": ran, "once": True, "matched": True, "short": True}]
    assert running.sql("SELECT * FROM losses") == []
    assert running.stop() == 0
    assert verify(running.data_dir) == []
    assert check_folder(running.data_dir).problems == []
