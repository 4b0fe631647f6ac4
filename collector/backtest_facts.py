"""A row of the record as the View that the rules would have seen."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

import duckdb

from model.event import Protocol
from model.session import BackendKey, Identity, IdentityKind, Session
from model.statement import MAX_NAMES, ParseStatus, Shape
from rules import View

STORED: dict[str, tuple[str, ...]] = {
    "statement.operation": ("operation",),
    "statement.verbs": ("verbs",),
    "statement.objects": ("objects",),
    "statement.reads": ("reads",),
    "statement.writes": ("writes",),
    "statement.columns": ("columns",),
    "statement.functions": ("functions",),
    "statement.settings": ("settings",),
    "statement.roles": ("roles",),
    "statement.flags": ("flags",),
    "statement.summary": ("summary",),
    "statement.parsed": (),
    "statement.text_bytes": ("text_bytes",),
    "statement.protocol": ("protocol",),
    "statement.resolved": (),
    "statement.data_classes": ("reads", "writes", "columns", "flags"),
    "session.user": ("user",),
    "session.database": ("database",),
    "session.application_name": ("application_name",),
    "session.client_address": ("client_address",),
    "session.local": ("client_address",),
    "session.superuser": ("superuser",),
    "session.cluster": ("cluster",),
    "identity.kind": ("kind",),
    "identity.name": ("name",),
    "identity.confidence": ("confidence",),
    "vars": (),
}
"""By field of a rule: which facts below it depends on. What is not here is not on record."""

APPROXIMATE = {
    "session.superuser": "as of the last snapshot of the catalog",
    "statement.resolved": "never: names are on record as the text writes them",
    "identity.confidence": "where an older agent told: the session's last; 0.4 where a comment"
    " named somebody else",
}
"""Fields that the record knows, but not as of the statement."""

_LISTS = {
    "verbs": "verbs",
    "objects": "objects",
    "reads": "reads",
    "writes": "writes",
    "columns": "columns_used",
    "functions": "functions",
    "settings": "settings",
    "roles": "roles",
    "flags": "flags",
}
_COLUMNS = {
    # As one text: grouping by lists takes three times as long. Agents escape the separator.
    **{
        name: f"coalesce(array_to_string(s.{column}, chr(31)), '')"
        for name, column in _LISTS.items()
    },
    "operation": "coalesce(s.operation, '')",
    "summary": "coalesce(s.summary, '')",
    "text_bytes": "coalesce(s.text_bytes, 0)",
    "protocol": "coalesce(s.protocol, 'query')",
    "user": "coalesce(s.user_name, '')",
    "database": "coalesce(s.database, '')",
    "application_name": "coalesce(s.application_name, '')",
    "client_address": "coalesce(s.client_address, '')",
    "cluster": "coalesce(s.cluster, '')",
    "kind": "coalesce(s.identity_kind, 'unknown')",
    "name": "coalesce(s.identity_name, '')",
    "superuser": "backtest_roles.name IS NOT NULL",
    "confidence": "CASE WHEN s.identity_confidence IS NOT NULL THEN s.identity_confidence"
    " WHEN x.identity_kind = s.identity_kind"
    " AND x.identity_name = s.identity_name THEN coalesce(x.identity_confidence, 0.0)"
    " WHEN coalesce(s.identity_kind, 'unknown') = 'unknown' THEN 0.0 ELSE 0.4 END",
}
_STATUS = "coalesce(s.parse_status, 'failed')"
_SHORT_BYTES = 900
"""What names 500 things is longer: the lists of shorter texts need not be read."""
_LONG = f"""CREATE OR REPLACE TEMP TABLE backtest_long AS SELECT agent, id FROM statements
 WHERE text_bytes >= {_SHORT_BYTES} AND started_at >= ? AND started_at < ?
 AND greatest(len(objects), len(reads), len(writes), len(functions), len(roles)) >= {MAX_NAMES}"""
_JOINS = {
    "superuser": "LEFT JOIN backtest_roles ON backtest_roles.agent = s.agent AND"
    " backtest_roles.cluster = s.cluster AND backtest_roles.name = s.user_name",
    "is_long": "LEFT JOIN backtest_long ON backtest_long.agent = s.agent AND"
    " backtest_long.id = s.id",
    "confidence": "LEFT JOIN sessions x ON x.agent = s.agent AND x.pid = s.pid AND"
    " x.backend_started_at = s.backend_started_at",
}
_ROLES = """CREATE OR REPLACE TEMP TABLE backtest_roles AS SELECT DISTINCT agent, cluster, name
 FROM drift_observed WHERE kind = 'role' AND valid_to IS NULL AND known_to IS NULL
 AND list_contains(string_split(value, ' '), 'superuser=true')"""
_KEY = BackendKey(0, 0)
Word = TypeVar("Word", bound=StrEnum)
SEPARATOR = "\x1f"


class Facts:
    """``columns`` (with ``joins``), by name, select what rules with these ``fields`` can tell apart
    in the view statements, ``s``. All are texts, numbers or booleans, and never NULL."""

    def __init__(
        self,
        views: duckdb.DuckDBPyConnection,
        fields: Collection[str],
        since: datetime,
        until: datetime,
    ) -> None:
        wanted = {name for field in fields for name in STORED[field]}
        self.columns = {name: sql for name, sql in _COLUMNS.items() if name in wanted}
        self.columns["status"] = _STATUS
        if "superuser" in wanted:
            views.execute(_ROLES)
        views.execute(_LONG, [since, until])
        if views.execute("FROM backtest_long LIMIT 1").fetchone():
            self.columns["is_long"] = "backtest_long.id IS NOT NULL"
        self.joins = " ".join(_JOINS[name] for name in self.columns if name in _JOINS)

    def names(self, fields: Collection[str]) -> tuple[str, ...]:
        """Of the columns that a rule with these fields can tell apart."""
        wanted = {name for field in fields for name in STORED[field]} | {"status", "is_long"}
        return tuple(name for name in self.columns if name in wanted)

    def view(self, names: Sequence[str], values: Sequence[Any]) -> View:
        known = dict(zip(names, values, strict=True))
        lists: dict[str, Any] = {
            name: tuple(known[name].split(SEPARATOR)) if known[name] else ()
            for name in _LISTS
            if name in known
        }
        if known.get("is_long") and max(map(len, lists.values()), default=0) < MAX_NAMES:
            # The list that is too long is one that no rule reads; that it is counts all the same.
            lists[next(n for n in _LENGTHY if n not in lists)] = ("",) * MAX_NAMES
        get = known.get
        return View(
            Shape(
                _one_of(ParseStatus, known["status"], ParseStatus.FAILED),
                "",
                "",
                operation=get("operation", ""),
                summary=get("summary", ""),
                **lists,
            ),
            Session(
                _KEY,
                cluster=get("cluster", ""),
                user=get("user", ""),
                database=get("database", ""),
                application_name=get("application_name", ""),
                client_address=get("client_address", ""),
                superuser=get("superuser"),
                identity=Identity(
                    _one_of(IdentityKind, get("kind"), IdentityKind.UNKNOWN),
                    get("name", ""),
                    get("confidence") or 0.0,
                ),
            ),
            get("text_bytes", 0),
            _one_of(Protocol, get("protocol"), Protocol.QUERY),
        )


def _one_of(kind: type[Word], word: object, other: Word) -> Word:
    """What an agent of another release may have sent is ``other``."""
    return next((each for each in kind if each.value == word), other)


_LENGTHY = ("objects", "reads", "writes", "functions", "roles")
