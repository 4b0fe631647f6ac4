"""Two servers, databases or declarations held against each other."""

from __future__ import annotations

from collections.abc import Iterator

from collector.drift.baseline import Difference
from collector.drift.clauses import RECOVERY
from collector.drift.declaration.implicit import SYSTEM_SCHEMAS, gaps, implicit
from collector.drift.observed import Whole
from collector.drift.plan.settings import FIXED
from model.catalog import CatalogKind

Found = tuple[CatalogKind, str, Difference]
"""Kind, database (of the first), and the difference of the second from it."""
NOT_SETTINGS = FIXED | {"port", "cluster_name", "primary_conninfo", "primary_slot_name", RECOVERY}
"""What two servers never share."""


def compared(one: Whole, other: Whole, *, cluster_wide: bool = True) -> Iterator[Found]:
    """Only kinds that both sides have, in databases of the same name."""
    for key in sorted(one.keys() & other.keys(), key=lambda key: (key[1], key[0])):
        kind, database = key
        if not database and not cluster_wide:
            continue
        for difference in gaps(kind, one[key], other[key]):
            before = one[key].get(difference.name)
            if kind is CatalogKind.SETTING and difference.name in NOT_SETTINGS:
                continue
            built_in = kind is CatalogKind.SCHEMA and difference.name in SYSTEM_SCHEMAS
            if built_in and _version(one) != _version(other):
                continue
            if (
                before is not None
                and difference.name not in other[key]
                and implicit(kind, difference.name, before)
            ):
                continue  # Built into one version only.
            yield kind, database, difference


def _version(whole: Whole) -> str:
    fact = whole.get((CatalogKind.SETTING, ""), {}).get("server_version_num")
    return fact.value if fact is not None else ""


def only_one_side(one: Whole, other: Whole) -> list[tuple[CatalogKind, str]]:
    """What cannot be compared, because one side does not know it."""
    return sorted(one.keys() ^ other.keys(), key=lambda key: (key[1], key[0]))


def as_database(parts: Whole, database: str, name: str) -> Whole:
    """One database, and the cluster, with the database by the name ``name``."""
    return {
        (kind, name if own else ""): items
        for (kind, own), items in parts.items()
        if own in ("", database)
    }
