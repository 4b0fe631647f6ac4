"""What a client says of itself: application_name and login, against the table of signatures. Pure.

A client may send any application_name, so a signature alone never gives more than 0.7.
"""

from __future__ import annotations

from collections.abc import Iterator

from agent.identity.clues import Clue
from agent.identity.signatures import SIGNATURES, USER_SIGNATURES, Signature
from model.session import IdentityKind, Session


def name_clues(session: Session) -> list[Clue]:
    return [
        *_clues(SIGNATURES, "application_name", session.application_name, session),
        *_clues(USER_SIGNATURES, "user", session.user, session),
    ]


def _clues(
    signatures: tuple[Signature, ...], field: str, value: str, session: Session
) -> Iterator[Clue]:
    """At most one for each kind: three words for the same tool are not three witnesses."""
    seen: set[IdentityKind] = set()
    for signature in signatures if value else ():
        if signature.kind not in seen and signature.pattern.search(value):
            seen.add(signature.kind)
            # A tool is not a person: the login is the better name, except for an AI's own product.
            ai = signature.kind is IdentityKind.AI_AGENT
            name = signature.what if ai and field != "user" else session.user or signature.what
            evidence = f"{field} {value!r} is typical of {signature.what}"
            yield Clue(signature.kind, name, signature.confidence, evidence)
