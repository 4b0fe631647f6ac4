"""Literals that give a secret away by what they are: passwords, connection strings, key files.

Only that one was found becomes a flag; the value itself stays in the text.
"""

from __future__ import annotations

import re
from typing import Any

from agent.sql.facts import Facts
from agent.sql.tree import Node, constant_text

_STORED = re.compile(r"SCRAM-SHA-256\$\d+:[^$]+\$[^:]+:.+|md5[0-9a-f]{32}")
"""Forms that PostgreSQL stores as they come: the client has made them from a password."""
_CONNECTION = re.compile(r"(?i)\bpassword\s*=\s*\S|\bpostgres(?:ql)?://[^/@\s:]*:[^/@\s]+@")
_FILE = re.compile(
    r"(?i)(?:^|/)(?:pg_hba\.conf|pg_ident\.conf|\.pgpass|pgpass\.conf|pg_service\.conf"
    r"|postgresql\.auto\.conf|passwd|shadow|id_[a-z0-9]+|authorized_keys|\.ssh/.*"
    r"|\.aws/.*|\.kube/config|environ|userlist\.txt|[^/]+\.(?:key|pem|p12|pfx|keytab))$"
)
_READERS = frozenset({"pg_read_file", "pg_read_binary_file", "lo_import", "be_lo_import"})
_CONNECTING = ("dblink", "dblink_connect", "dblink_connect_u", "dblink_exec", "dblink_open")


def note_role_password(facts: Facts, argument: Any) -> None:
    """``PASSWORD NULL`` and what the client has hashed are no secret in plain text."""
    facts.flag("password")
    text = constant_text(argument)
    if text and not _STORED.fullmatch(text):
        facts.flag("plain_password")


def note_arguments(facts: Facts, function: str, fields: Node) -> None:
    """Of a function call. Of other functions no argument is looked at: see blind.py."""
    name = function.rpartition(".")[2]
    arguments = fields.get("args", [])
    if name in _READERS and arguments:
        note_file(facts, constant_text(arguments[0]))
    elif name in _CONNECTING and arguments:
        # dblink_connect(name, connection) or (connection); the others begin with either.
        at = -1 if name.startswith("dblink_connect") else 0
        if _CONNECTION.search(constant_text(arguments[at]) or ""):
            _note_connection(facts)


def note_file(facts: Facts, path: str | None) -> None:
    if path and _FILE.search(path.strip()):
        facts.flag("credential_file")


def note_options(facts: Facts, fields: Node) -> None:
    """OPTIONS (password '...') of a user mapping or server; CONNECTION of a subscription."""
    for item in fields.get("options", []):
        element = item.get("DefElem", {})
        if element.get("defname") in ("password", "sslpassword") and constant_text(
            element.get("arg")
        ):
            _note_connection(facts)
    if _CONNECTION.search(str(fields.get("conninfo") or "")):
        _note_connection(facts)


def _note_connection(facts: Facts) -> None:
    facts.flag("password")
    facts.flag("connection_password")
