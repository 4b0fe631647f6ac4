"""Without its file drift goes on from the record: nothing becomes accepted or is told twice."""

import pytest

from collector.drift.accepting import Only
from collector.drift.engine import Drift
from collector.drift.rebuilding import rebuilt
from collector.rows import finding_rows
from collector.store import Store
from model.catalog import CatalogItem, CatalogKind, Snapshot
from tests.analytics.streams import START_US
from tests.collector.drift.story import S, frame, ran

TABLE, POLICY, DATABASE = CatalogKind.TABLE, CatalogKind.POLICY, CatalogKind.DATABASE
LISTED = CatalogItem(DATABASE, "", "shop", "owner: bob", "oid 5")
KEPT, LOST = (CatalogItem(TABLE, "shop", name, "owner: bob") for name in ("hr.kept", "hr.lost"))
OTHER = CatalogItem(TABLE, "shop", "hr.kept", "owner: eve")
NEW = CatalogItem(TABLE, "shop", "hr.new", "owner: bob")
FIRST_POLICY = CatalogItem(POLICY, "shop", "hr.kept.p", "using: true")
DONE = [
    ran(2, "alice", "CREATE TABLE hr.new (i int)"),
    ran(3, "bob", "DROP TABLE hr.lost"),
    ran(4, "eve", "ALTER TABLE hr.kept OWNER TO eve"),
]


def seen(second, *items, database="shop"):
    kinds = (TABLE, POLICY, DATABASE)
    at_us = START_US + second * S
    return "host-a", Snapshot(at_us, "5432", database, kinds, (LISTED, *items), "15.4")


class Collector:
    def __init__(self, folder):
        self.folder = folder / "state"
        self.store = Store(folder / "data", commit_seconds=0.01)
        self.store.start()
        self.start()

    def start(self):
        self.drift = Drift(
            self.folder,
            clock_us=lambda: START_US + 50 * S,
            record=lambda now_us: rebuilt(self.store.query, self.store.ledger.seq, now_us),
        )

    def see(self, second, *items, statements=(), database="shop"):
        """What was told of it."""
        frames = {"statements": frame(list(statements))} if statements else {}
        seq = self.store.ledger.seq + 100
        told = [seen(second, *items, database=database)]
        news = [self.drift.on_commit(frames, told, seq, START_US + second * S)]
        news.append(self.drift.tick(START_US + (second + 9) * S))
        for each in news:
            self.store.append("catalog", [
                {"agent": "host-a", "cluster": "5432", "kind": kind.value, "database": database,
                 "occurred_at": START_US + second * S, "op": "covered"}
                for kind in (TABLE, POLICY, DATABASE)
            ])  # fmt: skip
            self.store.append("drift", each.rows)
            self.store.append("catalog_changes", list(each.changes.values()))
            self.store.append("findings", finding_rows(each.findings))
        assert self.store.segments.flush()
        return [row for each in news for row in each.rows], [f for n in news for f in n.findings]

    def open(self):
        rows = self.drift.status().rows
        return {row["name"]: (row["change"], row["actor"], row["outcome"]) for row in rows}


@pytest.fixture
def collector(tmp_path):
    collector = Collector(tmp_path)
    collector.see(0, KEPT, LOST)
    collector.see(6, OTHER, NEW, statements=DONE)
    yield collector
    collector.store.close()


OPEN = {
    "hr.new": ("added", "alice", "attributed"),
    "hr.lost": ("removed", "bob", "attributed"),
    "hr.kept": ("changed", "eve", "attributed"),
}


def lose(collector):
    (collector.folder / "drift.sqlite").unlink()
    collector.start()


def test_what_was_open_is_open_with_who_did_it_and_the_loss_is_said_until_somebody_accepts(
    collector,
):
    assert collector.open() == OPEN
    lose(collector)
    assert collector.open() == OPEN
    rows, findings = collector.see(20, OTHER, NEW)
    assert collector.open() == OPEN
    told = about_the_state(findings)
    assert len(told) == 1
    assert {row["occurred_at"] for row in rows} == {START_US + 6 * S}  # said again, not anew
    collector.start()
    _, findings = collector.see(30, OTHER, NEW)
    assert about_the_state(findings) == told


@pytest.mark.parametrize("lost", [False, True])
def test_of_a_new_database_it_is_still_known_that_nobody_looked_at_it(collector, lost):
    copy = CatalogItem(DATABASE, "", "copy", "owner: bob", "oid 9")
    collector.see(20, copy, CatalogItem(TABLE, "copy", "hr.x", "owner: bob"), database="copy")
    if lost:
        lose(collector)
    news = collector.drift.on_commit({}, [seen(40, OTHER, NEW)], 9_999, START_US + 40 * S)
    assert collector.open() == OPEN
    over = [each for each in news.findings if each.detector == "drift.new_database"]
    assert over[-1].sentence.endswith("since then the database is gone")
    again = seen(60, copy, CatalogItem(TABLE, "copy", "hr.y", "owner: eve"), database="copy")
    collector.drift.on_commit({}, [again], 10_000, START_US + 60 * S)
    assert collector.open().keys() == {*OPEN, "copy"}


def about_the_state(findings):
    return [each for each in findings if each.detector == "drift.state"]


def damage(collector):
    (collector.folder / "drift.sqlite").write_bytes(b"not a database at all" * 100)


def asides(collector):
    return [path.read_bytes() for path in collector.folder.glob("drift.sqlite.damaged-*")]


def test_a_damaged_file_is_kept_under_another_name_and_the_record_goes_on(collector):
    damage(collector)
    collector.start()
    assert collector.open() == OPEN
    assert asides(collector) == [b"not a database at all" * 100]
    _, findings = collector.see(20, OTHER, NEW)
    [told] = about_the_state(findings)
    assert "drift.sqlite.damaged-" in told.sentence
    assert "open differences were taken from the record" in told.sentence
    collector.start()
    assert collector.open() == OPEN
    collector.drift.accept("test", "as it is")
    _, findings = collector.see(30, OTHER, NEW)
    *_, over = about_the_state(findings)
    assert over.id == told.id
    assert over.resolved_at_us
    assert "accepted by test" in over.sentence


def test_a_file_that_goes_bad_under_a_collector_is_written_anew_and_nothing_is_lost(collector):
    collector.drift.accept("test", "as it is", Only(name="hr.lost"))
    damage(collector)
    _, findings = collector.see(20, KEPT, NEW, FIRST_POLICY)
    [told] = about_the_state(findings)
    assert "nothing was lost" in told.sentence
    assert len(asides(collector)) == 1
    opened = collector.open()
    collector.start()
    assert collector.open() == opened
    assert opened.keys() == {"hr.new", "hr.kept.p"}


def test_a_damaged_file_is_told_of_even_where_the_record_knows_nothing(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "drift.sqlite").write_bytes(b"")
    collector = Collector(tmp_path)
    _, findings = collector.see(0, KEPT)
    assert [each.detector for each in findings] == ["drift.state", "drift.baseline"]
    collector.store.close()


def test_what_comes_back_is_resolved_and_what_is_new_is_told_even_of_a_kind_that_had_nothing(
    collector,
):
    lose(collector)
    _, findings = collector.see(20, KEPT, NEW, FIRST_POLICY)
    assert collector.open().keys() == {"hr.new", "hr.lost", "hr.kept.p"}
    assert any(each.resolved_at_us and "hr.kept" in each.sentence for each in findings)


def test_what_was_accepted_stays_accepted(collector):
    collector.drift.accept("test", "as it is")
    collector.see(10, OTHER, NEW)
    lose(collector)
    collector.see(20, OTHER, NEW)
    assert collector.open() == {}


def test_where_nothing_was_ever_recorded_the_first_snapshot_is_the_baseline(tmp_path):
    collector = Collector(tmp_path)
    _, findings = collector.see(0, KEPT)
    assert [each.detector for each in findings] == ["drift.baseline"]
    collector.store.close()


def test_each_part_of_a_difference_keeps_its_actor_out_of_the_record(collector):
    both = CatalogItem(TABLE, "shop", "hr.kept", "owner: eve\npersistence: unlogged")
    did = [{"id": 9} | ran(11, "mallory", "ALTER TABLE hr.kept SET UNLOGGED")]
    collector.see(12, both, NEW, statements=did)
    parts = {
        (row["actor"], row["desired"], row["observed"])
        for row in collector.drift.status().rows
        if row["name"] == "hr.kept"
    }
    assert parts == {
        ("eve", "owner: bob", "owner: eve"),
        ("mallory", "owner: bob", "owner: bob\npersistence: unlogged"),
    }
    lose(collector)
    told = {
        (row["actor"], row["desired"], row["observed"])
        for row in collector.drift.status().rows
        if row["name"] == "hr.kept"
    }
    assert told == parts
    rows, _ = collector.see(20, both, NEW)
    assert not any(row["resolved_at"] for row in rows)


def numbered(name, oid, value="owner: bob"):
    return CatalogItem(TABLE, "shop", name, value, f"oid {oid}")


def test_what_was_renamed_is_known_as_renamed(tmp_path):
    collector = Collector(tmp_path)
    collector.see(0, numbered("hr.wages", 16500))
    did = [ran(2, "alice", "ALTER TABLE hr.wages RENAME TO salary")]
    collector.see(6, numbered("hr.salary", 16500), statements=did)
    before = {drift.key: drift for drift in collector.drift._state.open.values()}
    state = rebuilt(collector.store.query, collector.store.ledger.seq, START_US)
    assert {key: (each.renamed, each.other_value) for key, each in state.open.items()} == {
        key: (each.renamed, each.other_value) for key, each in before.items()
    }
    assert {each.renamed for each in before.values()} == {
        "renamed from hr.wages", "renamed to hr.salary"
    }  # fmt: skip
    collector.store.close()


TWO = "owner: bob\noptions: fillfactor=50\npersistence: unlogged"


@pytest.mark.parametrize("transaction", ["TT", "II"])
def test_other_statements_that_did_some_of_it_are_known(tmp_path, transaction):
    collector = Collector(tmp_path)
    collector.see(0, KEPT)
    did = [
        ran(2, "alice", "ALTER TABLE hr.kept SET UNLOGGED", transaction=transaction),
        ran(3, "alice", "ALTER TABLE hr.kept SET (fillfactor = 50)", transaction=transaction),
        ran(4, "alice", "COMMIT", transaction="TI", tag="COMMIT"),
    ]
    begin = [ran(1, "alice", "BEGIN", transaction="IT")] if transaction == "TT" else []
    collector.see(6, CatalogItem(TABLE, "shop", "hr.kept", TWO), statements=[*begin, *did])
    before = {drift.key: drift.shared_with for drift in collector.drift._state.open.values()}
    state = rebuilt(collector.store.query, collector.store.ledger.seq, START_US)
    assert {key: each.shared_with for key, each in state.open.items()} == before
    assert any(before.values()) is (transaction == "TT")
    collector.store.close()
