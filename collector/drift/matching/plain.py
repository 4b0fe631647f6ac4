"""Whether a plain statement can have set a line of a table or type, as far as its text tells.

``words``: of one statement that is known whole. What it does by CASCADE may be anything.
"""

from __future__ import annotations

import re

from collector.drift import wording
from collector.drift.lines import Part
from collector.drift.matching import all_in_tablespace, table_parts
from collector.drift.matching.table_parts import HIDDEN, Line
from collector.drift.matching.target import Target
from collector.drift.wording import Words
from model.catalog import CatalogKind

KINDS = frozenset((CatalogKind.TABLE, CatalogKind.TYPE))
_RELATIONS = frozenset(("table", "foreign", "view", "materialized"))
_ALTERS = {CatalogKind.TABLE: _RELATIONS, CatalogKind.TYPE: frozenset(("type", "domain"))}
_WIDE = frozenset(("schema", "extension", "owned"))
"""What they make or take is not all in their text."""
_BEGINS = frozenset(("(", "partition", "as", "of", "using", "is"))
"""Behind a new object's name."""
_ON_COLUMNS = re.compile(r'CREATE (?:UNIQUE )?INDEX .* USING \w+ \(((?:"[^"]*"|[^()"])*)\)')
_NEW_NAMES = frozenset(("rename", "schema"))
_ELSEWHERE = _NEW_NAMES | {"attach", "detach", "inherit"}
"""Words of an ALTER of another object that may change this one."""


def may_set(words: Words, part: Part, target: Target) -> bool:
    former = (old for key, old in target.new_parts if key == part.key)
    line = table_parts.line_of(part, former, target.before)
    of_parent = {*target.parent[-1:]} & {*words} and target.parts[-1] not in words
    if line.what == "constraint" and of_parent:  # a partition's keys have names of their own
        line = line._replace(names=frozenset(words))
    verb, what = words[0], words[1] if len(words) > 1 else ""
    if "cascade" in words or what in _WIDE:
        return True
    if verb == "alter":
        return _alters(words, what, line, target)
    if verb == "create":
        return _creates(words, line, target)
    if verb == "drop":
        return _drops(words, what, line, target)
    return verb == "reindex" and line.what == "index" and line.came  # it is valid again


def _alters(words: Words, what: str, line: Line, target: Target) -> bool:
    said = {*words}
    if (moved := all_in_tablespace.of_words(words)) is not None:
        return line.what == all_in_tablespace.LINE and moved.moves(target)
    if what == "index":
        return _alters_index(words, line)
    if what == "rule":
        return line.what == "rule" and line.is_called(*words)
    if what not in _ALTERS[target.scope.kind]:
        return bool(_NEW_NAMES & said) and line.is_there
    names = {target.parts[-1], *target.parent[-1:], *(each.name for each in target.names)}
    if target.parent or target.names or target.others or HIDDEN & {*words[2:6]} or names & said:
        return table_parts.may_set(words, line, target.parts[-1])
    return bool(_ELSEWHERE & said)


def _alters_index(words: Words, line: Line) -> bool:
    """A constraint has the name of its index."""
    if line.what in ("index", "constraint"):
        return line.is_called(*words)
    return line.what == "replica identity"


def _creates(words: Words, line: Line, target: Target) -> bool:
    head = [*words[1:12]]
    if "index" in head[:2]:
        return _creates_index(words, line, target)
    if "rule" in head[:3]:
        return line.what == "rule" and line.is_called(*words)
    name = next((at for at, word in enumerate(words) if word in _BEGINS), len(words))
    if line.what == "constraint" and "partition" in words and line.after:
        # A key that refers to a partitioned table refers to each partition of it.
        return words[name - 1] in wording.tokens(line.after)
    return bool({target.parts[-1], *HIDDEN} & {*words[2:name]})


def _creates_index(words: Words, line: Line, target: Target) -> bool:
    if line.what != "index" or not line.came:
        return False
    at = words.index("on") if "on" in words else len(words)
    if words[at - 1] in ("index", "concurrently", "exists"):
        return is_on_columns(words, line.after or "")
    # Indexes of partitions have names of their own.
    of_parent = target.parent and target.parts[-1] not in words[at:]
    return is_on_columns(words, line.after or "") if of_parent else line.is_called(words[at - 1])


def is_on_columns(words: Words, definition: str) -> bool:
    """Whether a CREATE INDEX may have made an index of this definition, by what it is on."""
    if not (found := _ON_COLUMNS.fullmatch(definition)):
        return True  # expressions are spelled anew
    columns = {each[0] for each in wording.at_commas(wording.tokens(found[1])) if each}
    return columns <= {*words} or bool(HIDDEN & {*words})


def _drops(words: Words, what: str, line: Line, target: Target) -> bool:
    if what == "index":
        if line.what == "replica identity":
            return line.said_before(words)
        return line.what == "index" and line.is_called(*words)
    if what == "rule":
        return line.what == "rule" and line.is_called(*words)
    return bool({target.parts[-1], *HIDDEN} & {*words[2:]})
