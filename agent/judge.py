"""From a statement about to run to the rules' word on it: who sends it, what it is, who says no."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from model.event import ApplicationNamed, Event, SessionEnded, SessionSeen, StatementStarted
from model.session import BackendKey, Session
from model.statement import Shape
from rules import Match, RuleSet, decide

Enrich = Callable[[Session], Session]


class Parser(Protocol):
    def shapes(self, texts: Sequence[bytes], full_lengths: Sequence[int]) -> list[Shape]: ...


class Directory:
    """Living sessions for the capture thread, which cannot wait for the pipeline's view."""

    def __init__(self, enrich: Enrich) -> None:
        self._enrich = enrich
        self._sessions: dict[BackendKey, Session] = {}

    def observe(self, event: Event) -> None:
        match event:
            case SessionSeen():
                known = self._sessions.get(event.backend)
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
                    )
                )
            case ApplicationNamed():
                session = self._sessions.get(event.backend) or Session(key=event.backend)
                self._keep(replace(session, application_name=event.application_name))
            case SessionEnded():
                self._sessions.pop(event.backend, None)

    def session(self, backend: BackendKey) -> Session:
        """An unknown backend is a Session with empty fields: rules see that nothing is known."""
        return self._sessions.get(backend) or self._enrich(Session(key=backend))

    def _keep(self, session: Session) -> None:
        self._sessions[session.key] = self._enrich(session)
