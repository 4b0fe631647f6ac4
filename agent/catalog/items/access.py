"""Who may connect, and as whom: rules of pg_hba.conf and pg_ident.conf."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agent.catalog.items.secrets import option
from model.catalog import CatalogItem, CatalogKind

Row = Mapping[str, Any]

ORDER = "(order)"
"""The hba item that holds the sequence of the rules: the first that matches decides."""


def hba(rows: Iterable[Row]) -> list[CatalogItem]:
    """One item a rule, and one for their order; equal rules are told apart by ``#2``."""
    items = list(_numbered(_hba_rule(row) for row in rows))
    order = " > ".join(item.name for item in items)
    return [*items, CatalogItem(CatalogKind.HBA, "", ORDER, order)]


def ident(rows: Iterable[Row]) -> list[CatalogItem]:
    """``MAP SYSTEM-NAME NAME`` -> ``allowed``: who the map lets in, and as which role."""
    return list(_numbered(_ident_rule(row) for row in rows))


def _hba_rule(row: Row) -> CatalogItem:
    address = "/".join(word for word in (row["address"], row["netmask"]) if word)
    words = [row["type"], row["databases"], row["users"], address]
    name = " ".join(word for word in words if word) or f"line {row['line_number']}"
    options = " ".join(sorted(option(each) for each in row["options"]))
    value = f"error: {row['error']}" if row["error"] else f"{row['method']} {options}".strip()
    return CatalogItem(CatalogKind.HBA, "", name, value, _where(row, "pg_hba.conf"))


def _ident_rule(row: Row) -> CatalogItem:
    words = [_quoted(row[word]) for word in ("map", "system_name", "name") if row[word]]
    name = " ".join(words) or f"line {row['line_number']}"
    value = f"error: {row['error']}" if row["error"] else "allowed"
    return CatalogItem(CatalogKind.IDENT, "", name, value, _where(row, "pg_ident.conf"))


def _quoted(word: str) -> str:
    return word if re.fullmatch(r"[^\s\"]+", word) else '"' + word.replace('"', '""') + '"'


def _where(row: Row, file: str) -> str:
    return f"{row['file_name'] or file}:{row['line_number']}"


def _numbered(items: Iterable[CatalogItem]) -> Iterator[CatalogItem]:
    seen: dict[str, int] = {}
    for item in items:
        seen[item.name] = count = seen.get(item.name, 0) + 1
        name = item.name if count == 1 else f"{item.name} #{count}"
        yield CatalogItem(item.kind, item.database, name, item.value, item.detail)
