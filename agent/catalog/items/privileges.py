"""Privileges on objects, one item for each object and grantee."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from model.catalog import CatalogItem, CatalogKind

Row = Mapping[str, Any]


def privileges(rows: Iterable[Row], database: str) -> list[CatalogItem]:
    """``rows`` ordered by type, object, grantee; a ``*`` marks the right to grant further."""
    items = []
    for key, group in groupby(rows, key=lambda r: (r["type"], r["object"], r["grantee"])):
        granted = list(group)
        kind, name, grantee = key
        value = ", ".join(sorted({row["privilege"] for row in granted}))
        owner = f"owned by {granted[0]['owner']}" if granted[0]["owner"] else ""
        items.append(
            CatalogItem(CatalogKind.PRIVILEGE, database, f"{kind}:{name}<-{grantee}", value, owner)
        )
    return items
