"""Facts as a declaration for Git: the same facts give the same bytes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import yaml

from collector.drift.baseline import HBA_ORDER, ORDER_SEPARATOR, Facts
from collector.drift.declaration.document import ORDERED, VERSION
from collector.drift.declaration.implicit import implicit
from collector.drift.lines import LINE_KINDS, lines_of, text_of
from collector.drift.observed import Whole
from model.catalog import CatalogKind

HEAD = """\
# The desired state of a PostgreSQL server (docs/drift.md). Kinds that are not here are not
# declared; settings that nobody set, and predefined roles, need not be.
# `pgwarden drift plan FILE` shows what differs.
"""
ORDER = tuple(CatalogKind)


def export(parts: Whole, kinds: Collection[CatalogKind] = ()) -> str:
    """YAML that ``read_declaration`` reads back. ``kinds`` empty: all."""
    wanted = [key for key in sorted(parts, key=_place) if not kinds or key[0] in kinds]
    cluster = {str(kind): _items(kind, parts[kind, db]) for kind, db in wanted if not db}
    databases: dict[str, Any] = {}
    for kind, database in wanted:
        if database:
            databases.setdefault(database, {})[str(kind)] = _items(kind, parts[kind, database])
    tree = {"version": int(VERSION), "cluster": cluster, "databases": databases}
    said = {key: value for key, value in tree.items() if value}
    text: str = yaml.dump(
        said,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=1 << 20,
    )
    return HEAD + text


class _Dumper(yaml.CSafeDumper):
    """No aliases: equal values may stand in many places."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _place(key: tuple[CatalogKind, str]) -> tuple[str, int]:
    kind, database = key
    return database, ORDER.index(kind)


def _items(kind: CatalogKind, facts: Facts) -> Any:
    if kind in ORDERED and (listed := _in_order(facts)) is not None:
        return listed
    return {
        name: _value(kind, facts[name].value)
        for name in sorted(facts)
        if not implicit(kind, name, facts[name])
    }


def _in_order(facts: Facts) -> list[dict[str, str]] | None:
    """None where the order does not name the rules one by one."""
    if HBA_ORDER not in facts:
        return None
    value = facts[HBA_ORDER].value
    names = value.split(ORDER_SEPARATOR) if value else []
    if sorted(names) != sorted(set(facts) - {HBA_ORDER}):
        return None
    if _numbered(names) != names:
        return None
    return [{_plain(name, names): facts[name].value} for name in names]


def _numbered(names: list[str]) -> list[str]:
    """What a reader would call them."""
    seen: dict[str, int] = {}
    told = []
    for name in (_plain(each, names) for each in names):
        seen[name] = seen.get(name, 0) + 1
        told.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return told


def _plain(name: str, names: list[str]) -> str:
    """Without the ``#2`` that tells equal rules apart."""
    head, mark, number = name.rpartition(" #")
    return head if mark and number.isdigit() and head in names else name


def _value(kind: CatalogKind, value: str) -> Any:
    if kind not in LINE_KINDS or not value:
        return value
    lines = lines_of(value)
    return lines if text_of(lines) == value else value
