"""What counts as a difference: the accepted state, declarations in its place, and ignore rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from analytics.findings import finding_id
from collector.drift import formats, members, partitions, watch_list
from collector.drift.baseline import Difference, Facts, Known, Scope, differences
from collector.drift.declaration import gaps
from collector.drift.declaration.implicit import SYSTEM_SCHEMAS
from collector.drift.declared import DeclaredState
from collector.drift.ignore import Ignored, IgnoreRule
from model.catalog import CatalogKind
from model.finding import Finding, FindingKind
from model.verdict import Severity

REVERTED = "reverted"
LOOK_US = 2_000_000
"""How often files are looked at."""


class Expectations:
    """Asked by the engine; holds nothing that must survive a restart."""

    def __init__(
        self, ignored: Ignored | None = None, declared: DeclaredState | None = None
    ) -> None:
        self._ignored = ignored or Ignored()
        self._declared = declared or DeclaredState()
        self._looked_us: int | None = None
        self._alarms: dict[str, Finding] = {}
        """Open findings about declarations, by problem."""

    def accepted(self, scope: Scope, known: Known) -> Facts | None:
        """The declared state where there is one, else what somebody accepted. A declaration waits
        until all parts of the first snapshot came: what has not come yet is not dropped."""
        declared = self._declared.facts(scope) if known.complete else None
        if declared is None:
            return known.accepted
        # A file need not say what agents tell since it was written: that is held against what was
        # seen first. What they tell no more does not count.
        first = formats.taking(scope.kind, declared, known.accepted or {})
        first = formats.dropping(scope.kind, first, known.observed)
        return {**_built_in(scope, known), **first}

    def is_declared(self, scope: Scope) -> bool:
        return self._declared.facts(scope) is not None

    def accepting(self, scope: Scope, accepted: Facts, known: Mapping[Scope, Known]) -> Facts:
        """With what is no drift: partitions by schedule, tables that come under watch, and without
        what its extension tells of."""
        declared, mine = self.is_declared(scope), known[scope]
        accepted = watch_list.accepting(scope, accepted, mine, declared=declared)
        accepted = members.accepting(scope, accepted, known)
        if scope.kind is CatalogKind.PRIVILEGE and declared:
            came = self._partitions_of_declared(scope._replace(kind=CatalogKind.TABLE), known)
            return partitions.accepting_privileges(accepted, mine.observed, came)
        return partitions.accepting(scope, accepted, mine.observed)

    def _partitions_of_declared(self, tables: Scope, known: Mapping[Scope, Known]) -> Facts:
        """Accepted ones that no file names: their privileges it cannot name either."""
        declared = self._declared.facts(tables)
        if declared is None or tables not in known:
            return {}
        after = partitions.accepting(tables, declared, known[tables].observed)
        return {name: after[name] for name in after.keys() - declared.keys()}

    def differences(
        self,
        scope: Scope,
        accepted: Facts,
        observed: Facts,
        names: Sequence[str] | None,
        now_us: int,
    ) -> dict[str, Difference]:
        """By name, without what is ignored. ``names``: which were looked at; None: all."""
        found: Iterator[Difference] = (
            gaps(scope.kind, accepted, observed)
            if self._declared.covers(scope)
            else differences(accepted, observed)
        )
        return self._ignored.kept(scope, found, now_us, names)

    def why_gone(self, scope: Scope, name: str) -> str:
        """Why a difference is no longer one: it is as accepted again, or it is ignored now."""
        reason = self._ignored.reason(scope, name)
        return f"ignored: {reason}" if reason else REVERTED

    def news(self, now_us: int) -> tuple[bool, list[Finding]]:
        """(whether everything must be compared anew, what to say). Cheap; call it often."""
        if self._looked_us is not None and 0 <= now_us - self._looked_us < LOOK_US:
            return False, []
        first, self._looked_us = self._looked_us is None, now_us
        changed = self._declared.reload()
        expired = self._ignored.newly_expired(now_us)
        told = [_expired(rule, now_us) for rule in expired]
        told += self._about_declarations(now_us)
        return first or changed or bool(expired), told

    def _about_declarations(self, now_us: int) -> Iterator[Finding]:
        """What became invalid, and what no longer is."""
        problems = self._declared.problems()
        for problem in problems:
            if problem not in self._alarms:
                self._alarms[problem] = _invalid(problem, now_us)
                yield self._alarms[problem]
        for problem in [each for each in self._alarms if each not in problems]:
            yield replace(self._alarms.pop(problem), resolved_at_us=now_us)

    def rows(self, now_us: int) -> list[dict[str, Any]]:
        return self._ignored.rows(now_us)

    def problems(self, now_us: int) -> list[str]:
        """Sentences for whoever asks for the state."""
        expired = [
            f"the ignore rule {row['name']} ended on {row['until']} and no longer counts: remove it"
            for row in self._ignored.rows(now_us)
            if row["expired"]
        ]
        invalid = [f"{each}; what was declared before counts" for each in self._declared.problems()]
        return [*expired, *invalid]

    def ignored(self) -> dict[str, int]:
        """Ignored differences by kind."""
        return self._ignored.counts()

    def expired(self, now_us: int) -> int:
        return sum(row["expired"] for row in self._ignored.rows(now_us))

    def invalid(self) -> int:
        return len(self._declared.problems())


def _built_in(scope: Scope, known: Known) -> Facts:
    """What no file need name, and what is held all the same against what was seen first."""
    if scope.kind is not CatalogKind.SCHEMA:
        return {}
    first = {**known.observed, **(known.accepted or {})}
    return {name: first[name] for name in SYSTEM_SCHEMAS if name in first}


def _expired(rule: IgnoreRule, now_us: int) -> Finding:
    return Finding(
        id=finding_id(0, "drift", "ignore", str(rule), str(rule.until)),
        kind=FindingKind.DRIFT,
        detector="drift.ignore",
        severity=Severity.LOW,
        title=f"Ignore rule {rule} ended",
        sentence=(
            f"The ignore rule {rule} ended on {rule.until}: what it hid counts again "
            f"({rule.because})"
        ),
        at_us=now_us,
        # An event: nothing lasts that could be resolved later.
        resolved_at_us=now_us,
        object=rule.name,
        evidence_sql="SELECT * FROM drift WHERE resolved_at IS NULL",
    )


def _invalid(problem: str, now_us: int) -> Finding:
    return Finding(
        id=finding_id(0, "drift", "declared", problem),
        kind=FindingKind.DRIFT,
        detector="drift.declared",
        severity=Severity.HIGH,
        title="A declaration cannot be used",
        sentence=f"What was declared before counts until this is corrected: {problem}",
        at_us=now_us,
        object=problem.partition(":")[0],
        evidence_sql="SELECT * FROM drift WHERE resolved_at IS NULL",
    )
