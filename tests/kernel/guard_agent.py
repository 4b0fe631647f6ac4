"""``python -m tests.kernel.guard_agent``: an agent whose judge hangs, to be killed by a test."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace

from agent.guard.decision import ALLOW, Decision
from agent.guard.hold import OnTimeout
from agent.guard.server import Server
from agent.guard.watchdog_link import WatchdogLink
from agent.parts import CLOSED_WINDOW_MS
from model.event import StatementStarted
from tests.kernel.guard_stage import HOLD_WINDOW_MS, Stage

DEADLINE_MS = 60_000
"""The guard itself is to do nothing here: only the watchdog releases."""
WATCHDOG_MS = 200
WINDOW_MS = {OnTimeout.ALLOW: HOLD_WINDOW_MS, OnTimeout.DENY: CLOSED_WINDOW_MS}


def hang(event: StatementStarted) -> Decision:
    if b"pg_sleep" in event.text or b"DROP" in event.text:
        time.sleep(60)
    return ALLOW


def main() -> None:
    pid, major, on_timeout, watchdog_ms = sys.argv[1:]
    cluster = SimpleNamespace(postmaster_pid=int(pid), major=int(major))
    window_ms = WINDOW_MS[OnTimeout(on_timeout)]
    window_ms = max(window_ms, int(watchdog_ms))
    link = WatchdogLink(
        int(watchdog_ms), cancel_stale=on_timeout == OnTimeout.DENY, window_ms=window_ms
    )
    # Before the probes, as the agent does: what stands already is somebody else's to a watchdog.
    link.watch(Server.running(cluster.postmaster_pid, cluster.major))
    with Stage(cluster, hang, link.beat, window_ms, deadline_ms=DEADLINE_MS) as stage:
        print("ready", flush=True)
        while True:
            stage.source.holding.beat()  # The judge hangs, and nobody has noticed.
            for released in link.check():
                print(f"released {released.pid} {released.held_ms}", flush=True)
            time.sleep(0.02)


if __name__ == "__main__":
    main()
