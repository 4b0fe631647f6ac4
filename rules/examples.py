"""``pgwarden rules test``: a rule's examples, judged as statements of a real session would be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

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
    """Each example against its own rule; what other rules say of it is their business. An example
    of a limit shows what it counts."""
    return tuple(
        _run(rules, rule, example, shape_of(example.sql))
        for rule in _all(rules)
        for example in rule.examples
    )


def without_examples(rules: RuleSet) -> tuple[Rule, ...]:
    """Rules that lack an example that matches, or one that must not."""
    return tuple(rule for rule in _all(rules) if len({e.matches for e in rule.examples}) < 2)


def _all(rules: RuleSet) -> tuple[Rule, ...]:
    return (*rules.rules, *(limit.rule for limit in rules.limits.values()))


def _run(rules: RuleSet, rule: Rule, example: Example, shape: Shape) -> ExampleResult:
    judgement = rules.consider(view_of(rules, example, shape))
    found = [*judgement.matches, *(Match(each.rule, "") for each in judgement.limits)]
    match = next((m for m in found if m.rule.id == rule.id), None)
    failed = [u.reason for u in judgement.undecided if u.failed and u.rule_id == rule.id]
    return ExampleResult(rule, example, match, shape, failed[0] if failed else "")


def view_of(rules: RuleSet, example: Example, shape: Shape) -> View:
    text_bytes = len(example.sql.encode("utf-8", "replace"))
    moment = None
    if example.windows is not None:
        moment = replace(rules.moment(example.at_us), windows=example.windows)
    return View(
        shape,
        example.session,
        text_bytes,
        example.protocol,
        at_us=example.at_us,
        moment=moment,
        data_classes=example.data_classes,
        usual_rows=example.usual_rows,
    )
