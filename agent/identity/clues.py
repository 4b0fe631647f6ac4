"""Clues, and how they combine into one Identity. Pure, so that the same session always gives the
same identity.

1. The first clue decides. It comes from a configured rule, else a certificate, else the address
   map, else it is the most convincing of what programs and names give away.
2. A clue may know a name without a kind (a certificate does): the first clue that has a kind adds
   it.
3. Every other clue of the same kind raises the confidence as independent evidence does,
   ``1 - (1 - a)(1 - b)``, to at most 0.99; every clue of another kind lowers it, ``a * (1 - b/2)``.
4. Each clue leaves one sentence of evidence, the deciding one first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.session import Identity, IdentityKind

MAX_CONFIDENCE = 0.99
UNKNOWN = IdentityKind.UNKNOWN


@dataclass(frozen=True, slots=True)
class Clue:
    kind: IdentityKind
    name: str
    confidence: float
    evidence: str
    proven: bool = False
    """The client cannot choose it: a configured rule, or a certificate that the server verified."""


def combined(clues: Sequence[Clue]) -> Identity:
    """``clues`` with the deciding one first."""
    if not clues:
        return Identity()
    first, *others = clues
    kind = next((clue.kind for clue in clues if clue.kind is not UNKNOWN), UNKNOWN)
    return Identity(
        kind=kind,
        name=first.name or next((clue.name for clue in others if clue.name), ""),
        confidence=_confidence(kind, first.confidence, others),
        evidence=tuple(clue.evidence for clue in clues),
        proven=first.proven,
    )


def best_of_each_kind(clues: Sequence[Clue]) -> list[Clue]:
    """The most convincing first, one for each kind: three words for the same thing are not three
    witnesses."""
    best: dict[IdentityKind, Clue] = {}
    for clue in sorted(clues, key=lambda clue: -clue.confidence):
        best.setdefault(clue.kind, clue)
    return list(best.values())


def _confidence(kind: IdentityKind, confidence: float, others: Sequence[Clue]) -> float:
    for clue in others:
        if clue.kind is UNKNOWN:
            continue
        if clue.kind is kind:
            # A certainty that the configuration states stays what it is.
            raised = 1 - (1 - confidence) * (1 - clue.confidence)
            confidence = max(confidence, min(raised, MAX_CONFIDENCE))
        else:
            confidence *= 1 - clue.confidence / 2
    return round(confidence, 3)
