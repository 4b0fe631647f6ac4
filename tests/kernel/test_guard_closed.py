"""With ``on_timeout: deny`` the kernel holds for 5 s after the agent's last sign of life. No
backend stands longer for it than otherwise, and what nobody judged is cancelled, not run."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest

from agent.guard.decision import ALLOW, Decision
from agent.guard.hold import OnTimeout
from agent.guard.server import Server
from agent.guard.watchdog_link import WatchdogLink
from agent.parts import CLOSED_WINDOW_MS
from model.event import StatementStarted
from tests.kernel.guard_agent import WATCHDOG_MS
from tests.kernel.guard_stage import Stage, hanging_agent, stopped, wait_until
from tests.kernel.load import HELD, Load, frozen
from tests.kernel.stopwatch import stopwatch
from tests.live.postgres import PostgresCluster
from tests.live.running import Running, prepare

pytestmark = [pytest.mark.kernel, pytest.mark.live]

DEADLINE_MS = 200
EXTRA_MS = 100
KILLS = 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    with PostgresCluster(settings={"max_connections": "120"}) as running:
        prepare(running)
        yield running


@pytest.fixture
def server(cluster: PostgresCluster) -> Server:
    return Server.running(cluster.postmaster_pid, cluster.major)


def states_of(errors: list[psycopg.Error]) -> set[str | None]:
    return {error.sqlstate for error in errors}


def test_a_killed_agent_leaves_no_backend_stopped_and_what_it_held_is_cancelled(cluster, server):
    with stopwatch(cluster.postmaster_pid) as measured:
        for _ in range(KILLS):
            with hanging_agent(cluster, OnTimeout.DENY) as agent, Load(cluster, 40, HELD) as load:
                wait_until(lambda: len(stopped(server)) > 20, 5, "holds")
                before = len(load.errors)
                agent.kill()
                wait_until(lambda: len(load.errors) > before + 20, 5, "cancelled")  # noqa: B023
                agent.wait()
                answered = load.answered
                wait_until(lambda: load.answered > answered + 100, 5, "all go on")  # noqa: B023
            assert states_of(load.errors) == {"57014"}
    measured.assert_within(WATCHDOG_MS + EXTRA_MS)
    assert stopped(server) == []


def test_a_frozen_agent_lets_nothing_unjudged_pass_for_5_s_and_holds_nobody_up(cluster):
    guard = {"mode": "enforce", "on_timeout": "deny", "deadline_ms": DEADLINE_MS}
    config = {"agent": {"guard": guard}}
    with (
        Running(cluster, config) as running,
        stopwatch(cluster.postmaster_pid) as measured,
        Load(cluster, 8) as load,
    ):
        time.sleep(0.5)
        with frozen(running.child("agent")):
            began = time.monotonic()
            time.sleep(0.5)
            answered = load.answered
            drop = cluster.psql("DROP TABLE IF EXISTS shop.prices").stderr
            time.sleep(3.5)
            assert time.monotonic() - began < CLOSED_WINDOW_MS / 1000
            assert load.answered == answered
            wait_until(lambda: load.answered > answered + 100, 3, "the kernel stops holding")
    assert "canceling statement" in drop
    assert cluster.psql("SELECT count(*) FROM shop.prices").stdout == "0\n"
    assert states_of(load.errors) == {"57014"}
    assert measured.stops > 0
    measured.assert_within(DEADLINE_MS + EXTRA_MS)


def test_a_dead_judge_refuses_everything_and_holds_nobody_up(cluster, server):
    def dead(event: StatementStarted) -> Decision:
        if event.text.endswith(b"1"):
            raise RuntimeError("a bug")
        time.sleep(30)
        return ALLOW

    with WatchdogLink(DEADLINE_MS, cancel_stale=True, window_ms=CLOSED_WINDOW_MS) as link:
        link.watch(server)
        options = {"deadline_ms": DEADLINE_MS, "on_timeout": OnTimeout.DENY}
        with (
            stopwatch(cluster.postmaster_pid) as measured,
            Stage(cluster, dead, link.beat, CLOSED_WINDOW_MS, **options),
            Load(cluster, 8) as load,
        ):
            time.sleep(3)
            answered = load.answered
    assert answered == 0
    assert states_of(load.errors) <= {"42501", "57014"}
    measured.assert_within(DEADLINE_MS + EXTRA_MS)
