"""Which built-in functions the rules in force could refuse, whoever calls them. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Protocol

from agent.judge import STOPPING
from agent.probes.calls import SETTING, all_calls
from rules import Judge, RuleSet


class CallSource(Protocol):
    def watch_calls(self, names: frozenset[str]) -> None: ...
    def uncalled(self) -> list[str]: ...


EVERY = frozenset(call.name for call in all_calls())
READERS = frozenset({"pg_read_file", "pg_read_binary_file", "lo_import"})
"""Those of which a rule sees whether the file holds a secret."""
SET_ALONE = frozenset({SETTING})
BY_FIELD = {
    "statement.functions": EVERY,
    "statement.summary": EVERY,
    "statement.settings": SET_ALONE,
    "statement.roles": SET_ALONE,
    "statement.flags": READERS,
}
"""What tells a call of one function from a call of any other."""
VERB = "set"
"""A call that changes the role has it, beside that of every call."""
_OTHER_WORD = rf"""(?:"(?!{VERB}")[^"'\\\\]*"|'(?!{VERB}')[^"'\\\\]*')"""
_OTHER_WORDS = rf"{_OTHER_WORD} (?: \s* , \s* {_OTHER_WORD} )*"
_OTHER_VERBS = re.compile(
    rf"""
    (?: (?:(?<=[(!?:,]) | (?<=&&) | (?<=\|\|) | ^) \s* {_OTHER_WORD} \s+ in \s+ statement\.verbs
      | statement\.verbs\.exists\( \s* (\w+) \s* , \s* \1 \s*
        (?: == \s* {_OTHER_WORD} | \s in \s* \[ \s* {_OTHER_WORDS} \s* \] )
        \s* \)
    ) \s* (?= [)?:,\]] | && | \|\| | $ )
    """,
    re.VERBOSE,
)
"""Asks for other verbs alone: whether VERB is among those of a statement makes no difference."""


def deniable(rules: RuleSet) -> frozenset[str]:
    """Names of built-in functions whose call a rule that stops statements could refuse. What rules
    say of every call they say of the statement that it is a part of."""
    found: set[str] = set()
    for fields, source in _stopping(rules):
        for field in fields & BY_FIELD.keys():
            found |= BY_FIELD[field]
        if "statement.verbs" in fields and asks_for_the_verb(source):
            found |= SET_ALONE
    return frozenset(found)


def asks_for_the_verb(condition: str) -> bool:
    """Whether it may make a difference to this condition that VERB is among a statement's verbs.
    What is not plainly about others counts: ``all``, names of lists, texts that are put together.
    """
    return "verbs" in _OTHER_VERBS.sub(" true ", condition)


class CallWatch:
    """Has exactly these functions probed. To be called when the rules are others, on the thread
    that reads the probes."""

    def __init__(self, source: CallSource, judge: Callable[[], Judge]) -> None:
        self._source = source
        self._judge = judge

    def __call__(self) -> None:
        self._source.watch_calls(deniable(self._judge().rules))

    def problems(self) -> list[str]:
        return self._source.uncalled()


def _stopping(rules: RuleSet) -> Iterator[tuple[frozenset[str], str]]:
    for compiled in (*rules.compiled, *(each.counts for each in rules.limited)):
        if compiled.rule.action in STOPPING:
            yield compiled.fields, compiled.rule.when
