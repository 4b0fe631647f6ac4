"""A snapshot on the wire: in ranges of names where it is too large, never silently shortened."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.wire.batch import MAX_PAYLOAD_BYTES, BatchBuilder
from agent.wire.catalog import MAX_VALUE_BYTES, snapshots_to_wire
from agent.wire.messages import escape_name
from model.catalog import CatalogItem, CatalogKey, CatalogKind, Snapshot
from protos.pgwarden.v1 import uplink_pb2 as pb

ROLE, SETTING, TABLE = CatalogKind.ROLE, CatalogKind.SETTING, CatalogKind.TABLE


def of(kinds, items, **words):
    return Snapshot(1, "5432", "shop", tuple(kinds), tuple(items), **words)


def test_small_kinds_travel_in_one_message_empty_ones_included():
    snapshot = of((ROLE, SETTING), [CatalogItem(SETTING, "", "log", "on")], since_us=7)
    [message] = snapshots_to_wire(snapshot, 1000).messages
    assert list(message.kinds) == ["role", "setting"]
    assert [item.name for item in message.items] == ["log"]
    assert (message.first_name, message.end_name, message.cluster_wide) == ("", "", True)
    assert (message.base_at_us, message.since_us) == (0, 7)


def test_a_kind_over_the_limit_comes_in_ranges_and_nothing_is_counted_as_lost():
    items = [CatalogItem(TABLE, "shop", f"s.t{n}", "v" * 900) for n in range(8000)]
    snapshot = of((ROLE, TABLE), [*items, CatalogItem(ROLE, "", "bob", "x")])
    builder = BatchBuilder()
    builder.add_snapshot(snapshot)
    payloads = builder.take()
    assert all(len(payload.body) <= MAX_PAYLOAD_BYTES for payload in payloads)
    sent = [pb.Batch.FromString(payload.body) for payload in payloads]
    assert not [loss for batch in sent for loss in batch.losses]
    messages = [message for batch in sent for message in batch.snapshots]
    assert sum(len(message.items) for message in messages) == 8001
    tables = [message for message in messages if list(message.kinds_in_part) == ["table"]]
    assert len(tables) > 3
    assert all(message.cluster_wide for message in messages)


names = st.text(st.sampled_from('ab\n"é€'), max_size=4)


@given(st.lists(st.tuples(names, st.integers(0, 60)), max_size=30), st.lists(names, max_size=10))
def test_ranges_follow_each_other_and_each_holds_its_own_names_alone(entries, gone):
    items = [CatalogItem(TABLE, "shop", name, "v" * size) for name, size in entries]
    removed = tuple(CatalogKey(TABLE, "shop", name) for name in gone)
    snapshot = of((TABLE,), items, removed=removed, base_at_us=int(bool(removed)))
    messages = snapshots_to_wire(snapshot, 100).messages
    assert messages[0].first_name == ""
    assert messages[-1].end_name == ""
    for message, later in pairwise(messages):
        assert message.end_name == later.first_name != ""
    told = []
    for message in messages:
        for entry in (*message.items, *message.removed):
            told.append(entry.name)
            assert message.first_name <= entry.name
            assert not message.end_name or entry.name < message.end_name
    assert sorted(told) == sorted(
        escape_name(name) for name in [*(name for name, _ in entries), *gone]
    )


def test_a_value_too_long_ends_with_its_length_and_hash_and_is_counted():
    values = ["v" * 300_000 + end for end in "ab"]
    items = [CatalogItem(TABLE, "shop", f"t{n}", value) for n, value in enumerate(values)]
    builder = BatchBuilder()
    builder.add_snapshot(of((TABLE,), items))
    [payload] = builder.take()
    batch = pb.Batch.FromString(payload.body)
    one, other = (item.value for item in batch.snapshots[0].items)
    assert one[:-64] == other[:-64]
    assert one != other
    assert "cut, 300001 bytes, sha256:" in one
    assert len(one.encode()) < MAX_VALUE_BYTES + 200
    assert [(loss.reason, loss.count) for loss in batch.losses] == [("item_cut", 2)]


def test_names_too_long_stay_different_and_a_removed_one_has_the_same_name():
    long = ["n" * 9000 + end for end in "ab"]
    items = [CatalogItem(TABLE, "shop", name, "v") for name in long]
    one, other = snapshots_to_wire(of((TABLE,), items), 10**6).messages[0].items
    assert one.name != other.name
    gone = of((TABLE,), [], removed=(CatalogKey(TABLE, "shop", long[0]),), base_at_us=1)
    assert snapshots_to_wire(gone, 10**6).messages[0].removed[0].name == one.name
