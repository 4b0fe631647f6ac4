"""A database that gets another name is the same one: its contents keep what is known of them."""

import pytest

from collector.drift.accepting import Only
from collector.drift.engine import Drift
from model.catalog import CatalogItem, CatalogKind, Snapshot
from tests.analytics.streams import START_US
from tests.collector.drift.story import S, actor_of, frame, ran

DATABASE, TABLE = CatalogKind.DATABASE, CatalogKind.TABLE
RENAME = ran(5, "alice", "ALTER DATABASE shop RENAME TO store", database="postgres")


class Server:
    def __init__(self, folder):
        self.folder = folder
        self.seq = 0
        self.drift = Drift(folder)

    def see(self, second, *snapshots, statements=()):
        self.seq += 1
        frames = {"statements": frame(list(statements), first_id=100 * self.seq)}
        sent = [("host-a", snapshot) for snapshot in snapshots]
        return self.drift.on_commit(
            frames if statements else {}, sent, self.seq, START_US + second * S
        )

    def open(self):
        return {(row["database"], row["name"]): row["actor"] for row in self.drift.status().rows}


def listed(second, **databases):
    items = tuple(
        CatalogItem(DATABASE, "", name, "owner: bob", f"oid {oid}")
        for name, oid in {"postgres": 5, **databases}.items()
    )
    return Snapshot(START_US + second * S, "5432", "postgres", (DATABASE,), items, "15.4")


def inside(second, database, *tables):
    items = tuple(CatalogItem(TABLE, database, name, "owner: bob") for name in tables)
    return Snapshot(
        START_US + second * S, "5432", database, (TABLE,), items, "15.4", cluster_wide=False
    )


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    server.see(0, listed(0, shop=16384), inside(0, "shop", "hr.t"))
    return server


def test_only_its_name_is_a_difference(server):
    server.see(6, listed(6, store=16384), inside(6, "store", "hr.t"), statements=[RENAME])
    server.drift.tick(START_US + 20 * S)
    assert server.open() == {("", "shop"): "alice", ("", "store"): "alice"}


def test_what_is_other_in_it_afterwards_is_told_with_who_did_it_under_either_name(server):
    before = ran(4, "bob", "CREATE TABLE hr.early (i int)", database="shop")
    after = ran(5.5, "eve", "CREATE TABLE hr.late (i int)", database="store")
    found = inside(6, "store", "hr.t", "hr.early", "hr.late")
    server.see(6, listed(6, store=16384), found, statements=[before, RENAME, after])
    server.drift.tick(START_US + 20 * S)
    assert server.open() == {
        ("", "shop"): "alice", ("", "store"): "alice",
        ("store", "hr.early"): "bob", ("store", "hr.late"): "eve",
    }  # fmt: skip


def test_what_was_open_is_open_under_the_new_name_and_resolved_when_it_ends(server):
    made = ran(1, "bob", "CREATE TABLE hr.new (i int)", database="shop")
    server.see(2, inside(2, "shop", "hr.t", "hr.new"), statements=[made])
    server.drift.tick(START_US + 4 * S)
    news = server.see(6, listed(6, store=16384), statements=[RENAME])
    told = {row["database"]: row for row in news.rows if row["name"] == "hr.new"}
    assert told["shop"]["resolved_at"] == START_US + 6 * S
    assert told["store"]["resolved_at"] is None
    assert told["store"]["actor"] == "bob"
    again = Drift(server.folder)
    news = again.on_commit(
        {}, [("host-a", inside(9, "store", "hr.t"))], server.seq + 1, START_US + 9 * S
    )
    assert [row["outcome"] for row in news.rows if row["name"] == "hr.new" and row["resolved_at"]]
    assert [each for each in news.findings if "hr.new" in each.sentence and each.resolved_at_us]


def test_two_databases_that_change_places_change_them_with_all_that_is_in_them(server):
    server.see(1, listed(1, shop=16384, next=16385), inside(1, "next", "hr.other"))
    server.drift.tick(START_US + 4 * S)
    server.drift.accept("test", "as it is")
    swapped = listed(6, last=16384, shop=16385)
    server.see(6, swapped, inside(6, "last", "hr.t"), inside(6, "shop", "hr.other"))
    server.drift.tick(START_US + 20 * S)
    assert {place for place, _ in server.open()} == {""}


def test_what_was_accepted_under_a_name_counts_for_the_database_that_takes_it(server):
    server.see(1, listed(1, shop=16384, next=16385), inside(1, "next", "hr.other"))
    server.drift.tick(START_US + 4 * S)
    server.drift.accept("test", "as it is")
    server.see(6, listed(6, next=16385))
    server.see(7, listed(7, shop=16385), inside(7, "shop", "hr.other"))
    server.drift.tick(START_US + 20 * S)
    assert {("shop", "hr.t"), ("shop", "hr.other")} <= server.open().keys()


def test_the_record_of_what_was_so_goes_on_under_the_new_name(server):
    server.drift.tick(START_US)
    news = server.see(6, listed(6, store=16384), inside(6, "store", "hr.t"))
    told = {
        (row["database"], row["name"], row["change"])
        for row in news.changes.values()
        if row["kind"] == "table" and row["occurred_at"] == START_US + 6 * S
    }
    assert told == {("shop", "hr.t", "removed"), ("store", "hr.t", "added")}


def test_a_database_without_a_number_of_an_older_agent_is_another_one(tmp_path):
    server = Server(tmp_path)
    nameless = [
        Snapshot(
            each.at_us, each.cluster, each.database, each.kinds,
            tuple(CatalogItem(i.kind, i.database, i.name, i.value) for i in each.items), "15.4",
        )
        for each in (listed(0, shop=1), listed(6, store=1))
    ]  # fmt: skip
    server.see(0, nameless[0], inside(0, "shop", "hr.t"))
    server.see(6, nameless[1], inside(6, "store", "hr.t"))
    server.drift.tick(START_US + 20 * S)
    assert ("shop", "hr.t") in server.open()


SWAP = [
    ran(3, "dba", "ALTER DATABASE shop RENAME TO spare", database="postgres"),
    ran(3.5, "dba", "ALTER DATABASE next RENAME TO shop", database="postgres"),
    ran(4, "dba", "ALTER DATABASE spare RENAME TO next", database="postgres"),
]


@pytest.mark.parametrize("captured", [True, False])
def test_after_a_swap_of_names_each_database_has_what_was_done_in_it(server, captured):
    server.see(1, listed(1, shop=16384, next=16385), inside(1, "next", "hr.t"))
    server.drift.tick(START_US + 4 * S)
    server.drift.accept("test", "as it is")
    done = [
        ran(2, "bob", "CREATE TABLE hr.one (i int)", database="shop"),
        ran(2.1, "eve", "CREATE TABLE hr.one (i int)", database="next"),
        *(SWAP if captured else []),
        ran(5, "ivan", "CREATE TABLE hr.two (i int)", database="shop"),
        ran(5.1, "judy", "CREATE TABLE hr.two (i int)", database="next"),
    ]
    server.see(
        6, listed(6, next=16384, shop=16385), inside(6, "next", "hr.t", "hr.one", "hr.two"),
        inside(6, "shop", "hr.t", "hr.one", "hr.two"), statements=done,
    )  # fmt: skip
    server.drift.tick(START_US + 20 * S)
    found = {place: actor for place, actor in server.open().items() if place[0]}
    exact = {
        ("next", "hr.one"): "bob", ("shop", "hr.one"): "eve",
        ("shop", "hr.two"): "ivan", ("next", "hr.two"): "judy",
    }  # fmt: skip
    if captured:
        assert found == exact
    else:  # between the same looks: who made the earlier table may have made either
        assert found.keys() == exact.keys()
    assert {row["note"] for row in server.drift.status().rows if captured} <= {""}


def test_what_ran_in_the_database_that_has_the_name_by_now_is_not_what_was_done_before(server):
    server.see(1, listed(1, shop=16384, next=16385), inside(1, "next", "hr.t"))
    server.drift.tick(START_US + 4 * S)
    server.drift.accept("test", "as it is")
    elsewhere = ran(5, "ivan", "CREATE TABLE hr.new (i int)", database="next")
    server.see(
        6, listed(6, next=16384, shop=16385), inside(6, "shop", "hr.t", "hr.new"),
        statements=[*SWAP, elsewhere],
    )  # fmt: skip
    server.drift.tick(START_US + 20 * S)
    assert server.open()["shop", "hr.new"] == ""


def test_a_database_of_another_cluster_is_another_one_though_it_has_the_same_number(tmp_path):
    def of_cluster(number, snapshot):
        items = tuple(
            CatalogItem(i.kind, i.database, i.name, i.value, f"{i.detail} of cluster {number}")
            for i in snapshot.items
        )
        return Snapshot(
            snapshot.at_us, snapshot.cluster, snapshot.database, snapshot.kinds, items, "15.4"
        )

    server = Server(tmp_path)
    server.see(0, of_cluster(71, listed(0, shop=16384)), inside(0, "shop", "hr.t"))
    server.see(6, of_cluster(72, listed(6, store=16384)), inside(6, "store", "hr.other"))
    server.drift.tick(START_US + 20 * S)
    assert {("shop", "hr.t"), ("", "shop"), ("", "store")} == server.open().keys()


@pytest.mark.parametrize(
    ("name", "before", "after"), [("store", None, "CONNECT"), ("shop", "CONNECT", None)]
)
def test_what_public_may_do_in_a_database_goes_by_its_new_name(name, before, after):
    def actor(of):
        item = f"database:{of}<-PUBLIC"
        return actor_of([RENAME], "privilege", item, before, after, database="")

    assert actor(name) == "alice"
    assert actor("other") == ""


FUNCTION = CatalogKind.FUNCTION
DOOR = "owner: postgres\nlanguage: sql\nsecurity: definer"


def with_functions(second, database, *names):
    items = tuple(CatalogItem(FUNCTION, database, name, DOOR) for name in names)
    return Snapshot(
        START_US + second * S, "5432", database, (FUNCTION,), items, "15.4", cluster_wide=False
    )


def new_databases(news):
    return [each for each in news.findings if each.detector == "drift.new_database"]


def restored(server):
    """A dump of ``shop``, and a function that it has not, in a new database."""
    server.see(1, with_functions(1, "shop", "hr.old()"))
    lists = listed(6, shop=16384, copy=16999)
    inner = with_functions(6, "copy", "hr.old()", "hr.door()")
    news = server.see(6, lists, inner, inside(6, "copy", "hr.t"))
    [told] = new_databases(news)
    return told


def test_what_came_in_a_new_database_is_told_with_what_is_severe_in_it(server):
    told = restored(server)
    assert told.severity == "critical"
    assert told.database == "copy"
    assert told.resolved_at_us == 0
    assert "3 items" in told.title
    [said] = dict(told.details)["consequences"].split("\n")
    assert said.startswith("function hr.door() was created and belongs to postgres: it runs with")


def test_a_new_database_without_anything_severe_is_told_quietly(server):
    news = server.see(6, listed(6, shop=16384, copy=16999), inside(6, "copy", "hr.t"))
    [told] = new_databases(news)
    assert (told.severity, dict(told.details)["consequences"]) == ("low", "")


def test_it_is_over_once_somebody_accepts_the_database(server):
    told = restored(server)
    assert new_databases(server.drift.tick(START_US + 7 * S)) == []
    server.drift.accept("alice", "a copy for tests", Only(name="copy"))
    [over] = new_databases(server.drift.tick(START_US + 8 * S))
    assert (over.id, over.resolved_at_us) == (told.id, START_US + 8 * S)
    assert over.sentence.endswith("since then the database is accepted")
    assert new_databases(server.drift.tick(START_US + 9 * S)) == []


def test_it_is_over_once_the_database_is_dropped_also_after_a_restart(server):
    told = restored(server)
    server.drift.tick(START_US + 7 * S)
    server.drift = Drift(server.folder)
    open_again, over = new_databases(server.see(20, listed(20, shop=16384)))
    assert open_again == told
    assert (over.id, over.sentence.rpartition("; ")[2]) == (
        told.id,
        "since then the database is gone",
    )


def test_databases_that_were_there_at_the_first_look_are_a_baseline_as_any(tmp_path):
    server = Server(tmp_path)
    news = server.see(0, listed(0, shop=16384), with_functions(0, "shop", "hr.door()"))
    assert new_databases(news) == []
    news = server.see(1, inside(1, "shop", "hr.t"))
    assert [each.detector for each in news.findings] == ["drift.baseline"]
