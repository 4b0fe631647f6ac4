"""Who is connected, for the thread that reads the probes: it cannot wait for the record's view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from agent.guard.startup import Settings
from agent.sessions.known import explained
from model.event import ApplicationNamed, Event, SessionEnded, SessionExplained, SessionSeen
from model.session import BackendKey, Peer, Session

Enrich = Callable[[Session], Session]


class Directory:
    """Living sessions for the capture thread, which cannot wait for the pipeline's view."""

    def __init__(
        self,
        enrich: Enrich,
        on_known: Callable[[Session, int], None] = lambda *_: None,
        startup: Callable[[BackendKey], Settings] | None = None,
        on_started: Callable[[Session], None] = lambda _: None,
    ) -> None:
        """``on_known`` hears what is known of a session, and as of which ``naming``. ``startup``
        tells with which settings it was started, and is asked once; where there are some,
        ``on_started`` hears of them."""
        self._enrich = enrich
        self._on_started = on_started
        self._met: set[BackendKey] = set()
        """Whose start-up packet was asked for. A name may have come before."""
        self._startup = startup
        self._on_known = on_known
        self._sessions: dict[BackendKey, Session] = {}
        self._namings: dict[BackendKey, int] = {}

    def observe(self, event: Event) -> None:
        match event:
            case SessionSeen():
                known = self._sessions.get(event.backend)
                first = event.backend not in self._met
                self._met.add(event.backend)
                name = event.application_name
                if name is None:
                    name = known.application_name if known else ""
                self._keep(
                    Session(
                        key=event.backend,
                        cluster=event.cluster,
                        user=event.user,
                        database=event.database,
                        application_name=name,
                        client_address=event.client_address,
                        client_port=event.client_port,
                        peer=known.peer if known else Peer(),
                        startup=self._started_with(event.backend)
                        if first or known is None
                        else known.startup,
                    ),
                    event.naming,
                )
                if first and self._sessions[event.backend].startup:
                    self._on_started(self._sessions[event.backend])
            case ApplicationNamed():
                session = self._sessions.get(event.backend) or Session(key=event.backend)
                self._keep(replace(session, application_name=event.application_name), event.naming)
            case SessionExplained():
                if known := self._sessions.get(event.backend):
                    self._keep(explained(known, event.peer), self._namings[event.backend])
            case SessionEnded():
                self._sessions.pop(event.backend, None)
                self._met.discard(event.backend)
                self._namings.pop(event.backend, None)

    def _started_with(self, backend: BackendKey) -> Settings:
        return () if self._startup is None else self._startup(backend)

    def session(self, backend: BackendKey) -> Session:
        """An unknown backend is a Session with empty fields: rules see that nothing is known."""
        return self._sessions.get(backend) or self._enrich(Session(key=backend))

    def refresh(self) -> None:
        """What sessions are enriched with has changed: the catalog was read."""
        for session in list(self._sessions.values()):
            self._keep(session, self._namings[session.key])

    def tell(self) -> None:
        """Say of every living session again what is known of it."""
        for key, session in self._sessions.items():
            self._on_known(session, self._namings[key])

    def _keep(self, session: Session, naming: int) -> None:
        known = self._sessions[session.key] = self._enrich(session)
        self._namings[session.key] = naming
        self._on_known(known, naming)
