"""A parser's death costs the guard no verdict: a spare one takes over at once."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kernel.guard_stage import wait_until
from tests.kernel.test_guard_harmless import of_program
from tests.live.postgres import PostgresCluster
from tests.live.running import Running, prepare

pytestmark = [pytest.mark.kernel, pytest.mark.live]

NOBODY = 65534


def status_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return ""


def ready(agent: int) -> list[int]:
    """Workers that have given up everything, root's rights too, and stand ready."""
    workers = of_program(agent, "agent.sql.worker")
    return [pid for pid in workers if f"Uid:\t{NOBODY}" in status_of(pid)]


def test_after_the_death_of_any_parser_the_next_unseen_text_is_refused_all_the_same():
    """That of the guard, its spare one and that of the record; one at a time, and once more when
    spare ones have taken over."""
    config = {"agent": {"guard": {"mode": "enforce"}}}
    with PostgresCluster() as cluster:
        prepare(cluster)
        with Running(cluster, config) as running:
            agent = running.child("agent")
            for turn in range(2):
                for pid in ready(agent):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    drop = f"DROP TABLE IF EXISTS shop.orders, t{turn}_{pid}"
                    assert "blocked by pgwarden" in cluster.psql(drop).stderr
                    # That of the record is started when it is needed.
                    wait_until(lambda: len(ready(agent)) >= 2, 20, "workers")
                    time.sleep(2)
