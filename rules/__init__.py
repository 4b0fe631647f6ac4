"""The rule language and its judge: pure, standing on ``model`` alone."""

from rules.judge import Judge, JudgeCounts
from rules.language.problems import Problem, RuleError
from rules.language.schema import Example, Rule, Status, Unknown, VarValue
from rules.ruleset import DEFAULT_PACKS, Judgement, Match, RuleSet, Undecided, decide
from rules.view import View

__all__ = [
    "DEFAULT_PACKS",
    "Example",
    "Judge",
    "JudgeCounts",
    "Judgement",
    "Match",
    "Problem",
    "Rule",
    "RuleError",
    "RuleSet",
    "Status",
    "Undecided",
    "Unknown",
    "VarValue",
    "View",
    "decide",
]
