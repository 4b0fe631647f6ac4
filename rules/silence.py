"""Most statements concern no rule: rules are asked together first whether all of them say no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rules.language.cel import CelError, EvaluationError, Program, Values
from rules.language.loader import CompiledRule

TOGETHER = 16
"""One that speaks costs each of the others in its group an evaluation."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rules in a row, and one program that is true if the condition of each is false: neither true
    nor an error nor anything else than a truth value."""

    rules: tuple[CompiledRule, ...]
    _all_false: Program | None

    def is_silent(self, values: Values) -> bool:
        """True only if no condition holds and none fails. For statements that are complete: others
        may leave a rule undecided whose condition is false."""
        if self._all_false is None:
            return False
        try:
            return self._all_false.evaluate(values) is True
        except EvaluationError:
            return False


def groups_of(rules: Sequence[CompiledRule]) -> tuple[Group, ...]:
    return tuple(_group(rules[at : at + TOGETHER]) for at in range(0, len(rules), TOGETHER))


def _group(rules: Sequence[CompiledRule]) -> Group:
    try:
        every = " && ".join(f"(({each.condition.program.expression}\n) == false)" for each in rules)
        return Group(tuple(rules), Program(every))
    except CelError:
        return Group(tuple(rules), None)
