"""Schemas, sequences, types, routines and roles that the numbers prove to be renamed get their
names back, as tables do in ``names_back``.

What speaks of them is compared as it will be then: a line counts as desired where the former name
in the place of the new one makes it so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from collector.drift.baseline import Fact, Facts
from collector.drift.lines import LINE_KINDS, lines_of, text_of
from collector.drift.observed import Whole
from collector.drift.plan.quoting import ident, name, role, signature, split_last
from collector.drift.plan.renames import Wholes
from model.catalog import CatalogKind


class Other(NamedTuple):
    """``new`` is to be called ``old`` again, as it was."""

    kind: CatalogKind
    old: str
    new: str


def statements(pair: Other, fact: Fact, seen: Facts) -> Iterator[str]:
    """``fact``: of what is renamed. ``seen``: tables, as they are by then. Raises NotSqlError."""
    if pair.kind is CatalogKind.ROLE:
        yield f"ALTER ROLE {role(pair.new)} RENAME TO {role(pair.old)}"
    elif pair.kind is CatalogKind.SCHEMA:
        yield f"ALTER SCHEMA {name(pair.new)} RENAME TO {name(pair.old)}"
    else:
        yield from _in_schema(pair, fact, seen)


_WORDS = {
    CatalogKind.SEQUENCE: "SEQUENCE",
    CatalogKind.TYPE: "TYPE",
    CatalogKind.FUNCTION: "ROUTINE",
}


def _in_schema(pair: Other, fact: Fact, seen: Facts) -> Iterator[str]:
    word = _WORDS[pair.kind]
    (old_schema, old), (new_schema, new) = split_last(_base(pair.old)), split_last(_base(pair.new))
    arguments = signature(pair.new)[len(_base(pair.new)) :] if word == "ROUTINE" else ""
    if old_schema != new_schema and not _went_with_its_table(fact, old_schema, seen):
        yield f"ALTER {word} {name(_base(pair.new))}{arguments} SET SCHEMA {old_schema}"
    if old != new:
        yield f"ALTER {word} {old_schema}.{new}{arguments} RENAME TO {old}"


def _went_with_its_table(fact: Fact, schema: str, seen: Facts) -> bool:
    """An owned sequence cannot be moved by itself; it moves with the table, which is there now."""
    owner = lines_of(fact.value).get("owned by", "")
    return bool(owner) and any(
        owner.startswith(f"{table}.") or split_last(table)[1] == split_last(split_last(owner)[0])[1]
        for table in seen
        if split_last(table)[0] == schema
    )


def _base(text: str) -> str:
    """A routine without its arguments."""
    return text.partition("(")[0]


def after(pair: Other, database: str, observed: Whole, desired: Whole) -> Wholes:
    """What is seen once it has its name back. ``database``: in which it is; empty: in all."""
    found = dict(observed)
    for (kind, where), facts in observed.items():
        if where == database or (not database and pair.kind is CatalogKind.ROLE):
            wanted = desired.get((kind, where), {})
            found[kind, where] = dict(
                _by_then(pair, kind, own, fact, wanted) for own, fact in facts.items()
            )
    return found


def _by_then(
    pair: Other, kind: CatalogKind, own: str, fact: Fact, wanted: Facts
) -> tuple[str, Fact]:
    now = by_now(pair, kind, own)
    if now != own and now not in wanted and not _is_of(pair, kind, own):
        now = own
    return now, _as_it_says(pair, kind, fact, wanted.get(now))


def by_now(pair: Other, kind: CatalogKind, own: str) -> str:
    """The name of an item, with the former name in it."""
    if pair.kind is CatalogKind.ROLE:
        return _of_role(pair, kind, own)
    if kind is pair.kind and own == pair.new:
        return pair.old
    head, arrow, tail = own.rpartition("<-") if kind is CatalogKind.PRIVILEGE else (own, "", "")
    return f"{_swapped(pair, head)}{arrow}{tail}"


def _is_of(pair: Other, kind: CatalogKind, own: str) -> bool:
    """It goes by the new name certainly, whatever is desired."""
    if kind is pair.kind and own == pair.new:
        return True
    if pair.kind is CatalogKind.ROLE:
        return kind in (CatalogKind.MEMBERSHIP, CatalogKind.PRIVILEGE)
    if kind in _CALLED_BY_TYPES and pair.kind in (CatalogKind.SCHEMA, CatalogKind.TYPE):
        return True
    in_schema = rf"(?:[a-z_]+:)?{re.escape(pair.new)}(?:\.|<-)"
    return pair.kind is CatalogKind.SCHEMA and re.match(in_schema, own) is not None


def _of_role(pair: Other, kind: CatalogKind, own: str) -> str:
    if kind is CatalogKind.ROLE:
        return pair.old if own == pair.new else own
    if kind is CatalogKind.SETTING:
        setting, at, whom = own.partition("@")
        first, slash, rest = whom.partition("/")
        return f"{setting}@{pair.old}{slash}{rest}" if at and first == pair.new else own
    group, arrow, member = own.rpartition("<-")
    if not arrow:
        return own
    if kind is CatalogKind.MEMBERSHIP and group == pair.new:
        group = pair.old
    if group.startswith("default:"):
        group = re.sub(rf"(?<= of ){re.escape(pair.new)}(?= in |\Z)", pair.old, group)
    return f"{group}<-{pair.old if member == pair.new else member}"


def _as_it_says(pair: Other, kind: CatalogKind, fact: Fact, wanted: Fact | None) -> Fact:
    """With the former name where the server says it then. A role's may be a word of something else:
    it counts only where the line is as desired with it."""
    if kind not in LINE_KINDS or (wanted is not None and fact.value == wanted.value):
        return fact
    should = lines_of(wanted.value) if wanted is not None else {}
    said: dict[str, str] = {}
    for key, text in lines_of(fact.value).items():
        then = (_swapped(pair, key), _swapped(pair, text))
        ways = ((key, text), then, (key, then[1]))
        as_desired = next((each for each in ways if should.get(each[0]) == each[1]), None)
        if as_desired is None and key.startswith(_HASHED) and then[0] in should:
            as_desired = (then[0], should[then[0]])  # a hash of a text that says the name
        a_word = pair.kind is CatalogKind.ROLE and (key, text) != ("owner", pair.new)
        stays = a_word or key.startswith(_STORED)
        said.update([as_desired or (ways[0] if stays else then)])
    if "definition" in said and said.get("text") == should.get("text", ""):
        said["definition"] = should.get("definition", said["definition"])  # a hash of that text
    return fact._replace(value=text_of(said))


def _swapped(pair: Other, text: str) -> str:
    for word, put in _swaps(pair):
        text = re.sub(word, put.replace("\\", r"\\"), text)
    return text


def _swaps(pair: Other) -> Iterator[tuple[str, str]]:
    """Patterns and what takes their place."""
    if pair.kind is CatalogKind.ROLE:
        yield _word(pair.new), pair.old
        if (quoted := ident(pair.new)) != pair.new:
            yield re.escape(quoted), ident(pair.old)
    elif pair.kind is CatalogKind.SCHEMA:
        yield rf"{_START}{re.escape(pair.new)}\.", f"{pair.old}."
        yield rf"(?<=schema:){re.escape(pair.new)}\Z", pair.old
        yield rf"(?<= in ){re.escape(pair.new)}\Z", pair.old
    else:
        yield _word(_base(pair.new)), _base(pair.old)
        schemas = [split_last(_base(each))[0] for each in (pair.new, pair.old)]
        if pair.kind is CatalogKind.SEQUENCE and schemas[0] != schemas[1]:
            yield rf"{_START}{re.escape(schemas[0])}\.", f"{schemas[1]}."  # its table is there


_CALLED_BY_TYPES = frozenset((CatalogKind.CAST, CatalogKind.OPERATOR))
_STORED = ("set ", "body")
"""Texts that stay as somebody wrote them."""
_HASHED = ("member ", "other members")
_START = r'(?<![\w$".])'


def _word(text: str) -> str:
    return rf'{_START}{re.escape(text)}(?![\w$"])'
