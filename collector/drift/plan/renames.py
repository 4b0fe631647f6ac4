"""A table gone, one new, and alike: a new name keeps the rows, a new table does not.

Roles are never renamed back: one that somebody made in the place of another has a password of
theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from collector.drift.baseline import Fact, Facts
from collector.drift.observed import Whole
from collector.drift.plan.quoting import NotSqlError, name, schema_of, split_last
from collector.drift.plan.steps import Phase, Step
from model.catalog import CatalogKind

Wholes = dict[tuple[CatalogKind, str], Facts]


def undo_renames(desired: Whole, observed: Whole) -> tuple[list[Step], Wholes]:
    """Steps that rename back, and ``observed`` as it is after them."""
    steps: list[Step] = []
    seen: Wholes = dict(observed)
    for key in [key for key in desired if key[0] is CatalogKind.TABLE and key in seen]:
        table = _pair(desired[key], seen[key], _as_nameless)
        if table is None:
            continue
        try:
            step = _rename_table(*table, seen[key][table[1]])
        except NotSqlError:
            continue
        if step is not None:
            steps.append(replace(step, database=key[1]))
            seen = _with_table(seen, key[1], table[1], table[0])
    return steps, seen


def _pair(
    desired: Facts, observed: Facts, same: Callable[[Fact, str], str]
) -> tuple[str, str] | None:
    """(desired name, observed name) where exactly one is gone and exactly one is new and alike."""
    gone = [each for each in desired if each not in observed]
    new = [each for each in observed if each not in desired]
    matches = [
        (old, now)
        for old in gone
        for now in new
        if same(desired[old], old) == same(observed[now], now)
    ]
    return matches[0] if len(matches) == 1 else None


def _as_nameless(fact: Fact, own: str) -> str:
    """The value, in which its indexes name the table itself."""
    return fact.value.replace(f" ON {own} ", " ON @ ").replace(f" ON ONLY {own} ", " ON ONLY @ ")


def _rename_table(old: str, new: str, fact: Fact) -> Step | None:
    if schema_of(old) != schema_of(new) or "kind: view" in fact.value:
        return None
    word = "MATERIALIZED VIEW" if "kind: materialized view" in fact.value else "TABLE"
    return Step(
        Phase.RENAME,
        f"ALTER {word} {name(new)} RENAME TO {split_last(old)[1]}",
        note="alike; if it was not renamed, its rows are others",
    )


def _with_table(seen: Wholes, database: str, new: str, old: str) -> Wholes:
    renamed = dict(seen)
    for kind in (CatalogKind.TABLE, CatalogKind.POLICY, CatalogKind.TRIGGER, CatalogKind.PRIVILEGE):
        if (kind, database) in seen:
            renamed[kind, database] = {
                _other(n, new, old): Fact(
                    fact.value.replace(f" ON {new} ", f" ON {old} ").replace(
                        f" ON ONLY {new} ", f" ON ONLY {old} "
                    ),
                    fact.detail,
                )
                for n, fact in seen[kind, database].items()
            }
    return renamed


def _other(text: str, new: str, old: str) -> str:
    """``text`` names the table, a part of it, or a right on either."""
    for head in ("", "table:", "column:"):
        if text == head + new or text.startswith((f"{head}{new}.", f"{head}{new}<-")):
            return head + old + text[len(head + new) :]
    return text
