"""A database that came after the baseline of its server: made, copied or restored from a dump.

Nobody can say what should be in it, so its first snapshot is its baseline as any other. That is
told until somebody accepts the database, with what in it would have been severe anywhere else and
is in no other database of the server. It goes on under each name that the database is given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from analytics.findings import finding_id, literal
from collector.drift import risk
from collector.drift.baseline import Facts, Known, Scope, differences
from model.catalog import CatalogKind, Snapshot
from model.finding import Finding, FindingKind
from model.verdict import Severity

DETECTOR = "drift.new_database"
TOLD = frozenset((Severity.HIGH, Severity.CRITICAL))
MOST_TOLD = 200
_ITEMS = "items"
_CONSEQUENCES = "consequences"
_INSTEAD = "instead"
"""Of one that was given the name of an accepted one: accepting that name meant the other."""


def is_new(known: Mapping[Scope, Known], agent: str, snapshot: Snapshot) -> bool:
    databases = known.get(_list_of(agent, snapshot.cluster))
    if databases is None or databases.accepted is None:
        return False
    accepted = databases.accepted.get(snapshot.database)
    return accepted is None or _has_its_name(databases, snapshot.database)


def _has_its_name(databases: Known, name: str) -> bool:
    """That of an accepted one, which is there by another name."""
    accepted, now = (databases.accepted or {}).get(name), databases.observed.get(name)
    if accepted is None or now is None or accepted.detail == now.detail:
        return False
    return any(fact.detail == accepted.detail != "" for fact in databases.observed.values())


def finding_of(
    agent: str,
    snapshot: Snapshot,
    first: Collection[Scope],
    known: Mapping[Scope, Known],
    before: Mapping[str, Finding],
) -> Finding:
    """``first``: what was seen for the first time; it adds to what was told ``before``."""
    name = snapshot.database
    # One that is made anew by the same name is another, and one by another name is not.
    number = _number(known, agent, snapshot) or name
    identity = finding_id(0, "drift", agent, snapshot.cluster, f"new database {number}")
    old = before.get(identity)
    told = dict(old.details) if old else {}
    items = int(told.get(_ITEMS, 0)) + sum(len(known[scope].observed) for scope in first)
    risky = [each for scope in first for each in _risky(scope, known)]
    sentences = [
        *filter(None, told.get(_CONSEQUENCES, "").split("\n")),
        *(sentence for _, sentence in risky),
    ][:MOST_TOLD]
    severities = [old.severity if old else Severity.LOW, *(severity for severity, _ in risky)]
    databases = known.get(_list_of(agent, snapshot.cluster))
    if databases is not None and _has_its_name(databases, name):
        told[_INSTEAD] = name
    finding = Finding(
        id=identity,
        kind=FindingKind.DRIFT,
        detector=DETECTOR,
        severity=max(severities, key=risk.LADDER.index),
        title="",
        sentence="",
        at_us=old.at_us if old else snapshot.at_us,
        agent=agent,
        cluster=snapshot.cluster,
        object=old.object if old else name,
        details=(*{**told, _CONSEQUENCES: "\n".join(sentences), _ITEMS: str(items)}.items(),),
    )
    return _named(finding, name)


def _named(finding: Finding, name: str) -> Finding:
    told = dict(finding.details)
    items, severe = told[_ITEMS], [*filter(None, told[_CONSEQUENCES].split("\n"))]
    count = "1 of them is" if len(severe) == 1 else f"{len(severe)} of them are"
    more = f"; {count} severe: {severe[0]}" if severe else ""
    return replace(
        finding,
        database=name,
        title=f"Database {name} came with {items} items",
        sentence=(
            f"Database {name} is new, and what its first snapshot showed ({items} items) counts as "
            f"accepted though nobody has looked at it{more}"
        ),
        evidence_sql=(
            f"SELECT kind, name, after FROM catalog_changes WHERE agent = {literal(finding.agent)} "
            f"AND cluster = {literal(finding.cluster)} AND database = {literal(name)} ORDER BY ALL"
        ),
    )


def renamed(
    findings: Mapping[str, Finding], names: Mapping[tuple[str, str, str], str], accepted: Facts
) -> Iterator[Finding]:
    """Those whose database has another name, by agent, cluster and the former one. ``accepted``:
    databases."""
    for finding in [each for each in findings.values() if each.detector == DETECTOR]:
        name = names.get((finding.agent, finding.cluster, finding.database))
        if name is not None:
            told = dict(finding.details) | ({_INSTEAD: name} if name in accepted else {})
            yield _named(replace(finding, details=(*told.items(),)), name)


def are_new(findings: Mapping[str, Finding], databases: Scope, accepted: Facts) -> frozenset[str]:
    """Names of those of a server that nobody has accepted."""
    return frozenset(
        each.database
        for each in findings.values()
        if each.detector == DETECTOR
        and (each.agent, each.cluster) == (databases.agent, databases.cluster)
        and not _is_accepted(each, accepted)
    )


def ended(known: Mapping[Scope, Known], findings: dict[str, Finding], now_us: int) -> list[Finding]:
    """Those whose database is accepted by now, or gone; they are taken out of ``findings``."""
    over = []
    for finding in [each for each in findings.values() if each.detector == DETECTOR]:
        databases = known.get(_list_of(finding.agent, finding.cluster))
        if databases is None or databases.accepted is None:
            continue
        why = "accepted" if _is_accepted(finding, databases.accepted) else "gone"
        # The list of databases may be older than what is in this one.
        listed = databases.at_us < finding.at_us or finding.database in databases.observed
        if why == "accepted" or not listed:
            del findings[finding.id]
            sentence = f"{finding.sentence}; since then the database is {why}"
            over.append(replace(finding, resolved_at_us=now_us, sentence=sentence))
    return over


def took_a_name(finding: Finding) -> bool:
    """Of a database that has the name of an accepted one, which has another name now."""
    return dict(finding.details).get(_INSTEAD) == finding.database != ""


def _is_accepted(finding: Finding, accepted: Facts) -> bool:
    return finding.database in accepted and not took_a_name(finding)


def _list_of(agent: str, cluster: str) -> Scope:
    return Scope(agent, cluster, CatalogKind.DATABASE, "")


def _number(known: Mapping[Scope, Known], agent: str, snapshot: Snapshot) -> str:
    databases = known.get(_list_of(agent, snapshot.cluster))
    fact = databases.observed.get(snapshot.database) if databases is not None else None
    return fact.detail if fact is not None else ""


def _risky(scope: Scope, known: Mapping[Scope, Known]) -> Iterator[tuple[Severity, str]]:
    elsewhere = [
        other.observed
        for place, other in known.items()
        if place._replace(database=scope.database) == scope and place != scope
    ]
    for each in differences({}, known[scope].observed):
        others = (facts.get(each.name) for facts in elsewhere)
        if any(other is not None and other.value == each.observed for other in others):
            continue
        severity, why = risk.severity(scope.kind, each, attributed=True), risk.why(scope.kind, each)
        if severity in TOLD:
            yield severity, f"{risk.describe(scope.kind, each)}{f': {why}' if why else ''}"
