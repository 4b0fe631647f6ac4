"""What the explainer finds, handed to the threads that need it: who asks, and who is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from agent.clusters import Clusters
from agent.directory import Directory
from agent.identities import Identities
from agent.peers import Explainer, Question
from agent.peers.certificates import Certificates
from agent.peers.lookup import Lookup
from config import AgentConfig
from model.event import SessionExplained, SessionSeen
from model.session import Session

if TYPE_CHECKING:
    from agent.capture import Capture
    from agent.inbox import Inbox
    from agent.pipeline import Pipeline
    from agent.recorder import Recorder

RELOAD_SECONDS = 2.0


class Explaining:
    def __init__(
        self,
        config: AgentConfig,
        identities: Identities,
        clusters: Clusters,
        inbox: Inbox,
        directory: Directory,
        count: Callable[[str, str], None],
    ) -> None:
        ask_servers = config.identity.certificates and config.catalog.enabled
        self._addresses = identities.addresses
        self._inbox = inbox
        self._directory = directory
        self._capture: Capture | None = None
        self._refresh: Callable[[], None] = lambda: None
        self._reload_at = 0.0
        self._explainer = Explainer(
            self._tell,
            count,
            Lookup() if config.identity.processes else None,
            Certificates(clusters.connect_to) if ask_servers else None,
            self._reload_addresses,
        )

    def start(self, capture: Capture | None, recorder: Recorder, pipeline: Pipeline) -> None:
        def refresh() -> None:
            recorder.run_soon(lambda: pipeline.refresh(time.time_ns() // 1000))
            if capture is not None:
                capture.run_soon(self._directory.refresh)

        self._capture, self._refresh = capture, refresh
        self._explainer.start()

    def ask_to_stop(self) -> None:
        """Never waits."""
        self._explainer.ask_to_stop()

    def stop(self, timeout_seconds: float) -> None:
        self._explainer.stop(timeout_seconds)

    def seen(self, events: list[SessionSeen]) -> None:
        """From the capture thread."""
        for event in events:
            question = Question(
                event.backend, event.cluster, event.client_address, event.client_port
            )
            self._explainer.ask(question)

    def session(self, session: Session) -> None:
        """From the recorder: sessions that only the log tells of. Those that the probe saw have
        been asked about before."""
        if not session.ended_at_us:
            question = Question(
                session.key, session.cluster, session.client_address, session.client_port
            )
            self._explainer.ask(question)

    def problems(self) -> list[str]:
        return [self._addresses.problem] if self._addresses.problem else []

    def _tell(self, event: SessionExplained) -> None:
        if self._capture is not None:
            self._capture.run_soon(lambda: self._directory.observe(event))
        self._inbox.offer([event])

    def _reload_addresses(self) -> None:
        now = time.monotonic()
        if now >= self._reload_at:
            self._reload_at = now + RELOAD_SECONDS
            if self._addresses.reload():
                self._refresh()
