"""What came while no agent captured is nobody's, however well a statement fits it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collector.drift.engine import Drift
from model.catalog import CatalogKind
from tests.analytics.streams import START_US
from tests.collector.drift.story import S, frame, ran
from tests.collector.test_drift import snapshot

KINDS = (CatalogKind.ROLE, CatalogKind.WATCHED)
OLD = "createdb=false login=true"
NEW = "createdb=true login=true"
GAP = "nobody watched from 2025-10-09 08:54:10 to 2025-10-09 08:54:30 UTC"


def role(value):
    return {("role", "", "gg"): (value, "")}


def us(second):
    return START_US + int(second * S)


class World:
    """Watched up to the look at 50 s, and again since 70 s."""

    def __init__(self, folder):
        self.drift = Drift(folder)
        self.seq = self.ids = 0
        self.rows = []

    def commit(self, second, value=None, statements=(), gap=(50, 70), since=0):
        self.seq += 1
        frames = {}
        if statements:
            frames = {"statements": frame(list(statements), first_id=self.ids + 1)}
            self.ids += len(statements)
        seen = []
        if value is not None:
            told = snapshot(second, role(value), kinds=KINDS)
            told = replace(told, since_us=us(since) if since else 0)
            if gap:
                from_us, until_us = map(us, gap)
                told = replace(told, unwatched_from_us=from_us, unwatched_until_us=until_us)
            seen = [("host-a", told)]
        self.rows += self.drift.on_commit(frames, seen, self.seq, us(second)).rows

    def row(self, second=80):
        """The last that was told."""
        self.rows += self.drift.tick(us(second)).rows
        return self.rows[-1]


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.commit(10, OLD, gap=None)
    return world


def altered(second, who, sql="ALTER ROLE gg CREATEDB"):
    return ran(second, who, sql)


@pytest.mark.parametrize(
    "statement",
    [
        altered(71, "grace"),
        altered(71, "grace", "CREATE ROLE gg CREATEDB"),
        altered(9.9, "judy", "CREATE ROLE gg"),
        altered(30, "judy"),
    ],
)
def test_what_ran_before_or_after_the_gap_is_no_cause(world, statement):
    world.commit(71.5, NEW, [statement])
    row = world.row()
    assert (row["actor"], row["attribution"], row["note"]) == ("", "unattributed", GAP)
    (finding,) = world.drift._state.findings.values()
    assert finding.sentence.startswith("Nobody watched who did it")


def test_what_the_log_told_of_the_gap_afterwards_is_the_cause(world):
    world.commit(71.5, NEW, [altered(60, "carol"), altered(71, "grace")])
    assert world.row()["actor"] == "carol"


@pytest.mark.parametrize(("gap", "since"), [((50, 70), 80), ((1, 5), 0), ((0, 0), 0)])
def test_what_came_when_somebody_watched_has_its_actor(world, gap, since):
    """Later, before the agent began, or of an agent that does not tell."""
    world.commit(90, NEW, [altered(85, "grace")], gap=gap, since=since)
    assert world.row(95)["actor"] == "grace"


def test_what_was_set_back_in_a_gap_was_set_back_by_nobody(world):
    world.commit(40, NEW, [altered(39, "carol")], gap=None)
    world.commit(71.5, OLD, [altered(71, "grace", "ALTER ROLE gg NOCREATEDB")])
    row = world.row()
    assert (row["actor"], row["outcome"], row["resolved_by"]) == ("carol", "reverted", "")


def test_who_called_a_function_at_another_time_is_not_named_for_what_a_gap_hid(world):
    world.commit(20, OLD, [ran(20, "ivan", "SELECT app.tryit()")], gap=None)
    world.commit(71.5, NEW, [ran(71, "ivan", "CALL app.tryit()")])
    assert world.row()["note"] == GAP
