"""From a statement about to run to the rules' word on it: who sends it, what it is, who says no."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from agent.guard.hold import ALLOW, Decision, DecisionKind
from agent.identity import Claims
from agent.sessions.known import explained
from model.event import (
    ApplicationNamed,
    Event,
    SessionEnded,
    SessionExplained,
    SessionSeen,
    StatementStarted,
)
from model.session import BackendKey, Peer, Session
from model.statement import Shape
from model.verdict import RuleAction
from rules import Judge, Match, View, decide

Enrich = Callable[[Session], Session]


class Parser(Protocol):
    def shapes(self, texts: Sequence[bytes], full_lengths: Sequence[int]) -> list[Shape]: ...
    def known(self, text: bytes, full_length: int) -> Shape | None: ...


class Directory:
    """Living sessions for the capture thread, which cannot wait for the pipeline's view."""

    def __init__(
        self, enrich: Enrich, on_known: Callable[[Session, int], None] = lambda *_: None
    ) -> None:
        """``on_known`` hears what is known of a session, and as of which ``naming``."""
        self._enrich = enrich
        self._on_known = on_known
        self._sessions: dict[BackendKey, Session] = {}
        self._namings: dict[BackendKey, int] = {}

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
                        peer=known.peer if known else Peer(),
                    ),
                    event.naming,
                )
            case ApplicationNamed():
                session = self._sessions.get(event.backend) or Session(key=event.backend)
                self._keep(replace(session, application_name=event.application_name), event.naming)
            case SessionExplained():
                if known := self._sessions.get(event.backend):
                    self._keep(explained(known, event.peer), self._namings[event.backend])
            case SessionEnded():
                self._sessions.pop(event.backend, None)
                self._namings.pop(event.backend, None)

    def session(self, backend: BackendKey) -> Session:
        """An unknown backend is a Session with empty fields: rules see that nothing is known."""
        return self._sessions.get(backend) or self._enrich(Session(key=backend))

    def refresh(self) -> None:
        """What sessions are enriched with has changed: the catalog was read."""
        for session in list(self._sessions.values()):
            self._keep(session, self._namings[session.key])

    def _keep(self, session: Session, naming: int) -> None:
        known = self._sessions[session.key] = self._enrich(session)
        self._namings[session.key] = naming
        self._on_known(known, naming)


class GuardJudge:
    """Answers the guard's question about one held statement."""

    def __init__(
        self,
        directory: Directory,
        parser: Parser,
        judge: Callable[[], Judge],
        claims: Claims | None = None,
    ) -> None:
        """``judge`` is asked each time: rules may be exchanged while we run. ``claims`` reads who
        a statement's comment names; None: comments name nobody."""
        self._directory = directory
        self._claims = claims
        self._parser = parser
        self._judge = judge

    def __call__(self, event: StatementStarted) -> Decision:
        (shape,) = self._parser.shapes([event.text], [event.text_bytes])
        view = self._view(event, shape)
        return _decision(view, self._judge().judge(view))

    def known(self, event: StatementStarted) -> Decision | None:
        """The answer, if text and session have been judged before."""
        shape = self._parser.known(event.text, event.text_bytes)
        if shape is None:
            return None
        view = self._view(event, shape)
        matches = self._judge().known(view)
        return None if matches is None else _decision(view, matches)

    def _view(self, event: StatementStarted, shape: Shape) -> View:
        session = self._directory.session(event.backend)
        if self._claims is not None:
            session = self._claims.session(session, event.text)
        return View(shape, session, event.text_bytes, event.protocol)


def _decision(view: View, matches: Sequence[Match]) -> Decision:
    match = decide(matches)
    kind = STOPPING.get(match.action) if match else None
    if match is None or kind is None:
        return ALLOW
    return Decision(kind, match.rule.id, match.reason, view.session.database)


STOPPING = {
    RuleAction.DENY: DecisionKind.DENY,
    RuleAction.CANCEL: DecisionKind.CANCEL,
    RuleAction.TERMINATE: DecisionKind.TERMINATE,
}
