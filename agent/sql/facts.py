"""What a walk over parse trees has found so far, and the names in scope where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.sql.redact import is_name
from agent.sql.tree import Node

MAX_NAMES = 500
"""Per field: a text of 64 KB can name more things than any reader wants."""
MAX_PARTS = 1_000
"""Statements of a string whose facts are told apart; to judge so many takes as long as to read
them."""
MAX_SUMMARY_CHARS = 255
"""OpenTelemetry's limit for ``db.query.summary``."""
_OF_ONE_PART = frozenset(
    {
        "schema", "database", "tablespace", "extension", "language", "access method",
        "event trigger", "fdw", "foreign server", "publication", "subscription",
        "policy", "trigger", "rule",
    }
)  # fmt: skip
"""A dot in their names parts nothing. Roles are not among them: ``role:first.last`` is said so."""


class Names(dict[str, None]):
    """An ordered set of names, bounded."""

    def add(self, name: str) -> None:
        if name and len(self) < MAX_NAMES:
            self[name] = None


@dataclass(slots=True)
class Facts:
    """The fields of a Shape while they are being collected."""

    verbs: Names = field(default_factory=Names)
    objects: Names = field(default_factory=Names)
    reads: Names = field(default_factory=Names)
    writes: Names = field(default_factory=Names)
    columns: Names = field(default_factory=Names)
    functions: Names = field(default_factory=Names)
    settings: Names = field(default_factory=Names)
    roles: Names = field(default_factory=Names)
    flags: Names = field(default_factory=Names)
    changes: list[str] = field(default_factory=list)
    credentials: bool = False
    """A fingerprint of this would depend on a secret."""
    parts: list[Facts] = field(default_factory=list)
    """Of each statement of a string that has several, by itself; those beyond ``MAX_PARTS`` are
    one."""
    starts: list[int] = field(default_factory=list)
    """Where each of ``parts`` begins, in bytes."""
    _summary: list[str] = field(default_factory=list)

    def take(self, other: Facts) -> None:
        """What ``other`` has found as well."""
        for name in SETS:
            mine = getattr(self, name)
            for each in getattr(other, name):
                mine.add(each)
        self.changes += other.changes[: MAX_NAMES - len(self.changes)]
        self.credentials |= other.credentials
        self._summary += other._summary

    def verb(self, verb: str, *, said: str = "") -> None:
        """``said`` is how the summary puts it: ``DROP TABLE`` for ``drop``."""
        self.verbs.add(verb)
        self._summary.append(said or verb.upper())

    def read(self, relation: str) -> None:
        self.reads.add(relation)
        self._summary.append(relation)

    def write(self, relation: str) -> None:
        self.writes.add(relation)
        self._summary.append(relation)

    def change(self, *words: str) -> None:
        if len(self.changes) < MAX_NAMES:
            self.changes.append(" ".join(words))

    def object(self, kind: str, name: str, *, of_relation: bool = False) -> None:
        """``name``: its parts joined as in model/names.py, or the one part that a kind has;
        ``of_relation``: it is that of the relation that the object belongs to."""
        if name:
            joined = name.replace(":", "%3A")
            if kind in _OF_ONE_PART and not of_relation:
                joined = joined.replace(".", "%2E")
            self.objects.add(f"{kind}:{joined}")
            self._summary.append(name)

    def column(self, *parts: str) -> None:
        """A value in double quotes parses as a column: hide what does not look like a name."""
        if parts[-1]:
            self.columns.add(".".join([p if p == "*" or is_name(p) else "?" for p in parts]))

    def setting(self, name: str) -> None:
        self.settings.add(name.lower() if is_name(name) else "?")

    def flag(self, name: str) -> None:
        self.flags.add(name)

    @property
    def words_said(self) -> int:
        return len(self._summary)

    def unsay(self, words: int) -> None:
        """The summary as it was when it had so many words."""
        del self._summary[words:]

    @property
    def summary(self) -> str:
        kept: list[str] = []
        length = -1
        for word in self._summary:
            if kept and word == kept[-1]:
                continue
            length += 1 + len(word)
            if length > MAX_SUMMARY_CHARS:
                break
            kept.append(word)
        return " ".join(kept)


SETS = (
    "verbs", "objects", "reads", "writes", "columns", "functions", "settings", "roles", "flags",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scope:
    """Names that a part of a statement sees: CTEs, and aliases of relations.

    An alias stands for its relation's name, or for ``""`` where it is a subquery or function.
    """

    ctes: dict[str, bool] = field(default_factory=dict)
    """Name of each visible CTE, and whether it hands out a whole relation."""
    aliases: dict[str, str] = field(default_factory=dict)
    withs: list[Node] = field(default_factory=list)
    """The statements around whose WITH defines CTEs, from the outside in."""
    only_queries: bool = False
    """Nothing but CTEs and subqueries stands in the FROM of this part."""
    queries: set[str] = field(default_factory=set)
    """Aliases of CTEs and subqueries: a star of one names no column."""

    def know(self, alias: str, relation: str, *, query: bool) -> None:
        self.aliases[alias] = relation
        (self.queries.add if query else self.queries.discard)(alias)

    def child(self) -> Scope:
        aliases, withs = dict(self.aliases), list(self.withs)
        return Scope(dict(self.ctes), aliases, withs, queries=set(self.queries))
