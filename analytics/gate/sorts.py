"""Sorts of candidates: what one detector says of unlike things has a history for each of them.

A detector's tail mixes what is told every day with what hardly ever happens: that somebody drops a
scratch table and that somebody calls a function that reads the server's files are both first acts.
By their own history the second is rare, and the first is not.
"""

from __future__ import annotations

from collections.abc import Mapping

from model.finding import Finding

SEPARATOR = ": "
ACTS = {
    "refused": "refused",
    "database": "database",
    "ddl": "definition",
    "object": "object",
    "look": "look",
    "write": "write",
    "set": "reach",
    "call": "reach",
    "flag": "reach",
}
"""Of ``first_act``, by the kind of act."""
ORIGINS = ("spray", "login", "address", "program")
"""Of ``origin``: what its score is made of most."""
STRANGER = "stranger"
ARRIVAL = f"origin{SEPARATOR}login"
"""Somebody who is known came to a server for the first time."""


def sort_of(finding: Finding) -> str:
    """The detector, and which sort of its candidates this is of where it has several.

    >>> detector_of("first_act: look"), detector_of("volume")
    ('first_act', 'volume')
    """
    details = dict(finding.details)
    if finding.detector == "first_act":
        kind = ACTS.get(details.get("act", ""))
    elif finding.detector == "origin":
        kind = _origin(details)
    else:
        kind = None
    return finding.detector if kind is None else f"{finding.detector}{SEPARATOR}{kind}"


def detector_of(sort: str) -> str:
    return sort.partition(SEPARATOR)[0]


def _origin(details: Mapping[str, str]) -> str | None:
    if "login_bits" not in details:
        return None
    if details.get("login") == STRANGER:
        return STRANGER
    return max(ORIGINS, key=lambda name: float(details.get(f"{name}_bits", 0)))
