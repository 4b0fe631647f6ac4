"""What a rule is, once its file has been read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from model.session import Session
from model.verdict import RuleAction, Severity

MESSAGE_LIMIT_BYTES = 400
"""The guard writes the message into a gap of a backend's stack, together with its own words."""


class Unknown(StrEnum):
    """What a rule says of a statement that it cannot judge."""

    ALLOW = "allow"
    DENY = "deny"
    """As if the condition held: the rule matches, with its own action."""


class Status(StrEnum):
    """Sigma's word on how far a rule can be trusted."""

    STABLE = "stable"
    TEST = "test"
    EXPERIMENTAL = "experimental"
    DEPRECATED = "deprecated"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Example:
    """A statement, who sends it, and whether the rule must match it."""

    sql: str
    session: Session
    matches: bool
    line: int


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    title: str
    when: str
    """CEL over ``statement``, ``session``, ``identity`` and ``vars``."""
    action: RuleAction
    severity: Severity
    message: str
    """What the client reads; one line of at most MESSAGE_LIMIT_BYTES."""
    unknown: Unknown = Unknown.ALLOW
    description: str = ""
    status: Status = Status.STABLE
    tags: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    falsepositives: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    path: str = ""
    line: int = 0


VarValue = str | int | float | bool | tuple[str, ...]
"""A constant that expressions read as ``vars.<name>``."""
