"""What is in a database that nobody has accepted is expected nowhere: it goes without a trace, and
is told of under each of its names."""

from dataclasses import replace

import pytest

from collector.drift.engine import Drift
from model.catalog import CatalogItem, CatalogKind, Snapshot
from tests.analytics.streams import START_US
from tests.collector.drift.story import S, ran
from tests.collector.drift.test_databases import (
    Server,
    inside,
    listed,
    new_databases,
    with_functions,
)

MADE = ran(5, "paul", "CREATE DATABASE copy3", database="postgres")
RENAMED = ran(26, "sam", "ALTER DATABASE copy3 RENAME TO copy4", database="postgres")
DROPPED = ran(40, "ulla", "DROP DATABASE copy3", database="postgres")


@pytest.fixture
def server(tmp_path):
    """``copy3`` has come to it, and is told."""
    server = Server(tmp_path)
    server.see(0, listed(0, shop=16384), inside(0, "shop", "hr.t"))
    server.see(
        8, listed(8, shop=16384, copy3=17000), inside(8, "copy3", "hr.t", "hr.u"), statements=[MADE]
    )
    server.drift.tick(START_US + 20 * S)
    return server


def test_one_that_is_dropped_again_leaves_the_server_as_it_is_accepted(server):
    news = server.see(42, listed(42, shop=16384), statements=[DROPPED])
    assert server.open() == {}
    over = {row["name"]: (row["outcome"], row["resolved_by"]) for row in news.rows}
    assert over == {"copy3": ("reverted", "ulla")}


def test_what_was_changed_in_it_ends_with_it(server):
    made = ran(30, "eve", "CREATE TABLE hr.new (i int)", database="copy3")
    server.see(32, inside(32, "copy3", "hr.t", "hr.u", "hr.new"), statements=[made])
    server.drift.tick(START_US + 38 * S)
    assert ("copy3", "hr.new") in server.open()
    news = server.see(42, listed(42, shop=16384), statements=[DROPPED])
    assert server.open() == {}
    assert {row["name"]: row["outcome"] for row in news.rows} == {
        "copy3": "reverted", "hr.new": "reverted",
    }  # fmt: skip
    assert all(each.resolved_at_us for each in news.findings)


@pytest.mark.parametrize("restarted", [False, True])
def test_another_one_by_its_name_is_new_as_well(server, restarted):
    server.see(42, listed(42, shop=16384), statements=[DROPPED])
    server.drift.tick(START_US + 50 * S)
    if restarted:
        server.drift = Drift(server.folder)
    news = server.see(60, listed(60, shop=16384, copy3=17001), inside(60, "copy3", "hr.v"))
    server.drift.tick(START_US + 70 * S)
    assert server.open().keys() == {("", "copy3")}
    [told] = [each for each in new_databases(news) if not each.resolved_at_us]
    assert told.title == "Database copy3 came with 1 items"


def test_its_finding_ends_when_it_is_accepted_though_no_database_came_since(tmp_path):
    server = Server(tmp_path)
    server.see(0, listed(0, shop=16384), inside(0, "shop", "hr.t"))
    server.see(8, listed(8, shop=16384, copy3=17000), statements=[MADE])
    news = server.see(9, inside(9, "copy3", "hr.t"))
    assert [each.resolved_at_us for each in new_databases(news)] == [0]
    server.drift.accept("alice", "it stays")
    [over] = new_databases(server.drift.tick(START_US + 20 * S))
    assert over.sentence.endswith("since then the database is accepted")


def test_one_that_somebody_accepted_is_missing_with_all_that_was_in_it(server):
    server.drift.accept("alice", "it stays")
    server.drift.tick(START_US + 30 * S)
    server.see(42, listed(42, shop=16384), statements=[DROPPED])
    server.drift.tick(START_US + 50 * S)
    assert server.open() == dict.fromkeys(
        [("", "copy3"), ("copy3", "hr.t"), ("copy3", "hr.u")], "ulla"
    )


def test_an_accepted_one_is_missing_also_when_it_went_by_another_name(tmp_path):
    server = Server(tmp_path)
    server.see(0, listed(0, shop=16384), inside(0, "shop", "hr.t"))
    server.see(8, listed(8, store=16384), inside(8, "store", "hr.t"))
    server.drift.tick(START_US + 20 * S)
    server.see(42, listed(42))
    server.drift.tick(START_US + 50 * S)
    assert server.open().keys() == {("", "shop"), ("store", "hr.t")}


def test_a_database_whose_end_was_accepted_may_be_made_anew(server):
    server.see(42, listed(42, copy3=17000))
    server.drift.tick(START_US + 50 * S)
    server.drift.accept("alice", "shop is not needed")
    news = server.see(60, listed(60, copy3=17000, shop=17001), inside(60, "shop", "hr.v"))
    server.drift.tick(START_US + 70 * S)
    assert server.open().keys() == {("", "shop")}
    assert [each.database for each in new_databases(news) if not each.resolved_at_us] == ["shop"]


def renamed(server):
    return server.see(28, listed(28, shop=16384, copy4=17000), statements=[RENAMED])


def test_by_another_name_it_is_still_one_that_nobody_looked_at(server):
    news = renamed(server)
    [told] = new_databases(news)
    assert (told.database, told.resolved_at_us) == ("copy4", 0)
    assert told.title == "Database copy4 came with 2 items"
    assert "'copy4'" in told.evidence_sql
    more = server.see(30, with_functions(30, "copy4", "hr.door()"))
    [again] = new_databases(more)
    assert (again.id, again.severity) == (told.id, "critical")
    server.drift.accept("alice", "as it is")
    [over] = new_databases(server.drift.tick(START_US + 40 * S))
    assert (over.id, over.resolved_at_us > 0) == (told.id, True)


def test_one_that_takes_the_name_of_an_accepted_one_is_still_one_that_nobody_looked_at(server):
    news = server.see(28, listed(28, shop_old=16384, shop=17000))
    [told] = new_databases(news)
    assert (told.database, told.resolved_at_us) == ("shop", 0)
    server.drift.tick(START_US + 40 * S)
    assert new_databases(server.drift.tick(START_US + 41 * S)) == []
    server.drift.accept("alice", "the new one")
    [over] = new_databases(server.drift.tick(START_US + 50 * S))
    assert (over.id, over.resolved_at_us > 0) == (told.id, True)


def test_one_that_comes_with_the_name_of_an_accepted_one_is_told_by_that_name(tmp_path):
    """The one that everybody connects to from now on is the copy."""
    server = Server(tmp_path)
    server.see(0, listed(0, shop=16384), inside(0, "shop", "hr.t"), with_functions(0, "shop"))
    server.drift.tick(START_US + 4 * S)
    done = [
        ran(5, "alice", "CREATE DATABASE copy TEMPLATE shop", database="postgres"),
        ran(6, "alice", "ALTER DATABASE shop RENAME TO shop_old", database="postgres"),
        ran(7, "alice", "ALTER DATABASE copy RENAME TO shop", database="postgres"),
    ]
    news = server.see(
        28,
        listed(28, shop_old=16384, shop=17000),
        inside(28, "shop", "hr.t"),
        with_functions(28, "shop", "hr.door()"),
        inside(28, "shop_old", "hr.t"),
        with_functions(28, "shop_old"),
        statements=done,
    )
    [*_, told] = new_databases(news)
    assert (told.database, told.severity, told.resolved_at_us) == ("shop", "critical", 0)
    assert "hr.door()" in told.sentence
    server.drift.tick(START_US + 40 * S)
    assert new_databases(server.drift.tick(START_US + 41 * S)) == []
    assert server.open() == {("", "shop_old"): "alice"}
    server.drift.accept("alice", "the copy is right")
    assert new_databases(server.drift.tick(START_US + 50 * S))[-1].resolved_at_us


def test_one_that_is_dropped_and_made_anew_is_with_its_content_of_who_did_it(tmp_path):
    server = Server(tmp_path)
    server.see(0, listed(0, shop=16384), inside(0, "shop", "hr.t"), with_functions(0, "shop"))
    server.drift.tick(START_US + 4 * S)
    done = [
        ran(5, "carol", "DROP DATABASE shop", database="postgres"),
        ran(6, "dave", "CREATE DATABASE shop TEMPLATE evil", database="postgres"),
    ]
    lists = listed(28, shop=17000)
    [*others, own] = lists.items
    lists = replace(lists, items=(*others, replace(own, value="owner: dave")))
    inner = with_functions(28, "shop", "hr.door()")
    server.see(28, lists, inside(28, "shop"), inner, statements=done)
    server.drift.tick(START_US + 40 * S)
    assert server.open() == {
        ("", "shop"): "dave", ("shop", "hr.door()"): "dave", ("shop", "hr.t"): "carol",
    }  # fmt: skip
    notes = {row["name"]: row["note"] for row in server.drift.status().rows}
    assert notes["shop"].startswith("part of it was done by carol")


def test_who_renames_a_database_lets_nobody_do_anything(tmp_path):
    server = Server(tmp_path)
    server.see(0, *what_goes_by(0, "copy3"))
    server.drift.tick(START_US + 4 * S)
    news = server.see(28, *what_goes_by(28, "copy4"), statements=[RENAMED])
    news.findings += server.drift.tick(START_US + 40 * S).findings
    told = news.findings[-1]
    assert (told.severity, told.identity) == ("medium", "sam")
    assert told.sentence.endswith(
        "database copy4 was renamed from copy3; "
        "privilege database:copy3<-PUBLIC became database:copy4<-PUBLIC; "
        "setting work_mem@copy3 became work_mem@copy4"
    )
    assert {row["severity"] for row in server.drift.status().rows} == {"medium"}


def test_what_is_set_for_a_database_goes_along_with_its_name(tmp_path):
    def seen(second, *names):
        kept = CatalogItem(SETTING, "", f"search_path@{names[0]}", "hr", "of a database")
        oids = dict(zip(names, (16384, 17000), strict=False))
        lists = listed(second, **oids)
        return [lists, replace(lists, kinds=(SETTING,), items=(kept,))]

    server = Server(tmp_path)
    server.see(0, *seen(0, "shop"))
    done = [
        ran(5, "alice", "CREATE DATABASE copy TEMPLATE shop", database="postgres"),
        ran(6, "alice", "ALTER DATABASE shop RENAME TO shop_old", database="postgres"),
        ran(7, "alice", "ALTER DATABASE copy RENAME TO shop", database="postgres"),
    ]
    server.see(28, *seen(28, "shop_old", "shop"), statements=done)
    server.drift.tick(START_US + 40 * S)
    assert server.open() == {
        ("", "shop_old"): "alice",
        ("", "search_path@shop_old"): "alice",
        ("", "search_path@shop"): "alice",
    }


PRIVILEGE, SETTING = CatalogKind.PRIVILEGE, CatalogKind.SETTING
GONE_WITH_IT = "database:{}<-PUBLIC"


def what_goes_by(second, name):
    """In messages of their own, as an agent sends what it looked at last at different times."""
    lists = listed(second, shop=16384, **{name: 17000})
    rights = CatalogItem(PRIVILEGE, "", f"database:{name}<-PUBLIC", "CONNECT, TEMPORARY")
    setting = CatalogItem(SETTING, "", f"work_mem@{name}", "5MB", "of a database")
    others = [
        Snapshot(lists.at_us, "5432", "postgres", (each.kind,), (each,), "15.4", cluster_wide=True)
        for each in (rights, setting)
    ]
    return [lists, *others]


def test_what_everybody_may_in_it_stays_of_who_made_it_under_its_new_name(tmp_path):
    server = Server(tmp_path)
    nothing = [replace(each, items=()) for each in what_goes_by(0, "x")[1:]]
    server.see(0, listed(0, shop=16384), *nothing)
    set_ = ran(6, "rita", "ALTER DATABASE copy3 SET work_mem = '5MB'", database="postgres")
    server.see(8, *what_goes_by(8, "copy3"), statements=[MADE, set_])
    server.drift.tick(START_US + 20 * S)
    server.see(28, *what_goes_by(28, "copy4"), statements=[RENAMED])
    server.drift.tick(START_US + 40 * S)
    assert server.open() == {
        ("", "copy4"): "paul",
        ("", "database:copy4<-PUBLIC"): "paul",
        ("", "work_mem@copy4"): "rita",
    }


def test_one_that_is_renamed_before_it_is_seen_is_of_who_made_it(tmp_path):
    server = Server(tmp_path)
    nothing = [replace(each, items=()) for each in what_goes_by(0, "x")[1:]]
    server.see(0, listed(0, shop=16384), *nothing)
    set_ = ran(6, "rita", "ALTER DATABASE copy3 SET work_mem = '5MB'", database="postgres")
    server.see(28, *what_goes_by(28, "copy4"), statements=[MADE, set_, RENAMED])
    server.drift.tick(START_US + 40 * S)
    assert server.open() == {
        ("", "copy4"): "paul",
        ("", "database:copy4<-PUBLIC"): "paul",
        ("", "work_mem@copy4"): "rita",
    }
