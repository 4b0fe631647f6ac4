"""Open differences as findings: one for each statement and kind, with all its consequences."""

from __future__ import annotations

from collections.abc import Sequence

from analytics.findings import finding_id, literal
from collector import drift_risk
from collector.drift_state import OpenDrift
from model.catalog import Attribution, CatalogKind, Snapshot
from model.finding import Finding, FindingKind
from model.verdict import Severity

PLURALS = {
    CatalogKind.SETTING: "settings",
    CatalogKind.HBA: "hba",
    CatalogKind.ROLE: "roles",
    CatalogKind.MEMBERSHIP: "memberships",
    CatalogKind.PRIVILEGE: "privileges",
}
SAID_CONSEQUENCES = 3


def id_of(drift: OpenDrift) -> str:
    """Shared by what one statement did to one kind; by what came unexplained in one snapshot."""
    scope = drift.scope
    what = (scope.agent, scope.cluster, scope.kind.value)
    if drift.attribution is Attribution.ATTRIBUTED:
        return finding_id(0, "drift", *what, str(drift.statement_id))
    return finding_id(0, "drift", *what, scope.database, f"at {drift.detected_at_us}")


def finding_of(drifts: Sequence[OpenDrift]) -> Finding:
    """``drifts``: at least one, all of the same finding."""
    first = min(drifts, key=lambda drift: drift.difference.name)
    worst = max(drifts, key=lambda drift: drift_risk.LADDER.index(drift.severity))
    scope, attributed = first.scope, first.attribution is Attribution.ATTRIBUTED
    clauses = sorted({drift_risk.describe(scope.kind, drift.difference) for drift in drifts})
    more = len(clauses) - SAID_CONSEQUENCES
    consequences = "; ".join(clauses[:SAID_CONSEQUENCES]) + (
        f"; and {more} more" if more > 0 else ""
    )
    who = (
        f"{first.actor} did {first.summary.strip()}" if attributed else "Nobody on the wire did it"
    )
    others = f" and {len(drifts) - 1} more" if len(drifts) > 1 else ""
    return Finding(
        id=first.finding_id,
        kind=FindingKind.DRIFT,
        detector=f"drift.{PLURALS[scope.kind]}",
        severity=worst.severity,
        title=f"Drift: {scope.kind} {worst.difference.name}{others}",
        sentence=f"{who}: {consequences}",
        at_us=min(drift.detected_at_us for drift in drifts),
        agent=scope.agent,
        cluster=scope.cluster,
        database=scope.database,
        user=first.user,
        identity=first.actor,
        object=worst.difference.name,
        evidence_sql=_evidence(first),
        statement_id=first.statement_id,
        details=(
            ("attribution", first.attribution.value),
            ("consequences", "\n".join(clauses)),
        ),
    )


def _evidence(drift: OpenDrift) -> str:
    scope = drift.scope
    if drift.attribution is Attribution.ATTRIBUTED:
        return (
            "SELECT started_at, user_name, application_name, client_address, text FROM statements "
            f"WHERE agent = {literal(scope.agent)} AND id = {drift.statement_id}"
        )
    return (
        "SELECT occurred_at, value, detail FROM catalog "
        f"WHERE agent = {literal(scope.agent)} AND cluster = {literal(scope.cluster)} "
        f"AND kind = {literal(scope.kind.value)} AND database = {literal(scope.database)} "
        f"AND name = {literal(drift.difference.name)} ORDER BY occurred_at DESC LIMIT 20"
    )


def baseline_taken(agent: str, snapshot: Snapshot, items: int) -> Finding:
    """Said aloud, because whoever changed something before this moment goes unnoticed."""
    where = f"{snapshot.cluster}/{snapshot.database}"
    return Finding(
        id=finding_id(0, "drift", agent, where, f"baseline {snapshot.at_us}"),
        kind=FindingKind.DRIFT,
        detector="drift.baseline",
        severity=Severity.INFORMATIONAL,
        title=f"Baseline of {where} taken",
        sentence=f"The first snapshot of {where} with {items} items was accepted as its baseline",
        at_us=snapshot.at_us,
        agent=agent,
        cluster=snapshot.cluster,
        database=snapshot.database,
        object=where,
        evidence_sql=(
            f"SELECT kind, name, value FROM catalog WHERE agent = {literal(agent)} "
            f"AND cluster = {literal(snapshot.cluster)} "
            f"AND epoch_us(occurred_at) = {snapshot.at_us}"
        ),
    )
