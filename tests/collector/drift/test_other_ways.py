"""Differences by statements that do not name what differs.

Rows written by way of another table, the catalog by hand, large objects.
"""

from __future__ import annotations

import pytest

from collector.drift.engine import Drift
from model.catalog import CatalogKind
from tests.analytics.streams import START_US
from tests.collector.drift.story import S, actor_of, cause_of, frame, ran
from tests.collector.test_drift import snapshot

KINDS = (CatalogKind.TABLE, CatalogKind.WATCHED)
TABLES = {
    "public.par": "owner: p\nkind: partitioned table\ncolumn id: integer",
    "public.par_1": "owner: p\nkind: table\npartition of: public.par FOR VALUES FROM (0) TO (9)",
    "public.par_1v": "owner: p\nkind: view\ntext: SELECT id FROM public.par_1;",
    "public.fkp": "owner: p\nkind: table",
    "public.fkc": (
        "owner: p\nkind: table\nconstraint k: FOREIGN KEY (p) REFERENCES public.fkp(id)"
        " ON DELETE CASCADE"
    ),
    "public.fkn": (
        "owner: p\nkind: table\nconstraint k: FOREIGN KEY (p) REFERENCES public.fkc(id)"
        " ON UPDATE CASCADE ON DELETE SET NULL"
    ),
    "public.other": "owner: p\nkind: table",
}  # fmt: skip


def who(folder, row, before, after, *statements, detail=""):
    """Actor and note of the one difference in a watched row."""

    def tree(second, value):
        table = row.partition("[")[0]
        facts = {("table", "shop", name): (lines, "") for name, lines in TABLES.items()}
        facts[("watched", "shop", table)] = ("watched", detail)
        if value is not None:
            facts[("watched", "shop", row)] = (value, detail)
        return [("host-a", snapshot(second, facts, kinds=KINDS))]

    drift = Drift(folder)
    drift.on_commit({}, tree(0, before), 1, START_US)
    drift.on_commit({"statements": frame([*statements])}, tree(10, after), 2, START_US + 10 * S)
    drift.tick(START_US + 20 * S)
    [told] = drift.status().rows
    return told["actor"], told["note"]


@pytest.mark.parametrize(
    ("row", "before", "after", "sql"),
    [
        ("public.par[4]", None, "id: 4", "INSERT INTO public.par_1 VALUES (4)"),
        ("public.par[4]", None, "id: 4", "INSERT INTO par_1v VALUES (4)"),
        ("public.par_1[4]", "id: 4", None, "DELETE FROM par WHERE id = 4"),
        ("public.fkc[1]", "id: 1", None, "DELETE FROM public.fkp WHERE id = 1"),
        ("public.fkc[1]", "id: 1", None, "TRUNCATE public.fkp CASCADE"),
        ("public.fkn[1]", "p: 1", "p: ", "DELETE FROM public.fkp WHERE id = 1"),
        ("public.fkn[1]", "p: 1", "p: 2", "UPDATE public.fkc SET id = 2"),
    ],
)
def test_a_row_written_by_another_table_is_of_who_wrote_there(tmp_path, row, before, after, sql):
    unrelated = ran(6, "bob", "DELETE FROM public.other")
    assert who(tmp_path, row, before, after, ran(5, "alice", sql), unrelated) == ("alice", "")


@pytest.mark.parametrize(
    ("row", "before", "after", "sql"),
    [
        ("public.fkc[1]", None, "id: 1", "DELETE FROM public.fkp WHERE id = 1"),
        ("public.fkc[1]", "id: 1", None, "INSERT INTO public.fkp VALUES (1)"),
        ("public.fkn[1]", "p: 1", None, "DELETE FROM public.fkp WHERE id = 1"),
        ("public.fkc[1]", "id: 1", "id: 2", "UPDATE public.fkp SET id = 2"),
    ],
)
def test_a_foreign_key_hands_on_no_more_than_it_says(tmp_path, row, before, after, sql):
    assert who(tmp_path, row, before, after, ran(5, "alice", sql)) == ("", "")


def test_of_one_who_wrote_the_row_and_one_who_wrote_its_parent_none_is_claimed(tmp_path):
    rows = [
        ran(5, "alice", "DELETE FROM public.fkp WHERE id = 1"),
        ran(6, "bob", "DELETE FROM public.fkc WHERE id = 1"),
    ]
    found = who(tmp_path, "public.fkc[1]", "id: 1", None, *rows)
    assert found == ("", "it was one of alice (statement 1), bob (statement 2)")


@pytest.mark.parametrize(
    ("kind", "name", "before", "after", "sql"),
    [
        ("role", "x", "superuser=false", "superuser=true",
         "UPDATE pg_catalog.pg_authid SET rolsuper = true WHERE rolname = 'x'"),
        ("table", "x.t", "owner: p\nkind: table\nrow security: on", "owner: p\nkind: table",
         "UPDATE pg_class SET relrowsecurity = false WHERE oid = 'x.t'::regclass"),
        ("function", "x.f()", "owner: p", "owner: p\nsecurity: definer",
         "UPDATE pg_proc SET prosecdef = true"),
        ("privilege", "table:x.t<-bot", None, "SELECT", "UPDATE pg_class SET relacl = NULL"),
        ("membership", "a<-b", None, "member", "INSERT INTO pg_auth_members VALUES (1, 2)"),
        ("setting", "work_mem@x", "1MB", None, "DELETE FROM pg_catalog.pg_db_role_setting"),
    ],
)  # fmt: skip
def test_who_wrote_to_the_catalog_by_hand_did_it(kind, name, before, after, sql):
    rows = [ran(5, "alice", sql), ran(6, "bob", "UPDATE pg_catalog.pg_description SET objoid = 1")]
    assert actor_of(rows, kind, name, before, after) == "alice"


def test_a_write_by_hand_is_no_cause_where_a_command_is():
    rows = [
        ran(5, "alice", "ALTER ROLE x SUPERUSER"),
        ran(6, "bob", "UPDATE pg_authid SET rolconnlimit = 3"),
    ]
    assert actor_of(rows, "role", "x", "superuser=false", "superuser=true") == "alice"


def test_of_two_who_wrote_to_the_catalog_by_hand_none_is_claimed():
    rows = [
        ran(n, who, "UPDATE pg_authid SET rolsuper = true") for n, who in ((5, "al"), (6, "bo"))
    ]
    found = cause_of(rows, "role", "x", "superuser=false", "superuser=true")
    assert found.undecided
    assert cause_of(rows, "role", "x", "superuser=false", "y=true", settled=False) is None


LARGE = "large_object:280028<-bot"


def test_a_grant_on_a_large_object_is_of_who_granted_though_its_number_is_redacted():
    grant = ran(5, "alice", "GRANT SELECT ON LARGE OBJECT 280028 TO bot")
    other = ran(6, "bob", "GRANT SELECT ON x.t TO bot")
    assert actor_of([grant, other], "privilege", LARGE, None, "SELECT") == "alice"
    to_all = ran(5, "alice", "GRANT SELECT ON LARGE OBJECT 280028 TO PUBLIC")
    assert actor_of([to_all], "privilege", "large_object:1<-PUBLIC", None, "SELECT") == "alice"
    assert actor_of([grant], "privilege", LARGE, "SELECT", None) == ""
    gone = ran(6, "eve", "SELECT lo_unlink(280028)")
    assert actor_of([grant, gone], "privilege", LARGE, "SELECT", None) == "eve"


def test_of_two_who_granted_on_large_objects_none_is_claimed():
    rows = [
        ran(n, who, "GRANT SELECT ON LARGE OBJECT 280028 TO bot")
        for n, who in ((5, "al"), (6, "bo"))
    ]
    assert cause_of(rows, "privilege", LARGE, None, "SELECT").undecided


def test_who_wrote_to_a_table_with_a_trigger_is_where_to_look(tmp_path):
    """What the trigger wrote is not captured; a write to any other table is no reason to look."""

    def tree(second, *rows):
        facts = {("watched", "shop", "public.flags"): ("watched", "")}
        facts[("trigger", "shop", "public.source.g")] = ("definition: x", "")
        facts |= {("watched", "shop", f"public.flags[{row}]"): ("id: 1", "") for row in rows}
        kinds = (CatalogKind.TRIGGER, CatalogKind.WATCHED)
        return [("host-a", snapshot(second, facts, kinds=kinds))]

    statements = [
        ran(5, "alice", "INSERT INTO public.source VALUES (1)"),
        ran(6, "bob", "INSERT INTO public.other VALUES (1)"),
    ]
    drift = Drift(tmp_path)
    drift.on_commit({}, tree(0), 1, START_US)
    drift.on_commit({"statements": frame(statements)}, tree(10, 1), 2, START_US + 10 * S)
    drift.tick(START_US + 20 * S)
    [told] = drift.status().rows
    assert told["actor"] == ""
    assert told["note"].startswith("alice ran INSERT public.source then, and what it ran inside")


FIRED = "written by triggers of public.other, public.fkp"
BY_TRIGGER = "it wrote to a table with a trigger whose code names this one"
ROW = ("public.par[4]", "on: true", "on: false")


@pytest.mark.parametrize("sql", ["INSERT INTO other VALUES (1)", "UPDATE public.fkp SET id = 2"])
def test_a_row_that_a_trigger_wrote_is_of_who_fired_it(tmp_path, sql):
    told = who(tmp_path, *ROW, ran(5, "alice", sql), detail=FIRED)
    assert told == ("alice", BY_TRIGGER)
    assert who(tmp_path / "without", *ROW, ran(5, "alice", sql)) == ("", "")


def test_who_wrote_to_the_table_itself_goes_before_who_fired_a_trigger(tmp_path):
    rows = [
        ran(5, "alice", "INSERT INTO public.other VALUES (1)"),
        ran(6, "bob", "UPDATE public.par SET id = 2"),
        ran(7, "alice", "INSERT INTO public.other VALUES (1)"),
    ]
    assert who(tmp_path, *ROW, *rows, detail=FIRED) == ("bob", "")


def test_of_several_who_fired_a_trigger_none_is_claimed(tmp_path):
    rows = [
        ran(5, "alice", "INSERT INTO public.other VALUES (1)"),
        ran(6, "bob", "DELETE FROM public.fkp"),
    ]
    told = who(tmp_path, *ROW, *rows, detail=FIRED)
    assert told == ("", "it was one of alice (statement 1), bob (statement 2)")


@pytest.mark.parametrize("sql", ["SELECT 1 FROM public.other", "INSERT INTO hr.other VALUES (1)"])
def test_who_only_read_or_wrote_to_another_table_fired_none(tmp_path, sql):
    assert who(tmp_path, *ROW, ran(5, "alice", sql), detail=FIRED)[0] == ""
