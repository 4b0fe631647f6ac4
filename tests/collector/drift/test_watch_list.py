"""Which tables are watched is configuration: entries come and go without drift."""

from __future__ import annotations

import pytest

from collector.drift.engine import Drift
from model.catalog import WATCHED_NAME, CatalogItem, CatalogKind, Snapshot
from tests.analytics.streams import START_US

S = 1_000_000
FLAGS = {"public.flags": WATCHED_NAME, "public.flags[1]": "on: no", "public.flags[2]": "on: no"}
MODELS = {"public.models": WATCHED_NAME, "public.models[1]": "stage: live"}


class World:
    def __init__(self, folder):
        self.drift, self.seq = Drift(folder, attribution_seconds=0), 0

    def look(self, items):
        """Names and changes of the rows that a whole snapshot of these finds other than before."""
        self.seq += 1
        found = tuple(CatalogItem(CatalogKind.WATCHED, "shop", *each) for each in items.items())
        at_us = START_US + self.seq * S
        whole = Snapshot(
            at_us, "5432", "shop", (CatalogKind.WATCHED,), found, "15.4", cluster_wide=False
        )
        news = self.drift.on_commit({}, [("host-a", whole)], self.seq, at_us)
        return {(row["name"], row["change"], row["outcome"]) for row in news.rows}


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    assert world.look(FLAGS) == set()
    return world


def test_rows_of_a_table_that_is_watched_from_now_on_are_accepted_as_they_are(world):
    assert world.look(FLAGS | MODELS) == set()
    changed = FLAGS | MODELS | {"public.models[1]": "stage: gone"}
    assert world.look(changed) == {("public.models[1]", "changed", "unattributed")}


def test_rows_of_a_table_that_is_not_watched_any_more_were_not_deleted(world):
    world.look(FLAGS | MODELS)
    assert world.look(MODELS) == set()
    assert world.look(FLAGS | MODELS) == set()


def test_rows_that_are_deleted_while_their_table_is_watched_are_told(world):
    world.look(FLAGS | MODELS)
    empty = MODELS | {"public.flags": WATCHED_NAME}
    assert world.look(empty) == {
        ("public.flags[1]", "removed", "unattributed"),
        ("public.flags[2]", "removed", "unattributed"),
    }


def test_a_difference_of_a_row_ends_with_its_watch_and_was_not_reverted(world):
    world.look(FLAGS | {"public.flags[1]": "on: yes"} | MODELS)
    assert world.look(MODELS) == {("public.flags[1]", "changed", "unattributed")}
    assert world.drift.status().rows == []


def test_an_agent_that_begins_to_name_its_tables_hides_no_change(tmp_path):
    world = World(tmp_path)
    world.look({"public.flags[1]": "on: no", "old.t[1]": "a: 1"})
    after = {"public.flags": WATCHED_NAME, "public.flags[1]": "on: yes"}
    assert world.look(after) == {("public.flags[1]", "changed", "unattributed")}
