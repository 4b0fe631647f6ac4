"""The GRANTs and REVOKEs of a text of several statements, each with what it alone says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from collector.drift import wording

MOST = 200
"""Of one text; with more of them the rest is taken for unread."""
DEFAULTS = "alter default privileges"
_VERBS = frozenset(("grant", "revoke"))
_BEFORE_GRANTEES = {"grant": "to", "revoke": "from"}


class Granting(NamedTuple):
    """One of them; ``words`` as ``wording.tokens`` has them."""

    verb: str
    words: tuple[str, ...]
    grantees: tuple[str, ...]
    """What follows TO or FROM."""

    @property
    def is_default(self) -> bool:
        return wording.heading(self.words) == DEFAULTS

    @property
    def is_redacted(self) -> bool:
        """A name in it is not shown."""
        return "?" in self.words

    def names(self, name: str) -> bool:
        """``hr.salary``, and neither ``salary`` nor ``old.hr.salary``.

        >>> [one, other] = grantings(wording.tokens("GRANT SELECT ON a.t TO x; REVOKE b FROM y"))
        >>> one.names("a.t"), one.names("t"), other.names("a.t"), other.names("b")
        (True, False, False, True)
        """
        return says(self.words, name)

    def names_role(self, role: str) -> bool:
        """As who gets or loses it, and of default privileges as whose objects they are for."""
        everywhere = self.is_default or "on" not in self.words
        return role in (self.words if everywhere else self.grantees)


def grantings(words: Sequence[str]) -> list[Granting]:
    """Of a CREATE SCHEMA its elements, too.

    >>> [each.verb for each in grantings(wording.tokens("GRANT a TO b; SELECT 1; REVOKE c FROM d"))]
    ['grant', 'revoke']
    """
    found = []
    for statement in wording.statements(words):
        for part in _elements(statement):
            verb = _verb(part)
            if verb:
                found.append(Granting(verb, tuple(part), tuple(_grantees(part, verb))))
    return found


def others(words: Sequence[str]) -> Iterator[Sequence[str]]:
    """The statements that neither grant nor revoke."""
    for statement in wording.statements(words):
        if statement and not _verb(statement):
            yield statement


def says(words: Sequence[str], name: str) -> bool:
    return any(_has(words, each) for each in ([name], name.split(".")))


def _verb(words: Sequence[str]) -> str:
    if words and words[0] in _VERBS:
        return words[0]
    if wording.heading(words) == DEFAULTS:
        return next((word for word in words if word in _VERBS), "")
    return ""


def _elements(words: Sequence[str]) -> Iterator[Sequence[str]]:
    if wording.heading(words, 2) != "create schema":
        yield words
        return
    begins = [at for at, word in enumerate(words) if word == "grant"]
    for begin, end in pairwise((*begins, len(words))):
        yield words[begin:end]


def _grantees(words: Sequence[str], verb: str) -> Sequence[str]:
    word = _BEFORE_GRANTEES[verb]
    begin = len(words) - [*reversed(words)].index(word) if word in words else len(words)
    return words[begin:]


def _has(words: Sequence[str], name: Sequence[str]) -> bool:
    dotted = [piece for part in name for piece in (".", part)][1:]
    count = len(dotted)
    return any(
        [*words[at : at + count]] == dotted
        and words[at - 1] != "."
        and "." not in words[at + count : at + count + 1]
        for at in range(1, len(words) - count + 1)
    )
