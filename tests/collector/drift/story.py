"""Statements as SQL, and the differences that they are held against."""

from __future__ import annotations

from typing import Any

import polars as pl

from agent.sql.shape import answer
from collector.drift.attribution import Cause, Changes
from collector.drift.baseline import Difference, Scope
from model.catalog import CLUSTER_KINDS, CatalogKind, DriftChange
from tests.analytics.streams import DEFAULTS, SCHEMA, START_US

S = 1_000_000
EXTRA = {"transaction": pl.String, "functions": pl.List(pl.String)}
BEFORE_US, AFTER_US = START_US, START_US + 100 * S
"""The snapshots around what happens."""


def ran(second: float, user: str, sql: str, **words: Any) -> dict[str, Any]:
    """One execution by ``user``, read as the agent reads it."""
    shape = answer(sql)
    status = words.pop("transaction", "II")
    return DEFAULTS | {
        "started_at": START_US + int(second * S),
        "user_name": user, "pid": 100 + sum(map(ord, user)), "application_name": "psql",
        "operation": shape.operation, "summary": shape.summary, "verbs": list(shape.verbs),
        "objects": list(shape.objects), "writes": list(shape.writes), "reads": list(shape.reads),
        "settings": list(shape.settings), "roles": list(shape.roles), "flags": list(shape.flags),
        "functions": list(shape.functions), "text": shape.redacted_text, "rows": 1,
        "parse_status": str(shape.status), "tag": "", "transaction": status, **words,
    }  # fmt: skip


def frame(rows: list[dict[str, Any]], first_id: int = 1) -> pl.DataFrame:
    times = ("started_at", "backend_started_at")
    numbered = [{"id": first_id + n} | row for n, row in enumerate(rows)]
    raw = SCHEMA | EXTRA | dict.fromkeys(times, pl.Int64)
    return pl.DataFrame(numbered, schema=raw).with_columns(pl.col(times).cast(pl.Datetime("us")))


def difference(name: str, before: str | None, after: str | None, detail: str = "") -> Difference:
    """``None``: it is not there."""
    change = (
        DriftChange.ADDED
        if before is None
        else DriftChange.REMOVED
        if after is None
        else DriftChange.CHANGED
    )
    return Difference(name, change, before or "", after or "", (detail, detail))


def scope(kind: str, database: str | None = None) -> Scope:
    of_cluster = CatalogKind(kind) in CLUSTER_KINDS and kind != "privilege"
    where = database if database is not None else "" if of_cluster else "shop"
    return Scope("host-a", "5432", CatalogKind(kind), where)


def cause_of(
    rows: list[dict[str, Any]],
    kind: str,
    name: str,
    before: str | None,
    after: str | None,
    *,
    watched: frozenset[str] = frozenset(),
    detail: str = "",
    settled: bool = True,
    database: str | None = None,
) -> Cause | None:
    changes = Changes()
    changes.observe(frame(rows), watched)
    step = difference(name, before, after, detail)
    return changes.cause(scope(kind, database), step, AFTER_US, BEFORE_US, settled=settled)


def actor_of(*args: Any, **words: Any) -> str:
    """Empty: nobody."""
    found = cause_of(*args, **words)
    return found.change.actor if found is not None else ""
