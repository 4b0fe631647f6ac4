"""``ALTER TABLE ALL IN TABLESPACE a OWNED BY etl SET TABLESPACE b NOWAIT``: it names no table."""

from __future__ import annotations

from typing import NamedTuple

from collector.drift import wording
from collector.drift.matching.target import Target
from collector.drift.wording import Words

LINE = "tablespace"


class AllIn(NamedTuple):
    old: str
    new: str
    views: bool
    """Materialized views, else tables."""
    owners: tuple[str, ...]
    """Empty: whoever owns them."""

    def moves(self, target: Target) -> bool:
        """The database's own tablespace is no line, and its name is not known."""
        lines = target.known
        return (
            self.views == (lines.get("kind") == "materialized view")
            and (not self.owners or lines.get("owner") in self.owners)
            and _is(self.old, target.before.get(LINE))
            and _is(self.new, target.after.get(LINE))
        )


def of_words(words: Words) -> AllIn | None:
    """Of one statement; None for any other one, also for one that moves indexes."""
    at = 3 if words[1:2] == ("materialized",) else 2
    if words[at : at + 3] != ("all", "in", "tablespace") or len(words) < at + 7:
        return None
    if words[1] not in ("table", "materialized"):
        return None
    rest = words[at + 4 :]
    owners = rest[2 : rest.index("set")] if rest[:2] == ("owned", "by") else ()
    new = words[-2 if words[-1] == "nowait" else -1]
    return AllIn(words[at + 3], new, at == 3, tuple(owners))


def _is(name: str, line: str | None) -> bool:
    return line is None or wording.unquoted(line) == name
