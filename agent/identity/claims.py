"""What a statement's own comment claims about who sends it. Pure.

A comment is the client's word: it may lower what we think of a client, never raise it. Only behind
a pooler, where the session says nothing about who sends a statement, does it name somebody else,
and not even there does it turn an AI agent that is proven into anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from agent.identity.clues import Clue
from agent.identity.comments import comment_of, tags_of, trace_parent
from agent.identity.own_part import own_part
from agent.identity.signatures import SIGNATURES
from model.session import Identity, IdentityKind, OriginKind, Session

CONFIDENCE = 0.4
POOLED_CONFIDENCE = 0.5
DEFAULT_KEYS: Mapping[str, IdentityKind] = {
    "agent": IdentityKind.AI_AGENT,
    "user": IdentityKind.HUMAN,
    "service": IdentityKind.SERVICE,
    "application": IdentityKind.SERVICE,
}
"""Keys that name somebody; the first that is there counts."""
CONTEXT = ("route", "controller", "action", "framework", "db_driver")
"""Keys that only add to the sentence."""
CACHED_COMMENTS = 2048
AI = IdentityKind.AI_AGENT

Claim = tuple[Clue | None, str]
"""Who sends it, and its ``traceparent``."""
NOBODY: Claim = (None, "")


class Claims:
    """Safe to share between threads. A comment that is repeated is not parsed again."""

    def __init__(self, keys: Mapping[str, IdentityKind] = DEFAULT_KEYS) -> None:
        self._keys = tuple(keys.items())
        self._claim = lru_cache(CACHED_COMMENTS)(self._read)
        self._last: tuple[Session, Clue | None, Session] | None = None

    def session(self, session: Session, text: bytes, number: int = 0) -> Session:
        """``session`` with the identity of whoever sends this statement."""
        return self.applied(session, self.of(text, number)[0])

    def applied(self, session: Session, clue: Clue | None) -> Session:
        if clue is None:
            return session
        # A client mostly repeats itself, and a new Session costs more than all the rest.
        last = self._last
        if last is not None and last[0] is session and last[1] == clue:
            return last[2]
        told = replace(session, identity=claimed(session, clue))
        self._last = (session, clue, told)
        return told

    def of(self, text: bytes, number: int = 0) -> Claim:
        """``number``: of the statement among those of ``text``. Where its own part names nobody,
        the comment behind the last one is of all of them."""
        if b"*/" not in text:
            return NOBODY
        own = self._of_part(own_part(text, number))
        return own if own != NOBODY else self._of_part(text)

    def _of_part(self, text: bytes) -> Claim:
        comment = comment_of(text)
        return self._claim(comment) if comment else NOBODY

    def _read(self, comment: bytes) -> Claim:
        tags = tags_of(comment)
        return (self._clue(tags), trace_parent(tags)) if tags else (None, "")

    def _clue(self, tags: Mapping[str, str]) -> Clue | None:
        for key, kind in self._keys:
            if value := tags.get(key, ""):
                context = ", ".join(f"{name} {tags[name]!r}" for name in CONTEXT if name in tags)
                evidence = f"its comment claims {key} {value!r}" + (context and f" ({context})")
                return Clue(_kind(kind, value), value, CONFIDENCE, evidence)
        return None


def claimed(session: Session, clue: Clue) -> Identity:
    known = session.identity
    told = replace(known, evidence=(*known.evidence, clue.evidence))
    if known.kind is AI and clue.kind is not AI:
        return told  # it would talk itself out of the rules for AI agents
    evidence = (clue.evidence, *known.evidence)
    pooled = session.origin.kind is OriginKind.POOLER
    if pooled and (session.origin.sure or not known.proven):
        return Identity(clue.kind, clue.name, POOLED_CONFIDENCE, evidence)
    if known.proven or clue.kind is known.kind:
        return told
    if clue.kind is AI or clue.confidence > known.confidence:
        return Identity(clue.kind, clue.name, clue.confidence, evidence)
    return replace(told, confidence=round(known.confidence * (1 - clue.confidence / 2), 3))


def _kind(kind: IdentityKind, value: str) -> IdentityKind:
    """An application that calls itself an AI tool is taken at its word; people may be called so."""
    if kind is not IdentityKind.SERVICE:
        return kind
    named_ai = any(each.kind is AI and each.pattern.search(value) for each in SIGNATURES)
    return AI if named_ai else kind
