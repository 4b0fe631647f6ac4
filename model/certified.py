"""Who a certificate of pgwarden's private authority is for, as a URI among its names.

The common name says nothing about what its owner may do: ``alice`` may be a host or a person.
"""

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote, unquote

_PREFIX = "urn:pgwarden:"


class Role(StrEnum):
    AGENT = "agent"
    COLLECTOR = "collector"
    APPROVER = "approver"
    OPERATOR = "operator"
    """May connect; what they may call, their token says."""


@dataclass(frozen=True, slots=True)
class Certified:
    """An agent's ``name`` is the one in its batches, an approver's the one in the configuration."""

    role: Role
    name: str

    def to_uri(self) -> str:
        """``urn:pgwarden:agent:host-a``; what a URI cannot hold is percent-encoded."""
        return f"{_PREFIX}{self.role}:{quote(self.name, safe='')}"


def from_uri(uri: str) -> Certified | None:
    """None for a URI that is not ours, or of a role that this release does not know."""
    if not uri.startswith(_PREFIX):
        return None
    role, _, name = uri.removeprefix(_PREFIX).partition(":")
    if role not in list(Role) or not name:
        return None
    return Certified(Role(role), unquote(name))


def is_ours(uri: str) -> bool:
    """Also for roles that this release does not know: their owners are no agents."""
    return uri.startswith(_PREFIX)
