"""Who touches an object second did not do what was done to it first."""

from __future__ import annotations

import pytest

from collector.drift.accepting import Only
from collector.drift.engine import Drift
from tests.collector.drift.story import ran
from tests.collector.drift.test_outcomes import World, approval

SVC = ("role", "", "svc")
T = ("table", "shop", "hr.t")
GRANT = ("privilege", "shop", "table:hr.t<-analyst")
TABLE = "owner: hr\nkind: table\nrow security: on\ncolumn id: bigint"
BASE = {
    SVC: ("superuser=false createdb=false login=true", ""),
    T: (TABLE, "oid 16500; column 1"),
}


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.commit(0, BASE)
    return world


def svc(superuser="false", createdb="false"):
    return {**BASE, SVC: (f"superuser={superuser} createdb={createdb} login=true", "")}


def table(value, detail="oid 16500; column 1"):
    return {**BASE, T: (value, detail)}


def superuser_then_createdb(world):
    first = world.commit(3, svc("true"), statements=[ran(2, "alice", "ALTER ROLE svc SUPERUSER")])
    both = svc("true", "true")
    second = world.commit(11, both, statements=[ran(10, "bob", "ALTER ROLE svc CREATEDB")])
    return first, second


def by_actor(world):
    return {row["actor"]: row for row in world.drift.status().rows}


def test_each_attribute_stays_with_who_changed_it(world):
    first, second = superuser_then_createdb(world)
    assert [(f.identity, f.severity, f.resolved_at_us) for f in first.findings] == [
        ("alice", "critical", 0)
    ]
    [found] = second.findings
    assert (found.identity, found.resolved_at_us) == ("bob", 0)
    assert found.severity != "critical"
    assert "superuser" not in found.sentence
    assert "createdb=true" in found.sentence
    rows = by_actor(world)
    assert rows["alice"]["observed"] == svc("true")[SVC][0]
    assert rows["bob"]["observed"] == svc(createdb="true")[SVC][0]
    assert rows["alice"]["severity"] == "critical"


def test_what_was_set_back_ends_and_the_rest_goes_on_after_a_restart(world, tmp_path):
    superuser_then_createdb(world)
    world.drift = Drift(tmp_path)
    assert {row["actor"] for row in world.drift.status().rows} == {"alice", "bob"}
    back = [ran(20, "carol", "ALTER ROLE svc NOSUPERUSER")]
    news = world.commit(21, svc(createdb="true"), statements=back)
    [over] = [finding for finding in news.findings if finding.resolved_at_us]
    assert over.identity == "alice"
    assert over.sentence.endswith(" by carol")
    assert [row["actor"] for row in world.drift.status().rows] == ["bob"]
    news = world.commit(31, BASE, statements=[ran(30, "bob", "ALTER ROLE svc NOCREATEDB")])
    assert [finding.identity for finding in news.findings if finding.resolved_at_us] == ["bob"]
    assert world.drift.status().rows == []


def test_what_changes_again_is_of_who_changed_it_last(world):
    lines = f"{TABLE}\ncolumn pay: integer\ncolumn bonus: integer"
    did = [ran(2, "alice", "ALTER TABLE hr.t ADD COLUMN pay int, ADD COLUMN bonus int")]
    world.commit(3, table(lines, "oid 16500; column 1-3"), statements=did)
    did = [ran(10, "bob", "ALTER TABLE hr.t ALTER COLUMN pay TYPE bigint")]
    wider = lines.replace("pay: integer", "pay: bigint")
    news = world.commit(11, table(wider, "oid 16500; column 1-3"), statements=did)
    told = {finding.identity: finding for finding in news.findings}
    assert told.keys() == {"alice", "bob"}
    assert not told["alice"].resolved_at_us
    consequences = {actor: dict(each.details)["consequences"] for actor, each in told.items()}
    assert consequences["alice"] == "column bonus of table hr.t was created (integer)"
    assert "pay" in consequences["bob"]
    assert "bonus" not in consequences["bob"]


def test_a_column_takes_no_row_security_along(world):
    off = TABLE.replace("row security: on\n", "")
    did = [ran(2, "frank", "ALTER TABLE hr.t DISABLE ROW LEVEL SECURITY")]
    [first] = world.commit(3, table(off), statements=did).findings
    assert (first.identity, first.severity) == ("frank", "critical")
    did = [ran(10, "oscar", "ALTER TABLE hr.t ADD COLUMN note text")]
    more = f"{off}\ncolumn note: text"
    [found] = world.commit(11, table(more, "oid 16500; column 1-2"), statements=did).findings
    assert found.identity == "oscar"
    assert dict(found.details)["consequences"] == "column note of table hr.t was created (text)"
    assert by_actor(world)["frank"]["severity"] == "critical"


def test_a_right_more_is_no_grant_of_those_before(world):
    did = [ran(2, "postgres", "GRANT SELECT ON hr.t TO analyst")]
    world.commit(3, {**BASE, GRANT: ("SELECT", "")}, statements=did)
    did = [ran(10, "sam", "GRANT INSERT ON hr.t TO analyst")]
    [found] = world.commit(11, {**BASE, GRANT: ("INSERT, SELECT", "")}, statements=did).findings
    assert found.identity == "sam"
    assert dict(found.details)["consequences"] == "analyst may INSERT on table hr.t"
    assert set(by_actor(world)) == {"postgres", "sam"}


def test_another_owner_did_not_make_the_table(world):
    new = ("table", "shop", "hr.new")
    did = [ran(2, "alice", "CREATE TABLE hr.new (id bigint)")]
    made = "owner: alice\nkind: table\ncolumn id: bigint"
    world.commit(3, {**BASE, new: (made, "")}, statements=did)
    did = [ran(10, "bob", "ALTER TABLE hr.new OWNER TO bob")]
    owned = {**BASE, new: (made.replace("alice", "bob"), "")}
    [found] = world.commit(11, owned, statements=did).findings
    assert found.identity == "bob"
    assert "created" not in found.sentence
    news = world.commit(21, BASE, statements=[ran(20, "bob", "DROP TABLE hr.new")])
    assert {finding.identity for finding in news.findings} == {"alice", "bob"}
    assert all(finding.resolved_at_us for finding in news.findings)


def test_what_is_approved_second_approves_nothing_before_it(world):
    world.commit(3, svc("true"), statements=[ran(2, "alice", "ALTER ROLE svc SUPERUSER")])
    did = [ran(10, "bob", "ALTER ROLE svc CREATEDB")]
    world.commit(11, svc("true", "true"), statements=did, verdicts=approval(2))
    rows = by_actor(world)
    assert rows["bob"]["attribution"] == "approved"
    assert (rows["alice"]["attribution"], rows["alice"]["severity"]) == ("attributed", "critical")


def test_one_finding_is_accepted_without_the_other(world, tmp_path):
    superuser_then_createdb(world)
    harmless = by_actor(world)["bob"]["finding_id"]
    assert world.drift.accept("dba", "fine", Only(finding_id=harmless)) == 1
    assert [row["actor"] for row in world.drift.status().rows] == ["alice"]
    world.drift = Drift(tmp_path)
    world.tick(40)
    [row] = world.drift.status().rows
    assert (row["actor"], row["severity"]) == ("alice", "critical")
    assert (row["desired"], row["observed"]) == (
        svc(createdb="true")[SVC][0], svc("true", "true")[SVC][0],
    )  # fmt: skip


def test_a_part_that_waits_for_its_cause_finds_it_beside_a_later_one(world):
    assert world.commit(3, svc("true")).findings == []
    late = ran(2, "alice", "ALTER ROLE svc SUPERUSER")
    both = svc("true", "true")
    world.commit(5, both, statements=[late, ran(4, "bob", "ALTER ROLE svc CREATEDB")])
    world.tick(20)
    rows = by_actor(world)
    assert rows.keys() == {"alice", "bob"}
    assert "superuser=true" in rows["alice"]["observed"]
    assert "superuser=false" in rows["bob"]["observed"]
