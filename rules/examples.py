"""``pgwarden rules test``: a rule's examples, judged as statements of a real session would be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from model.statement import Shape
from rules.language.schema import Example, Rule
from rules.ruleset import Match, RuleSet
from rules.view import View

ShapeOf = Callable[[str], Shape]


@dataclass(frozen=True, slots=True)
class ExampleResult:
    rule: Rule
    example: Example
    match: Match | None
    shape: Shape
    error: str = ""
    """The rule could not be evaluated on this example."""

    @property
    def passed(self) -> bool:
        """An example that matches only because its statement is unknown proves nothing."""
        certain = self.match is not None and not self.match.unknown
        return not self.error and certain == self.example.matches


def run_examples(rules: RuleSet, shape_of: ShapeOf) -> tuple[ExampleResult, ...]:
    """Each example against its own rule; what other rules say of it is their business."""
    return tuple(
        _run(rules, rule, example, shape_of(example.sql))
        for rule in rules.rules
        for example in rule.examples
    )


def without_examples(rules: RuleSet) -> tuple[Rule, ...]:
    """Rules that lack an example that matches, or one that must not."""
    return tuple(rule for rule in rules.rules if len({e.matches for e in rule.examples}) < 2)


def _run(rules: RuleSet, rule: Rule, example: Example, shape: Shape) -> ExampleResult:
    text_bytes = len(example.sql.encode("utf-8", "replace"))
    judgement = rules.consider(View(shape, example.session, text_bytes))
    match = next((m for m in judgement.matches if m.rule.id == rule.id), None)
    failed = [u.reason for u in judgement.undecided if u.failed and u.rule_id == rule.id]
    return ExampleResult(rule, example, match, shape, failed[0] if failed else "")
