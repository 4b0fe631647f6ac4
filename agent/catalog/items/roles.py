"""Roles and memberships."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agent.catalog.items.numbers import numbers
from model.catalog import CatalogItem, CatalogKind

Row = Mapping[str, Any]
NOT_ATTRIBUTES = frozenset(("name", "oid", "connection_limit", "valid_until"))


def role(row: Row) -> CatalogItem:
    attributes = [name for name in row if name not in NOT_ATTRIBUTES]
    words = [f"{name}={'true' if row[name] else 'false'}" for name in attributes]
    if row["connection_limit"] >= 0:
        words.append(f"connection_limit={row['connection_limit']}")
    if row["valid_until"]:
        words.append(f"valid_until={row['valid_until']}")
    return CatalogItem(CatalogKind.ROLE, "", row["name"], " ".join(words), numbers(row))


def memberships(rows: Iterable[Row]) -> list[CatalogItem]:
    """Several grantors may have given the same membership: still one fact."""
    items = {}
    for row in rows:
        name = f"{row['role']}<-{row['member']}"
        by = f"granted by {row['grantor']}" if row["grantor"] else ""
        items[name] = CatalogItem(CatalogKind.MEMBERSHIP, "", name, row["options"], by)
    return list(items.values())
