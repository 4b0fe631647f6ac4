"""Ignore rules, declarations and partial acceptance, in the engine."""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, date, datetime

import pytest

from collector.drift.accepting import AmbiguousFindingError, Only
from collector.drift.declared import DeclaredFile, DeclaredState
from collector.drift.expectations import Expectations
from collector.drift.ignore import Ignored, IgnoreRule
from collector.drift.state import OpenDrift
from model.catalog import CatalogKind
from model.verdict import Severity
from tests.analytics.streams import START_US
from tests.collector.drift.story import difference, scope
from tests.collector.test_drift import FILE, GRANT, WORK_MEM, World, snapshot

TODAY = datetime.fromtimestamp(START_US / 1e6 + 9_999, UTC).date()
BOTH = {**WORK_MEM, **GRANT}
SETTINGS = (
    "version: 1\ncluster:\n  setting:\n    log_statement: all\n    work_mem: {}\n"
    "    shared_buffers: 128MB\n"
)


def open_names(world):
    return sorted(row["name"] for row in world.drift.status().rows)


def ignoring(*rules):
    return {"expectations": Expectations(Ignored(rules))}


def test_an_ignored_difference_is_no_finding_and_is_shown_in_the_status(tmp_path):
    world = World(tmp_path, **ignoring(IgnoreRule("tuned by hand", "setting", "work_mem")))
    world.commit(0, snapshot(0))
    world.commit(6, snapshot(6, BOTH))
    world.tick(20)
    assert open_names(world) == ["table:hr.salaries<-analyst"]
    [row] = world.drift.status().ignored
    assert (row["because"], row["differences"]) == ("tuned by hand", 1)
    assert world.drift.expectations().ignored() == {"setting": 1}


def test_a_rule_that_is_new_at_a_start_resolves_what_it_hides(tmp_path):
    world = World(tmp_path)
    world.commit(0, snapshot(0))
    world.commit(6, snapshot(6, WORK_MEM))
    world.tick(20)
    world.words = ignoring(IgnoreRule("tuned by hand", name="work_mem"))
    world.open()
    news = world.tick(21)
    assert open_names(world) == []
    resolved = [found for found in news.findings if found.resolved_at_us]
    assert resolved[0].sentence.endswith("since then ignored: tuned by hand")


def test_what_a_rule_hid_counts_again_once_it_ended_and_that_is_said(tmp_path):
    rule = IgnoreRule("tuned by hand", name="work_mem", until=TODAY)
    world = World(tmp_path, **ignoring(rule))
    world.commit(0, snapshot(0))
    world.commit(6, snapshot(6, WORK_MEM))
    assert open_names(world) == []
    world.words = ignoring(IgnoreRule("tuned by hand", name="work_mem", until=date(2001, 1, 1)))
    world.open()
    [found] = [f for f in world.tick(21).findings if f.detector == "drift.ignore"]
    assert "ended on 2001-01-01" in found.sentence
    assert open_names(world) == ["work_mem"]
    assert "remove it" in world.drift.status().problems[0]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "desired.yaml"
    path.write_text(SETTINGS.format("4MB"))
    return path


def declaring(file, **more):
    return {"expectations": Expectations(declared=DeclaredState([DeclaredFile(file, **more)]))}


def rewrite(file, text):
    file.write_text(text)
    # A change within the clock's grain still has another size or time.
    os.utime(file, ns=(1, file.stat().st_mtime_ns + 1))


def later(world):
    """The engine looks at files every two seconds of its own clock."""
    now_us = world.drift._clock_us() + 3_000_000
    world.drift._clock_us = lambda: now_us
    return world.tick(30)


def test_a_declared_file_is_the_accepted_state_from_the_first_snapshot_on(tmp_path, file):
    world = World(tmp_path, **declaring(file))
    world.commit(0, snapshot(0, {**WORK_MEM, ("setting", "", "jit"): ("on", "default")}))
    world.tick(9)
    assert open_names(world) == ["work_mem"]


def test_what_was_so_before_it_was_declared_is_told_as_that_and_no_step_more_severe(tmp_path, file):
    """Nobody saw it come, which is not to say that nobody on the wire did it."""
    rewrite(file, "version: 1\ncluster:\n  role: {}\n")
    seen = {("role", "", "eve"): ("superuser=false login=true", "oid 16400")}
    world = World(tmp_path, **declaring(file))
    world.commit(0, snapshot(0, seen, kinds=(CatalogKind.ROLE,)))
    [found] = [each for each in world.tick(9).findings if each.detector == "drift.roles"]
    assert found.sentence.startswith("It was so already: role analyst was created")
    assert found.severity == Severity.MEDIUM
    rewrite(file, "version: 1\ncluster:\n  role:\n    eve: superuser=true login=true\n")
    later(world)
    notes = {row["note"] for row in world.drift.status().rows if row["name"] == "eve"}
    assert notes == {"it was so already when it was first held against what should be"}


def test_what_is_declared_is_not_changed_by_accepting(tmp_path, file):
    world = World(tmp_path, **declaring(file))
    world.commit(0, snapshot(0))
    world.commit(6, snapshot(6, BOTH))
    world.tick(20)
    world.drift.accept("anna", "fine")
    world.tick(21)
    assert open_names(world) == ["work_mem"]
    assert world.drift.accept("anna", "fine", Only(name="work_mem")) == 0


def test_a_file_that_changes_is_read_again(tmp_path, file):
    world = World(tmp_path, **declaring(file))
    world.commit(0, snapshot(0, WORK_MEM))
    world.tick(9)
    rewrite(file, SETTINGS.format("64MB"))
    later(world)
    assert open_names(world) == []


def test_a_file_that_became_invalid_alarms_and_what_it_said_before_counts(tmp_path, file):
    world = World(tmp_path, **declaring(file))
    world.commit(0, snapshot(0, WORK_MEM))
    world.tick(9)
    rewrite(file, "version: 1\ncluster: {setting: {a: [b]}}\n")
    [found] = later(world).findings
    assert (found.detector, found.severity) == ("drift.declared", Severity.HIGH)
    assert f"{file}:2:24" in found.sentence
    assert open_names(world) == ["work_mem"]
    assert world.drift.expectations().invalid() == 1
    rewrite(file, SETTINGS.format("64MB"))
    [over, *_] = [f for f in later(world).findings if f.detector == "drift.declared"]
    assert (over.id, bool(over.resolved_at_us)) == (found.id, True)
    assert open_names(world) == []


def test_a_file_that_is_invalid_at_a_restart_counts_as_it_was(tmp_path, file):
    world = World(tmp_path, **declaring(file))
    world.commit(0, snapshot(0, WORK_MEM))
    world.tick(9)
    rewrite(file, "version: 1\ncluster: {setting: {a: [b]}}\n")
    world.words = declaring(file)
    world.open()
    world.tick(31)
    assert open_names(world) == ["work_mem"]


def test_a_declaration_holds_for_its_cluster_and_its_database_by_its_name_there(tmp_path, file):
    file.write_text("version: 1\ndatabases:\n  prod:\n    privilege: {}\n")
    world = World(tmp_path, **declaring(file, cluster="54*", database="shop"))
    world.commit(0, snapshot(0))
    world.tick(9)
    assert open_names(world) == ["schema:hr<-staff", "table:hr.salaries<-payroll"]
    elsewhere = World(tmp_path / "b", **declaring(file, cluster="6*", database="shop"))
    elsewhere.commit(0, snapshot(0))
    elsewhere.tick(9)
    assert open_names(elsewhere) == []


def test_only_what_was_named_is_accepted(tmp_path):
    world = World(tmp_path)
    world.commit(0, snapshot(0))
    world.commit(6, snapshot(6, BOTH))
    world.tick(20)
    assert world.drift.accept("anna", "ticket 7", Only(kind="setting", name="work_*")) == 1
    assert open_names(world) == ["table:hr.salaries<-analyst"]
    news = world.tick(21)
    assert "accepted by anna: ticket 7" in news.findings[-1].sentence
    world.commit(30, snapshot(30, BOTH))
    world.tick(40)
    assert open_names(world) == ["table:hr.salaries<-analyst"]


def test_a_finding_is_accepted_by_its_id(tmp_path):
    world = World(tmp_path)
    world.commit(0, snapshot(0))
    world.commit(6, snapshot(6, BOTH))
    found = [f for f in world.tick(20).findings if f.object == "work_mem"]
    assert world.drift.accept("anna", "fine", Only(finding_id=found[0].id)) == 1
    assert open_names(world) == ["table:hr.salaries<-analyst"]


def test_a_beginning_that_several_findings_share_accepts_none_of_them(tmp_path):
    world = World(tmp_path)
    world.commit(0, snapshot(0))
    more = {}
    for second in range(6, 23):  # One finding each, and an id has one of 16 digits in front.
        more |= {("setting", "", f"app.s{second}"): ("1", FILE)}
        world.commit(second, snapshot(second, more))
        world.tick(second + 0.5)
    world.tick(60)
    names = open_names(world)
    ids = [row["finding_id"] for row in world.drift.status().rows]
    [(first, _), *_] = Counter(each[0] for each in ids).most_common()
    with pytest.raises(AmbiguousFindingError, match=f"several findings begin with {first}"):
        world.drift.accept("anna", "fine", Only(finding_id=first))
    assert open_names(world) == names
    assert len(names) == 17
    assert world.drift.accept("anna", "fine", Only(finding_id=ids[0][:-1])) == 1


@pytest.mark.parametrize(("asked", "meant"), [("a", "a"), ("b1", "b12"), ("x", "x"), ("", "")])
def test_a_finding_is_meant_by_its_whole_id_or_a_beginning_of_its_own(asked, meant):
    assert Only(finding_id=asked).of_one_finding(["a", "ab", "b12"]).finding_id == meant


def test_what_was_removed_and_accepted_is_no_longer_expected(tmp_path):
    world = World(tmp_path)
    world.commit(0, snapshot(0))
    gone = {("setting", "", "log_statement"): None}
    world.commit(6, snapshot(6, gone))
    world.tick(20)
    assert world.drift.accept("anna", "fine", Only(name="log_statement")) == 1
    world.commit(30, snapshot(30, gone))
    world.commit(36, snapshot(36, {("setting", "", "log_statement"): ("all", FILE)}))
    world.tick(50)
    assert open_names(world) == ["log_statement"]


def test_the_order_of_the_hba_rules_is_not_accepted_with_one_of_them(tmp_path):
    """The rules changed places, and an application server came as the last one."""
    world = World(tmp_path)
    world.commit(0, snapshot(0))
    app, local, host = "host all bob 10.0.0.1/32", "local all all", "host all all 127.0.0.1/32"

    def seen(*rules):
        order = {("hba", "", "(order)"): (" > ".join(rules), "")}
        return {**order, ("hba", "", app): ("scram-sha-256", "pg_hba.conf:9")}

    world.commit(6, snapshot(6, seen(host, local, app)))
    world.tick(20)
    assert world.drift.accept("anna", "new server", Only(kind="hba", name="host all bob*")) == 1
    world.commit(30, snapshot(30, seen(host, local, app)))
    world.tick(40)
    assert open_names(world) == ["(order)"]
    news = world.commit(50, snapshot(50, seen(local, host, app)))
    assert [row["outcome"] for row in news.rows] == ["reverted"]
    world.commit(60, snapshot(60, seen(app, local, host)))
    world.tick(70)
    assert open_names(world) == ["(order)"]
    assert world.drift.accept("anna", "as it is", Only(name="(order)")) == 1
    world.commit(80, snapshot(80, seen(app, local, host)))
    assert open_names(world) == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("public.flags[checkout]", True),
        ("public.flags*", True),
        ("public.flags[[]checkout]", True),
        ("public.flags[check]", False),
    ],
)
def test_a_name_as_it_is_shown_is_meant_though_its_brackets_are_a_pattern(name, meant):
    row = scope("watched")
    step = difference("public.flags[checkout]", "on: no", "on: yes")
    drift = OpenDrift(row, step, START_US, START_US, START_US)
    assert Only(name=name).means(drift) is meant
    assert IgnoreRule("a test", name=name).covers(row, step.name) is meant
