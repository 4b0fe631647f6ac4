"""Which data a statement touches: patterns of names to classes of data. Pure.

Names are as the text writes them. A name without a schema may be any schema's, so it counts as
whichever pattern it could mean; too many names to list count as all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from model.statement import MAX_NAMES, Shape

MAX_REMEMBERED = 4096
PATTERN = re.compile(r"[^\s.\"']+(?:\.[^\s.\"']+){0,3}")
"""``relation``, ``schema.relation``, ``schema.relation.column``; a database may stand before."""

_Parts = tuple[re.Pattern[str], ...]
_Name = tuple[str, ...]


class DataClasses:
    """Immutable but for its memory; safe to share between threads.

    ``relation`` and ``schema.relation`` mean relations with all their columns.
    ``schema.relation.column`` is one column: it counts where the column is named, where ``*`` is,
    and where a relation is read or written without a list of columns. ``*`` in a pattern stands for
    any run of characters but a dot.
    """

    def __init__(self, patterns: Mapping[str, Iterable[str]] | None = None) -> None:
        self.names = tuple(patterns or ())
        self._relations: list[tuple[str, _Parts]] = []
        self._columns: list[tuple[str, _Parts]] = []
        for name, given in (patterns or {}).items():
            for pattern in given:
                parts = tuple(map(_part, pattern.split(".")))
                (self._columns if len(parts) > 2 else self._relations).append((name, parts))
        self._of_names = lru_cache(MAX_REMEMBERED)(self._classify)

    def of(self, shape: Shape) -> tuple[str, ...]:
        """Classes of what is read or written, in the order in which they were configured."""
        if not self.names or not (shape.reads or shape.writes):
            return ()
        whole = "star" in shape.flags or (
            not shape.columns and bool(shape.writes or "unfiltered" in shape.flags)
        )
        return self._of_names((*shape.reads, *shape.writes), shape.columns, whole)

    def _classify(
        self, relations: tuple[str, ...], columns: tuple[str, ...], whole: bool
    ) -> tuple[str, ...]:
        if max(len(relations), len(columns)) >= MAX_NAMES:
            return self.names
        known = [tuple(name.split(".")) for name in relations if not _is_system(name)]
        named = [tuple(column.split(".")) for column in columns]
        found = {name for name, parts in self._relations if any(_fits(r, parts) for r in known)}
        for name, parts in self._columns:
            if any(_fits(relation, parts[:-1]) for relation in known) and (
                whole or any(_fits(column, parts) for column in named)
            ):
                found.add(name)
        return tuple(name for name in self.names if name in found)


def _part(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def _fits(name: _Name, parts: _Parts) -> bool:
    """From the right, as far as both say something: what is left out may be any."""
    return all(
        part.fullmatch(word) for word, part in zip(reversed(name), reversed(parts), strict=False)
    )


def _is_system(name: str) -> bool:
    """``pg_class`` without a schema is pg_catalog's: that is always searched."""
    return name.startswith("pg_") and "." not in name
