"""The rule language and its judge: pure, standing on ``model`` alone."""

from rules.history import History
from rules.judge import Judge, JudgeCounts
from rules.language.problems import Problem, RuleError
from rules.language.schema import Approval, Example, Limit, Per, Rule, Status, Unknown, VarValue
from rules.language.tuning import TunedException, Tuning
from rules.ruleset import DEFAULT_PACKS, Judgement, Match, RuleSet, Undecided, decide, parts_of
from rules.usage import Usage
from rules.view import View

__all__ = [
    "DEFAULT_PACKS",
    "Approval",
    "Example",
    "History",
    "Judge",
    "JudgeCounts",
    "Judgement",
    "Limit",
    "Match",
    "Per",
    "Problem",
    "Rule",
    "RuleError",
    "RuleSet",
    "Status",
    "TunedException",
    "Tuning",
    "Undecided",
    "Unknown",
    "Usage",
    "VarValue",
    "View",
    "decide",
    "parts_of",
]
