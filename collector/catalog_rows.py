"""Snapshots as rows of table ``catalog``, and back from there when the ledger is replayed.

A message begins with a row ``covered`` for each of its kinds: it says which names the message
speaks of, so that an empty kind, or an empty range of one, is known to be empty.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import polars as pl

from model.catalog import CatalogItem, CatalogKey, CatalogKind, Snapshot
from protos.pgwarden.v1 import uplink_pb2 as pb

Row = tuple[object, ...]


class Op(StrEnum):
    PUT = "put"
    REMOVED = "removed"
    COVERED = "covered"
    LOOSE = "loose"
    """Of a kind of which older agents could not send all: it says nothing of what is missing."""


def rows_of(snapshot: pb.Snapshot, agent: str) -> Iterator[Row]:
    """In the order of the table's columns."""

    def row(database: str, kind: str, name: str, value: str, detail: str, op: Op) -> Row:
        return (
            snapshot.at_us,
            agent,
            snapshot.cluster,
            database,
            kind,
            name,
            value,
            detail,
            snapshot.server_version,
            op.value,
        )

    kinds = _kinds(snapshot)
    told = frozenset(kinds)
    about = json.dumps(
        {
            "kinds": len(kinds),
            "cluster_wide": _cluster_wide(snapshot),
            "base_at_us": snapshot.base_at_us,
            "since_us": snapshot.since_us,
            "format": snapshot.format,
            "unwatched_from_us": snapshot.unwatched_from_us,
            "unwatched_until_us": snapshot.unwatched_until_us,
        }
    )
    first, end = snapshot.first_name, snapshot.end_name
    for kind in kinds:
        yield row(snapshot.database, kind, first, end, about, Op.COVERED)
    for item in snapshot.items:
        op = Op.PUT if item.kind in told else Op.LOOSE
        yield row(item.database, item.kind, item.name, item.value, item.detail, op)
    for key in snapshot.removed:
        yield row(key.database, key.kind, key.name, "", "", Op.REMOVED)


def snapshot_of(snapshot: pb.Snapshot) -> Snapshot:
    """Kinds that this release does not know are stored, but not compared."""
    return Snapshot(
        at_us=snapshot.at_us,
        cluster=snapshot.cluster,
        database=snapshot.database,
        kinds=tuple(CatalogKind(kind) for kind in _kinds(snapshot) if kind in _KINDS),
        items=tuple(
            CatalogItem(CatalogKind(i.kind), i.database, i.name, i.value, i.detail)
            for i in snapshot.items
            if i.kind in _KINDS
        ),
        server_version=snapshot.server_version,
        base_at_us=snapshot.base_at_us,
        removed=tuple(
            CatalogKey(CatalogKind(key.kind), key.database, key.name)
            for key in snapshot.removed
            if key.kind in _KINDS
        ),
        since_us=snapshot.since_us,
        cluster_wide=_cluster_wide(snapshot),
        first_name=snapshot.first_name,
        end_name=snapshot.end_name,
        format=snapshot.format,
        unwatched_from_us=snapshot.unwatched_from_us,
        unwatched_until_us=snapshot.unwatched_until_us,
    )


def _kinds(snapshot: pb.Snapshot) -> Sequence[str]:
    return snapshot.kinds_in_part or snapshot.kinds


def _cluster_wide(snapshot: pb.Snapshot) -> bool:
    """Older agents read what belongs to the cluster together with the roles."""
    if snapshot.HasField("cluster_wide"):
        return snapshot.cluster_wide
    return CatalogKind.ROLE.value in snapshot.kinds


def snapshots_of(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, Snapshot]]:
    """(agent, snapshot) from rows of view ``catalog`` in the order in which they were written,
    ``occurred_at`` as Unix microseconds."""
    messages: list[_Message] = []
    older: dict[tuple[Any, ...], _Message] = {}
    for row in rows:
        op = row.get("op")
        if op == Op.COVERED:
            if not messages or not messages[-1].kinds_to_come:
                messages.append(_Message(row))
            messages[-1].cover(row)
        elif op in (Op.PUT, Op.REMOVED) and messages:
            messages[-1].take(row)
        elif op is None:
            # As releases before 0.2 wrote them: a kind with a row counts as read in full.
            key = (row["agent"], row["cluster"], row["occurred_at"], row["server_version"])
            older.setdefault(key, _Message(row)).take(row)
    found = [message.snapshot() for message in (*older.values(), *messages)]
    return [(agent, snapshot) for agent, snapshot in found if snapshot.kinds]


class _Message:
    def __init__(self, row: Mapping[str, Any]) -> None:
        self._first = row
        self._about: dict[str, Any] = {}
        self._kinds: list[str] = []
        self._rows: list[Mapping[str, Any]] = []
        self.kinds_to_come = 0

    def cover(self, row: Mapping[str, Any]) -> None:
        if not self._about:
            self._about = json.loads(row["detail"])
            self.kinds_to_come = self._about["kinds"]
        self._kinds.append(row["kind"])
        self.kinds_to_come -= 1

    def take(self, row: Mapping[str, Any]) -> None:
        self._rows.append(row)

    def snapshot(self) -> tuple[str, Snapshot]:
        first, about = self._first, self._about
        known = [row for row in self._rows if row["kind"] in _KINDS]
        items = tuple(_item(row) for row in known if row.get("op") != Op.REMOVED)
        kinds = self._kinds if about else sorted({item.kind.value for item in items})
        return first["agent"], Snapshot(
            at_us=first["occurred_at"],
            cluster=first["cluster"],
            # The database's own items name it; a snapshot has them from one database only.
            database=first["database"]
            if about
            else max((item.database for item in items), default=""),
            kinds=tuple(CatalogKind(kind) for kind in kinds if kind in _KINDS),
            items=items,
            server_version=first["server_version"] or "",
            base_at_us=about.get("base_at_us", 0),
            removed=tuple(
                CatalogKey(CatalogKind(row["kind"]), row["database"], row["name"])
                for row in known
                if row.get("op") == Op.REMOVED
            ),
            since_us=about.get("since_us", 0),
            cluster_wide=about.get("cluster_wide"),
            first_name=first["name"] if about else "",
            end_name=first["value"] if about else "",
            format=about.get("format", 0),
            unwatched_from_us=about.get("unwatched_from_us", 0),
            unwatched_until_us=about.get("unwatched_until_us", 0),
        )


def _item(row: Mapping[str, Any]) -> CatalogItem:
    return CatalogItem(
        CatalogKind(row["kind"]), row["database"], row["name"], row["value"], row["detail"]
    )


_KINDS = frozenset(map(str, CatalogKind))


def snapshots_from(frames: Mapping[str, pl.DataFrame]) -> list[tuple[str, Snapshot]]:
    catalog = frames.get("catalog")
    if catalog is None:
        return []
    # The order of the rows is that of the messages.
    return snapshots_of(catalog.with_columns(pl.col("occurred_at").dt.epoch("us")).to_dicts())
