"""What a statement shape is made of, and which known shape of the same identity is most like it.

A shape's parts are its verbs, the relations it reads and writes, its columns and functions. For
comparison each identity keeps the parts of its last ``SLOTS`` shapes in a database.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import polars as pl

LISTS = {
    "verbs": "verb",
    "reads": "read",
    "writes": "write",
    "columns_used": "column",
    "functions": "function",
}
SLOTS = 64
SEPARATOR = "\x1f"
MOST_PARTS = 60
"""Of a shape; the rest of a larger one is not compared."""
SAID = 3
ADDED = {
    "verb": "a {}",
    "read": "a read of {}",
    "write": "a write to {}",
    "column": "column {}",
    "function": "a call of {}()",
}


def parts(statements: pl.DataFrame) -> pl.DataFrame:
    """``row`` and ``part`` (``read hr.salaries``), each part of a row once, in order of rows."""
    named = pl.concat(
        statements.select("row", name=column).explode("name", empty_as_null=True).select(
            "row", part=pl.concat_str(pl.lit(f"{kind} "), "name")
        )
        for column, kind in LISTS.items()
    )  # fmt: skip
    return (
        named.filter(pl.col("part").is_not_null())
        .unique(["row", "part"])
        .sort("row", "part")
        .filter(pl.int_range(pl.len()).over("row") < MOST_PARTS)
    )


def packed(part_rows: pl.DataFrame) -> pl.DataFrame:
    """``row`` and ``features``, all its parts in one text."""
    return part_rows.group_by("row").agg(features=pl.col("part").str.join(SEPARATOR))


def unpacked(features: str) -> frozenset[str]:
    return frozenset(features.split(SEPARATOR)) - {""}


def distance(left: Collection[str], right: Collection[str]) -> float:
    """Jaccard's: 0 for equal sets, 1 for sets without a common member.

    >>> distance({"a", "b"}, {"b"})
    0.5
    """
    union = len({*left, *right})
    return 1 - len({*left} & {*right}) / union if union else 0.0


def nearest(features: str, known: Mapping[int, str]) -> tuple[float, str]:
    """Distance to the most similar of ``known`` (by slot), and what ``features`` add and lack."""
    mine = unpacked(features)
    best, other = 1.0, frozenset[str]()
    for _, text in sorted(known.items()):
        theirs = unpacked(text)
        gap = distance(mine, theirs)
        if gap < best:
            best, other = gap, theirs
    if not known:
        return 1.0, "nothing is known to compare it with"
    if best >= 1.0:
        return best, "no known shape is like it"
    if mine == other:
        return best, "the nearest differs in its form only"
    return best, f"the nearest differs by {difference(mine, other)}"


def difference(mine: Iterable[str], other: Iterable[str]) -> str:
    """
    >>> difference(["read hr.people", "verb union"], ["read shop.orders"])
    'a read of hr.people, a union, without read shop.orders'
    """
    added, missing = sorted({*mine} - {*other}), sorted({*other} - {*mine})
    # A relation or function says more than its columns do.
    added.sort(key=lambda part: part.startswith("column "))
    words = [_said(part) for part in added[:SAID]]
    if len(added) > SAID:
        words.append(f"{len(added) - SAID} more")
    if missing and len(words) < SAID:
        words.append(f"without {missing[0]}")
    return ", ".join(words)


def _said(part: str) -> str:
    kind, _, name = part.partition(" ")
    return ADDED[kind].format(name)
