"""A secret's hash under another key is no drift, and from then on a change of the secret is."""

import pytest

from collector.drift.baseline import Fact
from collector.drift.declaration import gaps
from collector.drift.engine import Drift
from model.catalog import WATCHED_NAME, CatalogItem, CatalogKind, Snapshot
from tests.analytics.streams import START_US
from tests.collector.drift.story import S

OLD, ONE, SAME, OTHER = (
    "hidden 0123456789ab", "hidden aaaa-0123456789ab", "hidden bbbb-0123456789ab",
    "hidden bbbb-ba9876543210",
)  # fmt: skip


class Rows:
    """A watched table whose rows have a token."""

    def __init__(self, folder):
        self.drift, self.seq = Drift(folder, attribution_seconds=0), 0

    def see(self, **values):
        self.seq += 1
        kind = CatalogKind.WATCHED
        rows = {"flags": WATCHED_NAME} | {f"flags[{key}]": value for key, value in values.items()}
        items = tuple(CatalogItem(kind, "shop", *row) for row in rows.items())
        at_us = START_US + self.seq * S
        snapshot = Snapshot(at_us, "5432", "shop", (kind,), items, "15.4")
        self.drift.on_commit({}, [("host-a", snapshot)], self.seq, at_us)
        self.drift.tick(at_us + S)
        return {row["name"]: row["observed"] for row in self.drift.status().rows}


@pytest.fixture
def rows(tmp_path):
    return Rows(tmp_path)


@pytest.mark.parametrize("before", [OLD, ONE])
def test_another_key_is_no_drift_and_what_changes_under_it_is(rows, before):
    assert rows.see(a=f"id: 1\ntoken: {before}") == {}
    assert rows.see(a=f"id: 1\ntoken: {SAME}") == {}
    assert rows.see(a=f"id: 1\ntoken: {OTHER}").keys() == {"flags[a]"}
    assert rows.see(a=f"id: 1\ntoken: {SAME}") == {}


def test_what_is_other_beside_the_hash_is_drift_under_another_key_too(rows):
    rows.see(a=f"id: 1\ntoken: {ONE}")
    assert rows.see(a=f"id: 2\ntoken: {SAME}").keys() == {"flags[a]"}
    rows.see(a="id: 3")
    assert rows.see(a=f"id: 1\ntoken: {OTHER}") == {}, "nobody can compare them"


def test_a_difference_that_is_open_stays_the_same_one_under_another_key(rows):
    rows.see(a=f"id: 1\ntoken: {ONE}")
    first = rows.see(a=f"id: 2\ntoken: {ONE}")
    assert rows.see(a=f"id: 2\ntoken: {SAME}") == first


def test_a_row_whose_key_is_a_secret_is_the_same_row_under_another_key(rows):
    rows.see(**{ONE: "id: 1", "b": "id: 2"})
    assert rows.see(**{SAME: "id: 1", "b": "id: 2"}) == {}
    assert rows.see(**{SAME: "id: 9", "b": "id: 2"}).keys() == {f"flags[{SAME}]"}


def test_servers_of_two_agents_are_not_told_apart_by_their_hashes():
    def facts(token):
        return {"app.token": Fact(token, "")}

    assert [*gaps(CatalogKind.SETTING, facts(ONE), facts(SAME))] == []
    assert [*gaps(CatalogKind.SETTING, facts(SAME), facts(OTHER))] != []
