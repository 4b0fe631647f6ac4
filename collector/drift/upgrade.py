"""A server that came back with another major version: one finding, whatever came along."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from analytics.findings import finding_id, literal
from collector.drift.baseline import Difference, Facts, Known, Scope, differences
from collector.drift.declaration.implicit import SYSTEM_SCHEMAS
from collector.drift.lines import lines_of, parts
from collector.drift.members import MEMBER
from collector.drift.spelling import respelled
from model.catalog import CatalogKind, DriftChange, Snapshot
from model.finding import Finding, FindingKind
from model.verdict import Severity

DETECTOR = "drift.server"
BUILT_IN = frozenset(("default", "override", ""))
"""Sources of a setting that nobody set."""
WRITTEN_BY_INITDB = frozenset(("autovacuum_worker_slots",))
"""Settings that a new version's initdb writes into its file and that no version before it knew."""
BUILT_IN_LINE = "built-in "
_DIGEST = re.compile(r"sha256:[0-9a-f]+$")
_MAJOR = re.compile(r"\d+")
_OF_SERVER = re.compile(r"^[a-z ]+:(pg_catalog|information_schema)(\.|<-)")
_RANGE_MAKERS = {
    f"sha256:{hashlib.sha256(f'multirange_constructor{count}'.encode()).hexdigest()[:16]}"
    for count in range(3)
}
"""Bodies of functions as the catalog's queries tell of them."""
MAX_TOLD = 500


def major_of(version: str) -> int:
    """
    >>> major_of("15.4 (Debian 15.4-1)"), major_of("18beta1"), major_of("")
    (15, 18, 0)
    """
    found = _MAJOR.match(version)
    return int(found[0]) if found else 0


def taken(
    scope: Scope,
    known: Known,
    snapshot: Snapshot,
    changed: Iterable[str],
    findings: Mapping[str, Finding],
) -> Finding | None:
    """What came with another major version is accepted with it, and one finding; None: it is the
    version as before. Changes ``known``."""
    assert known.accepted is not None
    major = major_of(snapshot.server_version)
    if not known.major or not major:
        known.major = known.major or major
        return None
    if known.major == major:
        return None
    came = came_along(scope, known.accepted, known.observed, changed)
    known.accepted = accepting(known.accepted, known.observed, came)
    finding = finding_of(scope, snapshot, known.major, came, findings)
    if known.complete:
        known.major = major
    return finding


def came_along(
    scope: Scope, accepted: Facts, observed: Facts, names: Iterable[str]
) -> list[Difference]:
    """Of the differences in ``names`` those that nobody made: other defaults, what is built in,
    definitions that this version spells otherwise."""
    names = frozenset(names)
    old = {name: fact for name, fact in accepted.items() if name in names}
    new = {name: fact for name, fact in observed.items() if name in names}
    return [
        each
        for each in differences(old, new)
        if _is_built_in(scope.kind, each) or respelled(scope.kind, each)
    ]


def _is_built_in(kind: CatalogKind, difference: Difference) -> bool:
    name = difference.name
    if kind is CatalogKind.SETTING:
        written = name in WRITTEN_BY_INITDB and difference.change is DriftChange.ADDED
        return written or ("@" not in name and BUILT_IN.issuperset(difference.details))
    if kind is CatalogKind.ROLE:
        # initdb's own: nobody else may choose such a name.
        return name.startswith("pg_")
    if kind is CatalogKind.MEMBERSHIP:
        group, _, member = name.partition("<-")
        return group.startswith("pg_") and member.startswith("pg_")
    if kind is CatalogKind.PRIVILEGE:
        return bool(_OF_SERVER.match(name))
    if kind is CatalogKind.SCHEMA:
        return name in SYSTEM_SCHEMAS and _only(difference, BUILT_IN_LINE)
    if kind is CatalogKind.EXTENSION:
        return _only(difference, MEMBER) and _words(difference.desired) == _words(
            difference.observed
        )
    return kind is CatalogKind.FUNCTION and _makes_ranges(difference)


def _only(difference: Difference, start: str) -> bool:
    """Nothing but these lines differs."""
    changed = parts(CatalogKind.TABLE, difference)
    return difference.change is DriftChange.CHANGED and all(
        part.key.startswith(start) for part in changed
    )


def _words(extension: str) -> dict[str, str]:
    """Its lines without the digests of definitions, which a version may spell anew."""
    return {key: _DIGEST.sub("", text) for key, text in lines_of(extension).items()}


def _makes_ranges(difference: Difference) -> bool:
    """Since 14 a type of ranges has one of multiranges beside it, with what makes its values."""
    lines = lines_of(difference.observed)
    return (
        difference.change is DriftChange.ADDED
        and lines.get("language") == "internal"
        and lines.get("body") in _RANGE_MAKERS
    )


def accepting(accepted: Facts, observed: Facts, came: Iterable[Difference]) -> Facts:
    after = {**accepted}
    for difference in came:
        if difference.change is DriftChange.REMOVED:
            after.pop(difference.name, None)
        else:
            after[difference.name] = observed[difference.name]
    return after


def finding_of(
    scope: Scope,
    snapshot: Snapshot,
    before: int,
    came: Iterable[Difference],
    known: Mapping[str, Finding],
) -> Finding:
    """The one finding of this upgrade; one that is ``known`` gets more consequences."""
    after = major_of(snapshot.server_version)
    identity = finding_id(0, "drift", scope.agent, scope.cluster, f"server {before} {after}")
    old = known.get(identity)
    told = dict(old.details)["consequences"].splitlines() if old else []
    told = list(dict.fromkeys((*told, *_sentences(scope, came))))
    more = f" and brought {len(told)} differences along" if told else ""
    finding = Finding(
        id=identity,
        kind=FindingKind.DRIFT,
        detector=DETECTOR,
        severity=Severity.LOW,
        title=f"Server {scope.cluster} upgraded {before} -> {after}",
        sentence=(
            f"The server changed its major version from {before} to {after}{more} (other defaults, "
            "built-in objects, definitions spelled otherwise); they are accepted with it"
        ),
        at_us=snapshot.at_us,
        agent=scope.agent,
        cluster=scope.cluster,
        object=scope.cluster,
        evidence_sql=(
            "SELECT occurred_at, kind, name, change, before, after FROM catalog_changes "
            f"WHERE agent = {literal(scope.agent)} AND cluster = {literal(scope.cluster)} "
            f"AND epoch_us(occurred_at) >= {snapshot.at_us} ORDER BY ALL"
        ),
        details=(("consequences", "\n".join(told[:MAX_TOLD])),),
    )
    return replace(finding, at_us=old.at_us, evidence_sql=old.evidence_sql) if old else finding


def _sentences(scope: Scope, came: Iterable[Difference]) -> Iterator[str]:
    for difference in came:
        now, was = difference.observed, difference.desired
        what = f"{scope.kind} {difference.name}"
        digested = scope.kind in (CatalogKind.SCHEMA, CatalogKind.EXTENSION)
        spelled = digested or scope.kind in (CatalogKind.TABLE, CatalogKind.FUNCTION)
        if spelled and difference.change is DriftChange.CHANGED:
            yield f"{what}: its definition is spelled otherwise"
        elif spelled:
            yield f"{what} comes with a type"
        elif difference.change is DriftChange.CHANGED:
            yield f"{what} is {now}, was {was}"
        else:
            yield f"{what} was {difference.change}: {now or was}"
