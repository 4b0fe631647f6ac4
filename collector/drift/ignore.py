"""Differences that somebody decided not to hear of: with a reason, and until a day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from collector.drift.baseline import Difference, Scope
from collector.drift.patterns import matches


@dataclass(frozen=True)
class IgnoreRule:
    """Patterns as in a shell. ``kind`` and ``database`` empty: any."""

    because: str
    kind: str = ""
    name: str = "*"
    database: str = ""
    cluster: str = "*"
    until: date | None = None
    """The last day (UTC) on which it counts."""

    def covers(self, scope: Scope, name: str) -> bool:
        return (
            self.kind in ("", str(scope.kind))
            and matches(name, self.name)
            and matches(scope.cluster, self.cluster)
            and (not self.database or matches(scope.database, self.database))
        )

    def expired(self, now_us: int) -> bool:
        return self.until is not None and _day(now_us) > self.until

    def __str__(self) -> str:
        return " ".join(word for word in (self.kind, self.name, self.database) if word)


class Ignored:
    """The rules, and what each of them hides now."""

    def __init__(self, rules: Sequence[IgnoreRule] = ()) -> None:
        self._rules = tuple(rules)
        self._hidden: dict[Scope, tuple[tuple[str, IgnoreRule], ...]] = {}
        self._said: frozenset[IgnoreRule] = frozenset()

    def kept(
        self,
        scope: Scope,
        found: Iterable[Difference],
        now_us: int,
        names: Sequence[str] | None = None,
    ) -> dict[str, Difference]:
        """By name, without what a rule hides; remembers what that was. ``names``: which were
        looked at; None: all of the scope."""
        kept: dict[str, Difference] = {}
        looked_at = frozenset(names or ())
        hidden = [
            entry
            for entry in self._hidden.get(scope, ())
            if names is not None and entry[0] not in looked_at
        ]
        for difference in found:
            rule = self._rule(scope, difference.name, now_us)
            if rule is None:
                kept[difference.name] = difference
            else:
                hidden.append((difference.name, rule))
        self._hidden[scope] = tuple(hidden)
        return kept

    def reason(self, scope: Scope, name: str) -> str:
        """Why this one is hidden; empty where it is not."""
        return next((r.because for n, r in self._hidden.get(scope, ()) if n == name), "")

    def newly_expired(self, now_us: int) -> list[IgnoreRule]:
        """Each once: what it hid counts again."""
        expired = frozenset(rule for rule in self._rules if rule.expired(now_us))
        news = [rule for rule in self._rules if rule in expired - self._said]
        self._said = expired
        return news

    def rows(self, now_us: int) -> list[dict[str, Any]]:
        """One for each rule, with how many differences it hides now."""
        hides = Counter(rule for hidden in self._hidden.values() for _, rule in hidden)
        return [
            {
                "kind": rule.kind,
                "name": rule.name,
                "database": rule.database,
                "cluster": rule.cluster,
                "because": rule.because,
                "until": rule.until.isoformat() if rule.until else "",
                "expired": rule.expired(now_us),
                "differences": hides[rule],
            }
            for rule in self._rules
        ]

    def counts(self) -> dict[str, int]:
        """Hidden differences by kind."""
        return dict(Counter(str(scope.kind) for scope, h in self._hidden.items() for _ in h))

    def _rule(self, scope: Scope, name: str, now_us: int) -> IgnoreRule | None:
        return next(
            (r for r in self._rules if r.covers(scope, name) and not r.expired(now_us)), None
        )


def _day(now_us: int) -> date:
    return datetime.fromtimestamp(now_us / 1e6, UTC).date()
