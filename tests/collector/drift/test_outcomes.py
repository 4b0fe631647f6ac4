"""One finding for one change, with its outcome, its consequences and what is not known."""

from __future__ import annotations

import polars as pl
import pytest

from collector.drift.engine import Drift
from model.catalog import CatalogKind
from model.verdict import Severity
from tests.analytics.streams import START_US
from tests.collector.drift.story import S, frame, ran
from tests.collector.test_drift import AUTO, FILE, snapshot

MOMENT = r"at \d\d:\d\d UTC from psql"


class World:
    def __init__(self, folder, **words):
        self.drift = Drift(folder, **words)
        self.seq = 0
        self.ids = 0

    def commit(self, second, *changes, statements=(), **frames):
        """``changes``: of the server, seen by a snapshot of this second; ``[]``: as at first."""
        self.seq += 1
        if statements:
            frames["statements"] = frame(list(statements), first_id=self.ids + 1)
            self.ids += len(statements)
        seen = [("host-a", snapshot(second, tree, kinds=KINDS)) for tree in changes]
        return self.drift.on_commit(frames, seen, self.seq, START_US + int(second * S))

    def tick(self, second):
        return self.drift.tick(START_US + int(second * S))


KINDS = tuple(
    map(CatalogKind, ("setting", "hba", "role", "membership", "privilege", "schema", "table"))
)


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.commit(0, BASE)
    return world


BASE = {("table", "shop", "hr.old"): ("owner: hr\nkind: table", "")}


def privilege(name, value="SELECT"):
    return {("privilege", "shop", name): (value, "")}


def test_a_transaction_is_one_finding_across_kinds(world):
    rows = [
        ran(1, "bob", "BEGIN", transaction="IT"),
        ran(2, "bob", "CREATE TABLE hr.t (i int)", transaction="TT"),
        ran(3, "bob", "GRANT SELECT ON hr.t TO analyst", transaction="TT"),
        ran(4, "bob", "COMMIT", transaction="TI", tag="COMMIT"),
    ]
    seen = {
        **BASE,
        ("table", "shop", "hr.t"): ("owner: bob\nkind: table", ""),
        **privilege("table:hr.t<-analyst"),
    }
    [found] = world.commit(6, seen, statements=rows).findings
    assert found.sentence.startswith("2 statements of one transaction by bob at ")
    assert dict(found.details)["statements"] == "2, 3"
    assert {"table hr.t was created and belongs to bob"} < {
        *dict(found.details)["consequences"].splitlines()
    }


def test_two_statements_are_two_findings(world):
    rows = [
        ran(2, "bob", "GRANT SELECT ON hr.a TO analyst"),
        ran(3, "bob", "GRANT SELECT ON hr.b TO analyst"),
    ]
    seen = {**BASE, **privilege("table:hr.a<-analyst"), **privilege("table:hr.b<-analyst")}
    assert len(world.commit(6, seen, statements=rows).findings) == 2


def test_a_restored_dump_is_one_finding_of_its_session(world):
    rows = [ran(1, "bob", "SET check_function_bodies = false")]
    rows += [ran(2 + n / 100, "bob", f"CREATE TABLE hr.t{n} (i int)") for n in range(5)]
    seen = BASE | {("table", "shop", f"hr.t{n}"): ("owner: bob", "") for n in range(5)}
    [found] = world.commit(6, seen, statements=rows).findings
    assert found.sentence.startswith("5 statements of one session by bob at ")
    assert found.statement_id


def test_a_do_block_with_three_statements_inside_is_one_finding(world):
    block = {"id": 50, **ran(1, "bob", "DO $$ BEGIN NULL; END $$")}
    inside = [
        ran(2, "bob", f"GRANT SELECT ON hr.t{n} TO analyst", parent_id=50, sqlstate="")
        for n in range(3)
    ]
    seen = dict(BASE)
    for n in range(3):
        seen |= privilege(f"table:hr.t{n}<-analyst")
    world.commit(6, seen, statements=[block, *inside])
    [found] = world.tick(7).findings
    assert found.sentence.startswith("3 statements of one statement by bob")


def test_a_rename_is_one_clause(world):
    seen = {
        ("table", "shop", "hr.old"): None,
        ("table", "shop", "hr.new"): ("owner: hr\nkind: table", ""),
    }
    rows = [ran(2, "bob", "ALTER TABLE hr.old RENAME TO new")]
    [found] = world.commit(6, seen, statements=rows).findings
    assert found.sentence.endswith(": table hr.old became hr.new")


def test_a_rename_to_a_name_that_redaction_hid_is_still_one(world):
    seen = {
        ("table", "shop", "hr.old"): None,
        ("table", "shop", 'hr."?? ""x"'): ("owner: hr\nkind: table", ""),
    }
    hidden = ran(2, "bob", 'ALTER TABLE hr.old RENAME TO "?? ""x"')
    assert '"?"' in hidden["text"]
    world.commit(6, seen, statements=[hidden])
    world.tick(20)
    rows = world.drift.status().rows
    assert {row["actor"] for row in rows} == {"bob"}
    assert len({row["finding_id"] for row in rows}) == 1


def approval(statement_id, request="r-7"):
    return pl.DataFrame(
        [
            {
                "agent": "host-a", "statement_id": statement_id, "outcome": "approved",
                "reason": f"no grants (approved: request {request})",
            }
        ]
    )  # fmt: skip


GRANT = {**BASE, **privilege("table:hr.salaries<-analyst")}


def test_what_somebody_approved_says_so_and_is_less_severe(world):
    rows = [ran(2, "bob", "GRANT SELECT ON hr.salaries TO analyst")]
    news = world.commit(6, GRANT, statements=rows, verdicts=approval(1))
    assert [(row["attribution"], row["approval"]) for row in news.rows] == [("approved", "r-7")]
    [found] = news.findings
    assert found.severity is Severity.LOW
    assert dict(found.details)["approval"] == "r-7"
    assert ", approved: " in found.sentence


def test_an_approval_that_is_told_later_changes_the_finding(world):
    rows = [ran(2, "bob", "GRANT SELECT ON hr.salaries TO analyst")]
    [first] = world.commit(6, GRANT, statements=rows).findings
    [second] = world.commit(7, verdicts=approval(1)).findings
    assert (first.id, first.severity) == (second.id, Severity.MEDIUM)
    assert second.severity is Severity.LOW
    assert [row["attribution"] for row in world.drift.status().rows] == ["approved"]


def test_the_approval_of_a_call_covers_what_ran_inside(world):
    call = {"id": 50, **ran(1, "bob", "SELECT app.give()")}
    inside = ran(2, "bob", "GRANT SELECT ON hr.salaries TO analyst", parent_id=50, sqlstate="")
    world.commit(6, GRANT, statements=[call, inside], verdicts=approval(50))
    assert [row["attribution"] for row in world.tick(7).rows] == ["approved"]


def test_a_membership_says_what_it_lets_whom_do(world):
    seen = BASE | {
        ("membership", "", "payroll<-analyst"): ("member", ""),
        ("role", "", "payroll"): ("superuser=false", ""),
        ("privilege", "shop", "schema:hr<-PUBLIC"): ("USAGE", ""),
    }
    before = dict(seen) | {("membership", "", "payroll<-analyst"): None}
    world.commit(3, before)
    world.drift.accept("anna", "as it should be")
    rows = [ran(5, "bob", "GRANT payroll TO analyst")]
    found = world.commit(6, seen, statements=rows).findings[-1]
    assert " let analyst read hr.salaries: " in found.sentence
    more = seen | privilege("table:hr.bonus<-payroll")
    world.commit(8, before | privilege("table:hr.bonus<-payroll"))
    world.drift.accept("anna", "as it should be")
    rows = [ran(9, "bob", "GRANT payroll TO analyst")]
    found = world.commit(10, more, statements=rows).findings[-1]
    assert " let analyst read hr.* (2 objects): analyst is now a member of payroll" in (
        found.sentence
    )


def test_a_second_grant_on_the_same_table_is_held_against_what_was_seen_before(world):
    """Against the accepted value it would look as if the one who took something had given it. What
    is left was given by who gave it."""
    both = {**BASE, **privilege("table:hr.salaries<-analyst", "INSERT, SELECT")}
    rows = [ran(2, "bob", "GRANT SELECT, INSERT ON hr.salaries TO analyst")]
    world.commit(6, both, statements=rows)
    rows = [ran(8, "eve", "REVOKE INSERT ON hr.salaries FROM analyst")]
    world.commit(10, GRANT, statements=rows)
    [row] = world.drift.status().rows
    assert (row["actor"], row["observed"]) == ("bob", "SELECT")


def test_a_revert_names_who_brought_it_back(world):
    world.commit(6, GRANT, statements=[ran(2, "bob", "GRANT SELECT ON hr.salaries TO analyst")])
    rows = [ran(8, "eve", "REVOKE SELECT ON hr.salaries FROM analyst")]
    news = world.commit(10, BASE, statements=rows)
    [row] = news.rows
    assert (row["actor"], row["outcome"], row["resolved_by"]) == ("bob", "reverted", "eve")
    assert row["resolved_statement_id"] == 2
    [found] = news.findings
    assert found.sentence.endswith("; since then reverted by eve")


def test_what_came_from_a_file_is_nobodys_and_says_what_else_happened_then(world):
    lost = pl.DataFrame(
        [
            {
                "occurred_at": START_US + 4 * S, "agent": "host-a", "source": "ebpf",
                "reason": "ring_full", "count": 3,
            }
        ]
    ).with_columns(pl.col("occurred_at").cast(pl.Datetime("us")))  # fmt: skip
    seen = {**BASE, ("setting", "", "log_statement"): ("none", FILE)}
    world.commit(6, seen, losses=lost)
    [found] = world.tick(20).findings
    assert found.sentence.startswith("Nobody on the wire did it: ")
    assert found.sentence.endswith("; 3 facts were lost then (ring_full)")


def test_losses_at_another_time_or_of_something_else_are_not_named(world):
    lost = pl.DataFrame(
        [
            {
                "occurred_at": START_US + second * S, "agent": agent, "source": source,
                "reason": "x", "count": 3,
            }
            for second, agent, source in ((-9, "host-a", "ebpf"), (4, "host-a", "catalog"),
                                          (4, "host-b", "ebpf"), (40, "host-a", "ebpf"))
        ]
    ).with_columns(pl.col("occurred_at").cast(pl.Datetime("us")))  # fmt: skip
    world.commit(6, {**BASE, ("setting", "", "log_statement"): ("none", FILE)}, losses=lost)
    [found] = world.tick(20).findings
    assert "lost" not in found.sentence


def sessions(*rows):
    return pl.DataFrame(
        [
            {
                "agent": "host-a", "cluster": "5432", "pid": pid,
                "backend_started_at": START_US - 9 * S + 1,
                "ended_at": None if end is None else START_US + int(end * S),
                "seen_at": START_US + 9 * S,
            }
            for pid, end in rows
        ],
        schema_overrides={"ended_at": pl.Int64},
    ).with_columns(pl.selectors.ends_with("_at").cast(pl.Datetime("us")))  # fmt: skip


SHARED = {**BASE, ("setting", "", "work_mem"): ("1GB", FILE)}


def test_a_restart_is_named_when_all_sessions_ended_together(world):
    world.commit(1, sessions=sessions((1, None), (2, None)))
    world.commit(4, sessions=sessions((1, 3.0), (2, 3.1)))
    world.commit(6, SHARED)
    [found] = world.tick(20).findings
    assert found.sentence.endswith(
        "; all 2 sessions that were known ended together then, as in a restart"
    )


def test_sessions_that_were_found_to_be_gone_together_did_not_end_together(world):
    world.commit(1, sessions=sessions((1, None), (2, None)))
    world.commit(4, sessions=sessions((1, 3.0), (2, 3.0)).with_columns(seen_at="ended_at"))
    world.commit(6, SHARED)
    [found] = world.tick(20).findings
    assert "ended" not in found.sentence


def test_one_session_that_ended_beside_our_own_is_no_restart(world):
    def named(*rows):
        names = pl.Series("application_name", ["psql", "pgwarden"])
        return sessions(*rows).with_columns(names)

    world.commit(1, sessions=named((1, None), (2, None)))
    world.commit(4, sessions=named((1, 3.0), (2, 3.1)))
    world.commit(6, SHARED)
    [found] = world.tick(20).findings
    assert "ended" not in found.sentence


def test_a_session_that_lived_on_proves_that_there_was_no_restart(world):
    world.commit(1, sessions=sessions((1, None), (2, None), (3, None)))
    world.commit(4, sessions=sessions((1, 3.0), (2, 3.1)))
    world.commit(6, SHARED)
    [found] = world.tick(20).findings
    assert "ended" not in found.sentence


def test_a_setting_that_only_a_start_changes_tells_of_one(world):
    world.commit(6, {**BASE, ("setting", "", "shared_buffers"): ("1GB", FILE)})
    [found] = world.tick(20).findings
    assert found.sentence.endswith("; the server was restarted then")


def test_an_old_alter_system_does_not_explain_what_somebody_edited_later(world):
    once = {**BASE, ("setting", "", "work_mem"): ("64MB", AUTO)}
    rows = [ran(2, "bob", "ALTER SYSTEM SET work_mem = '64MB'")]
    world.commit(6, once, statements=rows)
    world.commit(50, {**BASE, ("setting", "", "work_mem"): ("1GB", AUTO)})
    world.tick(70)
    assert [row["actor"] for row in world.drift.status().rows] == [""]


HOUR = 3_600


def work_mem(value, source=AUTO):
    return {**BASE, ("setting", "", "work_mem"): (value, source)}


def actors(world, second, *values):
    """Of the differences that are open after a look at this second."""
    world.commit(second, *values)
    world.tick(second + 20)
    return [row["actor"] for row in world.drift.status().rows]


def test_an_alter_system_that_a_later_one_overwrote_explains_no_later_edit(world):
    rows = [
        ran(2, "alice", "ALTER SYSTEM SET work_mem = '8MB'"),
        ran(3, "bob", "ALTER SYSTEM SET work_mem = '64MB'"),
    ]
    world.commit(6, work_mem("64MB"), statements=rows)
    assert actors(world, 22 * HOUR, work_mem("1GB")) == [""]


@pytest.mark.parametrize("function", ["pg_reload_conf", "pg_catalog.pg_reload_conf"])
def test_an_alter_system_from_before_a_reload_explains_nothing_after_it(world, function):
    rows = [
        ran(2, "alice", "ALTER SYSTEM SET work_mem = '4MB'"),
        ran(3, "alice", f"SELECT {function}()"),
    ]
    world.commit(6, BASE, statements=rows)
    assert actors(world, 22 * HOUR, work_mem("1GB")) == [""]


def test_a_reload_that_changed_another_setting_has_taken_in_all_that_was_before_it(world):
    world.commit(6, BASE, statements=[ran(2, "alice", "ALTER SYSTEM SET work_mem = '4MB'")])
    edited = {**BASE, ("setting", "", "log_statement"): ("none", FILE)}
    assert actors(world, HOUR, edited) == [""]
    assert actors(world, 22 * HOUR, edited | work_mem("1GB")) == ["", ""]


def test_an_old_alter_system_takes_effect_with_whatever_else_the_reload_brings(world):
    rows = [
        ran(2, "alice", "ALTER SYSTEM SET work_mem = '64MB'"),
        ran(5 * HOUR, "bob", "SELECT pg_reload_conf()"),
    ]
    world.commit(6, BASE, statements=rows[:1])
    seen = work_mem("64MB") | {("setting", "", "log_statement"): ("none", FILE)}
    world.commit(5 * HOUR - 1, BASE, statements=rows[1:])
    assert sorted(actors(world, 5 * HOUR + 1, seen)) == ["", "alice"]


def test_what_waited_for_a_restart_is_still_of_who_set_it(world):
    shared = ("setting", "", "shared_buffers")
    rows = [
        ran(2, "alice", "ALTER SYSTEM SET shared_buffers = '1GB'"),
        ran(3, "alice", "SELECT pg_reload_conf()"),
    ]
    world.commit(6, {**BASE, shared: ("128MB (restart pending)", FILE)}, statements=rows)
    assert actors(world, 22 * HOUR, {**BASE, shared: ("1GB", AUTO)}) == ["alice"]


def test_who_else_it_may_have_been_is_said(world):
    rows = [
        ran(2, "bob", "GRANT SELECT ON hr.salaries TO analyst"),
        ran(3, "eve", "GRANT SELECT ON hr.salaries TO analyst"),
    ]
    [found] = world.commit(6, GRANT, statements=rows).findings
    assert found.identity == "bob"
    assert found.sentence.endswith("; it may also have been eve (statement 2)")


def test_rows_of_a_watched_table_are_the_doing_of_who_wrote_them(tmp_path):
    world = World(tmp_path)
    base = {("watched", "shop", "public.flags[7]"): ("on: false", "")}
    tree = snapshot(0, base, kinds=(*KINDS, CatalogKind.WATCHED))
    world.drift.on_commit({}, [("host-a", tree)], 1, START_US)
    rows = frame(
        [ran(2, "bob", "UPDATE flags SET on_ = true"), ran(3, "eve", "UPDATE other SET a = 1")]
    )
    after = {("watched", "shop", "public.flags[7]"): ("on: true", "")}
    tree = snapshot(6, after, kinds=(*KINDS, CatalogKind.WATCHED))
    news = world.drift.on_commit({"statements": rows}, [("host-a", tree)], 2, START_US + 6 * S)
    assert [row["actor"] for row in news.rows] == ["bob"]


def watched_world(folder, rows, after):
    """Two rows of a watched table, and what is told once ``rows`` ran and they are ``after``."""
    kinds = (*KINDS, CatalogKind.WATCHED)

    def at(second, *values):
        named = {("watched", "shop", f"public.flags[{n}]"): (v, "") for n, v in enumerate(values)}
        return [("host-a", snapshot(second, named, kinds=kinds))]

    drift = Drift(folder)
    drift.on_commit({}, at(0, "on: no", "on: no"), 1, START_US)
    drift.on_commit({"statements": frame(rows)}, at(6, *after), 2, START_US + 6 * S)
    return drift.tick(START_US + 20 * S), drift.status().rows


ALICE = ran(2, "alice", "UPDATE public.flags SET on_ = true WHERE id = 0")
BOB = ran(3, "bob", "UPDATE flags SET on_ = true WHERE id = 1")


def test_of_two_who_wrote_to_a_watched_table_none_is_claimed(tmp_path):
    news, rows = watched_world(tmp_path, [ALICE, BOB], ["on: yes", "on: yes"])
    assert [(row["attribution"], row["actor"]) for row in rows] == [("unattributed", "")] * 2
    [found] = news.findings
    assert found.sentence.startswith("Who did it is not known: ")
    assert found.sentence.endswith("; it was one of alice (statement 1), bob (statement 2)")
    assert found.severity is Severity.MEDIUM


def test_who_did_another_thing_to_a_watched_table_is_no_rival(tmp_path):
    deleted = ran(3, "bob", "DELETE FROM flags WHERE id = 9")
    _, rows = watched_world(tmp_path, [ALICE, deleted, ALICE], ["on: yes", "on: no"])
    assert [row["actor"] for row in rows] == ["alice"]


def test_a_thousand_differences_of_one_script_are_explained_in_one_go(world):
    rows = [ran(2 + n / 2000, "bob", f"CREATE TABLE hr.t{n} (i int)") for n in range(1_000)]
    seen = BASE | {("table", "shop", f"hr.t{n}"): ("owner: bob", "") for n in range(1_000)}
    news = world.commit(6, seen, statements=rows)
    assert len(news.rows) == 1_000
    [found] = news.findings
    assert found.sentence.startswith("1000 statements of one session by bob")
    assert len(world.commit(9, BASE).findings) == 1


def test_without_capture_of_nested_statements_the_call_is_named_and_not_blamed(world):
    rows = [ran(2, "bob", "SELECT app.give()"), ran(3, "eve", "SELECT count(*) FROM x")]
    world.commit(6, GRANT, statements=rows)
    [found] = world.tick(20).findings
    assert found.identity == ""
    assert found.sentence.endswith(
        "; bob ran SELECT app.give then, and what it ran inside is not captured"
        " (agent.capture.nested)"
    )


def test_what_pgwarden_ran_itself_is_no_hint(world):
    rows = [ran(2, "pgwarden", "DO $$ BEGIN NULL; END $$", application_name="pgwarden")]
    world.commit(6, GRANT, statements=rows)
    [found] = world.tick(20).findings
    assert "captured" not in found.sentence


@pytest.mark.parametrize("inside", ["SELECT 1", "CREATE TABLE hr.x (i int)"])
def test_with_capture_of_nested_statements_a_call_is_no_excuse(world, inside):
    rows = [ran(2, "bob", "SELECT app.give()"), ran(3, "bob", inside, parent_id=1, sqlstate="")]
    world.commit(6, GRANT, statements=rows)
    [found] = world.tick(20).findings
    assert "captured" not in found.sentence


def test_clients_that_close_one_after_the_other_are_no_restart(world):
    world.commit(1, sessions=sessions((1, None), (2, None)))
    world.commit(4, sessions=sessions((1, 2.0), (2, 3.6)))
    world.commit(6, SHARED)
    [found] = world.tick(20).findings
    assert "ended" not in found.sentence


def test_what_one_did_by_two_statements_is_two_findings(world):
    rows = [
        ran(2, "bob", "ALTER TABLE hr.old SET UNLOGGED"),
        ran(3, "bob", "ALTER TABLE hr.old SET (fillfactor = 50)"),
    ]
    after = "owner: hr\nkind: table\npersistence: unlogged\noptions: fillfactor=50"
    seen = {("table", "shop", "hr.old"): (after, "")}
    found = world.commit(6, seen, statements=rows).findings
    assert [each.statement_id for each in found] == [1, 2]
    assert all("by bob (" not in each.sentence for each in found)
    told = [dict(each.details)["consequences"] for each in found]
    assert ["fillfactor" in each for each in told] == [False, True]


def test_what_ran_inside_a_function_waits_for_who_said_it_a_moment_later(world):
    sql = "GRANT SELECT ON hr.t1 TO analyst"
    inside = ran(2, "ivan", sql, parent_id=1, sqlstate="", transaction="")
    seen = BASE | privilege("table:hr.t1<-analyst")
    early = world.commit(3, seen, statements=[ran(2, "ivan", "SELECT app.f()"), inside])
    late = world.commit(3.5, statements=[ran(2.5, "bob", sql)])
    told = [*early.rows, *late.rows, *world.tick(4.1).rows]
    assert [row["actor"] for row in told] == ["bob"]


def test_what_ran_inside_a_function_is_told_after_a_second(world):
    inside = ran(2, "ivan", "GRANT SELECT ON hr.t1 TO analyst", parent_id=1, sqlstate="")
    seen = BASE | privilege("table:hr.t1<-analyst")
    news = world.commit(3, seen, statements=[ran(2, "ivan", "SELECT app.f()"), inside])
    assert (news.rows, [row["actor"] for row in world.tick(4.1).rows]) == ([], ["ivan"])
