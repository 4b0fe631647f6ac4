"""Approvals: what a refused statement asks for, and what a grant is bound to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from model.session import BackendKey, IdentityKind, Session

CODE_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's: no I, L, O or U, so that a code can be read out."""
CODE_LENGTH = 10


NOBODY = BackendKey(0, 0)


class Step(StrEnum):
    """What happened to a request; each is an event of the record."""

    REQUESTED = "requested"
    GRANTED = "granted"
    DENIED = "denied"
    REFUSED_SELF = "refused_self"
    """Somebody tried to grant their own."""
    USED = "used"
    EXPIRED = "expired"
    VOIDED = "voided"
    """What the statement is about has changed since the grant."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The statement, who sends it and where: the same for every client program."""

    agent: str
    cluster: str
    database: str
    user: str
    identity: str
    """A name that is proven (by a configured rule or a certificate), else empty: a guess may
    change between two connections of one person."""
    digest: str
    """SHA-256 of the whole text, hex."""

    @property
    def code(self) -> str:
        """The request's id: both sides compute the same, so a refusal waits for nobody."""
        parts = (self.agent, self.cluster, self.database, self.user, self.identity, self.digest)
        # With lengths: no two different bindings may read as the same bytes.
        plain = b"".join(
            len(raw).to_bytes(4) + raw
            for raw in (part.encode("utf-8", "surrogateescape") for part in parts)
        )
        number = int.from_bytes(hashlib.sha256(plain).digest())
        return "".join(CODE_LETTERS[number >> 5 * place & 31] for place in range(CODE_LENGTH))


def bound_to(agent: str, session: Session, text: bytes) -> Bound:
    identity = session.identity.name if session.identity.proven else ""
    digest = hashlib.sha256(text).hexdigest()
    return Bound(agent, session.cluster, session.database, session.user, identity, digest)


def read_code(text: str) -> str:
    """As a person may type it: lower case, with dashes, O for 0 and I or L for 1."""
    plain = text.strip().upper().replace("-", "")
    return plain.translate(str.maketrans("OIL", "011"))


@dataclass(frozen=True, slots=True)
class Moment:
    """One look at both clocks."""

    wall_us: int
    boot_us: int
    """Since the host started, sleep included; nobody can set it."""
    boot_id: str
    """Changes with each start of the host."""


@dataclass(frozen=True, slots=True)
class Term:
    """Until when something holds, by both clocks: the earlier one ends it.

    A clock that is set forward ends it early, one that is set back does not prolong it.
    """

    expires_at_us: int
    boot_until_us: int
    boot_id: str

    @classmethod
    def begin(cls, now: Moment, lasts_us: int) -> Term:
        return cls(now.wall_us + lasts_us, now.boot_us + lasts_us, now.boot_id)

    def left_us(self, now: Moment) -> int:
        """0 when it is over. After a restart of the host only its wall clock is left to ask."""
        left = self.expires_at_us - now.wall_us
        if now.boot_id == self.boot_id:
            left = min(left, self.boot_until_us - now.boot_us)
        return max(0, left)

    def shortened(self, other: Term) -> Term:
        """The earlier end of both; of two starts of the host, that of ``other``, the newer."""
        expires = min(self.expires_at_us, other.expires_at_us)
        if self.boot_id != other.boot_id:
            return Term(expires, other.boot_until_us, other.boot_id)
        return Term(expires, min(self.boot_until_us, other.boot_until_us), self.boot_id)


@dataclass(frozen=True, slots=True)
class Grant:
    """The permission that an approver gave."""

    id: str
    request: str
    bound: Bound
    uses: int
    term: Term
    relations: tuple[str, ...] = ()
    """What the statement reads, writes or defines: ``schema.name``, or ``name`` of any schema."""
    functions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ApprovalStep:
    """One event in the life of a request, as an agent saw it."""

    id: str
    """Unique: a step that is told twice is the same step."""
    at_us: int
    step: Step
    request: str
    bound: Bound
    grant: str = ""
    backend: BackendKey = NOBODY
    statement_id: int = 0
    identity_kind: IdentityKind = IdentityKind.UNKNOWN
    identity_name: str = ""
    """As known at that moment, proven or not."""
    rule: str = ""
    text: str = ""
    """Literals redacted unless the agent is told otherwise."""
    relations: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    """What an approver should know: ``parameters``, ``redacted``, ``bare_names``,
    ``multi``, ``cut``."""
    who: tuple[str, ...] = ()
    """Every name of the one who asks: login, identity, account, certificate. None may grant it."""
    reason: str = ""
