"""Names of relations for the judge: when to read them ahead, and what follows when they change."""

from __future__ import annotations

import time
from typing import Any

import psycopg

from agent.capture import Capture
from agent.catalog.relations import Place, Relations
from agent.catalog.touched import Touched
from agent.clusters import Clusters
from agent.guard.allowances import Allowances
from agent.planned import TEXT_ALONE, Planned
from agent.probes.plan_layouts import PLAN_LAYOUTS
from agent.sources.ebpf import EbpfSource
from config import AgentConfig
from model.session import Session
from model.verdict import Mode

MEET_SECONDS = 0.1
PART_OF_DEADLINE = 3
"""A statement waits for names at most this part of the guard's deadline."""


def exempt(source: EbpfSource, pid: int) -> bool:
    """Whoever reads names for the judge must not wait for it. The kernel meets a session at its
    first answer, which may have reached us a moment earlier."""
    until = time.monotonic() + MEET_SECONDS
    while not source.holding.never_hold(pid):
        if time.monotonic() >= until:
            return False
        time.sleep(MEET_SECONDS / 20)
    return True


class Naming:
    """Does nothing where nothing is held: a plan is read while its backend stands still."""

    def __init__(
        self,
        config: AgentConfig,
        source: EbpfSource | None,
        clusters: Clusters,
        allowances: Allowances | None,
        degraded: list[str],
    ) -> None:
        self._clusters = clusters
        self._allowances = allowances
        self._relations: Relations | None = None
        self._capture: Capture | None = None
        self.planned: Planned | None = None
        if source is None or config.guard.mode is not Mode.ENFORCE:
            return
        if not config.catalog.enabled:
            degraded.append(f"{TEXT_ALONE}: agent.catalog.enabled is off")
            return

        def connect(cluster: str, database: str) -> psycopg.Connection[Any]:
            connection = clusters.connect_to(cluster, database)
            exempt(source, clusters.backend_here(cluster, connection.info.backend_pid))
            return connection

        self._relations = Relations(
            connect,
            self._renamed,
            patience_seconds=config.guard.deadline_ms / 1000 / PART_OF_DEADLINE,
            interval_seconds=config.catalog.interval_seconds,
        )
        self.planned = Planned(
            self._relations,
            lambda cluster: PLAN_LAYOUTS.get(clusters.version_of(cluster)),
            self._renamed,
        )

    def start(self, capture: Capture | None) -> None:
        self._capture = capture

    def session(self, session: Session, naming: int) -> None:
        """What is known of a session, for the kernel's memory and for ours."""
        if self._allowances is not None:
            self._allowances.know(session, naming)
        if self._relations is not None:
            self._relations.expect(Place(session.cluster, session.database))

    def changed(self, touched: Touched) -> None:
        """A statement may have changed the catalog."""
        self._clusters.poke(touched)
        if self._relations is not None and not touched.watched:
            self._relations.poke()

    def look_after(self) -> None:
        if self._relations is not None:
            self._relations.keep({each.cluster.name for each in self._clusters.all()})

    def problems(self) -> list[str]:
        if self._relations is None or self.planned is None:
            return []
        unread = self.planned.unreadable > 0
        plans = [f"{TEXT_ALONE}: some plans could not be read"] if unread else []
        return [*plans, *(f"{TEXT_ALONE}: {each}" for each in self._relations.problems())]

    def stop(self) -> None:
        if self._relations is not None:
            self._relations.stop()

    def _renamed(self) -> None:
        """What was let pass under the old names must be judged by the new ones."""
        if self._capture is not None and self._allowances is not None:
            self._capture.run(self._allowances.renew)
