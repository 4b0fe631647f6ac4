"""Who may do what, and what a change lets them."""

from __future__ import annotations

import random
from itertools import pairwise

from analytics.drift.effective import (
    Numbering,
    access_of,
    gained,
    inherits,
    is_member,
    lost,
    may_set,
    revised,
    to_come,
    what_can,
    who_can,
)
from model.catalog import CatalogItem, CatalogKind

USAGE = ("privilege", "schema:hr<-PUBLIC", "USAGE")


def item(kind, name, value, detail=""):
    kind = CatalogKind(kind)
    of_cluster = kind in (CatalogKind.ROLE, CatalogKind.MEMBERSHIP)
    return CatalogItem(kind, "" if of_cluster else "shop", name, value, detail)


def facts(*rows, major=16, numbering=None, roles=("alice", "bob", "etl", "analyst", "root")):
    said = [
        item("role", name, f"superuser={'true' if name == 'root' else 'false'} inherit=true")
        for name in roles
    ]
    return access_of([*said, *(item(*row) for row in rows)], "shop", major, numbering)


SALARY = ("table", "hr.salary", "owner: alice\nkind: table")
GRANT = ("privilege", "table:hr.salary<-analyst", "SELECT")
MEMBER = ("membership", "analyst<-etl", "member")


def test_the_owner_a_superuser_and_who_was_granted_may_read():
    assert who_can(facts(USAGE, SALARY, GRANT), "table:hr.salary", "SELECT") == {
        "alice", "root", "analyst"
    }  # fmt: skip


def test_a_member_inherits_and_without_usage_on_the_schema_nobody_gets_there():
    assert "etl" in who_can(facts(USAGE, SALARY, GRANT, MEMBER), "table:hr.salary", "SELECT")
    schema = ("privilege", "schema:hr<-bob", "USAGE")
    shut = facts(schema, SALARY, GRANT, MEMBER)
    assert who_can(shut, "table:hr.salary", "SELECT") == {"root"}
    assert "etl" in who_can(shut, "table:hr.salary", "SELECT", reaching=False)


def test_who_does_not_inherit_must_say_set_role_first():
    without = facts(USAGE, SALARY, GRANT, ("membership", "analyst<-etl", "member noinherit"))
    assert "etl" not in who_can(without, "table:hr.salary", "SELECT")
    assert may_set(without, "etl", "analyst")
    assert not inherits(without, "etl", "analyst")
    neither = facts(("membership", "analyst<-etl", "member noinherit noset"))
    assert is_member(neither, "etl", "analyst")
    assert not may_set(neither, "etl", "analyst")


def test_before_16_it_is_the_member_that_inherits_or_not():
    noinherit = ("role", "etl", "superuser=false inherit=false")
    rows = (USAGE, SALARY, GRANT, MEMBER, noinherit)
    roles = ("alice", "analyst")
    assert "etl" not in who_can(facts(*rows, major=15, roles=roles), "table:hr.salary", "SELECT")
    assert "etl" in who_can(facts(*rows, major=16, roles=roles), "table:hr.salary", "SELECT")


def test_pg_read_all_data_reads_everything_without_any_usage():
    member = ("membership", "pg_read_all_data<-bob", "member")
    assert who_can(facts(SALARY, member), "table:hr.salary", "SELECT") >= {"bob"}
    assert "bob" not in who_can(facts(SALARY, member), "table:hr.salary", "INSERT")


def test_the_owner_of_the_database_is_pg_database_owner():
    rows = (
        ("database", "shop", "owner: bob"),
        ("schema", "public", "owner: pg_database_owner"),
    )
    # Databases are of the whole cluster.
    items = [
        CatalogItem(CatalogKind.DATABASE, "", "shop", "owner: bob"),
        item(*rows[1]),
        item("role", "bob", "superuser=false inherit=true"),
        item("role", "pg_database_owner", "superuser=false inherit=true"),
    ]
    assert "bob" in who_can(access_of(items, "shop", 15), "schema:public", "CREATE")


def test_everybody_may_run_a_function_until_that_is_revoked():
    function = ("function", "hr.f(integer)", "owner: alice\nkind: function")
    assert "bob" in who_can(facts(USAGE, function), "function:hr.f(integer)", "EXECUTE")
    revoked = ("privilege", "function:hr.f(integer)<-PUBLIC", "(revoked)")
    shut = facts(USAGE, function, revoked)
    assert who_can(shut, "function:hr.f(integer)", "EXECUTE") == {"alice", "root"}


def test_a_column_is_named_only_where_its_table_is_not():
    column = ("privilege", "column:hr.salary.amount<-bob", "SELECT")
    assert what_can(facts(USAGE, SALARY, column), "bob")["SELECT"] == {"column:hr.salary.amount"}
    table = ("privilege", "table:hr.salary<-bob", "SELECT")
    assert what_can(facts(USAGE, SALARY, column, table), "bob")["SELECT"] == {"table:hr.salary"}


def test_a_grant_of_membership_gives_what_the_group_has_to_all_below():
    numbering = Numbering()
    rows = (USAGE, SALARY, GRANT, ("membership", "etl<-bob", "member"))
    before = facts(*rows, numbering=numbering)
    after = facts(*rows, MEMBER, numbering=numbering)
    [reach] = gained(before, after)
    assert reach.roles == ("bob", "etl")
    assert (reach.privileges, reach.objects) == (("SELECT",), ("table:hr.salary",))
    assert gained(after, before) == ()
    assert lost(after, before) == (reach,)


def test_usage_on_a_schema_opens_what_was_granted_before():
    numbering = Numbering()
    closed = ("privilege", "schema:hr<-bob", "USAGE")
    before = facts(closed, SALARY, GRANT, numbering=numbering)
    opened = ("privilege", "schema:hr<-analyst", "USAGE")
    after = facts(closed, opened, SALARY, GRANT, numbering=numbering)
    said = {reach.objects for reach in gained(before, after)}
    assert said == {("schema:hr",), ("table:hr.salary",)}


def test_default_privileges_say_what_is_to_come():
    default = ("privilege", "default:tables of alice in hr<-analyst", "SELECT")
    [grant] = to_come(facts(default, MEMBER), "etl")
    assert (grant.maker, grant.schema, grant.objects, grant.privileges) == (
        "alice", "hr", "tables", ("SELECT",)
    )  # fmt: skip
    assert to_come(facts(default), "etl") == ()
    taken = ("privilege", "default:functions of alice<-PUBLIC", "(revoked)")
    assert to_come(facts(taken), "etl") == ()


def big(roles=500, tables=5_000):
    dice = random.Random(7)
    rows = [("privilege", f"schema:s{n}<-PUBLIC", "USAGE") for n in range(20)]
    rows += [("table", f"s{n % 20}.t{n}", "owner: alice\nkind: table") for n in range(tables)]
    rows += [("privilege", f"table:s{n % 20}.t{n}<-everything", "SELECT") for n in range(tables)]
    for n in range(tables):
        grantee = f"r{dice.randrange(roles)}"
        rows.append(("privilege", f"table:s{n % 20}.t{n}<-{grantee}", "INSERT, SELECT"))
    rows += [("membership", f"r{n // 3}<-r{n}", "member") for n in range(1, roles)]
    return rows, (*(f"r{n}" for n in range(roles)), "alice", "everything")


def test_a_membership_that_touches_everything_is_told_in_one_sentence():
    """500 roles below r0 get 5,000 tables;"""
    rows, roles = big()
    before = facts(*rows, roles=roles)
    after = revised(before, [], [item("membership", "everything<-r0", "member")])
    found = gained(before, after)
    pairs = sum(len(reach.roles) * reach.count for reach in found)
    assert pairs > 2_000_000
    assert {role for reach in found for role in reach.roles} == {f"r{n}" for n in range(500)}


def test_facts_that_are_revised_are_those_that_are_read_anew():
    """Random changes of roles, memberships and grants, forth and back."""
    dice = random.Random(11)
    names = ["alice", "bob", "etl", "analyst"]
    pool = [
        *(("membership", f"{a}<-{b}", "member") for a, b in pairwise(names)),
        *(("privilege", f"table:hr.t{n % 3}<-{dice.choice(names)}", "SELECT") for n in range(6)),
        ("privilege", "function:hr.f()<-PUBLIC", "(revoked)"),
        ("privilege", "schema:hr<-PUBLIC", "USAGE"),
        ("privilege", "schema:hr<-bob", "USAGE, CREATE"),
    ]
    fixed = [("table", f"hr.t{n}", "owner: alice\nkind: table") for n in range(3)]
    fixed.append(("schema", "hr", "owner: alice"))
    fixed.append(("function", "hr.f()", "owner: alice\nkind: function"))
    for _ in range(200):
        one = {row[:2]: row for row in pool if dice.random() < 0.5}
        other = {row[:2]: row for row in pool if dice.random() < 0.5}
        before = facts(*fixed, *one.values())
        gone = [item(*row) for key, row in one.items() if other.get(key) != row]
        come = [item(*row) for key, row in other.items() if one.get(key) != row]
        moved = revised(before, gone, come)
        anew = facts(*fixed, *other.values())
        for role in ("alice", "bob", "etl", "analyst", "root"):
            assert what_can(moved, role) == what_can(anew, role), (role, one, other)
