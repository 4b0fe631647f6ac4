"""Sorts of candidates: what one detector says of unlike things has a history for each of them.

A detector's tail mixes what is told every day with what hardly ever happens: that somebody drops a
scratch table and that somebody calls a function that reads the server's files are both first acts.
By their own history the second is rare, and the first is not.
"""

from __future__ import annotations

from collections.abc import Mapping

from analytics.ways import DETAIL
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
HOUSEKEEPING = ("pg_reload_conf", "pg_terminate_backend")
"""Functions by which whoever looks after a server does so every week. They reach for sessions and
for the configuration as it stands, neither for files nor for what is logged."""
STRANGER = "stranger"
ARRIVAL = f"origin{SEPARATOR}login"
"""Somebody who is known came to a server for the first time."""
PASSWORD = f"origin{SEPARATOR}password"
"""An address fails on a single login, however often: a forgotten host, a typing error."""


def sort_of(finding: Finding) -> str:
    """The detector, and which sort of its candidates this is of where it has several.

    >>> detector_of("first_act: look"), detector_of("volume")
    ('first_act', 'volume')
    """
    details = dict(finding.details)
    if finding.detector == "first_act":
        kind = _act(details.get("act", ""), finding.object)
    elif finding.detector == "origin":
        kind = _origin(details)
    elif DETAIL in details:
        kind = details[DETAIL]
    else:
        kind = None
    return finding.detector if kind is None else f"{finding.detector}{SEPARATOR}{kind}"


def detector_of(sort: str) -> str:
    return sort.partition(SEPARATOR)[0]


def _act(kind: str, name: str) -> str | None:
    if kind == "call" and name.removeprefix("pg_catalog.") in HOUSEKEEPING:
        return "housekeeping"
    return ACTS.get(kind)


def _origin(details: Mapping[str, str]) -> str | None:
    if "login_bits" not in details:
        return "password" if details.get("failed_roles") == "1" else None
    if details.get("login") == STRANGER:
        return STRANGER
    return max(ORIGINS, key=lambda name: float(details.get(f"{name}_bits", 0)))
