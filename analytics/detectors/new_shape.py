"""New statement shape: a role that runs the same few statements runs one nobody knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from analytics import novelty
from analytics.findings import finding_id, literal
from analytics.frames import SCOPE, prepare, succeeded
from model.finding import Finding, FindingKind
from model.verdict import Severity

NAME = "new_shape"
# Drivers and poolers wrap these around everything; their shapes say nothing of intent.
DULL_OPERATIONS = (
    "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release",
    "discard", "deallocate", "close", "fetch", "show", "set", "reset", "transaction",
)  # fmt: skip
NOTEWORTHY_SCORE = 12.0


@dataclass(frozen=True)
class NewShapeSettings:
    learn_seconds: float = 7 * 86_400
    learn_statements: int = 200
    min_score: float = 7.0
    """Reached by a role with some hundred statements for each shape it ever used."""
    max_keys: int = 500_000


@dataclass(frozen=True)
class NewShape:
    """Score: -log(own rate of new shapes) - log(rate of roles that run this one)."""

    settings: NewShapeSettings = NewShapeSettings()
    name: str = NAME

    def empty_state(self) -> pl.DataFrame:
        return novelty.empty_state()

    def observe(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        statements = prepare(batch).filter(
            succeeded()
            & (pl.col("fingerprint") != "")
            & ~pl.col("operation").is_in(DULL_OPERATIONS)
        )
        limits = novelty.NoveltySettings(
            self.settings.learn_seconds,
            self.settings.learn_statements,
            self.settings.min_score,
            max_keys=self.settings.max_keys,
        )
        after, surprising = novelty.observe(
            state,
            statements.select(*_KEPT, subject=pl.col("user_name")),
            statements.select("row", item="fingerprint"),
            limits,
        )
        return after, [_finding(row) for row in surprising.iter_rows(named=True)]


_KEPT = (*SCOPE, "row", "at_us", "id", "identity", "identity_kind", "summary", "operation")


def _finding(row: dict[str, Any]) -> Finding:
    role, shape = row["subject"], row["item"]
    what = row["summary"] or row["operation"] or "a statement"
    known = f"{row['items_before']} known shapes in {row['statements_before']} statements"
    others = f"{row['peers_have']} of {row['peers']} other roles run it"
    return Finding(
        id=finding_id(row["at_us"], NAME, *(row[name] for name in SCOPE), role, shape),
        kind=FindingKind.ANOMALY,
        detector=NAME,
        severity=Severity.MEDIUM if row["score"] >= NOTEWORTHY_SCORE else Severity.LOW,
        title=f"New statement shape from {role}",
        sentence=f"{role} ran a statement of a new shape, {what}; it had {known}; {others}",
        at_us=row["at_us"],
        agent=row["agent"],
        cluster=row["cluster"],
        database=row["database"],
        user=role,
        identity=row["identity"],
        object=shape,
        score=round(row["score"], 3),
        evidence_sql=(
            "SELECT started_at, application_name, client_address, rows, text FROM statements "
            f"WHERE user_name = {literal(role)} AND database = {literal(row['database'])} "
            f"AND fingerprint = {literal(shape)} ORDER BY started_at LIMIT 100"
        ),
        statement_id=row["id"],
        details=(
            ("summary", what),
            ("statements_before", str(row["statements_before"])),
            ("shapes_before", str(row["items_before"])),
            ("peers_have", str(row["peers_have"])),
            ("peers", str(row["peers"])),
        ),
    )
