"""Somebody who may write the collector's disk cannot change the record unseen: 1,000 tries each."""

import os
import random
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from collector.heads import Sealing
from collector.merge import merge_small_segments
from collector.store import Store
from tests.collector import ledger_attacks as attacks
from tests.collector.road import START_US
from tests.collector.test_store import batch

TRIES = 1000
SEED = int(os.environ.get("PGWARDEN_SEED", random.randrange(2**32)))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A directory, how it was after each of its heads, and its private key."""
    folder = tmp_path_factory.mktemp("attacked")
    outside = folder / "outside.jsonl"
    data = folder / "data"
    store = Store(data, commit_seconds=0.001, sealing=Sealing(None, outside, 10**6, 10**6))
    store.heads.sign()
    earlier = []
    for sequence in range(1, 46):
        store.segments.commit([batch(sequence, rows=2)])
        if sequence in (5, 12, 30):
            row = {"occurred_at": START_US, "source": "test", "reason": "gap", "count": sequence}
            store.append("losses", [row])
            store.segments.commit(store.segments._waiting.take())
        if sequence == 40:
            assert merge_small_segments(data, store.ledger, "statements", store.damage)
        if sequence % 9 == 0:
            store.heads.sign()
            earlier.append(attacks.read(data, outside))
    store.close()
    whole = attacks.read(data, outside)
    assert whole.verify().problems == []
    assert whole.verify().signed == whole.ledger.count(b"\n")
    key = load_pem_private_key((data / "ledger.key").read_bytes(), None)
    return whole, earlier[:-1], key


def attacked(kept, attack, tries=TRIES):
    whole, earlier, key = kept
    dice = attacks.dice_of(SEED)
    more = {attacks.roll_back: (earlier,), attacks.forge_head: (key,)}.get(attack, ())
    done = 0
    while done < tries:
        changed = attack(whole, dice, *more)
        if changed is None or (changed.ledger, changed.heads, changed.segments) == (
            whole.ledger,
            whole.heads,
            whole.segments,
        ):
            continue
        done += 1
        yield changed


@pytest.mark.parametrize(
    "attack",
    [
        attacks.flip,
        attacks.delete,
        attacks.reorder,
        attacks.truncate,
        attacks.roll_back,
        attacks.forge_head,
        attacks.append,
    ],
)
def test_every_attack_is_detected(kept, attack):
    for number, changed in enumerate(attacked(kept, attack)):
        assert changed.verify().problems, f"{attack.__name__} {number} of seed {SEED}"


def test_without_heads_from_outside_a_whole_rollback_looks_like_an_earlier_day(kept):
    """docs/ledger.md says so: the reason why heads go elsewhere."""
    whole, earlier, _ = kept
    then = replace(earlier[1], outside=None)
    assert then.verify().problems == []
    assert replace(then, outside=whole.outside).verify().problems


def test_every_state_between_seal_and_head_is_an_ordinary_one(kept):
    """A crash leaves a ledger that is ahead of its heads, or half a line of either."""
    whole, _, _ = kept
    lines = whole.ledger.split(b"\n")[:-1]
    heads = whole.heads.split(b"\n")[:-1]
    only_head = replace(whole, heads=b"".join(line + b"\n" for line in heads[:1]), outside=None)
    for size in range(0, len(lines), 3):
        ledger = b"".join(line + b"\n" for line in lines[:size])
        for rest in (b"", lines[size][:10], lines[size]):
            disk = replace(only_head, ledger=ledger + rest)
            found = [p for p in disk.verify().problems if "segments/" not in p]
            assert found == []  # segments were merged since; the chain and the heads are asked
    for cut in range(0, len(whole.heads), 5):
        disk = replace(whole, heads=whole.heads[:cut], outside=None)
        assert disk.verify().problems == [] or cut <= len(heads[0])
