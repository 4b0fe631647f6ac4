"""The agent's own thread that holds and judges, with watchdogs, around real clusters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from agent.capture import Capture
from agent.directory import Directory
from agent.discovery import Cluster, cluster_at
from agent.guard.hold import Guard
from agent.guard.server import Server
from agent.guard.watchdog_link import WatchdogLink
from agent.inbox import Inbox
from agent.judging import Held
from agent.probes.loader import Loader
from agent.sources.ebpf import EbpfSource
from tests.kernel.guard_stage import deny_drops, wait_until
from tests.live.postgres import PostgresCluster


@dataclass(frozen=True)
class Enforcing:
    capture: Capture
    source: EbpfSource
    inbox: Inbox
    link: WatchdogLink
    servers: list[Server]
    first: Cluster

    def held(self) -> list[Held]:
        """Settled since the last call."""
        found: list[Held] = []
        while (polled := self.inbox.take(0)) is not None:
            found += [one for one in polled.events if isinstance(one, Held)]
        return found

    def guard(self, server: PostgresCluster) -> Cluster:
        """Makes it known to the judge and to the watchdogs; it is not attached to yet."""
        self.servers.append(Server.running(server.postmaster_pid, server.major))
        self.link.watch(self.servers[-1])
        return known(server)


def known(server: PostgresCluster) -> Cluster:
    found = cluster_at(server.postmaster_pid)
    assert found is not None
    return found


@contextmanager
def enforcing(
    cluster: PostgresCluster, loader: Loader | None = None, deadline_ms: int = 200
) -> Iterator[Enforcing]:
    servers: list[Server] = []
    source = EbpfSource(holds=True, hold_window_ms=5000, loader=loader)
    with WatchdogLink(deadline_ms) as link, source:
        is_held = source.holding.is_held
        guard = Guard(deny_drops, lambda: servers, deadline_ms=deadline_ms, is_held=is_held)
        inbox = Inbox()
        capture = Capture(source, inbox, Directory(lambda session: session), guard, link)
        whole = Enforcing(capture, source, inbox, link, servers, known(cluster))
        whole.guard(cluster)
        capture.run_soon(lambda: source.add(whole.first))
        capture.start()
        try:
            wait_until(lambda: source.knows(whole.first), 20, "the probes are attached")
            yield whole
        finally:
            capture.stop()
            guard.close()
