"""What a later agent tells that the one before did not is no difference of the server."""

from __future__ import annotations

import sqlite3

import pytest

from agent.wire.catalog import snapshots_to_wire
from collector.catalog_rows import rows_of, snapshot_of, snapshots_of
from collector.drift import Drift
from collector.drift.declared import DeclaredFile, DeclaredState
from collector.drift.expectations import Expectations
from collector.drift.formats import BROUGHT
from model.catalog import FORMAT, CatalogItem, CatalogKind, Snapshot
from tests.collector.drift.story import START_US, S

PLAIN = "owner: postgres\ntrusted: no"
FULL = f"{PLAIN}\nhandler: pl_call\nvalidator: pl_check"
LANGUAGE = CatalogKind.LANGUAGE


def look(second, number, **languages):
    items = tuple(CatalogItem(LANGUAGE, "shop", name, text) for name, text in languages.items())
    return Snapshot(
        START_US + second * S, "5432", "shop", (LANGUAGE,), items, "15.4", format=number
    )


class World:
    def __init__(self, folder, **words):
        self.folder, self.words, self.seq = folder, words, 0
        self.open()

    def open(self):
        self.drift = Drift(self.folder, clock_us=lambda: START_US, **self.words)

    def see(self, second, number, **languages):
        """What is open after it."""
        self.seq += 1
        seen = [("host-a", look(second, number, **languages))]
        news = self.drift.on_commit({}, seen, self.seq, START_US + second * S)
        self.changes = list(news.changes.values())
        self.drift.tick(START_US + (second + 9) * S)
        return {row["name"]: row["observed"] for row in self.drift.status().rows}


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.see(0, 0, pl=PLAIN)
    return world


def test_new_lines_are_taken_into_the_baseline_and_recorded(world):
    assert world.see(10, 1, pl=FULL) == {}
    assert [(row["before"], row["after"]) for row in world.changes] == [(PLAIN, FULL)]


def test_from_then_on_they_count(world):
    world.see(10, 1, pl=FULL)
    world.open()
    evil = FULL.replace("pl_call", "evil")
    assert world.see(20, 1, pl=evil) == {"pl": evil}
    assert world.see(30, 1, pl=PLAIN) == {"pl": PLAIN}


def test_what_changed_while_the_agent_was_renewed_is_told(world):
    other = FULL.replace("trusted: no", "trusted: yes")
    assert world.see(10, 1, pl=other) == {"pl": other}
    assert world.see(20, 1, pl=FULL) == {}


def test_a_new_sort_of_items_is_a_first_look_and_others_are_new(world):
    assert world.see(10, 1, pl=FULL, c="trusted: yes", mine=FULL) == {"mine": FULL}
    assert world.see(20, 1, pl=FULL) == {"c": ""}


def test_of_the_same_format_a_line_that_comes_is_a_difference(tmp_path):
    world = World(tmp_path)
    world.see(0, 1, pl=PLAIN)
    assert world.see(10, 1, pl=FULL) == {"pl": FULL}


def test_an_agent_that_is_put_back_has_dropped_nothing(world):
    world.see(10, 1, pl=FULL, c="trusted: yes")
    assert world.see(20, 0, pl=PLAIN) == {}
    assert world.see(30, 1, pl=FULL, c="trusted: yes") == {}


def test_a_file_need_not_say_what_agents_tell_since_it_was_written(tmp_path):
    (tmp_path / "desired.yaml").write_text(
        "version: 1\ndatabases:\n  shop:\n    language:\n      pl:\n"
        "        owner: postgres\n        trusted: 'no'\n"
    )
    declared = DeclaredState([DeclaredFile(tmp_path / "desired.yaml")])
    world = World(tmp_path / "state", expectations=Expectations(declared=declared))
    world.see(0, 0, pl=PLAIN)
    assert world.see(10, 1, pl=FULL) == {}
    evil = FULL.replace("pl_call", "evil")
    assert world.see(20, 1, pl=evil) == {"pl": evil}


def test_a_state_of_the_release_before_is_taken_over(world):
    with sqlite3.connect(world.folder / "drift.sqlite") as file:
        file.execute("ALTER TABLE scopes DROP COLUMN format")
        file.execute("PRAGMA user_version = 1")
    world.open()
    assert world.see(10, 1, pl=FULL) == {}
    world.open()
    assert world.see(20, 1, pl=PLAIN) == {"pl": PLAIN}


def test_the_format_travels_and_is_in_the_record():
    [message] = snapshots_to_wire(look(0, 7, pl=FULL), 1 << 20).messages
    assert snapshot_of(message).format == 7
    names = (
        "occurred_at", "agent", "cluster", "database", "kind", "name", "value", "detail",
        "server_version", "op",
    )  # fmt: skip
    rows = [dict(zip(names, row, strict=True)) for row in rows_of(message, "host-a")]
    assert [snapshot.format for _, snapshot in snapshots_of(rows)] == [7]


def test_each_format_says_what_it_brought():
    assert sorted(BROUGHT) == [*range(1, FORMAT + 1)]
