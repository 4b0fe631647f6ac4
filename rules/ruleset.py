"""The judge: rules and one statement in, matches out. No clock, no I/O, no state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.verdict import RuleAction, Severity
from rules.language.cel import EvaluationError, Values
from rules.language.loader import CompiledRule, load_rules
from rules.language.schema import Rule, Unknown, VarValue
from rules.view import Reading, View, readings, variables

DEFAULT_PACKS = Path(__file__).parent / "packs"
FORCE = {action: rank for rank, action in enumerate(RuleAction)}
WEIGHT = {severity: rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that speaks about a statement."""

    rule: Rule
    reason: str
    """The rule's message, or why the statement counts as unknown."""
    unknown: bool = False
    """The condition could not be decided; the rule says ``unknown: deny``."""

    @property
    def action(self) -> RuleAction:
        return self.rule.action


@dataclass(frozen=True, slots=True)
class Undecided:
    """A condition that could not be decided, whatever follows from that."""

    rule_id: str
    reason: str
    failed: bool
    """The evaluation raised an error; else the statement was not understood."""


@dataclass(frozen=True, slots=True)
class Judgement:
    matches: tuple[Match, ...] = ()
    undecided: tuple[Undecided, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Immutable; safe to share between threads."""

    compiled: tuple[CompiledRule, ...]
    variables: Mapping[str, VarValue]
    fields: frozenset[str]
    """The view's fields that some rule looks at."""
    _readings: tuple[Reading, ...]

    @classmethod
    def load(
        cls,
        paths: Iterable[Path] = (DEFAULT_PACKS,),
        variables: Mapping[str, object] | None = None,
    ) -> RuleSet:
        """Files or folders; ``variables`` override the files' ``vars``.

        Raises RuleError, which holds every problem of every file.
        """
        compiled, values = load_rules(paths, variables or {})
        fields = frozenset[str]().union(*(each.condition.fields for each in compiled))
        return cls(compiled, values, fields, readings(fields))

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(each.rule for each in self.compiled)

    def judge(self, view: View) -> tuple[Match, ...]:
        """The rules that match, in the order of their files."""
        return self.consider(view).matches

    def consider(self, view: View) -> Judgement:
        """As ``judge``, with the rules that could not be decided beside."""
        values = Values(variables(view, self._readings))
        matches: list[Match] = []
        undecided: list[Undecided] = []
        for each in self.compiled:
            outcome = _decide_one(each, view, values)
            if outcome is True:
                matches.append(Match(each.rule, each.rule.message))
            elif isinstance(outcome, Undecided):
                undecided.append(outcome)
                if each.rule.unknown is Unknown.DENY:
                    matches.append(Match(each.rule, outcome.reason, unknown=True))
        return Judgement(tuple(matches), tuple(undecided))


def decide(matches: Sequence[Match]) -> Match | None:
    """The match that decides: strongest action, then one that is certain before one that counts
    as unknown, then the higher severity, then the earlier rule."""
    if not matches:
        return None
    return max(matches, key=lambda m: (FORCE[m.action], not m.unknown, WEIGHT[m.rule.severity]))


def _decide_one(each: CompiledRule, view: View, values: Values) -> bool | Undecided:
    try:
        result = each.condition.program.evaluate(values)
    except EvaluationError as error:
        return Undecided(each.rule.id, f"the rule could not be evaluated: {error}", failed=True)
    if result is True:
        return True
    if not isinstance(result, bool):
        reason = f"the rule gave a {type(result).__name__}, not true or false"
        return Undecided(each.rule.id, reason, failed=True)
    if not view.complete and each.condition.needs_parse:
        why = "it names too much" if view.parsed else view.shape.status.value
        reason = f"the statement could not be understood ({why})"
        return Undecided(each.rule.id, reason, failed=False)
    return False
