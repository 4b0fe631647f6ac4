"""Baseline and open differences out of the record, when the file that keeps them is gone.

The record says what was seen last, and of each open difference what was accepted instead: together
that is the baseline. Nothing becomes accepted because a file is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from collector.drift import databases, newcomers
from collector.drift.baseline import Difference, Fact, Known, Scope
from collector.drift.renamed import former_name, later_name
from collector.drift.state import MAY_BE, NAME, SHARED, SHARED_BY, OpenDrift, State
from model.catalog import CLUSTER_KINDS, Attribution, CatalogKind, DriftChange
from model.finding import Finding, FindingKind
from model.verdict import Severity

Query = Callable[[str], Sequence[tuple[Any, ...]]]
"""Rows of SQL over the documented views."""
DETECTOR = "drift.state"
BY = "pgwarden (out of the record)"
_STATEMENT = re.compile(r"\bstatement (\d+)")
_SCOPES = """
    SELECT DISTINCT agent, cluster, kind, database FROM catalog WHERE op = 'covered'
    UNION SELECT DISTINCT agent, cluster, kind, database FROM catalog_changes
"""
_MOMENTS = """
    SELECT agent, cluster, kind, database, max(epoch_us(occurred_at)) FROM catalog_changes
    GROUP BY ALL
"""
_FACTS = """
    SELECT agent, cluster, kind, database, name, value, detail FROM drift_observed
    WHERE valid_to IS NULL AND known_to IS NULL
"""
_OPEN = """
    SELECT agent, cluster, kind, database, name, change, desired, observed,
           epoch_us(occurred_at), epoch_us(known_at), attribution, statement_id, actor, user_name,
           severity, finding_id, approval, note, renamed
    FROM drift WHERE resolved_at IS NULL ORDER BY change = 'changed', occurred_at
"""
_FINDINGS = f"""
    SELECT id, detector, severity, title, sentence, epoch_us(occurred_at), agent, cluster, database,
           user_name, identity, object, score, evidence_sql, statement_id, details
    FROM findings WHERE kind = 'drift' AND resolved_at IS NULL
      AND (detector = '{newcomers.DETECTOR}'
           OR id IN (SELECT finding_id FROM drift WHERE resolved_at IS NULL))
"""


def rebuilt(query: Query, seq: int, now_us: int) -> State:
    """An empty state where nothing of a catalog was ever recorded. ``seq``: the record's last;
    what came before it is in here. What ignore rules hid counts as accepted."""
    facts: dict[Scope, dict[str, Fact]] = {}
    for *place, name, value, detail in query(_FACTS):
        facts.setdefault(_scope(place), {})[name] = Fact(value, detail)
    if not facts:
        return State()
    moments = {_scope(place): at_us for *place, at_us in query(_MOMENTS)}
    known = {
        scope: Known(dict(found := facts.get(scope, {})), found, moments.get(scope, 0))
        for scope in {*facts, *_read(query(_SCOPES))}
    }
    state = State(known=known, accepted_by=BY, accepted_at_us=now_us, seq=seq)
    for drift in map(_open, query(_OPEN)):
        if (each := known.get(drift.scope)) is None or each.accepted is None:
            continue
        name = drift.difference.name
        if drift.key in state.open:
            # A later step from what the first one says was accepted.
            part = replace(drift, part=drift.detected_at_us)
            state.open[part.key] = part
            continue
        accepted = {key: fact for key, fact in each.accepted.items() if key != name}
        if drift.difference.change is not DriftChange.ADDED:
            accepted[name] = Fact(drift.difference.desired, "")
        each.accepted = accepted
        state.open[drift.key] = drift
    for scope, each in known.items():
        if not each.accepted and databases.is_gone(known, scope):
            each.accepted = None  # of the next database by that name it says nothing
    state.open = {key: _with_other_value(drift, known) for key, drift in state.open.items()}
    state.findings = {finding.id: finding for finding in map(_finding, query(_FINDINGS))}
    return state


def _with_other_value(drift: OpenDrift, known: Mapping[Scope, Known]) -> OpenDrift:
    """Of a renamed object, what it is or was under its other name."""
    former, later = former_name(drift.renamed), later_name(drift.renamed)
    facts = known[drift.scope].accepted if former else known[drift.scope].observed
    fact = (facts or {}).get(former or later)
    return drift if fact is None else replace(drift, other_value=fact.value)


def told(state: State, now_us: int, aside: str = "") -> Finding:
    """Open until somebody accepts. ``aside``: what the damaged file is called now; empty: there was
    none."""
    happened = (
        f"was damaged and is kept as state/{aside}"
        if aside
        else "was not there when the collector started"
    )
    servers = {(scope.agent, scope.cluster) for scope in state.known}
    items = sum(len(known.observed) for known in state.known.values())
    taken = (
        f"{items} items of {len(servers)} servers and {len(state.open)} open differences were "
        "taken from the record instead; what ignore rules hid counts as accepted"
        if servers
        else "The record knows of no server: what is seen first counts as accepted"
    )
    to_do = (
        "Look at what is accepted now (pgwarden drift export, drift status) and accept it anew, or "
        "stop the collector and put a backup of the file in its place. Who "
        f"{'damaged' if aside else 'moved'} it?"
    )
    lost = "Who had accepted it, and why, is lost"
    return _finding_of(now_us, f"{happened}. {taken}. {lost}. {to_do}", aside)


def told_while_running(now_us: int, aside: str) -> Finding:
    """The file went bad under a collector that has all of it in memory: an event, over at once."""
    sentence = (
        f"was damaged while the collector ran and is kept as state/{aside}. It was written anew "
        "out of memory and nothing was lost. Look after the disk; who else writes to the file?"
    )
    return _finding_of(now_us, sentence, aside, resolved_at_us=now_us)


def _finding_of(now_us: int, sentence: str, aside: str, *, resolved_at_us: int = 0) -> Finding:
    return Finding(
        id=f"drift-state-{now_us}",
        kind=FindingKind.DRIFT,
        detector=DETECTOR,
        severity=Severity.HIGH,
        title="The state of drift was " + ("damaged" if aside else "gone"),
        sentence=f"The file that keeps what was accepted (state/{NAME}) {sentence}",
        at_us=now_us,
        object=NAME,
        evidence_sql="SELECT * FROM drift WHERE resolved_at IS NULL",
        resolved_at_us=resolved_at_us,
    )


def _read(rows: Iterable[Sequence[str]]) -> Iterable[Scope]:
    """Kinds that were read, though there was nothing of them. What belongs to the cluster came with
    the database that it was asked in."""
    for agent, cluster, kind, database in rows:
        if kind not in _KINDS:
            continue
        of_cluster = CatalogKind(kind) in CLUSTER_KINDS and kind != CatalogKind.PRIVILEGE
        yield Scope(agent, cluster, CatalogKind(kind), "" if of_cluster else database)


def _scope(place: Sequence[str]) -> Scope:
    agent, cluster, kind, database = place
    return Scope(agent, cluster, CatalogKind(kind), database)


def _open(row: tuple[Any, ...]) -> OpenDrift:
    *place, name, change, desired, observed, at_us, known_us, attribution, statement = row[:12]
    actor, user, severity, finding_id, approval, note, renamed = row[12:]
    return OpenDrift(
        _scope(place),
        Difference(name, DriftChange(change), desired, observed, ("", "")),
        detected_at_us=at_us,
        since_us=at_us,
        noticed_us=known_us,
        reported=True,
        attribution=Attribution(attribution),
        statement_id=statement or 0,
        actor=actor or "",
        user=user or "",
        severity=Severity(severity),
        finding_id=finding_id,
        approval=approval or "",
        note=note or "",
        known_us=known_us,
        renamed=renamed or "",
        shared_with=_shared_with(note or ""),
    )


def _shared_with(note: str) -> tuple[int, ...]:
    """What the note says of other statements that did some of it. One number too many asks for one
    approval too many, and one too few would approve what nobody approved."""
    did = note.partition(MAY_BE)[0]
    said = _STATEMENT.findall(did) if SHARED in did or SHARED_BY in did else ()
    return tuple(map(int, said))


def _finding(row: tuple[Any, ...]) -> Finding:
    id_, detector, severity, title, sentence, at_us, agent, cluster, database = row[:9]
    user, identity, about, score, evidence, statement, details = row[9:]
    return Finding(
        id_, FindingKind.DRIFT, detector, Severity(severity), title, sentence, at_us,
        agent, cluster, database, user or "", identity or "", about or "", score or 0.0,
        evidence or "", statement or 0, details=tuple(json.loads(details or "{}").items()),
    )  # fmt: skip


_KINDS = frozenset(CatalogKind)
