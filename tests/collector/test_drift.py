"""Differences from the baseline, and who made them."""

from __future__ import annotations

import polars as pl
import pytest

from collector import schema
from collector.drift.engine import Drift
from collector.drift.news import drift_frame
from collector.rows import finding_rows
from collector.store import frame_of
from model.catalog import CatalogItem, CatalogKind, Snapshot
from model.verdict import Severity
from tests.analytics.streams import START_US, frame, statement

S = 1_000_000
KINDS = tuple(map(CatalogKind, ("setting", "hba", "role", "membership", "privilege")))
AUTO = "configuration file /data/postgresql.auto.conf:3"
FILE = "configuration file /data/postgresql.conf:40"
BASE = {
    ("setting", "", "log_statement"): ("all", FILE),
    ("setting", "", "work_mem"): ("4MB", "default"),
    ("setting", "", "shared_buffers"): ("128MB", FILE),
    ("hba", "", "host all all 127.0.0.1/32"): ("scram-sha-256", "pg_hba.conf:5"),
    ("hba", "", "local all all"): ("peer", "pg_hba.conf:4"),
    ("hba", "", "(order)"): ("local all all > host all all 127.0.0.1/32", ""),
    ("role", "", "analyst"): ("superuser=false login=true createrole=false", ""),
    ("membership", "", "staff<-analyst"): ("member", ""),
    ("privilege", "", "database:shop<-PUBLIC"): ("CONNECT", ""),
    ("privilege", "shop", "schema:hr<-staff"): ("USAGE", ""),
    ("privilege", "shop", "table:hr.salaries<-payroll"): ("SELECT", ""),
}


def snapshot(second, changes=(), without=(), kinds=KINDS, database="shop"):
    """The base server with ``changes`` ((kind, database, name) -> (value, detail) or None)."""
    tree = {**BASE, **dict(changes)}
    items = [
        CatalogItem(CatalogKind(kind), db, name, *fact)
        for (kind, db, name), fact in tree.items()
        if fact is not None and CatalogKind(kind) in kinds and db in ("", database)
    ]
    return Snapshot(START_US + int(second * S), "5432", database, kinds, tuple(items), "15.4")


class World:
    """A Drift with a clock of its own; commits count up."""

    def __init__(self, folder, **words):
        self.folder, self.words = folder, words
        self.seq = 0
        self.open()

    def open(self):
        self.drift = Drift(self.folder, clock_us=lambda: START_US + 9_999 * S, **self.words)

    def commit(self, second, *snapshots, statements=()):
        self.seq += 1
        frames = {"statements": frame(statements, first_id=1000 + self.seq)} if statements else {}
        seen = [("host-a", s) for s in snapshots]
        return self.drift.on_commit(frames, seen, self.seq, START_US + int(second * S))

    def tick(self, second):
        return self.drift.tick(START_US + int(second * S))


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    news = world.commit(0, snapshot(0))
    assert [f.detector for f in news.findings] == ["drift.baseline"]
    return world


def by(user, second, operation, **words):
    return statement(second, user_name=user, operation=operation, verbs=[operation], **words)


def alter_system(user, second, setting):
    return by(user, second, "alter", settings=[setting], summary="ALTER SYSTEM")


WORK_MEM = {("setting", "", "work_mem"): ("64MB", AUTO)}
GRANT = {("privilege", "shop", "table:hr.salaries<-analyst"): ("SELECT", "owned by hr")}


def test_the_same_server_again_is_no_drift(world):
    news = world.commit(5, snapshot(5))
    assert (news.findings, news.rows) == ([], [])
    assert world.drift.status().rows == []


def test_a_setting_changed_by_alter_system_names_who_did_it(world):
    world.commit(5, statements=[alter_system("bob", 5, "work_mem")])
    news = world.commit(6, snapshot(6, WORK_MEM))
    [row] = news.rows
    assert (row["name"], row["desired"], row["observed"]) == ("work_mem", "4MB", "64MB")
    assert (row["attribution"], row["actor"]) == ("attributed", "bob")
    [found] = news.findings
    assert found.sentence == (
        "ALTER SYSTEM by bob at 08:53 UTC from app: setting work_mem is 64MB, was 4MB"
    )
    assert found.statement_id == row["statement_id"] == 1002
    assert found.severity is Severity.LOW


def test_the_cause_may_be_committed_after_the_snapshot(world):
    assert world.commit(6, snapshot(6, WORK_MEM)).findings == []
    [found] = world.commit(7, statements=[alter_system("bob", 5.9, "work_mem")]).findings
    assert found.identity == "bob"


def test_a_difference_that_nobody_made_is_reported_after_the_hold(world):
    assert world.commit(6, snapshot(6, WORK_MEM)).findings == []
    assert world.tick(8.9).findings == []
    [found] = world.tick(9).findings
    assert found.sentence.startswith("Nobody on the wire did it: setting work_mem is 64MB")
    assert found.severity is Severity.MEDIUM
    assert world.tick(20).findings == []


def test_an_edited_file_does_not_wait_for_a_statement_that_cannot_come(world):
    rule = {("hba", "", "host all eve 10.0.0.0/8"): ("trust", "pg_hba.conf:1")}
    line = {("setting", "", "log_statement"): ("none", FILE)}
    assert world.commit(6, snapshot(6, {**rule, **line, **WORK_MEM})).findings == []
    assert world.tick(6.9).findings == []
    told = world.tick(7).findings
    assert {each.detector for each in told} == {"drift.hba", "drift.settings"}
    assert all("work_mem" not in each.sentence for each in told)
    [waited] = world.tick(9).findings
    assert "work_mem" in waited.sentence


def test_a_statement_that_comes_after_the_hold_is_still_the_cause(world):
    world.commit(6, snapshot(6, {**GRANT, **WORK_MEM}))
    told = {each.object: each for each in world.tick(9).findings}
    assert {each.identity for each in told.values()} == {""}
    news = world.commit(14, statements=[alter_system("bob", 5.9, "work_mem")])
    over, new = news.findings
    assert over.id == told["work_mem"].id
    assert over.resolved_at_us == START_US + 14 * S
    assert over.sentence.endswith("since then the statement came that did it, by bob")
    assert (new.identity, new.resolved_at_us) == ("bob", 0)
    [row] = news.rows
    assert (row["name"], row["actor"], row["outcome"]) == ("work_mem", "bob", "attributed")
    assert world.commit(15, statements=[by("eve", 5.9, "select")]).findings == []


def test_a_statement_that_comes_after_a_minute_changes_nothing_that_was_told(world):
    world.commit(6, snapshot(6, WORK_MEM))
    assert world.tick(9).findings
    late = [alter_system("bob", 5.9, "work_mem")]
    assert world.commit(70, statements=late).findings == []


def test_a_finding_goes_on_without_the_difference_whose_statement_came_late(world):
    usage = {("privilege", "shop", "schema:hr<-analyst"): ("USAGE", "owned by hr")}
    world.commit(6, snapshot(6, {**GRANT, **usage}))
    [told] = world.tick(9).findings
    late = by("bob", 5.9, "grant", objects=["table:hr.salaries"], roles=["analyst"])
    news = world.commit(14, statements=[late])
    rows = {row["name"]: row for row in world.drift.status().rows}
    assert rows["table:hr.salaries<-analyst"]["actor"] == "bob"
    assert rows["schema:hr<-analyst"]["actor"] == ""
    assert rows["schema:hr<-analyst"]["finding_id"] == told.id
    assert {each.id: each.identity for each in news.findings} == {
        told.id: "", rows["table:hr.salaries<-analyst"]["finding_id"]: "bob",
    }  # fmt: skip
    assert "salaries" not in next(each.sentence for each in news.findings if each.id == told.id)


def test_a_file_edit_is_not_blamed_on_a_statement_about_the_same_setting(world):
    world.commit(5, statements=[alter_system("bob", 5, "log_statement")])
    world.commit(6, snapshot(6, {("setting", "", "log_statement"): ("none", FILE)}))
    [found] = world.tick(9).findings
    assert found.identity == ""
    assert found.severity is Severity.CRITICAL


def test_alter_system_that_took_effect_at_a_much_later_reload_is_found(world):
    world.commit(5, statements=[alter_system("bob", 5, "work_mem")])
    assert world.commit(7200, snapshot(7200, WORK_MEM)).findings == []
    [found] = world.tick(7203).findings
    assert found.identity == "bob"


def test_a_setting_that_waits_for_a_restart_is_drift_already(world):
    pending = {("setting", "", "shared_buffers"): ("128MB (restart pending)", FILE)}
    world.commit(5, statements=[alter_system("bob", 5, "shared_buffers")])
    [found] = world.commit(6, snapshot(6, pending)).findings
    assert found.identity == "bob"


def test_a_grant_names_who_may_what(world):
    grant = by("bob", 5, "grant", objects=["table:hr.salaries"], roles=["analyst"], summary="GRANT")
    [found] = world.commit(6, snapshot(6, GRANT), statements=[grant]).findings
    assert found.sentence == (
        "GRANT by bob at 08:53 UTC from app: analyst may SELECT on table hr.salaries"
    )
    assert found.detector == "drift.privileges"


def test_an_unqualified_grant_matches_and_one_in_another_database_does_not(world):
    other = by("eve", 5.5, "grant", objects=["table:salaries"], roles=["analyst"], database="dw")
    mine = by("bob", 5, "grant", objects=["table:salaries"], roles=["analyst"])
    [found] = world.commit(6, snapshot(6, GRANT), statements=[mine, other]).findings
    assert found.identity == "bob"


PUBLIC = {"objects": ["table:salaries"], "flags": ["public"]}


@pytest.mark.parametrize(
    ("item", "value", "words"),
    [
        ("table:hr.salaries<-analyst", "SELECT", {"objects": ["schema:hr"], "roles": ["analyst"]}),
        ("column:hr.salaries.amount<-analyst", "SELECT", {"objects": ["table:hr.salaries"]}),
        ('table:hr."Odd"<-analyst', "SELECT", {"objects": ["table:hr.Odd"]}),
        ("table:hr.salaries<-PUBLIC", "SELECT", PUBLIC),
        ("function:hr.f(integer)<-analyst", "EXECUTE", {"objects": ["function:hr.f"]}),
    ],
)  # fmt: skip
def test_names_in_statements_and_in_the_catalog_meet(world, item, value, words):
    changes = {("privilege", "shop", item): (value, "")}
    news = world.commit(6, snapshot(6, changes), statements=[by("bob", 5, "grant", **words)])
    assert [f.identity for f in news.findings] == ["bob"]


def test_a_refused_statement_changed_nothing(world):
    grant = by("bob", 5, "grant", objects=["table:hr.salaries"], sqlstate="42501")
    world.commit(6, snapshot(6, GRANT), statements=[grant])
    assert world.tick(9).findings[0].identity == ""


def test_a_session_setting_is_not_the_cause(world):
    said = by("bob", 5, "set", settings=["work_mem"])
    world.commit(6, snapshot(6, WORK_MEM), statements=[said])
    assert world.tick(9).findings[0].identity == ""


def test_of_the_same_grant_by_several_the_first_one_after_the_last_look_is_the_cause(world):
    grants = [
        by(user, second, "grant", objects=["table:hr.salaries"], roles=["analyst"])
        for user, second in (("early", -3), ("anna", 3), ("bob", 5), ("late", 9))
    ]
    [found] = world.commit(6, snapshot(6, GRANT), statements=grants).findings
    assert found.identity == "anna"


def test_one_statement_with_many_consequences_is_one_finding(world):
    tables = [f"table:hr.t{n}<-analyst" for n in range(6)]
    changes = {("privilege", "shop", name): ("SELECT", "") for name in tables}
    grant = by("bob", 5, "grant", objects=["schema:hr"], roles=["analyst"], summary="GRANT")
    news = world.commit(6, snapshot(6, changes), statements=[grant])
    assert len(news.rows) == 6
    [found] = news.findings
    assert "and 3 more" in found.sentence
    assert len(dict(found.details)["consequences"].splitlines()) == 6


def test_a_membership_and_a_role_are_explained(world):
    changes = {
        ("membership", "", "pg_write_all_data<-analyst"): ("member", ""),
        ("role", "", "analyst"): ("superuser=true login=true createrole=false", ""),
    }
    did = [
        by(
            "bob",
            5,
            "grant",
            roles=["pg_write_all_data", "analyst"],
            objects=["role:pg_write_all_data"],
            summary="GRANT",
        ),
        by("bob", 5.1, "alter", roles=["analyst"], objects=["role:analyst"], summary="ALTER ROLE"),
    ]
    news = world.commit(6, snapshot(6, changes), statements=did)
    sentences = sorted(f.sentence for f in news.findings)
    assert sentences == [
        "ALTER ROLE by bob at 08:53 UTC from app let analyst do everything: "
        "role analyst became superuser=true",
        "GRANT by bob at 08:53 UTC from app: analyst is now a member of pg_write_all_data",
    ]
    assert {f.severity for f in news.findings} == {Severity.CRITICAL}


def test_a_setting_stored_for_a_role_is_explained_by_alter_role(world):
    changes = {("setting", "", "log_statement@analyst"): ("none", "of a role")}
    did = by(
        "bob", 5, "alter", roles=["analyst"], objects=["role:analyst"], settings=["log_statement"]
    )
    [found] = world.commit(6, snapshot(6, changes), statements=[did]).findings
    assert (found.identity, found.severity) == ("bob", Severity.CRITICAL)


def test_trust_in_the_hba_file_is_critical_and_nobodys(world):
    rule = ("hba", "", "host all all 0.0.0.0/0")
    order = "host all all 0.0.0.0/0 > local all all > host all all 127.0.0.1/32"
    changes = {rule: ("trust", "pg_hba.conf:1"), ("hba", "", "(order)"): (order, "")}
    world.commit(6, snapshot(6, changes))
    [found] = world.tick(9).findings
    assert found.severity is Severity.CRITICAL
    assert found.sentence == (
        "Nobody on the wire did it: hba rule 'host all all 0.0.0.0/0' (trust) was added"
    )


def test_hba_rules_in_another_order_are_drift(world):
    order = {("hba", "", "(order)"): ("host all all 127.0.0.1/32 > local all all", "")}
    world.commit(6, snapshot(6, order))
    assert "order of the hba rules changed" in world.tick(9).findings[0].sentence


def test_a_line_that_moved_in_its_file_is_no_drift(world):
    moved = {("setting", "", "log_statement"): ("all", FILE.replace(":40", ":41"))}
    world.commit(6, snapshot(6, moved))
    assert world.tick(9).rows == []


def test_a_kind_that_could_not_be_read_was_not_dropped(world):
    fewer = tuple(kind for kind in CatalogKind if kind not in ("hba", "privilege"))
    world.commit(6, snapshot(6, kinds=fewer))
    assert world.tick(9).rows == []


def test_a_snapshot_of_another_database_says_nothing_of_this_one(world):
    other = Snapshot(
        START_US + 6 * S, "5432", "dw", (CatalogKind.PRIVILEGE,),
        (CatalogItem(CatalogKind.PRIVILEGE, "dw", "schema:public<-PUBLIC", "USAGE"),),
    )  # fmt: skip
    world.commit(6, other)
    assert world.tick(9).rows == []


def test_a_revert_resolves_the_finding_and_the_row(world):
    world.commit(
        5, snapshot(6, GRANT), statements=[by("bob", 5, "grant", objects=["table:hr.salaries"])]
    )
    opened = world.drift.status().rows[0]
    news = world.commit(20, snapshot(20))
    [found] = news.findings
    assert found.resolved_at_us == START_US + 20 * S
    assert found.sentence.endswith("; since then reverted")
    ended = {"resolved_at": START_US + 20 * S, "known_at": START_US + 20 * S}
    assert news.rows == [opened | ended | {"outcome": "reverted"}]
    assert world.drift.status().rows == []


def test_a_change_that_came_and_went_within_the_hold_is_still_told(world):
    world.commit(6, snapshot(6, WORK_MEM))
    news = world.commit(7, snapshot(7))
    assert [bool(f.resolved_at_us) for f in news.findings] == [False, True]
    assert world.tick(20).findings == []


def test_a_second_change_replaces_the_first(world):
    world.commit(6, snapshot(6, WORK_MEM), statements=[alter_system("bob", 5, "work_mem")])
    again = {("setting", "", "work_mem"): ("1GB", AUTO)}
    news = world.commit(16, snapshot(16, again), statements=[alter_system("eve", 15, "work_mem")])
    assert [(f.identity, bool(f.resolved_at_us)) for f in news.findings] == [
        ("bob", True),
        ("eve", False),
    ]
    assert [row["observed"] for row in world.drift.status().rows] == ["1GB"]


def test_accepting_ends_all_drift_and_is_the_new_baseline(world):
    world.commit(6, snapshot(6, WORK_MEM))
    world.tick(9)
    assert world.drift.accept("anna", "ticket 7") == len(BASE)
    [found] = world.tick(10).findings
    assert found.sentence.endswith("; since then accepted by anna: ticket 7")
    status = world.drift.status()
    assert (status.rows, status.accepted_by) == ([], "anna")
    assert world.commit(20, snapshot(20, WORK_MEM)).rows == []
    back = world.commit(30, snapshot(30), statements=[alter_system("x", 29, "work_mem")])
    assert [(row["desired"], row["observed"]) for row in back.rows] == [("64MB", "4MB")]


def test_without_automatic_acceptance_nothing_is_drift_until_accepted(tmp_path):
    world = World(tmp_path, accept_first=False)
    assert world.commit(0, snapshot(0)).findings == []
    assert not world.drift.status().has_baseline
    world.drift.accept("anna", "reviewed")
    assert world.drift.status().has_baseline
    world.commit(6, snapshot(6, WORK_MEM))
    assert len(world.tick(10).rows) == 1


def test_a_restart_keeps_baseline_and_open_drift_and_says_it_again(world):
    world.commit(6, snapshot(6, WORK_MEM), statements=[alter_system("bob", 5, "work_mem")])
    before = world.drift.status()
    world.open()
    assert world.drift.status() == before
    assert [f.identity for f in world.tick(7).findings] == ["bob"]
    [found] = world.commit(20, snapshot(20)).findings
    assert found.resolved_at_us


def test_a_difference_that_waited_at_a_restart_is_reported_afterwards(world):
    world.commit(6, snapshot(6, WORK_MEM))
    world.open()
    assert len(world.tick(10).findings) == 1


def test_a_replay_from_the_ledger_takes_snapshots_from_catalog_rows(world):
    seen = snapshot(6, WORK_MEM)
    rows = [
        {
            "occurred_at": seen.at_us, "agent": "host-a", "cluster": "5432",
            "database": item.database,
            "kind": item.kind.value, "name": item.name, "value": item.value,
            "detail": item.detail, "server_version": "15.4",
        }
        for item in seen.items
    ]  # fmt: skip
    catalog = pl.DataFrame(rows).with_columns(pl.col("occurred_at").cast(pl.Datetime("us")))
    assert world.drift.resume_from() == 2
    world.drift.on_commit({"catalog": catalog}, None, 2, START_US + 6 * S)
    assert [row["name"] for row in world.tick(10).rows] == ["work_mem"]
    assert world.drift.on_commit({"catalog": catalog}, None, 2, START_US + 11 * S).rows == []


def test_an_old_snapshot_that_arrives_late_changes_nothing(world):
    world.commit(6, snapshot(6))
    world.commit(7, snapshot(3, WORK_MEM))
    assert world.tick(20).rows == []


def test_older_statements_are_looked_up_before_a_difference_is_nobodys(tmp_path):
    asked = []

    def lookup(agent, cluster, from_us, to_us):
        asked.append((agent, cluster))
        return frame([alter_system("bob", 1, "work_mem")])

    world = World(tmp_path, lookup=lookup)
    world.commit(0, snapshot(0))
    world.commit(6, snapshot(6, WORK_MEM))
    assert world.tick(9).findings[0].identity == "bob"
    assert asked == [("host-a", "5432")]


def test_two_hosts_with_equally_named_clusters_are_kept_apart(world):
    seen = snapshot(6, WORK_MEM)
    world.drift.on_commit({}, [("host-b", seen)], 2, START_US)
    assert world.tick(10).rows == []


def test_rows_and_findings_fit_their_tables(world):
    news = world.commit(
        6, snapshot(6, GRANT), statements=[by("bob", 5, "grant", objects=["table:hr.salaries"])]
    )
    for rows, table in (
        (drift_frame(news.rows), "drift"),
        (frame_of("findings", finding_rows(news.findings)), "findings"),
    ):
        assert {*rows.columns} == {*schema.TABLES[table].dtypes}
        assert all(rows.schema[n] == kind for n, kind in schema.TABLES[table].dtypes.items())


def test_open_differences_are_counted_for_the_metrics(world):
    world.commit(6, snapshot(6, WORK_MEM))
    world.tick(9)
    assert world.drift.open_differences() == {("setting", "medium", "unattributed"): 1}
