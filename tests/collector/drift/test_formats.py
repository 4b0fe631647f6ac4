"""What a later agent tells that the one before did not is no difference of the server."""

from __future__ import annotations

import sqlite3

import pytest

from agent.wire.catalog import snapshots_to_wire
from collector.catalog_rows import rows_of, snapshot_of, snapshots_of
from collector.drift.declared import DeclaredFile, DeclaredState
from collector.drift.engine import Drift
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


KEYS = "kind: table\nconstraint r_fkey: FOREIGN KEY (p) REFERENCES hr.p(id)"
COPY = "constraint r_fkey1: FOREIGN KEY (p) REFERENCES hr.p_1(id)"
REFERRED = {
    "hr.p": "kind: partitioned table\nconstraint p_pkey: PRIMARY KEY (id)",
    "hr.p_1": "kind: table\npartition of: hr.p FOR VALUES FROM (0) TO (9)",
}


def tables(second, number, *lines):
    told = {**REFERRED, "hr.r": "\n".join([KEYS, *lines])}
    kind = CatalogKind.TABLE
    items = tuple(CatalogItem(kind, "shop", name, text) for name, text in told.items())
    return Snapshot(START_US + second * S, "5432", "shop", (kind,), items, "15.4", format=number)


@pytest.mark.parametrize(("before", "now"), [(2, 3), (3, 2)])
def test_keys_that_the_server_made_for_partitions_come_and_go_with_the_agents_release(
    tmp_path, before, now
):
    world = World(tmp_path)
    told = {2: [COPY], 3: []}
    for at, look_now in enumerate([tables(0, before, *told[before]), tables(9, now, *told[now])]):
        world.drift.on_commit({}, [("host-a", look_now)], at + 1, look_now.at_us)
    world.drift.tick(START_US + 20 * S)
    assert world.drift.status().rows == []


@pytest.mark.parametrize(("lines", "open_now"), [([COPY], []), (["constraint c: CHECK (a)"], [1])])
def test_a_key_to_a_partition_that_is_still_told_is_somebodys_own(tmp_path, lines, open_now):
    world = World(tmp_path)
    for at, look_now in enumerate([tables(0, 2, COPY), tables(9, 3, *lines)]):
        world.drift.on_commit({}, [("host-a", look_now)], at + 1, look_now.at_us)
    world.drift.tick(START_US + 20 * S)
    assert [1 for row in world.drift.status().rows] == open_now


def test_a_file_that_says_such_keys_need_not_be_exported_anew(tmp_path):
    said = "\n".join(f"        {line}" for line in f"{KEYS}\n{COPY}".splitlines())
    file = tmp_path / "shop.yaml"
    file.write_text(f"version: 1\ndatabases:\n  shop:\n    table:\n      hr.r:\n{said}\n")
    expected = Expectations(declared=DeclaredState([DeclaredFile(file)]))
    world = World(tmp_path / "state", expectations=expected)
    world.drift.tick(START_US)
    world.drift.on_commit({}, [("host-a", tables(0, 3))], 1, START_US)
    world.drift.tick(START_US + 20 * S)
    found = {row["name"] for row in world.drift.status().rows}
    assert "hr.r" not in found, world.drift.status().rows
