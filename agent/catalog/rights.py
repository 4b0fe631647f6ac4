"""What the role of the catalog session needs, as ``grants.sql`` says, by what is read with it."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import dict_row

from agent.catalog.queries import query

OUR_ROLE = "pgwarden"


class Need(NamedTuple):
    """A right beyond pg_monitor."""

    key: str
    """Column of the query ``rights``."""
    objects: str
    """Pattern of the statements in ``grants.sql``."""
    since: int = 12
    always: bool = True
    """False: only where there is something to read with it."""


NEEDS = (
    Need("hba", r"pg_hba_file_rules"),
    Need("ident", r"pg_ident_file_mappings", since=15),
    Need("file_errors", r"pg_file_settings|pg_show_all_file_settings"),
    Need("subscriptions", r"pg_subscription", always=False),
    Need("user_mappings", r"pg_user_mapping\b", always=False),
)


def grants(role: str, major: int) -> list[str]:
    """All statements that a new role needs on a server of this version, CREATE ROLE the first."""
    unwanted = [each.objects for each in NEEDS if not each.always or each.since > major]
    return [
        _for_role(each, role)
        for each in _statements()
        if not any(re.search(pattern, each) for pattern in unwanted)
    ]


def grants_for(keys: Collection[str], role: str, major: int) -> list[str]:
    """The statements behind these needs; ``settings`` is pg_monitor."""
    patterns = [each.objects for each in NEEDS if each.key in keys and each.since <= major]
    patterns += [r"GRANT pg_monitor"] if "settings" in keys else []
    return [
        _for_role(each, role)
        for each in _statements()
        if any(re.search(pattern, each) for pattern in patterns)
    ]


def lacking(connection: psycopg.Connection[Any]) -> set[str]:
    """Of the rights that every server wants used; ``settings`` among them. Raises psycopg.Error."""
    major = connection.info.server_version // 10_000
    with connection.cursor(row_factory=dict_row) as cursor:
        [row] = cursor.execute(query("rights", major)).fetchall()
    wanted = [each.key for each in NEEDS if each.always and each.since <= major]
    return {key for key in ("settings", *wanted) if not row[key]}


def quoted(name: str) -> str:
    """A name as SQL takes it; ours as everybody writes it."""
    return name if name == OUR_ROLE else '"' + name.replace('"', '""') + '"'


def _for_role(statement: str, role: str) -> str:
    name = quoted(role)
    return re.sub(rf"\b{OUR_ROLE}\b", lambda _: name, statement) + ";"


@cache
def _statements() -> tuple[str, ...]:
    text = files(__package__).joinpath("grants.sql").read_text(encoding="utf-8")
    text = re.sub(r"--[^\n]*", "", text)
    parts = (" ".join(part.split()) for part in text.split(";"))
    return tuple(part for part in parts if part)
