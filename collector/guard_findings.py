"""Verdicts as findings: one for each rule, identity and day."""

from __future__ import annotations

from typing import Any

import polars as pl

from analytics.findings import finding_id, literal
from analytics.frames import SCOPE
from model.finding import Finding, FindingKind
from model.verdict import Outcome, Severity

KEY = (*SCOPE, "rule_id", "who")
# Said in this order when one group has several: what went wrong comes first.
OPERATOR = "operator"
"""The rule id of verdicts that a person gave: ``pgwarden kill``."""
OUTCOMES = {
    Outcome.TOO_LATE.value: "ran although it is forbidden",
    Outcome.FAILED.value: "was to be stopped, and nobody saw whether it was",
    Outcome.TERMINATED.value: "had the session terminated",
    Outcome.CANCELLED.value: "was cancelled",
    Outcome.PREVENTED.value: "was refused before it ran",
    Outcome.OBSERVED.value: "was observed",
}
PAGES = frozenset((Outcome.TOO_LATE.value, Outcome.FAILED.value))
"""What is forbidden was not stopped: critical whatever the rule says, each time, and in an alert of
its own, so that none about refused statements hides it."""
SEVERITIES = frozenset(map(str, Severity))


def guard_findings(verdicts: pl.DataFrame | None) -> list[Finding]:
    """Verdicts of rules that only observe make none, nor what somebody has approved."""
    if verdicts is None or verdicts.is_empty():
        return []
    groups = (
        verdicts.filter(
            (pl.col("action") != "observe") & (pl.col("outcome") != Outcome.APPROVED.value)
        )
        .with_columns(
            at_us=pl.col("occurred_at").dt.epoch("us"),
            who=pl.when(pl.col("identity_name").fill_null("") == "")
            .then(pl.col("user_name").fill_null(""))
            .otherwise("identity_name"),
        )
        .with_columns(
            page=pl.col("outcome").is_in(list(PAGES)).fill_null(value=False)
            & (pl.col("rule_id") != OPERATOR)
        )
        .group_by((*KEY, "page"), maintain_order=True)
        .agg(
            pl.col("at_us", "statement_id", "title", "severity", "user_name", "reason").first(),
            outcomes=pl.col("outcome"),
        )
    )
    return [_finding(row) for row in groups.iter_rows(named=True)]


def _sentence(row: dict[str, Any], outcome: str) -> str:
    reason = row["reason"] or row["title"]
    if row["rule_id"] == OPERATOR:
        return f"The session of {row['who']} was {outcome}, {row['title']}: {reason}"
    told = OUTCOMES.get(outcome, outcome)
    return f"A statement of {row['who']} {told} by rule {row['rule_id']}: {reason}"


def _finding(row: dict[str, Any]) -> Finding:
    rule, who = row["rule_id"], row["who"]
    outcome = next((word for word in OUTCOMES if word in row["outcomes"]), "")
    cause = [row[name] or "" for name in KEY]
    about, title = rule, row["title"]
    severity = Severity(row["severity"]) if row["severity"] in SEVERITIES else Severity.MEDIUM
    if row["page"]:
        cause.append(f"{outcome} {row['statement_id'] or row['at_us']}")
        about, title = f"{rule}: {outcome}", f"Not stopped: {title}"
        severity = Severity.CRITICAL
    return Finding(
        id=finding_id(row["at_us"], "guard", *cause),
        kind=FindingKind.GUARD,
        detector=f"guard.{rule}",
        severity=severity,
        title=f"{title}: {who}",
        sentence=_sentence(row, outcome),
        at_us=row["at_us"],
        agent=row["agent"],
        cluster=row["cluster"],
        database=row["database"],
        user=row["user_name"] or "",
        identity=who,
        object=about,
        evidence_sql=(
            "SELECT occurred_at, outcome, reason, user_name, application_name, text FROM verdicts "
            f"WHERE rule_id = {literal(rule)} AND database = {literal(row['database'])} "
            f"AND {literal(who)} IN (identity_name, user_name) ORDER BY occurred_at DESC LIMIT 100"
        ),
        statement_id=row["statement_id"] or 0,
        details=(("outcome", outcome), ("verdicts", str(len(row["outcomes"])))),
    )
