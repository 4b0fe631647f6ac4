"""Open differences as findings: one for each change, with all its consequences across kinds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from analytics.findings import finding_id, literal
from collector.drift import numbers, renamed, risk
from collector.drift.state import SHARED, OpenDrift
from model.catalog import Attribution, CatalogKind, DriftChange, Snapshot
from model.finding import Finding, FindingKind
from model.verdict import Severity

PLURALS = {
    CatalogKind.SETTING: "settings",
    CatalogKind.HBA: "hba",
    CatalogKind.IDENT: "ident",
    CatalogKind.ROLE: "roles",
    CatalogKind.MEMBERSHIP: "memberships",
    CatalogKind.PRIVILEGE: "privileges",
    CatalogKind.POLICY: "policies",
    CatalogKind.WATCHED: "watched",
}
FILES = frozenset((CatalogKind.SETTING, CatalogKind.HBA, CatalogKind.IDENT))
"""Each is a file of its own: what nobody on the wire did to two of them are two changes."""
SAID_CONSEQUENCES = 3
SAID_STATEMENTS = 3


def id_of(drift: OpenDrift) -> str:
    """Shared by what one statement, transaction or restored dump did; by what came unexplained to
    one database, or one file, at one moment."""
    scope = drift.scope
    where = (scope.agent, scope.cluster)
    if drift.attribution is not Attribution.UNATTRIBUTED:
        return finding_id(0, "drift", *where, drift.group or f"statement {drift.statement_id}")
    what = scope.kind.value if scope.kind in FILES else "objects"
    what = "undecided" if drift.undecided else what
    return finding_id(0, "drift", *where, what, scope.database, f"at {drift.detected_at_us}")


def finding_of(drifts: Sequence[OpenDrift], reach: Sequence[str] = ()) -> Finding:
    """``drifts``: at least one, all of the same finding. ``reach``: what they let roles do."""
    ordered = sorted(drifts, key=lambda drift: (drift.scope, drift.difference.name))
    first = min(ordered, key=lambda drift: drift.statement_id)
    worst = max(
        ordered, key=lambda drift: (risk.LADDER.index(drift.severity), _by_its_new_name(drift))
    )
    scope, databases = worst.scope, {drift.scope.database for drift in drifts}
    clauses = sorted({*_clauses(ordered)})
    more = len(clauses) - SAID_CONSEQUENCES
    consequences = "; ".join(clauses[:SAID_CONSEQUENCES]) + (
        f"; and {more} more" if more > 0 else ""
    )
    let = f" let {reach[0]}" if reach else ""
    notes = sorted({drift.note for drift in drifts if drift.note})
    halves = sum(_is_told_by_its_new_name(drift, drifts) for drift in drifts)
    more = len(drifts) - 1 - halves
    others = f" and {more} more" if more > 0 else ""
    name = worst.difference.name
    if former := renamed.former_name(worst.renamed):
        others = f" renamed from {former}{others}"
    return Finding(
        id=first.finding_id,
        kind=FindingKind.DRIFT,
        detector=f"drift.{PLURALS.get(scope.kind, f'{scope.kind}s')}",
        severity=worst.severity,
        title=f"Drift: {scope.kind} {name}{others}",
        sentence="; ".join([f"{_who(ordered)}{let}: {consequences}", *_spoken(notes)]),
        at_us=min(drift.detected_at_us for drift in drifts),
        agent=scope.agent,
        cluster=scope.cluster,
        database=scope.database if len(databases) == 1 else max(databases),
        user=first.user,
        identity=first.actor,
        object=worst.difference.name,
        evidence_sql=_evidence(ordered),
        statement_id=worst.statement_id,
        details=_details(ordered, clauses, reach, notes),
    )


def _spoken(notes: Iterable[str]) -> list[str]:
    """For a sentence: of many differences of one script each would name statements of its own. All
    of them stand in the details.

    >>> _spoken(["the same actor did other parts of it: statement 7, statement 8; late"])
    ['late', 'the same actor did other parts of it: statement 7, statement 8']
    """
    clauses = [clause for note in notes for clause in note.split("; ")]
    opening = f"{SHARED}: "
    lists = [each.removeprefix(opening) for each in clauses if each.startswith(opening)]
    numbers = list(dict.fromkeys(number for each in lists for number in each.split(", ")))
    spoken = list(dict.fromkeys(each for each in clauses if not each.startswith(opening)))
    more = len(numbers) - SAID_STATEMENTS
    if numbers:
        rest = f" and {more} more" if more > 0 else ""
        spoken.append(f"{opening}{', '.join(numbers[:SAID_STATEMENTS])}{rest}")
    return spoken


def _who(drifts: Sequence[OpenDrift]) -> str:
    """``GRANT analyst TO etl by alice at 14:02 UTC from psql``"""
    first = min(drifts, key=lambda drift: (drift.did_at_us, drift.statement_id))
    if first.undecided:
        return "Who did it is not known"
    if first.was_so_already:
        return "It was so already"
    if first.replayed:
        return "Replayed from the primary"
    if first.unwatched:
        return "Nobody watched who did it"
    if first.attribution is Attribution.UNATTRIBUTED:
        return "Nobody on the wire did it"
    moment = datetime.fromtimestamp(first.did_at_us / 1e6, UTC).strftime("%H:%M")
    tail = f" by {first.actor or 'somebody'} at {moment} UTC"
    tail += f" from {first.application}" if first.application else ""
    if any(drift.approval for drift in drifts):
        tail += ", approved"
    count = len({drift.statement_id for drift in drifts})
    if count == 1:
        return f"{first.summary.strip()}{tail}"
    kind = first.group.partition(" ")[0]
    return f"{count} statements of {_ONE_OF.get(kind, 'one statement')}{tail}"


_ONE_OF = {
    "session": "one session",
    "restore": "one restored dump",
    "transaction": "one transaction",
}
"""By the first word of what a finding is about."""


def _clauses(drifts: Sequence[OpenDrift]) -> list[str]:
    """A clause for each; what went and came by another name in one statement is one."""
    pairs = _renames(drifts)
    gone = {id(old) for old, _ in pairs} | {id(new) for _, new in pairs}
    said = [
        f"{old.scope.kind.replace('_', ' ')} {old.difference.name} became {new.difference.name}"
        for old, new in pairs
    ]
    for drift in drifts:
        if id(drift) in gone or _is_told_by_its_new_name(drift, drifts):
            continue
        if drift.renamed:
            said += renamed.clauses(drift)
        else:
            said.append(risk.describe(drift.scope.kind, drift.difference))
    return said


def _is_told_by_its_new_name(drift: OpenDrift, drifts: Iterable[OpenDrift]) -> bool:
    """The other half of a rename is among them: the two are one change."""
    return bool(renamed.later_name(drift.renamed)) and any(
        (other.scope, other.difference.name) == renamed.other_half(drift) for other in drifts
    )


def _by_its_new_name(drift: OpenDrift) -> bool:
    return not renamed.later_name(drift.renamed)


def _renames(drifts: Sequence[OpenDrift]) -> list[tuple[OpenDrift, OpenDrift]]:
    """Of the same kind, by the same statement, with the same value: exactly one of each."""
    sides: dict[tuple[object, ...], dict[DriftChange, list[OpenDrift]]] = {}
    for drift in drifts:
        value = drift.difference.desired or drift.difference.observed
        # Where numbers are known they say it.
        numbered = any(numbers.oid_of(detail) for detail in drift.difference.details)
        if numbered or drift.difference.change is DriftChange.CHANGED:
            continue
        if drift.statement_id:
            key = (drift.scope, drift.statement_id, value)
            sides.setdefault(key, {}).setdefault(drift.difference.change, []).append(drift)
    found = []
    for side in sides.values():
        old, new = side.get(DriftChange.REMOVED, []), side.get(DriftChange.ADDED, [])
        if len(old) == len(new) == 1:
            found.append((old[0], new[0]))
    return found


def _details(
    drifts: Sequence[OpenDrift], clauses: Sequence[str], reach: Sequence[str], notes: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    first = drifts[0]
    statements = sorted({drift.statement_id for drift in drifts if drift.statement_id})
    optional = (
        ("reach", "\n".join(reach)),
        ("approval", ", ".join(sorted({drift.approval for drift in drifts if drift.approval}))),
        ("statements", ", ".join(map(str, statements[:100])) if len(statements) > 1 else ""),
        ("note", "\n".join(notes)),
    )
    return (
        ("attribution", first.attribution.value),
        ("consequences", "\n".join(clauses)),
        *((name, text) for name, text in optional if text),
    )


def _evidence(drifts: Sequence[OpenDrift]) -> str:
    drift = drifts[0]
    scope = drift.scope
    if drift.attribution is not Attribution.UNATTRIBUTED:
        numbers = sorted({each.statement_id for each in drifts})[:100]
        which = f"= {numbers[0]}" if len(numbers) == 1 else f"IN ({', '.join(map(str, numbers))})"
        return (
            "SELECT started_at, user_name, application_name, client_address, text FROM statements "
            f"WHERE agent = {literal(scope.agent)} AND id {which}"
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
