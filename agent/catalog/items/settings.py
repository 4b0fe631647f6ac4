"""Settings of the server, of roles and databases, and lines that it could not use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent.catalog.items.secrets import hidden
from agent.catalog.items.system_value import of_line
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
FILES = "(configuration files)"
"""The item that says which of their lines could not be used."""
RECOVERY = "(recovery)"
"""The item that says that the server is a standby; nobody declares it."""
_BYTES = {"B": 1, "kB": 1024, "8kB": 8192, "16kB": 16384, "32kB": 32768, "MB": 1024**2}


def setting(row: Row) -> CatalogItem | None:
    """None for a setting that says nothing of the server."""
    name = row["name"]
    if name in VOLATILE_SETTINGS:
        return None
    value = amount(hidden(name, row["setting"] or ""), row["unit"])
    if row["pending_restart"]:
        value += " (restart pending)"
    where = f" {row['sourcefile']}:{row['sourceline']}" if row["sourcefile"] else ""
    # reset_val has no source of its own.
    source = "" if row["source"] == "session" else f"{row['source']}{where}{_set_to(row)}"
    return CatalogItem(CatalogKind.SETTING, "", name, value, source)


def _set_to(row: Row) -> str:
    """Which line of postgresql.auto.conf it is, for the statement that may have written it."""
    told = of_line(row["name"], row["line"]) if row.get("line") else ""
    return f"; set to {told}" if told else ""


def role_setting(row: Row) -> CatalogItem:
    """``log_statement@alice/shop`` for what ALTER ROLE alice IN DATABASE shop SET stored."""
    about = "/".join(word for word in (row["role"], row["database"]) if word) or "all"
    who = "role" if row["role"] else "database"
    value = hidden(row["name"], row["setting"])
    return CatalogItem(CatalogKind.SETTING, "", f"{row['name']}@{about}", value, f"of a {who}")


def file_errors(rows: Sequence[Row]) -> list[CatalogItem]:
    """One item for all lines that the server could not use; none where there is none."""
    if not rows:
        return []
    value = "; ".join(f"{row['name'] or 'a line'}: {row['error']}" for row in rows)
    where = ", ".join(f"{row['sourcefile']}:{row['sourceline']}" for row in rows)
    return [CatalogItem(CatalogKind.SETTING, "", FILES, value, where)]


def recovery(row: Row) -> list[CatalogItem]:
    """One item of a server that replays what another one did; none of others."""
    item = CatalogItem(CatalogKind.SETTING, "", RECOVERY, "standby", "default")
    return [item] if row["recovers"] else []


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
