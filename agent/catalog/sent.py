"""What the collector was told of one database, so that only what differs from it is sent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace

from model.catalog import CatalogItem, CatalogKey, CatalogKind, Snapshot

MOST_REMEMBERED = 500_000
"""Items of one kind in one database; a larger kind is sent whole when anything in it changed."""
Key = tuple[str, str] | str
"""The name; with the database where that is not the snapshot's (PRIVILEGE has both)."""


@dataclass(slots=True)
class _Kind:
    sent_at_us: int
    """Moment of the last snapshot that spoke of it: the next change builds on that."""
    looked_at_us: int
    hashes: dict[Key, int] | None
    """Of value and detail. None: too many, there is only ``whole``."""
    whole: int = 0
    tables: dict[str, int] = field(default_factory=dict)
    """Watched tables that were looked at since ``looked_at_us``, and when."""

    def looked_since(self, only: Collection[str] | None) -> int:
        """When all of these tables, or all there is, had been looked at."""
        moments = [self.tables.get(name, 0) for name in only or ()]
        return max(self.looked_at_us, min(moments, default=0))

    def looked(self, at_us: int, only: Collection[str] | None) -> None:
        """A look at one table says nothing of the others."""
        if only is None:
            self.looked_at_us, self.tables = at_us, {}
        else:
            self.tables |= dict.fromkeys(only, at_us)


class Sent:
    """Hashes only: some 200 bytes for each item."""

    def __init__(self, looked_before_us: int = 0, *, most: int = MOST_REMEMBERED) -> None:
        """``looked_before_us``: the last look before any of it was sent; 0: the collector knows."""
        self._most = most
        self._looked_before_us = looked_before_us
        self._kinds: dict[CatalogKind, _Kind] = {}

    @property
    def kinds(self) -> frozenset[CatalogKind]:
        return frozenset(self._kinds)

    @property
    def items(self) -> int:
        return sum(len(kind.hashes or ()) for kind in self._kinds.values())

    def unchanged(self, kinds: Collection[CatalogKind], at_us: int) -> None:
        """A look found nothing new in these."""
        for kind, known in self._kinds.items():
            if kind in kinds:
                known.looked_at_us = max(known.looked_at_us, at_us)

    def clock_set_back(self, by_us: int) -> None:
        """From now on the server's clock shows so much less."""
        for known in self._kinds.values():
            known.looked_at_us = max(0, known.looked_at_us - by_us)
            known.tables = {name: max(0, at - by_us) for name, at in known.tables.items()}

    def tell(
        self,
        snapshot: Snapshot,
        send: Callable[[Snapshot], None],
        only: Collection[str] | None = None,
        looked_at_us: int = 0,
    ) -> int:
        """Sends whole snapshots of kinds that were not sent yet, changes of the others; returns
        how many. Each is remembered once ``send`` has returned: what it raised at is new again.

        ``only``: watched tables; nothing is said of rows of others. ``looked_at_us``: what the
        server's clock showed, where that is not the snapshot's moment.
        """
        looked_at_us = looked_at_us or snapshot.at_us
        items: dict[CatalogKind, list[CatalogItem]] = {kind: [] for kind in snapshot.kinds}
        for item in snapshot.items:
            items[item.kind].append(item)
        whole: dict[CatalogKind, _Kind] = {}
        whole_since_us = None
        changes: dict[tuple[int, int], list[Snapshot]] = {}
        changed: dict[CatalogKind, _Kind] = {}
        for kind in snapshot.kinds:
            known = self._kinds.get(kind)
            now = self._kind(snapshot, items[kind], looked_at_us)
            if known is None or known.hashes is None or now.hashes is None:
                if known is None or known.hashes is not None or known.whole != now.whole:
                    whole[kind] = now
                    before_us = self._looked_before_us
                    since_us = known.looked_at_us if known is not None else before_us
                    whole_since_us = min(since_us, whole_since_us or since_us)
                else:
                    known.looked(looked_at_us, only)
                continue
            change = _change(snapshot, kind, known, now, items[kind], only)
            if change is None:
                known.looked(looked_at_us, only)
                continue
            told, changed[kind] = change
            changes.setdefault((told.base_at_us, told.since_us), []).append(told)
        messages = [
            *_whole(snapshot, tuple(whole), items, whole_since_us or 0),
            *(_together(group) for group in changes.values()),
        ]
        for message in messages:
            send(message)
            self._kinds |= {kind: whole.get(kind) or changed[kind] for kind in message.kinds}
        return len(messages)

    def _kind(self, snapshot: Snapshot, items: list[CatalogItem], looked_at_us: int) -> _Kind:
        if len(items) > self._most:
            whole = hash(tuple(items))
            return _Kind(snapshot.at_us, looked_at_us, None, whole)
        hashes = {_key(snapshot, item): hash((item.value, item.detail)) for item in items}
        return _Kind(snapshot.at_us, looked_at_us, hashes)


def _whole(
    snapshot: Snapshot,
    kinds: tuple[CatalogKind, ...],
    items: dict[CatalogKind, list[CatalogItem]],
    since_us: int,
) -> Iterator[Snapshot]:
    if kinds:
        of_kinds = tuple(item for kind in kinds for item in items[kind])
        yield replace(snapshot, kinds=kinds, items=of_kinds, since_us=since_us)


def _change(
    snapshot: Snapshot,
    kind: CatalogKind,
    known: _Kind,
    looked: _Kind,
    items: list[CatalogItem],
    only: Collection[str] | None,
) -> tuple[Snapshot, _Kind] | None:
    """What to tell, and what is known once it is told."""
    before, now = known.hashes, looked.hashes
    assert before is not None
    assert now is not None
    new = tuple(item for item in items if before.get(key := _key(snapshot, item)) != now[key])
    gone = {key for key in before.keys() - now.keys() if only is None or _is_of(key, only)}
    if not new and not gone:
        return None
    after = {key: value for key, value in before.items() if key not in gone} | now
    told = replace(
        snapshot,
        kinds=(kind,),
        items=new,
        removed=tuple(sorted(_gone(snapshot, kind, key) for key in gone)),
        base_at_us=known.sent_at_us,
        since_us=known.looked_since(only),
    )
    now_known = replace(looked, hashes=after)
    if only is not None:
        now_known = replace(now_known, looked_at_us=known.looked_at_us, tables=dict(known.tables))
        now_known.looked(looked.looked_at_us, only)
    return told, now_known


def _together(changes: list[Snapshot]) -> Snapshot:
    return replace(
        changes[0],
        kinds=tuple(kind for change in changes for kind in change.kinds),
        items=tuple(item for change in changes for item in change.items),
        removed=tuple(key for change in changes for key in change.removed),
    )


def _key(snapshot: Snapshot, item: CatalogItem) -> Key:
    return item.name if item.database == snapshot.database else (item.database, item.name)


def _gone(snapshot: Snapshot, kind: CatalogKind, key: Key) -> CatalogKey:
    database, name = (snapshot.database, key) if isinstance(key, str) else key
    return CatalogKey(kind, database, name)


def _is_of(key: Key, tables: Collection[str]) -> bool:
    return isinstance(key, str) and any(key.startswith(f"{table}[") for table in tables)
