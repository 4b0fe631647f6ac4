"""Snapshots from the agent's memory over the wire into drift: whatever is lost, repeated or comes
in another order, nothing is told that never was, and a whole snapshot puts all right."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.catalog.sent import Sent
from agent.wire.catalog import snapshots_to_wire
from collector.catalog_rows import snapshots_of
from collector.drift.baseline import (
    EVERYTHING,
    Fact,
    Known,
    NameRange,
    Outcome,
    Part,
    apply,
    scopes,
)
from collector.drift.engine import Drift
from collector.drift.waiting import Source
from collector.intake import decode_batch
from model.catalog import CatalogItem, CatalogKind, Snapshot
from protos.pgwarden.v1 import uplink_pb2 as pb
from tests.collector.drift.story import BEFORE_US, frame, ran

ROLE, TABLE, PRIVILEGE = CatalogKind.ROLE, CatalogKind.TABLE, CatalogKind.PRIVILEGE
KINDS = (PRIVILEGE, ROLE, TABLE)
SECOND = 1_000_000
START_US = 1_790_000_000 * SECOND


def snapshot(at, tree, version="15.4"):
    """``tree``: (kind, database, name) -> value."""
    items = [CatalogItem(*key, value) for key, value in sorted(tree.items())]
    return Snapshot(
        START_US + at * SECOND, "5432", "shop", KINDS, tuple(items), version, cluster_wide=True
    )


def decoded(messages):
    batch = pb.Batch(epoch=1, sequence=1, strings=[""], snapshots=messages)
    return decode_batch(pb.Batch.FromString(batch.SerializeToString()), "host-a")


def take(memory, snap, only=None):
    told = []
    assert memory.tell(snap, told.append, only) == len(told)
    return told


def sent(memory, snap, limit=200):
    """What arrives if nothing is lost: each part a batch of its own."""
    parts = [
        each for told in take(memory, snap) for each in snapshots_to_wire(told, limit).messages
    ]
    return [decoded([part]) for part in parts]


def observed(drift):
    """(kind, database, name) -> value, as the collector believes it now."""
    return {
        (scope.kind, scope.database, name): fact.value
        for scope, known in drift._state.known.items()
        for name, fact in known.observed.items()
    }


MEMORY = Path("/dev/shm")


@contextmanager
def new_drift(**words) -> Iterator[Drift]:
    """Its state in memory: it is written after each message, and the disk is not what is tested."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Drift(Path(folder), **words)


keys = st.one_of(
    st.tuples(st.just(ROLE), st.just(""), st.sampled_from("abc")),
    st.tuples(st.just(PRIVILEGE), st.sampled_from(["", "shop"]), st.sampled_from("pqr")),
    st.tuples(st.just(TABLE), st.just("shop"), st.sampled_from([f"s.t{n}" for n in range(8)])),
)
values = st.sampled_from(["x", "y" * 90])
trees = st.lists(st.dictionaries(keys, values, max_size=10), min_size=2, max_size=8)


@settings(max_examples=40, deadline=None)
@given(trees)
def test_without_loss_the_collector_knows_each_state_exactly(history):
    memory, seq = Sent(), 0
    with new_drift() as drift:
        for at, tree in enumerate(history):
            for arrived in sent(memory, snapshot(at, tree)):
                seq += 1
                drift.on_commit(arrived.frames, arrived.snapshots, seq, at * SECOND)
            assert observed(drift) == tree
        assert drift.tick(10**9 * SECOND).wanted == []


@settings(max_examples=60, deadline=None)
@given(trees, st.data())
def test_whatever_is_lost_repeated_or_late_nothing_is_told_that_never_was(history, data):
    memory = Sent()
    arrivals = [each for at, tree in enumerate(history)
                for each in sent(memory, snapshot(at, tree))]  # fmt: skip
    fates = data.draw(st.lists(st.sampled_from([0, 1, 1, 1, 2]), min_size=len(arrivals)))
    arrivals = [a for a, n in zip(arrivals, fates, strict=False) for _ in range(n)]
    for place in data.draw(st.lists(st.integers(0, max(0, len(arrivals) - 2)), max_size=4)):
        arrivals[place : place + 2] = reversed(arrivals[place : place + 2])
    with new_drift(attribution_seconds=0) as drift:
        for seq, arrived in enumerate(arrivals, 1):
            news = drift.on_commit(arrived.frames, arrived.snapshots, seq, seq * SECOND)
            for row in news.changes.values():
                at = (row["occurred_at"] - START_US) // SECOND
                key = CatalogKind(row["kind"]), row["database"], row["name"]
                assert history[at].get(key, "") == row["after"], "it was not so at that moment"
                assert (row["change"] == "removed") == (key not in history[at])
        # The collector asks, the agent forgets what it sent, and a whole one comes.
        for seq, arrived in enumerate(sent(Sent(), snapshot(len(history), history[-1])), 10**6):
            drift.on_commit(arrived.frames, arrived.snapshots, seq, 10**4 * SECOND)
        assert observed(drift) == history[-1]
        assert drift.tick(10**5 * SECOND).wanted == []


@settings(max_examples=40, deadline=None)
@given(trees, st.integers(1, 400))
def test_a_replay_from_stored_rows_says_what_the_messages_said(history, limit):
    memory = Sent()
    arrived = [each for at, tree in enumerate(history)
               for each in sent(memory, snapshot(at, tree), limit)]  # fmt: skip
    frames = pl.concat([each.frames["catalog"] for each in arrived])
    rows = frames.with_columns(pl.col("occurred_at").dt.epoch("us")).to_dicts()
    assert snapshots_of(rows) == [pair for each in arrived for pair in each.snapshots]


def test_a_change_says_when_it_was_looked_before_and_names_what_is_gone():
    memory = Sent()
    take(memory, snapshot(1, {(ROLE, "", "a"): "x", (TABLE, "shop", "s.t"): "x"}))
    memory.unchanged(KINDS, START_US + 5 * SECOND)
    [change] = take(memory, snapshot(6, {(TABLE, "shop", "s.t"): "y"}))
    assert change.kinds == (ROLE, TABLE)
    assert [(item.name, item.value) for item in change.items] == [("s.t", "y")]
    assert [key.name for key in change.removed] == ["a"]
    assert change.base_at_us == START_US + SECOND
    assert change.since_us == START_US + 5 * SECOND
    assert take(memory, snapshot(7, {(TABLE, "shop", "s.t"): "y"})) == []


def test_a_kind_with_too_many_items_to_remember_is_sent_whole_when_it_changed():
    memory = Sent(most=2)
    tree = {(TABLE, "shop", f"s.t{n}"): "x" for n in range(3)}
    take(memory, snapshot(1, tree))
    assert take(memory, snapshot(2, tree)) == []
    [whole] = take(memory, snapshot(3, tree | {(TABLE, "shop", "s.t1"): "y"}))
    assert (whole.kinds, whole.base_at_us, len(whole.items)) == ((TABLE,), 0, 3)


def test_only_the_rows_of_the_watched_table_that_was_read_can_be_gone():
    watched = CatalogKind.WATCHED

    def rows(at, *names):
        items = tuple(CatalogItem(watched, "shop", name, "v") for name in names)
        return Snapshot(at, "5432", "shop", (watched,), items)

    memory = Sent()
    take(memory, rows(1, "flags[1]", "flags[2]", "models[1]"))
    [change] = take(memory, rows(2, "flags[2]", "flags[3]"), only={"flags"})
    assert [item.name for item in change.items] == ["flags[3]"]
    assert [key.name for key in change.removed] == ["flags[1]"]
    [change] = take(memory, rows(3, "flags[2]", "flags[3]"))
    assert [key.name for key in change.removed] == ["models[1]"]


def test_a_change_without_its_base_waits_and_its_agent_is_asked_and_asked_again(tmp_path):
    drift, memory = Drift(tmp_path), Sent()
    base = {(TABLE, "shop", "s.t"): "x"}
    [whole] = sent(memory, snapshot(0, base), 10**6)
    drift.on_commit(whole.frames, whole.snapshots, 1, 0)
    sent(memory, snapshot(1, {(TABLE, "shop", "s.t"): "y"}))
    [later] = sent(memory, snapshot(2, {(TABLE, "shop", "s.t"): "z"}))
    news = drift.on_commit(later.frames, later.snapshots, 2, 2 * SECOND)
    shop = Source("host-a", "5432", "shop")
    assert (observed(drift), news.wanted) == (base, [shop])
    assert drift.tick(3 * SECOND).wanted == []
    assert drift.tick(70 * SECOND).wanted == [shop]
    for arrived in sent(Sent(), snapshot(3, {}), 10**6):
        drift.on_commit(arrived.frames, arrived.snapshots, 3, 71 * SECOND)
    assert (observed(drift), drift.tick(10**4 * SECOND).wanted) == ({}, [])


def test_a_snapshot_of_which_a_part_is_missing_is_asked_for_after_a_while(tmp_path):
    drift = Drift(tmp_path)
    tree = {(TABLE, "shop", f"s.t{n}"): "x" * 80 for n in range(6)}
    parts = sent(Sent(), snapshot(0, tree))
    for seq, arrived in enumerate([*parts[:2], *parts[3:]], 1):
        news = drift.on_commit(arrived.frames, arrived.snapshots, seq, 0)
        assert news.wanted == []
    assert drift.tick(61 * SECOND).wanted == [Source("host-a", "5432", "shop")]
    # And by a collector that was started since.
    assert Drift(tmp_path).tick(0).wanted == [Source("host-a", "5432", "shop")]


def test_nobody_can_accept_what_never_came(tmp_path):
    drift, memory = Drift(tmp_path, accept_first=False, attribution_seconds=0), Sent()
    tree = {(TABLE, "shop", f"s.t{n}"): "x" * 80 for n in range(6)}
    take(memory, snapshot(0, tree))
    [change] = sent(memory, snapshot(1, tree | {(ROLE, "", "bob"): "x"}), 10**6)
    drift.on_commit(change.frames, change.snapshots, 1, 0)
    parts = sent(Sent(), snapshot(2, tree))
    for seq, arrived in enumerate(parts[:2], 2):
        drift.on_commit(arrived.frames, arrived.snapshots, seq, 0)
    drift.accept("anna", "too early")
    for seq, arrived in enumerate(parts[2:], 4):
        drift.on_commit(arrived.frames, arrived.snapshots, seq, 0)
    assert drift.tick(100 * SECOND).rows == []
    drift.accept("anna", "now")
    assert drift.status().has_baseline


def test_a_baseline_is_not_taken_from_half_a_snapshot(tmp_path):
    drift = Drift(tmp_path, attribution_seconds=0)
    tree = {(TABLE, "shop", f"s.t{n}"): "x" * 80 for n in range(6)}
    for seq, arrived in enumerate(sent(Sent(), snapshot(0, tree)), 1):
        news = drift.on_commit(arrived.frames, arrived.snapshots, seq, seq * SECOND)
        assert news.rows == []
    assert drift.tick(100 * SECOND).rows == []
    assert drift.status().has_baseline


def test_an_agent_of_an_older_release_still_works(tmp_path):
    """It names neither bases nor ranges, and cuts a large kind into parts without kinds."""

    def old(at, names, kinds=("role", "privilege")):
        items = [pb.CatalogItem(kind="role", name=name, value="x") for name in names]
        return pb.Snapshot(
            at_us=START_US + at, cluster="5432", database="shop", kinds=kinds, items=items
        )  # fmt: skip

    drift = Drift(tmp_path)
    drift.on_commit({}, decoded([old(0, "ab")]).snapshots, 1, 0)
    assert {scope.database for scope in drift._state.known} == {"", "shop"}
    arrived = decoded([old(1, "b"), old(1, "zz", kinds=())])
    drift.on_commit(arrived.frames, arrived.snapshots, 2, 0)
    assert observed(drift) == {(ROLE, "", "b"): "x"}
    rows = arrived.frames["catalog"].with_columns(pl.col("occurred_at").dt.epoch("us")).to_dicts()
    replayed = Drift(tmp_path / "other")
    replayed.on_commit({}, snapshots_of(rows), 1, 0)
    assert observed(replayed) == {(ROLE, "", "b"): "x"}


@given(
    st.lists(st.tuples(st.sampled_from(["", "d", "m", "t"]), st.sampled_from(["", "d", "m", "t"]))),
    st.dictionaries(st.sampled_from("abdemnstz"), st.sampled_from("xy")),
)
def test_a_scope_is_complete_once_all_names_were_covered_in_whatever_order(pairs, tree):
    facts = {name: Fact(value, "") for name, value in tree.items()}
    known = Known(None, {"old": Fact("o", "")}, 1)
    for first, end in pairs:
        names = NameRange(first, end)
        if end and end <= first:
            continue
        items = {name: fact for name, fact in facts.items() if names.has(name)}
        apply(known, Part(5, 0, 0, names, items, frozenset()))
        assert all(known.observed.get(name) == facts.get(name)
                   for name in "abdemnstz" if names.has(name))  # fmt: skip
    apply(known, Part(5, 0, 0, EVERYTHING, facts, frozenset()))
    assert known.complete
    assert known.observed == facts
    assert apply(known, Part(5, 0, 0, EVERYTHING, {}, frozenset())) is Outcome.OLD


def test_rows_of_changes_stay_with_drift_until_the_store_has_them(tmp_path):
    drift, memory = Drift(tmp_path), Sent()
    [arrived] = sent(memory, snapshot(0, {(ROLE, "", "a"): "x"}), 10**6)
    news = drift.on_commit(arrived.frames, arrived.snapshots, 1, 7)
    [(number, row)] = news.changes.items()
    assert (row["change"], row["after"], row["known_at"]) == ("added", "x", 7)
    assert Drift(tmp_path).tick(8).changes == {number: row}
    drift.changes_settled([number], durable=False)
    assert drift.tick(9).changes == {number: row}
    drift.changes_settled([number], durable=True)
    assert drift.tick(10).changes == {}
    assert Drift(tmp_path).tick(11).changes == {}


def test_a_database_that_the_server_no_longer_lists_takes_all_in_it_along(tmp_path):
    drift = Drift(tmp_path, attribution_seconds=0)
    databases = CatalogKind.DATABASE

    def listed(at, *names):
        items = tuple(CatalogItem(databases, "", name, "owner: bob") for name in names)
        return Snapshot(START_US + at, "5432", "postgres", (databases,), items, "15.4")

    def inside(at, *names):
        items = tuple(CatalogItem(TABLE, 'Odd "db', name, "x") for name in names)
        return Snapshot(START_US + at, "5432", 'Odd "db', (TABLE,), items, "15.4")

    for at, snap in enumerate([listed(0, "postgres", '"Odd ""db"'), inside(1, "s.a", "s.b")], 1):
        drift.on_commit({}, [("host-a", snap)], at, at)
    news = drift.on_commit({}, [("host-a", listed(5, "postgres", '"Odd ""db"'))], 3, 3)
    assert news.changes == {}
    news = drift.on_commit({}, [("host-a", listed(6, "postgres"))], 4, 4)
    assert {(row["name"], row["change"]) for row in news.changes.values()} == {
        ('"Odd ""db"', "removed"), ("s.a", "removed"), ("s.b", "removed"),
    }  # fmt: skip
    # It is made anew: whatever is in it is new.
    drift.on_commit({}, [("host-a", listed(7, "postgres", '"Odd ""db"'))], 5, 5)
    drift.on_commit({}, [("host-a", inside(8, "s.a", "s.b"))], 6, 6)
    assert len(observed(drift)) == 4


@pytest.mark.parametrize("sql", ["DROP DATABASE shop", "ALTER DATABASE shop RENAME TO dw"])
def test_a_database_that_somebody_took_is_one_finding_with_all_that_was_in_it(tmp_path, sql):
    drift = Drift(tmp_path)
    databases, kinds = CatalogKind.DATABASE, (TABLE, CatalogKind.POLICY, CatalogKind.PRIVILEGE)

    def listed(at, *names):
        items = tuple(CatalogItem(databases, "", name, "owner: bob") for name in names)
        return Snapshot(BEFORE_US + at, "5432", "postgres", (databases,), items, "15.4")

    names = ("hr.t", "hr.t.own", "table:hr.t<-etl")
    items = [CatalogItem(*each, "x") for each in zip(kinds, ["shop"] * 3, names, strict=True)]
    inside = Snapshot(
        BEFORE_US + 1, "5432", "shop", kinds, tuple(items), "15.4", cluster_wide=False
    )
    for seq, snap in enumerate([listed(0, "postgres", "shop"), inside], 1):
        drift.on_commit({}, [("host-a", snap)], seq, seq)
    rows = frame([ran(5, "alice", sql, database="postgres")])
    news = drift.on_commit(
        {"statements": rows}, [("host-a", listed(6_000_000, "postgres"))], 3, 6_000_000
    )
    assert {(row["name"], row["actor"]) for row in news.rows} == {
        (name, "alice") for name in ("shop", *names)
    }
    assert len(news.findings) == 1


SETTING, BUILT_IN, FILE = CatalogKind.SETTING, "default", "configuration file postgresql.conf:7"


def settings_at(at, version, **values):
    items = [CatalogItem(SETTING, "", name, *fact) for name, fact in values.items()]
    return Snapshot(START_US + at, "5432", "shop", (SETTING,), tuple(items), version)


def test_another_major_version_is_one_finding_with_all_that_came_along(tmp_path):
    drift = Drift(tmp_path, attribution_seconds=0)
    old = {f"old_{n}": ("1", BUILT_IN) for n in range(50)}
    new = {f"new_{n}": ("2", BUILT_IN) for n in range(400)}
    base = {"vacuum_cost_limit": ("200", BUILT_IN), "work_mem": ("4MB", FILE)}
    drift.on_commit({}, [("host-a", settings_at(0, "15.4", **base, **old))], 1, 0)
    after = base | {"vacuum_cost_limit": ("300", BUILT_IN), "work_mem": ("64MB", FILE)}
    snap = settings_at(5, "16.1 (Debian)", **after, **new)
    news = drift.on_commit({}, [("host-a", snap)], 2, 1)
    [upgraded, changed] = news.findings
    assert upgraded.title == "Server 5432 upgraded 15 -> 16"
    assert len(dict(upgraded.details)["consequences"].splitlines()) == 451
    assert [row["name"] for row in news.rows] == ["work_mem"]
    assert "work_mem is 64MB" in changed.sentence
    # From then on the new defaults are what is accepted, and a minor version is no matter.
    again = settings_at(9, "16.2", **after | {"vacuum_cost_limit": ("301", FILE)}, **new)
    news = drift.on_commit({}, [("host-a", again)], 3, 2)
    assert [(row["name"], row["desired"]) for row in news.rows] == [("vacuum_cost_limit", "300")]
    drift.accept("anna", "reviewed")
    ended = [each for each in drift.tick(10).findings if each.detector == "drift.server"]
    assert [bool(each.resolved_at_us) for each in ended] == [True]


@pytest.mark.parametrize(
    ("kind", "name", "folded"),
    [
        (ROLE, "pg_maintain", True),
        (ROLE, "mallory", False),
        (CatalogKind.MEMBERSHIP, "pg_monitor<-pg_new", True),
        (CatalogKind.MEMBERSHIP, "pg_monitor<-mallory", False),
        (PRIVILEGE, "function:pg_catalog.pg_new(oid)<-pg_monitor", True),
        (PRIVILEGE, "schema:pg_catalog<-PUBLIC", True),
        (PRIVILEGE, "table:hr.salary<-PUBLIC", False),
        (TABLE, "hr.salary", False),
        (SETTING, "work_mem@bob", False),
    ],
)
def test_only_what_is_built_in_comes_along(tmp_path, kind, name, folded):
    drift = Drift(tmp_path, attribution_seconds=0)
    database = "shop" if kind in (TABLE, PRIVILEGE) else ""

    def of(at, version, *items):
        return Snapshot(START_US + at, "5432", "shop", (kind,), items, version)

    drift.on_commit({}, [("host-a", of(0, "15.4"))], 1, 0)
    new = CatalogItem(kind, database, name, "x", "")
    news = drift.on_commit({}, [("host-a", of(1, "16.0", new))], 2, 1)
    assert [row["name"] for row in news.rows] == ([] if folded else [name])
    assert len([each for each in news.findings if each.detector == "drift.server"]) == 1


def test_scopes_of_a_part_are_known_without_its_roles():
    whole = snapshot(0, {(PRIVILEGE, "", "p"): "x", (PRIVILEGE, "shop", "q"): "x" * 300})
    [first, *_] = [message for message in snapshots_to_wire(whole, 100).messages
                   if list(message.kinds_in_part) == ["privilege"]]  # fmt: skip
    [(agent, told)] = decoded([first]).snapshots
    assert {(scope.kind, scope.database) for scope in scopes(agent, told)} == {
        (PRIVILEGE, ""), (PRIVILEGE, "shop"),
    }  # fmt: skip


def test_what_could_not_be_sent_is_told_with_the_next_look():
    memory, tree = Sent(), {(ROLE, "", "a"): "x"}

    def refuse(_):
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        memory.tell(snapshot(1, tree), refuse)
    [whole] = take(memory, snapshot(2, tree))
    assert whole.base_at_us == 0
    with pytest.raises(OSError, match="full"):
        memory.tell(snapshot(3, tree | {(ROLE, "", "b"): "y"}), refuse)
    [change] = take(memory, snapshot(4, tree | {(ROLE, "", "b"): "y"}))
    assert [item.name for item in change.items] == ["b"]
    assert (change.base_at_us, change.since_us) == (whole.at_us, whole.at_us)
