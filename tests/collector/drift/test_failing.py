"""An error of our own in one look keeps back nothing else of it, and is said."""

from __future__ import annotations

from collector.drift import carried, changes, partitions
from collector.drift.explanation import Explanations
from collector.drift.waiting import Source
from tests.collector.drift.story import actor_of, ran
from tests.collector.drift.test_renamed_after import LINES, World, table


def test_what_cannot_be_compared_is_named_and_all_else_is_told(tmp_path, monkeypatch):
    world, moving = World(tmp_path), carried.moving

    def fails(look, names, mine):
        if "hr.bad" in look.found:
            raise KeyError("a value")
        return moving(look, names, mine)

    monkeypatch.setattr(carried, "moving", fails)
    world.commit(0, table("hr.t"))
    seen = table("hr.t") | table("hr.bad", LINES, 16501) | table("hr.good", LINES, 16502)
    news = world.commit(5, seen)
    assert "drift.failing" in {each.detector for each in news.findings}
    assert {row["name"] for row in world.drift.status().rows} == {"hr.good"}
    [problem] = world.drift.status().problems
    assert problem.startswith("table hr.bad of shop on host-a could not be compared: KeyError")
    assert "a value" not in problem
    assert world.drift.failing("host-a") == [problem]
    assert world.drift.failing("host-b") == []
    monkeypatch.setattr(carried, "moving", moving)
    world.commit(15, seen)
    assert {row["name"] for row in world.drift.status().rows} == {"hr.good", "hr.bad"}
    assert world.drift.status().problems == []


def test_a_statement_that_cannot_be_read_keeps_back_no_cause_of_others(monkeypatch):
    """Its own actor is known all the same, by what the agent read of it."""
    of_text = changes.wording.renames

    def fails(words):
        if "poison" in words:
            raise ValueError("a value")
        return of_text(words)

    monkeypatch.setattr(changes.wording, "renames", fails)
    rows = [ran(5, "eve", "ALTER TABLE hr.poison ADD i int"), ran(6, "bob", "DROP TABLE hr.t")]
    assert actor_of(rows, "table", "hr.t", "owner: hr", None) == "bob"
    assert actor_of(rows, "table", "hr.poison", LINES, f"{LINES}\ncolumn i: integer") == "eve"


def test_a_look_beside_statements_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    world = World(tmp_path)
    world.commit(0, table("hr.t"))
    with monkeypatch.context() as patched:
        patched.setattr(Explanations, "observe", lambda *_: 1 / 0)
        world.commit(5, {}, statements=[ran(4, "bob", "DROP TABLE hr.t")])
    world.commit(15)
    assert {row["name"] for row in world.drift.status().rows} == {"hr.t"}
    [problem] = world.drift.status().problems
    assert problem.startswith("1 batches of statements since the start could not be read: ZeroDiv")


def test_a_look_that_cannot_be_taken_in_is_asked_for_once_more(tmp_path, monkeypatch):
    world = World(tmp_path)
    world.commit(0, table("hr.t"))
    with monkeypatch.context() as patched:
        patched.setattr(partitions.Partitions, "accepting", lambda *_: 1 / 0)
        news = world.commit(5, {})
    assert news.wanted == [Source("host-a", "5432", "shop")]
    assert {each.detector for each in news.findings} == {"drift.failing"}
    [problem] = world.drift.status().problems
    assert problem.startswith("a look at shop of 5432 on host-a could not be taken in: ZeroDiv")
    news = world.commit(9, {})
    assert (news.wanted, world.drift.status().problems) == ([], [])
    assert {row["name"] for row in world.drift.status().rows} == {"hr.t"}
