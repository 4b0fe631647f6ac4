"""An agent that has just begun, paused or stands still: nothing passes that it does not count."""

import os
import signal
import time
from contextlib import contextmanager

import psycopg
import pytest

from tests.live.running import freeze
from tests.live.test_guard_ready import BEHIND_A_VIEW, cluster, enforcing

__all__ = ["cluster"]

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
]


def test_names_are_read_while_statements_are_held_also_after_a_pause(cluster, tmp_path):
    """The connection for names is closed when it is idle; the next one must not be held either."""
    with enforcing(cluster, tmp_path / "p.yaml", "allow") as up, cluster.connect() as session:
        for number in range(3):
            with cluster.connect() as owner:
                owner.execute(f"CREATE VIEW shop.v{number} AS {BEHIND_A_VIEW}")
            time.sleep(6 * (number > 0))  # longer than an idle connection stays
            began = time.monotonic()
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="prices"):
                session.execute(f"SELECT * FROM shop.v{number}")
            assert time.monotonic() - began < 0.6  # what names are waited for in vain
        assert unheld(up) == 0


def test_while_the_agent_is_frozen_nothing_passes_where_being_late_refuses(cluster, tmp_path):
    with enforcing(cluster, tmp_path / "p.yaml", "deny", 200) as up, cluster.connect() as session:
        with frozen(up):
            for number in range(3):
                time.sleep(0.7)  # longer than a deadline: it holds although nobody answers
                with pytest.raises(psycopg.errors.QueryCanceled):
                    session.execute(f"SELECT id AS frozen_{number} FROM shop.innocent")
        assert unheld(up) == 0


def test_what_passes_while_the_agent_is_frozen_is_counted(cluster, tmp_path):
    # The agent's own first look at the catalog, and its canary, would be counted as well.
    ours = {"catalog": {"enabled": False}, "capture": {"canary_interval_seconds": 0}}
    alone = enforcing(cluster, tmp_path / "p.yaml", "allow", 200, **ours)
    with alone as up, cluster.connect() as session:
        with frozen(up):
            time.sleep(0.7)  # the kernel holds nothing more
            for number in range(3):
                session.execute(f"SELECT id AS passed_{number} FROM shop.innocent")
        up.wait(lambda: unheld(up) == 3, "three counted")


@contextmanager
def frozen(up):
    agent = up.child("agent")
    freeze(agent)
    try:
        yield
    finally:
        os.kill(agent, signal.SIGCONT)


def unheld(up):
    name = 'pgwarden_agent_events_lost_total{reason="unheld",source="ebpf"}'
    return up.metrics(up.agent_port)[name]
