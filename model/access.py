"""Who may ask the collector what: the roles that a token can have, and what each may call."""

from enum import StrEnum


class AccessRole(StrEnum):
    VIEWER = "viewer"
    INVESTIGATOR = "investigator"
    APPROVER = "approver"
    ADMIN = "admin"


_ALL = frozenset(AccessRole)
_ADMIN = frozenset({AccessRole.ADMIN})

RIGHTS: dict[str, frozenset[AccessRole]] = {
    "Operator.Tail": _ALL,
    "Operator.Agents": _ALL,
    "Operator.Sessions": _ALL,
    "Operator.DriftStatus": _ALL,
    "Operator.Thresholds": _ALL,
    "Approvals.List": _ALL,
    "Approvals.Show": _ALL - {AccessRole.VIEWER},
    "Operator.JudgeFinding": frozenset({AccessRole.INVESTIGATOR, AccessRole.ADMIN}),
    "Operator.DriftAccept": frozenset({AccessRole.APPROVER, AccessRole.ADMIN}),
    "Approvals.Decide": frozenset({AccessRole.APPROVER, AccessRole.ADMIN}),
    "Operator.Act": _ADMIN,
    "Operator.RetireAgent": _ADMIN,
    "Access.Issue": _ADMIN,
    "Access.List": _ADMIN,
    "Access.Revoke": _ADMIN,
}
"""By service and method. What is not here nobody may call."""


def may(role: AccessRole, method: str) -> bool:
    return role in RIGHTS.get(method, frozenset())
