"""A string of several statements: which transactions end in it, and what it did in each of them.

``BEGIN; GRANT a TO x; ROLLBACK; GRANT b TO x`` granted b. Until a COMMIT, ROLLBACK or PREPARE
TRANSACTION all of a string is one transaction, also what stands before its BEGIN.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from collector.drift import granting, wording
from collector.drift.changes import (
    CHANGING,
    GRANTING,
    UNREAD,
    WRITING,
    Change,
    Effect,
    all_privileges,
    one_by_one,
)
from collector.drift.wording import Words

COMMIT = "commit"
ROLLBACK = "rollback"
PREPARE = "prepare transaction"
OPEN = ""
MOST_CHARACTERS = 200_000
MOST_TRANSACTIONS = 200
_ENDS = {"commit": COMMIT, "end": COMMIT, "rollback": ROLLBACK, "abort": ROLLBACK}
_CONTROL = frozenset(
    ("begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release")
)
_TAGS = {"start": "start", "end": "commit", "abort": "rollback", "commit": "commit"}
"""What the server answers where it is not the first word; a query may be answered by any."""
_LITERAL = re.compile(r"'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$", re.DOTALL)
"""Where literals are not redacted."""


@dataclass
class OneString:
    """Its statements, in transactions that are numbered from 0."""

    statements: list[Words] = field(default_factory=list)
    ends: list[str] = field(default_factory=lambda: [OPEN])
    """Of each transaction; of the last one ``OPEN`` where nothing in the string ends it."""
    where: list[int] = field(default_factory=list)
    """By statement: its transaction."""
    undone: set[int] = field(default_factory=set)
    """Statements that were rolled back to a savepoint, or that only begin or end something."""
    back_to: list[str] = field(default_factory=list)
    """Savepoints of the transaction before it, rolled back to in it."""
    savepoints: list[tuple[str, int]] = field(default_factory=list)
    """Of the last transaction: name, and which statement it is."""
    begins: bool = False
    """A BEGIN comes after the last end."""

    @property
    def first_end(self) -> str:
        """Of the transaction that was open before it."""
        return self.ends[0]

    def of(self, transaction: int) -> list[Words]:
        """What it did in that one."""
        return [
            words
            for at, words in enumerate(self.statements)
            if self.where[at] == transaction and at not in self.undone
        ]

    def others(self, transaction: int) -> list[Words]:
        """All that it says, but did not do in that one."""
        return [
            words
            for at, words in enumerate(self.statements)
            if (self.where[at] != transaction or at in self.undone) and words[0] not in _CONTROL
        ]

    def add(self, words: Words) -> None:
        at, end = len(self.statements), _end_of(words)
        self.statements.append(words)
        self.where.append(len(self.ends) - 1)
        if end and "to" in words:
            self._undo_to(wording.savepoint(words) or "")
        elif end:
            self.ends[-1:] = [end, OPEN]
            self.savepoints, self.begins = [], False
        elif words[0] == "savepoint":
            self.savepoints.append((words[1] if len(words) > 1 else "", at))
        elif words[0] == "begin" or [*words[:2]] == ["start", "transaction"]:
            self.begins = True
        else:
            return
        self.undone.add(at)

    def _undo_to(self, name: str) -> None:
        known = [at for at, (each, _) in enumerate(self.savepoints) if each == name]
        now = len(self.ends) - 1
        since = self.savepoints[known[-1]][1] if known else 0
        mine = (at for at, where in enumerate(self.where) if where == now and at >= since)
        self.undone |= {*mine}
        del self.savepoints[known[-1] + 1 if known else 0 :]
        if not known and now == 0:
            self.back_to.append(name)

    def is_next(self, at: int, tag: str) -> bool:
        """Whether the server may have answered statement ``at`` with this."""
        if at >= len(self.statements):
            return False
        first, word = self.statements[at][0], tag.partition(" ")[0].lower()
        return word in (first, "select") or word == _TAGS.get(first, word)


def read(text: str, parse_status: str = "") -> OneString | None:
    """None where it is not known what it says to its end."""
    if len(text) > MOST_CHARACTERS or parse_status in UNREAD:
        return None
    plain = _LITERAL.sub(lambda found: found[0].replace(";", " "), text)
    words = wording.tokens(plain, MOST_CHARACTERS)
    if "atomic" in words:
        return None  # the body of a function, which has ends of its own
    found = OneString()
    for each in wording.statements(words):
        if each:
            found.add(each)
    if not any(each[0] == "execute" for each in found.statements):
        quiet = (at for at, each in enumerate(found.statements) if wording.runs_nothing(each))
        found.undone |= {*quiet}
    return found if len(found.ends) <= MOST_TRANSACTIONS else None


def part_in(change: Change, string: OneString, transaction: int) -> Change | None:
    """What ``change``, all of ``string``, did in that transaction of it; None: nothing."""
    mine, others = string.of(transaction), string.others(transaction)
    if not mine:
        return None
    part = replace(part_of(change, mine, others), effect=Effect())
    return part if not others or CHANGING & part.verbs or part.writes else None


def part_of(change: Change, mine: Sequence[Words], others: Sequence[Words]) -> Change:
    """What ``change``, all of a string, did in the statements ``mine``."""
    if not others:
        return change
    # What no statement names was done by code.
    unnamed = _may_hide(mine) or not _may_hide(others)

    def is_mine(name: str) -> bool:
        if any(_says(words, name) for words in mine):
            return True
        return unnamed and not any(_says(words, name) for words in others)

    flat = [word for words in mine for word in (*words, ";")]
    part = replace(
        change,
        verbs=frozenset(verb for verb in change.verbs if _did(verb, mine)),
        objects=frozenset(each for each in change.objects if is_mine(each[1])),
        settings=frozenset(filter(is_mine, change.settings)),
        roles=frozenset(r for r in change.roles if _has_block(mine) or is_mine(r)),
        functions=frozenset(filter(is_mine, change.functions)),
        writes=frozenset(filter(is_mine, change.writes)),
        flags=change.flags - {flag for flag in ("public", "cascade") if flag not in flat},
        renames=tuple(wording.renames(flat)),
        heading=wording.heading(flat),
        conditional=wording.is_conditional(flat),
        drops_owned=any(wording.heading(each, 2) == "drop owned" for each in mine),
        on_all=wording.on_all_in_schema(flat),
    )
    grants = part.verbs & GRANTING
    several = tuple(one_by_one(part, flat, unread=False)) if grants else ()
    return replace(part, several=several, privileges=all_privileges(several))


def _says(words: Words, name: str) -> bool:
    """``hr.t.only_own`` where it says POLICY only_own ON hr.t, too."""
    if granting.says(words, name):
        return True
    return any({*each} <= {*words} for each in (wording.parts(name), wording.tokens(name)) if each)


def _did(verb: str, mine: Sequence[Words]) -> bool:
    """``commit prepared`` is two words. What a block does is not in its text, nor what an EXECUTE
    writes."""
    if verb in WRITING and any(words[0] == "execute" for words in mine):
        return True
    return _has_block(mine) or any(verb.partition(" ")[0] in words for words in mine)


def _may_hide(statements: Sequence[Words]) -> bool:
    """Names that its text does not show."""
    return _has_block(statements) or any(
        words[0] == "execute" or "?" in words for words in statements
    )


def _has_block(statements: Iterable[Words]) -> bool:
    return any(words[0] == "do" for words in statements)


def _end_of(words: Words) -> str:
    if [*words[:2]] == ["prepare", "transaction"]:
        return PREPARE
    if [*words[1:2]] == ["prepared"]:
        return OPEN
    return _ENDS.get(words[0], OPEN)
