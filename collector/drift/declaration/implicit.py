"""What a declaration need not say, and how it is held against what was seen."""

from __future__ import annotations

from collections.abc import Iterator

from collector.drift.baseline import Difference, Fact, Facts, differences
from collector.drift.lines import LINE_KINDS, TEXT_ATTRIBUTE, attributes, privileges, read_value
from model.catalog import WATCHED_NAME, CatalogKind

BUILT_IN_DETAIL = "default"
"""The source of a setting that nobody set."""
PENDING = " (restart pending)"
RESERVED = "pg_"
SYSTEM_SCHEMAS = frozenset(["pg_catalog", "information_schema"])
"""Schemas that initdb fills; what it put there is digested."""
USED_BY_ALL = frozenset(f"schema:{name}<-PUBLIC" for name in SYSTEM_SCHEMAS)
TABLESPACES = frozenset(["pg_default", "pg_global"])


def implicit(kind: CatalogKind, name: str, fact: Fact) -> bool:
    """Built in: it differs between versions, and is nobody's decision. Or our own configuration:
    which tables are watched."""
    match kind:
        case CatalogKind.SETTING:
            # Waiting for a restart, it is built in for now only.
            waits = fact.value.endswith(PENDING)
            return "@" not in name and fact.detail.startswith(BUILT_IN_DETAIL) and not waits
        case CatalogKind.ROLE:
            return name.startswith(RESERVED)
        case CatalogKind.MEMBERSHIP:
            return all(role.startswith(RESERVED) for role in name.split("<-"))
        case CatalogKind.TABLESPACE:
            return name in TABLESPACES
        case CatalogKind.SCHEMA:
            return name in SYSTEM_SCHEMAS
        case CatalogKind.PRIVILEGE:
            # Without it nobody could call a function or name a type.
            return name in USED_BY_ALL and fact.value == "USAGE"
        case CatalogKind.WATCHED:
            return fact.value == WATCHED_NAME
        case _:
            return False


def complete(kind: CatalogKind, declared: Facts, observed: Facts) -> Facts:
    """``declared`` with what is implicit in ``observed``, in the words of ``observed`` where both
    mean the same (lines and privileges have no order)."""
    said = {name: fact for name, fact in observed.items() if implicit(kind, name, fact)}
    for name, fact in declared.items():
        seen = observed.get(name)
        said[name] = seen if seen and same(kind, fact.value, seen.value) else fact
    return said


def same(kind: CatalogKind, one: str, other: str) -> bool:
    if one == other:
        return True
    if kind is CatalogKind.PRIVILEGE:
        return privileges(one) == privileges(other)
    if kind is CatalogKind.ROLE:
        return _attributes(one) == _attributes(other)
    if kind in LINE_KINDS:
        return read_value(kind, one) == read_value(kind, other)
    return False


def _attributes(value: str) -> dict[str, str]:
    """An end that never comes is none: SQL cannot take one away altogether."""
    return {n: v for n, v in attributes(value).items() if (n, v) != (TEXT_ATTRIBUTE, "infinity")}


def gaps(kind: CatalogKind, declared: Facts, observed: Facts) -> Iterator[Difference]:
    """How ``observed`` differs from what was declared."""
    return differences(complete(kind, declared, observed), observed)
