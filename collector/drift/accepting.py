"""Accepting some differences, and not the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from collector.drift import divided, newcomers, rebuilding, upgrade
from collector.drift.baseline import HBA_ORDER, ORDER_SEPARATOR, Facts, Known, Scope
from collector.drift.patterns import matches
from collector.drift.state import Key, OpenDrift, State
from model.finding import Finding

UNTIL_ACCEPTED = frozenset((rebuilding.DETECTOR, upgrade.DETECTOR))


class AmbiguousFindingError(ValueError):
    """Several findings begin so; the message says it for a person."""


@dataclass(frozen=True)
class Only:
    """What is given must hold; ``name`` is a pattern as in a shell, ``finding_id`` an id or how it
    begins."""

    kind: str = ""
    name: str = ""
    finding_id: str = ""

    def __bool__(self) -> bool:
        return bool(self.kind or self.name or self.finding_id)

    def of_one_finding(self, ids: Iterable[str]) -> Only:
        """With the one of ``ids`` that is meant, if any. Raises AmbiguousFindingError."""
        meant = {each for each in ids if each.startswith(self.finding_id)}
        if not self.finding_id or not meant or self.finding_id in meant:
            return self
        if len(meant) > 1:
            raise AmbiguousFindingError(
                f"several findings begin with {self.finding_id}; give more of the id"
            )
        return replace(self, finding_id=meant.pop())

    def means(self, drift: OpenDrift) -> bool:
        return (
            self.kind in ("", str(drift.scope.kind))
            and (not self.name or matches(drift.difference.name, self.name))
            and self.finding_id in ("", drift.finding_id)
        )


def with_observed(known: Known, names: Collection[str]) -> Facts:
    """The accepted facts, with these as they were last seen. A rule of pg_hba.conf that is
    accepted gets its place among the others; in which order these are is accepted by its own name
    alone."""
    accepted = dict(known.accepted or {})
    for name in names:
        if name in known.observed:
            accepted[name] = known.observed[name]
        else:
            accepted.pop(name, None)
    order, seen = accepted.get(HBA_ORDER), known.observed.get(HBA_ORDER)
    if names and HBA_ORDER not in names and order is not None and seen is not None:
        rules = _with_their_places(order.value, seen.value, accepted, frozenset(names))
        accepted[HBA_ORDER] = order._replace(value=rules)
    return accepted


def _with_their_places(order: str, seen: str, accepted: Facts, names: Collection[str]) -> str:
    """The accepted ``order`` with those of ``names`` that are accepted, and no others of them."""
    last_seen = seen.split(ORDER_SEPARATOR)
    known = order.split(ORDER_SEPARATOR)
    rules = [rule for rule in known if rule not in names or rule in accepted]
    for rule in last_seen:
        if rule in names and rule in accepted and rule not in rules:
            rules.insert(_place_of(rule, rules, last_seen), rule)
    return ORDER_SEPARATOR.join(rules)


def _place_of(rule: str, rules: Sequence[str], seen: Sequence[str]) -> int:
    """Where in ``rules`` it stands as it was seen to, to as many of them as possible."""
    at = seen.index(rule)
    before, after = {*seen[:at]}, {*seen[at + 1 :]}

    def wrong(place: int) -> int:
        return sum(each in after for each in rules[:place]) + sum(
            each in before for each in rules[place:]
        )

    return min(range(len(rules) + 1), key=wrong)


def accept(state: State, meant: Sequence[OpenDrift]) -> tuple[list[Key], list[Key]]:
    """Of which of ``meant`` what is there counts as accepted now, and what stays open of the same
    names: of a difference in parts one is accepted without the others."""
    keys = {drift.key for drift in meant}
    others: dict[tuple[Scope, str], list[Key]] = {}
    for key in state.open:
        if key not in keys:
            others.setdefault(key[:2], []).append(key)
    whole = [drift.key for drift in meant if drift.key[:2] not in others]
    for scope, names in by_scope(whole).items():
        known = state.known[scope]
        known.accepted = with_observed(known, names)
    in_part = [drift for drift in meant if drift.key[:2] in others]
    accepted = [drift.key for drift in in_part if _accept_part(state.known[drift.scope], drift)]
    rest = [key for place in dict.fromkeys(key[:2] for key in accepted) for key in others[place]]
    return [*whole, *accepted], rest


def _accept_part(known: Known, part: OpenDrift) -> bool:
    name, accepted = part.difference.name, dict(known.accepted or {})
    fact = divided.accepting(part.scope.kind, accepted.get(name), part.difference)
    if fact is None:
        return False
    known.accepted = {**accepted, name: fact}
    return True


def by_scope(keys: Iterable[Key]) -> dict[Scope, list[str]]:
    """The names of each."""
    found: dict[Scope, dict[str, None]] = {}
    for scope, name, _ in keys:
        found.setdefault(scope, {})[name] = None
    return {scope: [*names] for scope, names in found.items()}


def ended(findings: dict[str, Finding], now_us: int, by: str, reason: str) -> list[Finding]:
    """What lasts until somebody accepts all that there is; it is taken out of ``findings``."""
    over = [
        each
        for each in findings.values()
        if each.detector in UNTIL_ACCEPTED or newcomers.took_a_name(each)
    ]
    for finding in over:
        del findings[finding.id]
    why = f"since then accepted by {by}: {reason}"
    return [
        replace(each, resolved_at_us=now_us, sentence=f"{each.sentence}; {why}") for each in over
    ]
