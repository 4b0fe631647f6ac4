"""State by key, large and changed a little by each batch: nothing of it is copied that need not be.

A keyed frame has the columns of its key, then ``hash`` and ``level``, then its values. Its rows lie
in up to three runs, each sorted by hash: the base (level 0), a middle (1) and the recent (2). A row
of a higher level stands for those of the same key below it. ``put`` merges into the recent run; a
run that grew too large is merged into the one below, so most batches never touch the base. Frames
are values here as everywhere: a new state shares the untouched runs with the one before.

The hash only finds rows: whether a row is of the key is decided by the columns of the key. Polars
promises its hash for one release only, so a state from a file goes through ``restored``.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import polars as pl

HASH, LEVEL = "hash", "level"
LEVELS = BASE, MIDDLE, RECENT = 0, 1, 2
SEED = 17
LAST = "last_us"
RECENT_ROWS = 8_192
"""Sorting so many costs less than a search in the base does."""
SHARE_OF_BASE = 4
"""The middle is merged into the base when it is larger than this fraction of it (a quarter)."""
MANY = 4096
"""From so many questions on, sorting them costs less than it saves."""
KEPT_OF_EIGHT = 7
"""Eviction is dear: it leaves so many eighths of ``max_keys``, so as not to be due at once."""

_ORDER = pl.arg_sort_by(HASH, maintain_order=True)
_NOWHERE = pl.Series([None], dtype=pl.get_index_type())

Columns = Mapping[str, pl.DataType | type[pl.DataType]]
Runs = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]
_remembered: dict[int, tuple[weakref.ReferenceType[pl.DataFrame], Runs]] = {}


@dataclass(frozen=True)
class GroupBound:
    """No group of keys, such as those of one identity, takes more than ``max_keys`` of the room.

    ``columns`` are some of the key's. The bound holds after an eviction; until one is due a group
    may use what nobody else needs.
    """

    columns: tuple[str, ...]
    max_keys: int


def empty(key_columns: Columns, value_columns: Columns) -> pl.DataFrame:
    """``value_columns`` include ``last_us``, the time of the last use, where a bound is needed."""
    internal = {HASH: pl.UInt64, LEVEL: pl.UInt8}
    return pl.DataFrame(schema={**key_columns, **internal, **value_columns})


def key_columns(state: pl.DataFrame) -> list[str]:
    return state.columns[: state.columns.index(HASH)]


def value_columns(state: pl.DataFrame) -> list[str]:
    return state.columns[state.columns.index(LEVEL) + 1 :]


def is_keyed(state: pl.DataFrame) -> bool:
    return HASH in state.columns and LEVEL in state.columns


def get(
    state: pl.DataFrame, rows: pl.DataFrame, values: Sequence[str] | None = None
) -> pl.DataFrame:
    """``rows`` in their order, with the state's values (or those named); null where unknown.

    A row may come more than once. Raises polars' DuplicateError when a value's name is taken.
    """
    wanted = value_columns(state) if values is None else list(values)
    if state.is_empty() or rows.is_empty():
        kinds = {name: state.schema[name] for name in wanted}
        return rows.with_columns(pl.lit(None, kind).alias(name) for name, kind in kinds.items())
    return rows.hstack(_found(state, rows, wanted))


def put(
    state: pl.DataFrame,
    rows: pl.DataFrame,
    max_keys: int,
    group: GroupBound | None = None,
) -> pl.DataFrame:
    """The state in which ``rows`` replace those of the same keys; at most ``max_keys`` rows high.

    ``rows`` hold each key once, and every column of key and value. Beyond ``max_keys`` those with
    the lowest ``last_us`` go, first from groups beyond their bound.
    """
    if rows.is_empty():
        return state
    keys = key_columns(state)
    level = pl.lit(RECENT, pl.UInt8).alias(LEVEL)
    fresh = rows.select(*keys, _hash(keys), level, *value_columns(state))
    fresh = fresh[fresh[HASH].arg_sort()]
    after = _settled(*_runs(state), fresh, keys)
    return after if after.height <= max_keys else _evicted(compact(after), max_keys, group)


def compact(state: pl.DataFrame) -> pl.DataFrame:
    """One run, each key once: the same content gives the same frame."""
    keys = key_columns(state)
    base, middle, recent = _runs(state)
    whole = _merged(_merged(base, middle, BASE, keys), recent, BASE, keys)
    return _keys_in_order(whole, keys)


def entries(state: pl.DataFrame) -> pl.DataFrame:
    """Keys and values alone, each key once. Costs as much as the state is large."""
    return compact(state).drop(HASH, LEVEL)


def restored(state: pl.DataFrame) -> pl.DataFrame:
    """A state from a file, fit for use: hashed anew where another Polars had hashed it."""
    keys = key_columns(state)
    hashed = state.select(_hash(keys)).to_series()
    if not (state[HASH] == hashed).all():
        unsorted = state.with_columns(hashed)
        state = pl.concat(
            run.sort(HASH, maintain_order=True)
            for run in (unsorted.filter(pl.col(LEVEL) == level) for level in LEVELS)
        )
    return compact(state)


def _hash(keys: Sequence[str]) -> pl.Expr:
    return _hash_of(tuple(keys))


@cache
def _hash_of(keys: tuple[str, ...]) -> pl.Expr:
    return pl.struct(keys).hash(SEED).alias(HASH)


def _runs(state: pl.DataFrame) -> Runs:
    """Base, middle and recent; they share the state's memory."""
    remembered = _remembered.get(id(state))
    if remembered is not None and remembered[0]() is state:
        return remembered[1]
    columns = [column.get_chunks() for column in state.get_columns()]
    parts = [
        first.to_frame().hstack(others)
        for first, *others in zip(*columns, strict=False)
        if len({len(first), *map(len, others)}) == 1
    ]
    levels = [(part[LEVEL][0], part[LEVEL][-1]) for part in parts if part.height]
    cut_elsewhere = any(first != last for first, last in levels) or levels != sorted(set(levels))
    if cut_elsewhere or sum(part.height for part in parts) != state.height:
        parts = [state.filter(pl.col(LEVEL) == level).rechunk() for level in LEVELS]
    by_level = {part[LEVEL][0]: part for part in parts if part.height}
    base, middle, recent = (by_level.get(level, state.clear()) for level in LEVELS)
    _remember(state, (base, middle, recent))
    return base, middle, recent


def _remember(state: pl.DataFrame, runs: Runs) -> None:
    """As long as ``state`` lives. Cutting it again would give the same runs, but Polars measures
    all texts of a column that it picks rows from, once for each new cut of it."""
    key = id(state)
    known = _remembered  # the name is gone already when the interpreter ends
    known[key] = weakref.ref(state, lambda _: known.pop(key, None)), runs


def _settled(
    base: pl.DataFrame,
    middle: pl.DataFrame,
    recent: pl.DataFrame,
    fresh: pl.DataFrame,
    keys: Sequence[str],
) -> pl.DataFrame:
    """``fresh`` is sorted by hash."""
    recent = _merged(recent, fresh, RECENT, keys)
    if recent.height > RECENT_ROWS:
        middle, recent = _merged(middle, recent, MIDDLE, keys), recent.clear()
        if middle.height * SHARE_OF_BASE > base.height:
            base, middle = _merged(base, middle, BASE, keys), middle.clear()
    # A frame of its own: Polars gives a single part back as it is, and what is remembered of a
    # state must not keep it alive.
    state = pl.concat([run for run in (base, middle, recent) if run.height], rechunk=False).clone()
    _remember(state, (base, middle, recent))
    return state


def _merged(
    below: pl.DataFrame, above: pl.DataFrame, level: int, keys: Sequence[str]
) -> pl.DataFrame:
    """One run of both, in which rows of ``above`` have replaced those of ``below``."""
    if below.is_empty() or above.is_empty():
        return _at_level(above if below.is_empty() else below, level)
    # One chunk first: picking rows out of several is many times dearer.
    both = pl.concat([below, above], rechunk=True)
    # Stable, so a row of above comes after the row of below that it replaces.
    order = both.select(_ORDER).to_series()
    hashes = both[HASH][order]
    same = hashes[:-1] == hashes[1:]
    if same.any():
        at = same.arg_true()
        if not _equal(both[keys][order[at]], both[keys][order[at + 1]], keys).all():
            ordered = both[order].unique(keys, keep="last", maintain_order=True)
            return _at_level(ordered, level)
        order = order.filter((~same).append(pl.Series([True])))
    return _at_level(both[order], level)


def _at_level(run: pl.DataFrame, level: int) -> pl.DataFrame:
    """In one piece."""
    if run.is_empty() or (run[LEVEL][0] == level == run[LEVEL][-1]):
        return run.rechunk()
    return run.with_columns(pl.lit(level, pl.UInt8).alias(LEVEL)).rechunk()


def _equal(left: pl.DataFrame, right: pl.DataFrame, keys: Sequence[str]) -> pl.Series:
    """Row by row. Keys are never null: detectors work on prepared columns."""
    first, *others = keys
    equal = left[first] == right[first]
    for name in others:
        equal = equal & (left[name] == right[name])
    return equal


def _found(state: pl.DataFrame, rows: pl.DataFrame, wanted: Sequence[str]) -> pl.DataFrame:
    keys = key_columns(state)
    hashes = rows.select(_hash(keys)).to_series()
    choice = _NOWHERE.new_from_index(0, rows.height)
    offset = 0
    runs = [run for run in _runs(state) if run.height]
    for run, at in zip(runs, _search([run[HASH] for run in runs], hashes), strict=True):
        alike = run[HASH][at] == hashes
        if alike.any():
            if not _same_keys(run, at, rows, alike, keys):
                return _found_among_collisions(state, rows, wanted)
            choice = (at + offset if offset else at).zip_with(alike, choice)
        offset += run.height
    return state[list(wanted)][choice]


def _same_keys(
    run: pl.DataFrame, at: pl.Series, rows: pl.DataFrame, alike: pl.Series, keys: Sequence[str]
) -> bool:
    """Whether rows of the same hash have the same key."""
    asked = rows[list(keys)]
    if not alike.all():
        at, asked = at.filter(alike), asked.filter(alike)
    return all((run[name][at] == asked[name]).all() for name in keys)


def _found_among_collisions(
    state: pl.DataFrame, rows: pl.DataFrame, wanted: Sequence[str]
) -> pl.DataFrame:
    """Two keys of one hash: so rare that it may look at all of them."""
    keys = key_columns(state)
    known = compact(state).select(*keys, *wanted)
    return rows.select(keys).join(known, on=keys, how="left", maintain_order="left").select(wanted)


def _search(runs: Sequence[pl.Series], hashes: pl.Series) -> list[pl.Series]:
    """Where each hash is in each of the sorted ``runs``, or some other row where it is not."""
    asked = pl.lit(hashes)
    # Questions in order meet the same part of memory one after the other.
    order = pl.lit(hashes.arg_sort()) if len(hashes) >= MANY else None
    if order is not None:
        asked, back = asked.gather(order), order.arg_sort()
    places = (
        pl.lit(run).search_sorted(asked).clip(upper_bound=len(run) - 1).alias(str(number))
        for number, run in enumerate(runs)
    )
    found = pl.select(places if order is None else [each.gather(back) for each in places])
    return found.get_columns()


def _keys_in_order(whole: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Keys of one hash, if there are any, sorted; every column in one piece."""
    hashes = whole[HASH]
    if whole.height > 1 and (hashes[:-1] == hashes[1:]).any():
        whole = whole.sort(HASH, *keys)
    return _at_level(whole, BASE).rechunk()


def _evicted(whole: pl.DataFrame, max_keys: int, group: GroupBound | None) -> pl.DataFrame:
    if whole.height <= max_keys:
        return whole
    if group is not None:
        whole = _within_bound(whole, group)
    room = max(1, max_keys * KEPT_OF_EIGHT // 8)
    return _latest(whole, room)


def _latest(whole: pl.DataFrame, room: int) -> pl.DataFrame:
    if whole.height <= room:
        return whole
    order = whole.select(pl.arg_sort_by(LAST, descending=True, maintain_order=True)).to_series()
    return whole[order[:room].sort()]


def _within_bound(whole: pl.DataFrame, group: GroupBound) -> pl.DataFrame:
    greedy = (
        whole.group_by(group.columns)
        .len("members")
        .filter(pl.col("members") > group.max_keys)
        .drop("members")
    )
    if greedy.is_empty():
        return whole
    theirs = (
        whole.with_row_index("at")
        .join(greedy, on=group.columns, how="semi", maintain_order="left")
        .filter(pl.col(LAST).rank("ordinal", descending=True).over(group.columns) > group.max_keys)
    )
    gone = pl.int_range(pl.len()).is_in(theirs["at"].implode())
    return whole.filter(~gone)
