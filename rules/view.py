"""What a rule may look at, and how it is named in CEL."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from model.event import Protocol
from model.session import Session
from model.statement import MAX_NAMES, ParseStatus, Shape
from rules.calendar import NO_MOMENT, Moment

ROOTS = ("statement", "session", "identity", "time", "vars")


class View(NamedTuple):
    """One statement in one session, at the moment it is judged.

    A NamedTuple, not a dataclass: one is made for every statement, and takes a third of the time.
    """

    shape: Shape
    session: Session
    text_bytes: int = 0
    """Full length of the statement, also where only a prefix was captured."""
    protocol: Protocol = Protocol.QUERY
    at_us: int = 0
    """The moment, Unix microseconds."""
    moment: Moment | None = None
    """What rules see of it; None: to be found out by the rules' calendar."""
    data_classes: tuple[str, ...] | None = None
    """Of what it touches; None: to be found out by its names."""
    estimated_rows: float = -1.0
    """The planner's; -1 where no plan was seen."""
    resolved: bool = False
    """Names come from the plan as well: those without a schema in the text are there with one."""
    partly: bool = False
    """The plan touches more than could be read."""
    usual_rows: int | None = None
    """What its shape has brought before; None: to be found out from history."""

    @property
    def parsed(self) -> bool:
        return self.shape.status is ParseStatus.PARSED

    @property
    def complete(self) -> bool:
        """Parsed, and no list of names is so long that some may be missing."""
        if self.partly:
            return False
        shape = self.shape
        lists = (shape.objects, shape.reads, shape.writes, shape.functions, shape.roles)
        return self.parsed and max(map(len, lists)) < MAX_NAMES


@dataclass(frozen=True, slots=True)
class Field:
    """``key`` is the attribute of a View that the value depends on, empty for the shape alone."""

    read: Callable[[View], object]
    key: str = ""
    parsed: bool = False
    """The value is only known for a statement that was parsed."""


FIELDS: dict[str, Field] = {
    "statement.operation": Field(lambda v: v.shape.operation, parsed=True),
    "statement.verbs": Field(lambda v: v.shape.verbs, parsed=True),
    "statement.objects": Field(lambda v: v.shape.objects, parsed=True),
    "statement.reads": Field(lambda v: v.shape.reads, parsed=True),
    "statement.writes": Field(lambda v: v.shape.writes, parsed=True),
    "statement.columns": Field(lambda v: v.shape.columns, parsed=True),
    "statement.functions": Field(lambda v: v.shape.functions, parsed=True),
    "statement.settings": Field(lambda v: v.shape.settings, parsed=True),
    "statement.roles": Field(lambda v: v.shape.roles, parsed=True),
    "statement.flags": Field(lambda v: v.shape.flags, parsed=True),
    "statement.data_classes": Field(lambda v: v.data_classes or (), parsed=True),
    "statement.usual_rows": Field(lambda v: v.usual_rows or 0, "usual_rows", parsed=True),
    "statement.summary": Field(lambda v: v.shape.summary, parsed=True),
    "statement.parsed": Field(lambda v: v.parsed),
    "statement.text_bytes": Field(lambda v: v.text_bytes, "text_bytes"),
    "statement.estimated_rows": Field(lambda v: float(v.estimated_rows), "estimated_rows"),
    "statement.resolved": Field(lambda v: v.resolved, "resolved"),
    "statement.protocol": Field(lambda v: v.protocol.value, "protocol"),
    "session.user": Field(lambda v: v.session.user, "session.user"),
    "session.database": Field(lambda v: v.session.database, "session.database"),
    "session.application_name": Field(
        lambda v: v.session.application_name, "session.application_name"
    ),
    "session.client_address": Field(lambda v: v.session.client_address, "session.client_address"),
    "session.local": Field(lambda v: v.session.local, "session.client_address"),
    # Not known yet counts as no: a rule about superusers must not fire on everybody until the
    # catalog has been read.
    "session.superuser": Field(lambda v: bool(v.session.superuser), "session.superuser"),
    "session.cluster": Field(lambda v: v.session.cluster, "session.cluster"),
    "identity.kind": Field(lambda v: v.session.identity.kind.value, "session.identity.kind"),
    "identity.name": Field(lambda v: v.session.identity.name, "session.identity.name"),
    "identity.confidence": Field(
        lambda v: float(v.session.identity.confidence), "session.identity.confidence"
    ),
    "identity.proven": Field(lambda v: v.session.identity.proven, "session.identity.proven"),
    "time.hour": Field(lambda v: (v.moment or NO_MOMENT).hour, "moment"),
    "time.weekday": Field(lambda v: (v.moment or NO_MOMENT).weekday, "moment"),
    "time.date": Field(lambda v: (v.moment or NO_MOMENT).date, "moment"),
    "time.windows": Field(lambda v: (v.moment or NO_MOMENT).windows, "moment"),
}

Reading = tuple[str, str, Callable[[View], object]]


def readings(fields: Iterable[str]) -> tuple[Reading, ...]:
    """``fields`` as (root, name, reader): converting a value for CEL costs 1 us or more each."""
    return tuple(
        (*_split(field), FIELDS[field].read) for field in FIELDS if field in frozenset(fields)
    )


def variables(view: View, wanted: tuple[Reading, ...]) -> dict[str, dict[str, object]]:
    values: dict[str, dict[str, object]] = {}
    for root, name, read in wanted:
        values.setdefault(root, {})[name] = read(view)
    return values


def key_attributes(fields: Iterable[str]) -> tuple[str, ...]:
    """The attributes of a View, beside its digest, on which a judgement over ``fields`` depends."""
    return tuple(sorted({FIELDS[field].key for field in fields} - {""}))


def _split(field: str) -> tuple[str, str]:
    root, _, name = field.partition(".")
    return root, name
