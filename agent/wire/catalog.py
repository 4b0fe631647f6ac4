"""Snapshots of the catalog in the words of the wire: in parts where one message is too small.

A part speaks of a range of names of its kinds. Each is true by itself, so that a lost one leaves
older knowledge, and never the impression that something was dropped.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agent.wire.messages import MAX_NAME_BYTES, escape_name, escape_text
from model.catalog import CatalogItem, CatalogKey, CatalogKind, Snapshot
from protos.pgwarden.v1 import uplink_pb2 as pb

MAX_VALUE_BYTES = 256 * 1024
_FRAME_BYTES = 6
"""Tag and length of a submessage."""
_CUT_NAME_BYTES = MAX_NAME_BYTES - 128


@dataclass(frozen=True, slots=True)
class SnapshotMessages:
    messages: tuple[pb.Snapshot, ...]
    cut: int
    """Items with a name or value too long to be sent: it ends with its length and hash."""


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    item: pb.CatalogItem | None
    removed: pb.CatalogKey | None
    bytes: int


def snapshots_to_wire(snapshot: Snapshot, limit_bytes: int) -> SnapshotMessages:
    """Messages of about ``limit_bytes`` at most: kinds together where they fit, a large kind in
    ranges of names."""
    entries, cut = _entries(snapshot)
    messages: list[pb.Snapshot] = []
    together: list[CatalogKind] = []
    size = 0
    for kind in snapshot.kinds:
        of_kind = sum(entry.bytes for entry in entries[kind])
        if of_kind > limit_bytes:
            messages += _ranges(snapshot, kind, entries[kind], limit_bytes)
            continue
        if together and size + of_kind > limit_bytes:
            messages.append(_message(snapshot, together, _all(together, entries)))
            together, size = [], 0
        together.append(kind)
        size += of_kind
    if together:
        messages.append(_message(snapshot, together, _all(together, entries)))
    return SnapshotMessages(tuple(messages), cut)


def _entries(snapshot: Snapshot) -> tuple[dict[CatalogKind, list[_Entry]], int]:
    found: dict[CatalogKind, list[_Entry]] = {kind: [] for kind in snapshot.kinds}
    cut = 0
    for item in snapshot.items:
        if item.kind not in found:
            continue
        message, was_cut = _item(item)
        cut += was_cut
        size = message.ByteSize() + _FRAME_BYTES
        found[item.kind].append(_Entry(message.name, message, None, size))
    for key in snapshot.removed:
        if key.kind in found:
            gone = _key(key)
            size = gone.ByteSize() + _FRAME_BYTES
            found[key.kind].append(_Entry(gone.name, None, gone, size))
    return found, cut


def _ranges(
    snapshot: Snapshot, kind: CatalogKind, entries: list[_Entry], limit_bytes: int
) -> Iterator[pb.Snapshot]:
    """A boundary never falls between entries of one name."""
    part: list[_Entry] = []
    first, size = "", 0
    for entry in sorted(entries, key=lambda entry: entry.name):
        if part and size + entry.bytes > limit_bytes and part[-1].name < entry.name:
            yield _message(snapshot, [kind], part, first, entry.name)
            part, first, size = [], entry.name, 0
        part.append(entry)
        size += entry.bytes
    yield _message(snapshot, [kind], part, first)


def _all(kinds: Iterable[CatalogKind], entries: dict[CatalogKind, list[_Entry]]) -> list[_Entry]:
    return [entry for kind in kinds for entry in entries[kind]]


def _message(
    snapshot: Snapshot,
    kinds: list[CatalogKind],
    entries: list[_Entry],
    first_name: str = "",
    end_name: str = "",
) -> pb.Snapshot:
    in_part = bool(snapshot.base_at_us or first_name or end_name)
    told = [str(kind) for kind in kinds]
    return pb.Snapshot(
        at_us=snapshot.at_us,
        cluster=escape_name(snapshot.cluster),
        database=escape_name(snapshot.database),
        kinds=[] if in_part else told,
        kinds_in_part=told if in_part else [],
        items=[entry.item for entry in entries if entry.item is not None],
        server_version=escape_name(snapshot.server_version),
        base_at_us=snapshot.base_at_us,
        removed=[entry.removed for entry in entries if entry.removed is not None],
        first_name=first_name,
        end_name=end_name,
        since_us=snapshot.since_us,
        # Said again: a part has the roles in another message.
        cluster_wide=is_cluster_wide(snapshot),
        format=snapshot.format,
        unwatched_from_us=snapshot.unwatched_from_us,
        unwatched_until_us=snapshot.unwatched_until_us,
    )


def is_cluster_wide(snapshot: Snapshot) -> bool:
    if snapshot.cluster_wide is not None:
        return snapshot.cluster_wide
    return CatalogKind.ROLE in snapshot.kinds


def _item(item: CatalogItem) -> tuple[pb.CatalogItem, bool]:
    name, name_cut = _name(item.name)
    value, value_cut = _shortened(escape_text(item.value, _NO_LIMIT), MAX_VALUE_BYTES)
    message = pb.CatalogItem(
        kind=item.kind,
        database=escape_name(item.database),
        name=name,
        value=value,
        detail=escape_name(item.detail),
    )
    return message, name_cut or value_cut


def _key(key: CatalogKey) -> pb.CatalogKey:
    return pb.CatalogKey(kind=key.kind, database=escape_name(key.database), name=_name(key.name)[0])


_NO_LIMIT = 1 << 40


def _name(name: str) -> tuple[str, bool]:
    return _shortened(escape_name(name, _NO_LIMIT), _CUT_NAME_BYTES)


def _shortened(text: str, limit_bytes: int) -> tuple[str, bool]:
    """Two that differ after the cut still differ."""
    if len(text) * 4 <= limit_bytes:
        return text, False
    raw = text.encode()
    if len(raw) <= limit_bytes:
        return text, False
    kept = raw[:limit_bytes].decode("utf-8", "ignore")
    return f"{kept}... cut, {len(raw)} bytes, sha256:{hashlib.sha256(raw).hexdigest()}", True
