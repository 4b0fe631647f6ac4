"""What a rule is, once its file has been read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from model.event import Protocol
from model.session import Session
from model.verdict import RuleAction, Severity

MESSAGE_LIMIT_BYTES = 400
"""The guard writes the message into a gap of a backend's stack, together with its own words."""


class Unknown(StrEnum):
    """What a rule says of a statement that it cannot judge."""

    ALLOW = "allow"
    DENY = "deny"
    """As if the condition held: the rule matches, with its own action."""


class Approval(StrEnum):
    """Whether somebody may let a statement pass that the rule refuses."""

    ALLOWED = "allowed"
    NEVER = "never"


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
    at_us: int = 0
    """When it is sent, Unix microseconds."""
    windows: tuple[str, ...] | None = None
    """Those that are open; None: what the clock says."""
    data_classes: tuple[str, ...] | None = None
    """None: what the names say."""
    protocol: Protocol = Protocol.QUERY
    usual_rows: int = 0


@dataclass(frozen=True, slots=True)
class Exemption:
    """What a rule does not apply to although its condition holds."""

    when: str
    """CEL, as in a rule."""
    because: str = ""
    until: date | None = None
    """The last day on which it counts; None: for good."""
    path: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    title: str
    when: str
    """CEL over ``statement``, ``session``, ``identity``, ``time`` and ``vars``."""
    action: RuleAction
    severity: Severity
    message: str
    """What the client reads; one line of at most MESSAGE_LIMIT_BYTES."""
    unknown: Unknown = Unknown.ALLOW
    unless: tuple[Exemption, ...] = ()
    approval: Approval = Approval.ALLOWED
    description: str = ""
    status: Status = Status.STABLE
    tags: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    falsepositives: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    path: str = ""
    line: int = 0


class Per(StrEnum):
    """Who shares a limit."""

    IDENTITY = "identity"
    LOGIN = "login"


@dataclass(frozen=True, slots=True)
class Limit:
    """How much one holder may use in an hour. ``rule.when`` says which statements count, and are
    refused (or what ``rule.action`` says) once it is used up."""

    rule: Rule
    rows_per_hour: int | None
    statements_per_hour: int | None
    per: Per = Per.IDENTITY


VarValue = str | int | float | bool | tuple[str, ...]
"""A constant that expressions read as ``vars.<name>``."""
