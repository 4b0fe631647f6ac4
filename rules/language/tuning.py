"""What the configuration changes about rules without touching their files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from difflib import get_close_matches

from model.verdict import RuleAction
from rules.language.problems import Problem
from rules.language.schema import Exemption, Rule

CONFIGURATION = "configuration"
"""Stands for a file's path where the configuration is to blame."""


@dataclass(frozen=True, slots=True)
class TunedException:
    """A rule or limit does not apply where ``when`` holds."""

    rule: str
    when: str
    because: str
    until: date | None = None


@dataclass(frozen=True, slots=True)
class Tuning:
    """``agent.rules`` beside ``packs`` and ``vars``."""

    exceptions: Sequence[TunedException] = ()
    actions: Mapping[str, RuleAction] = field(default_factory=dict)
    """By rule or limit: what it does instead."""
    data_classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    windows: Mapping[str, Sequence[Mapping[str, object]]] = field(default_factory=dict)
    """Openings with ``days``, ``from``, ``to``, ``timezone``, under the window's name."""
    timezone: str = ""


def tuned(rule: Rule, tuning: Tuning) -> Rule:
    added = tuple(
        Exemption(each.when, each.because, each.until, CONFIGURATION)
        for each in tuning.exceptions
        if each.rule == rule.id
    )
    action = tuning.actions.get(rule.id, rule.action)
    if not added and action is rule.action:
        return rule
    return replace(rule, unless=(*rule.unless, *added), action=action)


def unknown_rules(tuning: Tuning, ids: Iterable[str]) -> list[Problem]:
    known = list(ids)
    named = [(f"rules.exceptions.{n}", each.rule) for n, each in enumerate(tuning.exceptions)]
    named += [("rules.actions", each) for each in tuning.actions]
    problems = []
    for place, name in named:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            message = f"{place}: there is no rule {name!r}{hint}"
            problems.append(Problem(CONFIGURATION, 0, 0, message))
    return problems
