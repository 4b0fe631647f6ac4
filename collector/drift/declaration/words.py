"""Words that PostgreSQL knows, so that a slip of the pen in a declaration is no drift."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import get_close_matches

from collector.drift.baseline import HBA_ORDER
from collector.drift.lines import REVOKED, attributes
from model.catalog import CatalogKind

OBJECTS = (
    "aggregate", "column", "database", "default", "foreign_data_wrapper", "foreign_server",
    "function", "language", "large_object", "parameter", "procedure", "schema", "sequence",
    "table", "tablespace", "type",
)  # fmt: skip
"""What a privilege is on: the word before the colon of its name."""
PRIVILEGES = (
    "SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN",
    "USAGE", "CREATE", "CONNECT", "TEMPORARY", "EXECUTE", "SET", "ALTER SYSTEM",
)  # fmt: skip
CONNECTIONS = ("local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc")
METHODS = (
    "trust", "reject", "scram-sha-256", "md5", "password", "gss", "sspi", "ident", "peer", "ldap",
    "radius", "cert", "pam", "bsd", "oauth",
)  # fmt: skip
ATTRIBUTES = (
    "superuser", "login", "createrole", "createdb", "replication", "bypassrls", "inherit",
)  # fmt: skip
OTHER_ATTRIBUTES = ("connection_limit", "valid_until")
OPTIONS = ("member", "admin", "noinherit", "noset")


def mistakes(kind: CatalogKind, name: str, value: str) -> Iterator[str]:
    """Sentences on words of one declared item that no server has."""
    if kind is CatalogKind.PRIVILEGE:
        yield from _unknown("what a privilege is on", name.partition(":")[0], OBJECTS)
        for word in value.split(","):
            plain = word.strip().removesuffix("*")
            if plain not in ("", REVOKED):
                yield from _unknown("privilege", plain, PRIVILEGES)
    if kind is CatalogKind.ROLE:
        yield from _of_role(value)
    if kind is CatalogKind.MEMBERSHIP:
        for word in value.replace(",", " ").split():
            yield from _unknown("option of a membership", word, OPTIONS)
    unread = value.startswith("error:")  # a line nobody could read
    if kind is CatalogKind.HBA and name != HBA_ORDER and not unread:
        yield from _unknown("kind of connection", name.split(" ")[0], CONNECTIONS)
        yield from _unknown("method", value.split(" ")[0], METHODS)


def _of_role(value: str) -> Iterator[str]:
    for name, text in attributes(value).items():
        yield from _unknown("attribute", name, ATTRIBUTES + OTHER_ATTRIBUTES)
        if name in ATTRIBUTES and text not in ("true", "false"):
            yield f"{name} is {text!r}; write {name}=true or {name}=false"


def _unknown(what: str, word: str, known: Collection[str]) -> Iterator[str]:
    if word in known:
        return
    [*close] = get_close_matches(word, known, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
    yield f"unknown {what} {word!r}; {hint}"
