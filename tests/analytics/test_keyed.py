"""State by key: what was put is found, in bounded room, whatever the hash does."""

from __future__ import annotations

import io
import random

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from analytics import keyed

KEYS = {"who": pl.String, "item": pl.String}
VALUES = {"count": pl.Int64, "last_us": pl.Int64}


def rows(*entries: tuple[str, str, int, int]) -> pl.DataFrame:
    return pl.DataFrame(list(entries), schema=KEYS | VALUES, orient="row")


def nothing() -> pl.DataFrame:
    return keyed.empty(KEYS, VALUES)


def filled(count: int, who: str = "w", max_keys: int = 10**9) -> pl.DataFrame:
    entries = [(who, f"item {n}", n, n) for n in range(count)]
    return keyed.put(nothing(), rows(*entries), max_keys)


def as_dict(state: pl.DataFrame) -> dict[tuple[str, str], tuple[int, int]]:
    return {(who, item): (count, at) for who, item, count, at in keyed.entries(state).iter_rows()}


def played(seed: int, steps: int, keys: int, most: int) -> tuple[pl.DataFrame, dict]:
    """Random puts, done to a state and to a dict; every get on the way must agree."""
    dice, state, model = random.Random(seed), nothing(), {}
    for step in range(steps):
        chosen = dice.sample(range(keys), dice.randint(1, most))
        batch = [(f"w{n % 7}", f"item {n}", dice.randrange(1000), step) for n in chosen]
        asked = rows(*batch).select(*KEYS)
        got = keyed.get(state, asked)
        assert got.columns == [*KEYS, *VALUES]
        for who, item, count, at in got.iter_rows():
            assert model.get((who, item), (None, None)) == (count, at)
        state = keyed.put(state, rows(*batch), 10**9)
        model |= {(who, item): (count, at) for who, item, count, at in batch}
    return state, model


@pytest.fixture
def few_hashes(monkeypatch):
    """A hash that does not tell most keys apart."""
    monkeypatch.setattr(
        keyed, "_hash", lambda keys: (pl.struct(keys).hash(1) % 5).alias(keyed.HASH)
    )


def test_a_get_returns_what_was_put_last():
    state, model = played(seed=1, steps=60, keys=300, most=80)
    assert as_dict(state) == model


def test_large_puts_reach_the_base_and_lose_nothing(monkeypatch):
    monkeypatch.setattr(keyed, "RECENT_ROWS", 50)
    state, model = played(seed=2, steps=80, keys=3000, most=200)
    assert as_dict(state) == model
    assert set(state[keyed.LEVEL]) >= {keyed.BASE, keyed.MIDDLE}


def test_keys_of_the_same_hash_stay_apart(few_hashes):
    state, model = played(seed=3, steps=40, keys=60, most=20)
    assert as_dict(state) == model


def test_a_get_keeps_the_order_of_its_rows_and_their_other_columns():
    state = keyed.put(nothing(), rows(("a", "x", 1, 1), ("b", "y", 2, 2)), 10)
    asked = pl.DataFrame(
        {"item": ["y", "?", "x", "y"], "who": ["b", "b", "a", "b"], "row": [4, 3, 2, 1]}
    )
    got = keyed.get(state, asked, ["count"])
    assert got.rows() == [("y", "b", 4, 2), ("?", "b", 3, None), ("x", "a", 2, 1), ("y", "b", 1, 2)]


def test_many_rows_are_found_as_few_are():
    state = filled(20_000)
    asked = keyed.entries(state).sample(fraction=1.0, shuffle=True, seed=5)
    assert_frame_equal(keyed.get(state, asked.select(*KEYS)), asked.select([*KEYS, *VALUES]))


def test_the_empty_state_knows_nothing_and_has_the_columns():
    got = keyed.get(nothing(), rows(("a", "x", 1, 1)).select(*KEYS))
    assert got.rows() == [("a", "x", None, None)]
    assert got.schema["count"] == pl.Int64
    assert keyed.put(nothing(), rows(), 10).is_empty()
    assert keyed.get(filled(3), rows().select(*KEYS)).is_empty()


def test_the_same_content_compacts_to_the_same_frame(few_hashes):
    entries = [(f"w{n % 3}", f"item {n}", n, n) for n in range(40)]
    at_once = keyed.put(nothing(), rows(*entries), 100)
    slowly = nothing()
    for entry in reversed(entries):
        slowly = keyed.put(slowly, rows((*entry[:2], -1, 0)), 100)
        slowly = keyed.put(slowly, rows(entry), 100)
    assert_frame_equal(keyed.compact(at_once), keyed.compact(slowly))


def test_a_put_leaves_the_state_before_it_as_it_was():
    before = filled(500)
    known = as_dict(before)
    keyed.put(before, rows(("w", "item 3", -1, 10**6), ("new", "", 1, 1)), 10**9)
    assert as_dict(before) == known


def test_the_state_is_never_larger_than_its_bound_and_keeps_what_was_used_last():
    state = nothing()
    for n in range(400):
        state = keyed.put(state, rows((f"w{n}", "x", n, n), ("always", "x", n, n)), 50)
        assert state.height <= 50
    kept = as_dict(state)
    assert ("w399", "x") in kept
    assert ("always", "x") in kept
    assert ("w3", "x") not in kept


def test_one_group_does_not_evict_the_others():
    bound = keyed.GroupBound(("who",), 100)
    state = keyed.put(nothing(), rows(*((f"w{n}", "x", 1, n) for n in range(50))), 1000, bound)
    for n in range(0, 20_000, 300):
        flood = [("greedy", f"item {n + k}", 1, 1000 + n + k) for k in range(300)]
        state = keyed.put(state, rows(*flood), 1000, bound)
    kept = as_dict(state)
    assert {who for who, _ in kept} >= {f"w{n}" for n in range(50)}
    assert ("greedy", "item 20099") in kept


def test_a_state_goes_through_a_file():
    state, model = played(seed=4, steps=30, keys=300, most=80)
    file = io.BytesIO()
    state.write_parquet(file, row_group_size=17)
    read = pl.read_parquet(io.BytesIO(file.getvalue()))
    assert_frame_equal(keyed.compact(read), keyed.compact(state))
    assert as_dict(keyed.put(read, rows(("z", "z", 1, 1)), 10**9)) == model | {("z", "z"): (1, 1)}


def test_a_state_that_another_polars_hashed_is_hashed_anew():
    state, model = played(seed=6, steps=30, keys=300, most=80)
    foreign = state.with_columns(pl.col(keyed.HASH).shuffle(1))
    restored = keyed.restored(foreign)
    assert_frame_equal(restored, keyed.compact(state))
    assert as_dict(restored) == model
    asked = pl.DataFrame([*model], schema=KEYS, orient="row")
    assert keyed.get(restored, asked)["count"].null_count() == 0


def test_states_that_nobody_has_any_more_are_forgotten():
    state = keyed.empty({"name": pl.String}, {"last_us": pl.Int64})
    before = len(keyed._remembered)
    for number in range(50):
        rows = pl.DataFrame({"name": [f"name {number % 7}"], "last_us": [number]})
        state = keyed.put(state, rows, 100)
        assert keyed.get(state, rows.select("name"))["last_us"].to_list() == [number]
    assert len(keyed._remembered) == before + 1
