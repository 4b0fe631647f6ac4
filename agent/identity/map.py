"""Who is behind a session: all clues, weighed. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from agent.identity.addresses import AddressMap
from agent.identity.certificates import certificate_clues
from agent.identity.clues import Clue, combined
from agent.identity.names import name_clues
from agent.identity.origins import Origins
from agent.identity.processes import process_clues
from agent.identity.rules import IdentityRule, PoolerRule, Rules
from model.session import Identity, Origin, OriginKind, Session


class IdentityMap:
    """Raises IdentityError, which names every rule or pooler that cannot work."""

    def __init__(
        self,
        rules: tuple[IdentityRule, ...] = (),
        poolers: tuple[PoolerRule, ...] = (),
        addresses: Callable[[], AddressMap] = AddressMap,
    ) -> None:
        """``addresses`` is asked each time: the file may change while we run."""
        self._rules = Rules(rules)
        self._origins = Origins(poolers)
        self._addresses = addresses

    def identify(self, session: Session) -> Identity:
        return combined(self._clues(session, self._origins.origin(session)))

    def session(self, session: Session) -> Session:
        """``session`` with its identity and origin."""
        origin = self._origins.origin(session)
        return replace(session, identity=combined(self._clues(session, origin)), origin=origin)

    def _clues(self, session: Session, origin: Origin) -> list[Clue]:
        pooled = origin.kind is OriginKind.POOLER
        # What a pooler runs as, and where, says nothing about who sends statements through it.
        around = [] if pooled and origin.sure else process_clues(session)
        addresses = [] if pooled and origin.sure else self._addresses().clues(session)
        weak = sorted([*around, *name_clues(session)], key=lambda clue: -clue.confidence)
        return [
            *self._rules.clues(session),
            *([] if pooled and origin.sure else certificate_clues(session)),
            *addresses,
            *weak,
        ]
