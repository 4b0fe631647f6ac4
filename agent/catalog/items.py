"""Rows of the catalog queries as items: how a fact is named, and what counts as its value."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from model.catalog import CatalogItem, CatalogKind

Row = Mapping[str, Any]

# They differ between sessions or move by themselves: never a property of the server.
VOLATILE_SETTINGS = frozenset(
    [
        "application_name", "client_encoding", "in_hot_standby", "is_superuser", "role", "seed",
        "session_authorization", "transaction_deferrable", "transaction_isolation",
        "transaction_read_only",
    ]
)  # fmt: skip
# Commands and connection strings often hold passwords: only whether they changed leaves the host.
SECRET_SETTING = re.compile(
    r"(conninfo|_command|passphrase|password|secret|token)$|^ssl_passphrase"
)
SECRET_WORD = re.compile(r"(passw(or)?d|passwd|secret|token|bindpasswd|radiussecrets)", re.I)
HARMLESS = frozenset(["password_encryption"])
ORDER = "(order)"
"""The hba item that holds the sequence of the rules: the first that matches decides."""
_BYTES = {"B": 1, "kB": 1024, "8kB": 8192, "16kB": 16384, "32kB": 32768, "MB": 1024**2}


def setting(row: Row) -> CatalogItem | None:
    """None for a setting that says nothing of the server."""
    name = row["name"]
    if name in VOLATILE_SETTINGS:
        return None
    value = hidden(name, row["setting"] or "", row["unit"])
    if row["pending_restart"]:
        value += " (restart pending)"
    where = f" {row['sourcefile']}:{row['sourceline']}" if row["sourcefile"] else ""
    # reset_val has no source of its own.
    source = "" if row["source"] == "session" else f"{row['source']}{where}"
    return CatalogItem(CatalogKind.SETTING, "", name, value, source)


def role_setting(row: Row) -> CatalogItem:
    """``log_statement@alice/shop`` for what ALTER ROLE alice IN DATABASE shop SET stored."""
    about = "/".join(word for word in (row["role"], row["database"]) if word) or "all"
    who = "role" if row["role"] else "database"
    value = hidden(row["name"], row["setting"], "")
    return CatalogItem(CatalogKind.SETTING, "", f"{row['name']}@{about}", value, f"of a {who}")


def hidden(name: str, value: str, unit: str) -> str:
    """The value for a person, or a short hash of one that may hold a secret."""
    if value and name not in HARMLESS and SECRET_SETTING.search(name):
        return f"hidden {hashlib.sha256(f'{name}={value}'.encode()).hexdigest()[:12]}"
    return amount(value, unit)


def amount(value: str, unit: str) -> str:
    """
    >>> amount("65536", "kB"), amount("16384", "8kB"), amount("-1", "kB"), amount("200", "ms")
    ('64MB', '128MB', '-1', '200ms')
    """
    if not unit or not value.isdigit():
        return value
    if unit not in _BYTES:
        return value + unit
    size = int(value) * _BYTES[unit]
    for word, step in (("TB", 1024**4), ("GB", 1024**3), ("MB", 1024**2), ("kB", 1024)):
        if size and size % step == 0:
            return f"{size // step}{word}"
    return f"{size}B"


def hba(rows: Iterable[Row]) -> list[CatalogItem]:
    """One item a rule, and one for their order; equal rules are told apart by ``#2``."""
    items, seen = [], dict[str, int]()
    for row in rows:
        address = "/".join(word for word in (row["address"], row["netmask"]) if word)
        words = [row["type"], row["databases"], row["users"], address]
        name = " ".join(word for word in words if word) or f"line {row['line_number']}"
        seen[name] = seen.get(name, 0) + 1
        name = name if seen[name] == 1 else f"{name} #{seen[name]}"
        options = " ".join(_option(option) for option in row["options"])
        value = f"error: {row['error']}" if row["error"] else f"{row['method']} {options}".strip()
        detail = f"{row['file_name'] or 'pg_hba.conf'}:{row['line_number']}"
        items.append(CatalogItem(CatalogKind.HBA, "", name, value, detail))
    order = " > ".join(item.name for item in items)
    return [*items, CatalogItem(CatalogKind.HBA, "", ORDER, order)]


def _option(option: str) -> str:
    name, _, value = option.partition("=")
    return f"{name}={hidden('secret', value, '')}" if SECRET_WORD.search(name) else option


def role(row: Row) -> CatalogItem:
    attributes = [name for name in row if name not in ("name", "connection_limit", "valid_until")]
    words = [f"{name}={'true' if row[name] else 'false'}" for name in attributes]
    if row["connection_limit"] >= 0:
        words.append(f"connection_limit={row['connection_limit']}")
    if row["valid_until"]:
        words.append(f"valid_until={row['valid_until']}")
    return CatalogItem(CatalogKind.ROLE, "", row["name"], " ".join(words))


def memberships(rows: Iterable[Row]) -> list[CatalogItem]:
    """Several grantors may have given the same membership: still one fact."""
    items = {}
    for row in rows:
        name = f"{row['role']}<-{row['member']}"
        by = f"granted by {row['grantor']}" if row["grantor"] else ""
        items[name] = CatalogItem(CatalogKind.MEMBERSHIP, "", name, row["options"], by)
    return list(items.values())


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
