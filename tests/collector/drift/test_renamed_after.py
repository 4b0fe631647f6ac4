"""A rename takes over nothing that others did to an object before it, whatever the names are."""

from __future__ import annotations

import pytest

from collector.drift.engine import Drift
from model.catalog import CatalogKind
from tests.analytics.streams import START_US
from tests.collector.drift.story import S, frame, ran
from tests.collector.drift.test_outcomes import World as AnyWorld
from tests.collector.test_drift import snapshot

LINES = "owner: hr\nkind: table\nrow security: on\ncolumn id: bigint"
OFF = LINES.replace("row security: on\n", "")
OWN = "command: all\nroles: PUBLIC\nkind: permissive\nusing: (id > 0)"
ALL = OWN.replace("(id > 0)", "true")
_ROLES = ("role", "membership", "setting")
KINDS = tuple(map(CatalogKind, (*_ROLES, "schema", "table", "function", "policy", "privilege")))


class World(AnyWorld):
    def commit(self, second, *changes, statements=(), **frames):
        self.seq += 1
        if statements:
            frames["statements"] = frame(list(statements), first_id=self.ids + 1)
            self.ids += len(statements)
        seen = [("host-a", snapshot(second, tree, kinds=KINDS)) for tree in changes]
        return self.drift.on_commit(frames, seen, self.seq, START_US + int(second * S))


def table(name, value=LINES, oid=16500):
    return {("table", "shop", name): (value, f"oid {oid}; column 1")}


def schema(name, oid=16400):
    return {("schema", "shop", name): ("owner: hr", f"oid {oid}")}


def policy(name, value=OWN, oid=16600):
    return {("policy", "shop", name): (value, f"oid {oid}")}


def role(name, oid=10, *, superuser="false"):
    return {("role", "", name): (f"superuser={superuser} login=true", f"oid {oid}")}


def privilege(name, value="INSERT"):
    return {("privilege", "shop", name): (value, "")}


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def played(world, base, before, by, after, rename):
    """``by`` bob at second 4, told; then ``rename`` by alice at second 10. Returns the news."""
    world.commit(0, base)
    world.commit(5, before, statements=[ran(4, "bob", by)])
    return world.commit(20, after, statements=[ran(10, "alice", rename)])


def rows(world):
    """Name, what became of it, and who did it."""
    found = world.drift.status().rows
    return {(row["name"], row["change"], row["actor"]) for row in found}


def is_open(news, actor):
    told = [each for each in news.findings if each.identity == actor]
    return not any(each.resolved_at_us for each in told)


@pytest.mark.parametrize("new", ["hr.pay", "hr.zay"])
def test_a_name_may_sort_before_or_after_the_former_one(world, new, tmp_path):
    disable = "ALTER TABLE hr.t DISABLE ROW LEVEL SECURITY"
    rename = f"ALTER TABLE hr.t RENAME TO {new[3:]}"
    news = played(world, table("hr.t"), table("hr.t", OFF), disable, table(new, OFF), rename)
    expected = {("hr.t", "removed", "alice"), (new, "added", "alice"), (new, "changed", "bob")}
    assert is_open(news, "bob")
    assert rows(world) == expected
    world.drift = Drift(tmp_path)
    assert rows(world) == expected


@pytest.mark.parametrize("new", ["hr.a", "hr.y"])
def test_a_grant_on_the_former_name_stays_with_who_gave_it(world, new):
    news = played(
        world,
        table("hr.x"), table("hr.x") | privilege("table:hr.x<-etl"), "GRANT INSERT ON hr.x TO etl",
        table(new) | privilege(f"table:{new}<-etl"), f"ALTER TABLE hr.x RENAME TO {new[3:]}",
    )  # fmt: skip
    assert is_open(news, "bob")
    assert rows(world) == {
        ("hr.x", "removed", "alice"), (new, "added", "alice"),
        (f"table:{new}<-etl", "added", "bob"),
    }  # fmt: skip
    [row] = [row for row in world.drift.status().rows if row["actor"] == "bob"]
    [told] = [each for each in news.findings if each.identity == "bob"]
    assert (row["statement_id"], row["finding_id"]) == (1, told.id)
    assert row["occurred_at"] == START_US + 5 * S
    assert f"etl may INSERT on table {new}" in told.sentence


def test_a_grant_that_is_not_told_yet_is_of_who_gives_it(world):
    world.commit(0, table("hr.x"))
    world.commit(5, table("hr.x") | privilege("table:hr.x<-etl"))
    grant = ran(4, "bob", "GRANT INSERT ON hr.x TO etl")
    rename = ran(6, "alice", "ALTER TABLE hr.x RENAME TO y")
    seen = table("hr.y") | privilege("table:hr.y<-etl")
    world.commit(6.5, seen, statements=[grant, rename])
    assert ("table:hr.y<-etl", "added", "bob") in rows(world)


def test_a_right_more_than_was_accepted_stays_with_who_gave_it(world):
    old, new = "table:hr.x<-etl", "table:hr.y<-etl"
    played(
        world,
        table("hr.x") | privilege(old, "SELECT"), table("hr.x") | privilege(old, "INSERT, SELECT"),
        "GRANT INSERT ON hr.x TO etl",
        table("hr.y") | privilege(new, "INSERT, SELECT"), "ALTER TABLE hr.x RENAME TO y",
    )  # fmt: skip
    found = {(r["name"], r["observed"], r["actor"]) for r in world.drift.status().rows}
    assert {(new, "INSERT", "bob"), (new, "SELECT", "alice"), (old, "", "alice")} <= found


def test_a_grant_and_a_table_in_a_schema_that_gets_another_name(world):
    grant = "GRANT SELECT ON ALL TABLES IN SCHEMA app TO etl"
    base = schema("app") | table("app.t")
    news = played(
        world,
        base, base | privilege("table:app.t<-etl", "SELECT"), grant,
        schema("app2") | table("app2.t") | privilege("table:app2.t<-etl", "SELECT"),
        "ALTER SCHEMA app RENAME TO app2",
    )  # fmt: skip
    assert is_open(news, "bob")
    assert ("table:app2.t<-etl", "added", "bob") in rows(world)
    assert {who for name, _, who in rows(world) if "<-" not in name} == {"alice"}


def test_a_policy_stays_with_who_made_it_or_changed_it(world):
    base = table("hr.x") | policy("hr.x.own")
    changed = table("hr.x") | policy("hr.x.own", ALL) | policy("hr.x.all", ALL, 16700)
    world.commit(0, base)
    did = [
        ran(3, "bob", "ALTER POLICY own ON hr.x USING (true)"),
        ran(4, "carol", 'CREATE POLICY "all" ON hr.x USING (true)'),
    ]
    world.commit(5, changed, statements=did)
    seen = table("hr.y") | policy("hr.y.own", ALL) | policy("hr.y.all", ALL, 16700)
    news = world.commit(20, seen, statements=[ran(10, "alice", "ALTER TABLE hr.x RENAME TO y")])
    assert is_open(news, "bob")
    assert is_open(news, "carol")
    assert rows(world) == {
        ("hr.x", "removed", "alice"), ("hr.y", "added", "alice"),
        ("hr.x.own", "removed", "alice"), ("hr.y.own", "added", "alice"),
        ("hr.y.own", "changed", "bob"), ("hr.y.all", "added", "carol"),
    }  # fmt: skip


def test_what_a_role_was_given_stays_with_who_gave_it(world):
    base = role("eve") | role("staff", 11)
    given = {
        ("membership", "", "staff<-eve"): ("member", ""),
        ("setting", "", "row_security@eve"): ("off", "of a role"),
    }
    moved = {(kind, db, name.replace("eve", "eva")): v for (kind, db, name), v in given.items()}
    world.commit(0, base)
    did = [
        ran(3, "bob", "GRANT staff TO eve"),
        ran(3.5, "bob", "ALTER ROLE eve SET row_security = off"),
        ran(4, "bob", "ALTER ROLE eve SUPERUSER"),
    ]
    seen = role("eve", superuser="true") | role("staff", 11) | given
    world.commit(5, seen, statements=did)
    seen = role("eva", superuser="true") | role("staff", 11) | moved
    rename = ran(10, "alice", "ALTER ROLE eve RENAME TO eva")
    news = world.commit(20, seen, statements=[rename])
    assert is_open(news, "bob")
    assert rows(world) == {
        ("eve", "removed", "alice"), ("eva", "added", "alice"), ("eva", "changed", "bob"),
        ("staff<-eva", "added", "bob"), ("row_security@eva", "added", "bob"),
    }  # fmt: skip


def test_a_right_on_a_column_goes_along_with_its_name(world):
    wages = f"{LINES}\ncolumn pay: numeric"

    def seen(column):
        value = (wages.replace("column pay", f"column {column}"), "oid 16500; column 1-2")
        return {("table", "shop", "hr.t"): value}

    played(
        world,
        seen("pay"), seen("pay") | privilege("column:hr.t.pay<-etl"),
        "GRANT INSERT (pay) ON hr.t TO etl",
        seen("sum") | privilege("column:hr.t.sum<-etl"),
        "ALTER TABLE hr.t RENAME COLUMN pay TO sum",
    )  # fmt: skip
    assert rows(world) == {("hr.t", "changed", "alice"), ("column:hr.t.sum<-etl", "added", "bob")}


ONE, OTHER = f"{LINES}\ncolumn a: text", f"{LINES}\ncolumn b: text"


def pair(first, second, one=ONE, other=OTHER):
    return table(first, one) | table(second, other, 16501)


DISABLE = "ALTER TABLE hr.a DISABLE ROW LEVEL SECURITY"


@pytest.mark.parametrize("names", [("hr.b", "hr.a"), ("hr.b", "hr.c"), ("hr.b", "hr.A")])
def test_names_that_change_places_or_move_up_take_nothing_along(world, names):
    one_off = ONE.replace("row security: on\n", "")
    chain = "DO $$ BEGIN ALTER TABLE hr.b RENAME TO c; ALTER TABLE hr.a RENAME TO b; END $$"
    world.commit(0, pair("hr.a", "hr.b"))
    world.commit(5, pair("hr.a", "hr.b", one_off), statements=[ran(4, "bob", DISABLE)])
    news = world.commit(20, pair(*names, one_off), statements=[ran(10, "alice", chain)])
    assert is_open(news, "bob")
    mine = [row for row in world.drift.status().rows if row["actor"] == "bob"]
    assert [(row["name"], row["change"], row["severity"]) for row in mine] == [
        ("hr.b", "changed", "critical")
    ]


def test_a_name_that_comes_back_leaves_only_what_was_done(world):
    rename = "ALTER TABLE hr.t RENAME TO z"
    played(
        world, table("hr.t"), table("hr.t", OFF), "ALTER TABLE hr.t DISABLE ROW LEVEL SECURITY",
        table("hr.z", OFF), rename,
    )  # fmt: skip
    back = ran(25, "alice", "ALTER TABLE hr.z RENAME TO t")
    news = world.commit(30, table("hr.t", OFF), statements=[back])
    assert rows(world) == {("hr.t", "changed", "bob")}
    [over] = [each for each in news.findings if each.resolved_at_us]
    assert over.identity == "alice"


def test_one_name_after_the_other(world):
    played(
        world, table("hr.t"), table("hr.t", OFF), "ALTER TABLE hr.t DISABLE ROW LEVEL SECURITY",
        table("hr.z", OFF), "ALTER TABLE hr.t RENAME TO z",
    )  # fmt: skip
    again = ran(25, "carol", "ALTER TABLE hr.z RENAME TO b")
    world.commit(30, table("hr.b", OFF), statements=[again])
    world.tick(40)
    assert rows(world) == {
        ("hr.t", "removed", "alice"), ("hr.b", "added", "carol"), ("hr.b", "changed", "bob"),
    }  # fmt: skip
