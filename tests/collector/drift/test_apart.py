"""What several people did to one object between two looks is told of each of them."""

from __future__ import annotations

import pytest

from collector.drift.accepting import Only
from collector.drift.engine import Drift
from collector.drift.following import nobodys
from tests.collector.drift.story import ran
from tests.collector.drift.test_divided import (
    BASE,
    GRANT,
    SVC,
    TABLE,
    T,
    by_actor,
    svc,
    table,
    world,
)
from tests.collector.drift.test_outcomes import approval

__all__ = ["world"]
SUPERUSER = ran(2, "alice", "ALTER ROLE svc SUPERUSER")
CREATEDB = ran(3, "bob", "ALTER ROLE svc CREATEDB")
BOTH = svc("true", "true")


def told(news):
    return {each.identity: dict(each.details)["consequences"] for each in news.findings}


def test_each_has_a_finding_and_a_row_with_what_is_theirs(world):
    news = world.commit(6, BOTH, statements=[SUPERUSER, CREATEDB])
    found = {each.identity: each for each in news.findings}
    assert (found["alice"].severity, found["alice"].statement_id) == ("critical", 1)
    assert "superuser" not in found["bob"].sentence
    assert found["bob"].severity != "critical"
    rows = by_actor(world)
    assert rows["alice"]["observed"] == svc("true")[SVC][0]
    assert rows["bob"]["observed"] == svc(createdb="true")[SVC][0]
    assert not rows["alice"]["note"] + rows["bob"]["note"]


def test_their_rows_are_two_in_view_drift(world):
    """It tells rows apart by name and moment."""
    news = world.commit(6, BOTH, statements=[SUPERUSER, CREATEDB])
    assert len({row["occurred_at"] for row in news.rows}) == 2


def test_parts_stay_apart_after_a_restart_and_end_one_by_one(world, tmp_path):
    world.commit(6, BOTH, statements=[SUPERUSER, CREATEDB])
    world.drift = Drift(tmp_path)
    back = [ran(20, "carol", "ALTER ROLE svc NOSUPERUSER")]
    news = world.commit(21, svc(createdb="true"), statements=back)
    over = [(each.identity, each.sentence) for each in news.findings if each.resolved_at_us]
    assert [identity for identity, _ in over] == ["alice"]
    assert over[0][1].endswith("reverted by carol")
    assert [row["actor"] for row in world.drift.status().rows] == ["bob"]
    world.commit(31, BASE, statements=[ran(30, "bob", "ALTER ROLE svc NOCREATEDB")])
    assert world.drift.status().rows == []


def test_one_of_them_is_accepted_without_the_other(world):
    world.commit(6, BOTH, statements=[SUPERUSER, CREATEDB])
    harmless = by_actor(world)["bob"]["finding_id"]
    assert world.drift.accept("dba", "fine", Only(finding_id=harmless)) == 1
    [row] = world.drift.status().rows
    assert (row["actor"], row["desired"]) == ("alice", svc(createdb="true")[SVC][0])


@pytest.mark.parametrize("approved", [1, 2])
def test_an_approval_is_of_what_was_approved(world, approved):
    verdicts = approval(approved)
    world.commit(6, BOTH, statements=[SUPERUSER, CREATEDB], verdicts=verdicts)
    rows = by_actor(world)
    expected = ["approved", "attributed"][:: 1 if approved == 1 else -1]
    assert [rows[actor]["attribution"] for actor in ("alice", "bob")] == expected


def test_approvals_that_come_later_are_of_their_parts(world):
    world.commit(6, BOTH, statements=[SUPERUSER, CREATEDB])
    world.commit(7, verdicts=approval(2))
    rows = by_actor(world)
    assert (rows["alice"]["attribution"], rows["bob"]["attribution"]) == ("attributed", "approved")


def test_a_transaction_that_did_two_lines_is_one_part(world):
    did = [
        ran(1, "bob", "BEGIN", transaction="IT"),
        ran(2, "bob", "ALTER ROLE svc SUPERUSER", transaction="TT"),
        ran(3, "bob", "ALTER ROLE svc CREATEDB", transaction="TT"),
        ran(4, "bob", "COMMIT", transaction="TI", tag="COMMIT"),
    ]
    [found] = world.commit(6, BOTH, statements=did).findings
    assert found.severity == "critical"
    assert "the same actor did other parts of it: statement " in found.sentence


def test_two_rights_of_two_people_are_of_each_of_them(world):
    did = [
        ran(2, "alice", "GRANT SELECT ON hr.t TO analyst"),
        ran(3, "bob", "GRANT INSERT ON hr.t TO analyst"),
    ]
    news = world.commit(6, {**BASE, GRANT: ("INSERT, SELECT", "")}, statements=did)
    assert told(news) == {
        "alice": "analyst may SELECT on table hr.t",
        "bob": "analyst may INSERT on table hr.t",
    }


def test_a_right_is_of_who_gave_it_first_and_again_after_it_was_taken(world):
    did = [
        ran(1, "alice", "GRANT SELECT ON hr.t TO analyst"),
        ran(2, "bob", "GRANT ALL ON hr.t TO analyst"),
        ran(3, "carol", "REVOKE INSERT ON hr.t FROM analyst"),
        ran(4, "dave", "GRANT INSERT ON hr.t TO analyst"),
    ]
    seen = {**BASE, GRANT: ("DELETE, INSERT, SELECT", "")}
    news = world.commit(6, seen, statements=did)
    assert told(news) == {
        "alice": "analyst may SELECT on table hr.t",
        "bob": "analyst may DELETE on table hr.t",
        "dave": "analyst may INSERT on table hr.t",
    }


def test_dangerous_by_one_and_harmless_by_another_leaves_what_the_other_added(world):
    did = [
        ran(2, "alice", "ALTER ROLE svc SUPERUSER"),
        ran(3, "bob", "ALTER ROLE svc NOSUPERUSER CREATEDB"),
    ]
    [found] = world.commit(6, svc(createdb="true"), statements=did).findings
    assert (found.identity, "alice" in found.sentence) == ("bob", False)


def test_a_renamed_column_is_one_line_of_who_renamed_it(world):
    pay = f"{TABLE}\ncolumn pay: integer"
    seen = table(pay, "oid 16500; column 1-2")
    world.commit(3, seen, statements=[ran(2, "dba", "ALTER TABLE hr.t ADD COLUMN pay int")])
    world.drift.accept("dba", "fine")
    did = [
        ran(10, "alice", "ALTER TABLE hr.t RENAME COLUMN pay TO salary"),
        ran(11, "bob", "ALTER TABLE hr.t DISABLE ROW LEVEL SECURITY"),
    ]
    after = pay.replace("pay", "salary").replace("row security: on\n", "")
    news = world.commit(12, table(after, "oid 16500; column 1-2"), statements=did)
    open_ = {each.identity: each for each in news.findings if not each.resolved_at_us}
    assert dict(open_["alice"].details)["consequences"] == (
        "of table hr.t, column pay renamed to salary"
    )
    assert "pay" not in open_["bob"].sentence
    assert (open_["alice"].severity, open_["bob"].severity) == ("medium", "critical")
    rows = by_actor(world)
    assert rows["alice"]["renamed"] == "column pay renamed to salary"
    assert rows["bob"]["renamed"] == ""


def test_what_several_did_and_was_over_before_it_was_told_ends_as_a_whole(world):
    unsure = [
        ran(2, "alice", "ALTER ROLE svc SUPERUSER", transaction="TT"),
        ran(3, "bob", "ALTER ROLE svc CREATEDB", transaction="TT"),
    ]
    assert world.commit(4, BOTH, statements=unsure).findings == []
    news = world.commit(5, BASE)
    last = {each.identity: each for each in news.findings}
    assert last.keys() == {"alice", "bob"}
    assert all(each.resolved_at_us for each in last.values())
    assert world.drift.status().rows == []


def test_who_did_all_lines_has_one_row(world):
    off = TABLE.replace("row security: on\n", "")
    did = [
        ran(2, "alice", "ALTER TABLE hr.t DISABLE ROW LEVEL SECURITY, ADD COLUMN note text"),
        ran(3, "bob", "CREATE TRIGGER tr BEFORE UPDATE ON hr.t EXECUTE FUNCTION f()"),
    ]
    after = table(f"{off}\ncolumn note: text", "oid 16500; column 1-2")
    [found] = world.commit(6, after, statements=did).findings
    assert (found.identity, T in after) == ("alice", True)


def test_a_later_part_that_turns_out_to_be_nobodys_stays_that_part(world):
    world.commit(6, BOTH, statements=[SUPERUSER, CREATEDB])
    _, second = world.drift._state.open.values()
    after = nobodys(second, "it was one of bob, carol", 7)
    assert (after.key, after.actor, after.attribution) == (second.key, "", "unattributed")
