"""Where a connection comes from: a pooler, a container, a process of this host, an address. Pure.

Behind a pooler the connection's own process and address say nothing about who sends a statement.
"""

from __future__ import annotations

from agent.identity.processes import described
from agent.identity.rules import IdentityError, Matcher, PoolerRule, program_of
from agent.identity.signatures import POOLERS
from model.session import Origin, OriginKind, Session


class Origins:
    """Raises IdentityError, which names every pooler that cannot be recognised."""

    def __init__(self, poolers: tuple[PoolerRule, ...] = ()) -> None:
        known, problems = [], []
        for number, pooler in enumerate(poolers, start=1):
            try:
                known.append((pooler.name, Matcher(f"pooler {number}", pooler)))
            except IdentityError as error:
                problems.append(str(error))
        if problems:
            raise IdentityError("; ".join(problems))
        self._poolers = tuple(known)

    def origin(self, session: Session) -> Origin:
        if pooler := self._pooler(session):
            return pooler
        process = session.peer.process
        if process is not None:
            kind = OriginKind.CONTAINER if process.container else OriginKind.PROCESS
            return Origin(kind, described(process), sure=True)
        if not session.client_address:
            return Origin()
        missing = f"({session.peer.missing})" if session.peer.missing else ""
        tls = "over TLS" if session.peer.tls else ""
        what = " ".join(part for part in (session.client_address, tls, missing) if part)
        return Origin(OriginKind.ADDRESS, what, sure=True)

    def _pooler(self, session: Session) -> Origin | None:
        process = session.peer.process
        place = f": {described(process)}" if process else ""
        for name, matcher in self._poolers:
            if matcher.matches(session):
                return Origin(OriginKind.POOLER, f"{name}{place}", sure=True)
        program = program_of(session)
        if program and POOLERS.fullmatch(program):
            return Origin(OriginKind.POOLER, f"{program}{place}", sure=True)
        if POOLERS.fullmatch(session.application_name):
            # Any client may call itself one, so this opens nothing that is proven.
            what = f"{session.application_name} by its own word{place}"
            return Origin(OriginKind.POOLER, what)
        return None
