"""A look at one watched table is none at the others: a change counts from when its own was seen."""

from __future__ import annotations

from agent.catalog.sent import Sent
from model.catalog import CatalogItem, CatalogKind, Snapshot

WATCHED = CatalogKind.WATCHED


def look(at_us, **rows):
    items = [
        CatalogItem(WATCHED, "shop", f"public.{table}[{key}]", "on: true")
        for table, keys in rows.items()
        for key in keys
    ]
    return Snapshot(at_us, "main", "shop", (WATCHED,), tuple(items), "15.4")


def test_a_row_of_another_table_is_new_since_that_table_was_looked_at():
    sent, told = Sent(), []
    sent.tell(look(100, a=[1], b=[1]), told.append)
    sent.tell(look(200, a=[1, 2]), told.append, {"public.a"})
    sent.tell(look(300, b=[1, 2]), told.append, {"public.b"})
    sent.tell(look(400, a=[1, 2, 3]), told.append, {"public.a"})
    sent.tell(look(450, b=[1, 2]), told.append, {"public.b"})
    sent.tell(look(500, b=[1, 2, 3]), told.append, {"public.b"})
    assert [(each.at_us, each.since_us) for each in told[1:]] == [
        (200, 100), (300, 100), (400, 200), (500, 450),
    ]  # fmt: skip


def test_a_look_that_found_all_unchanged_counts_for_each():
    sent, told = Sent(), []
    sent.tell(look(100, a=[1], b=[1]), told.append)
    sent.unchanged({WATCHED}, 250)
    sent.tell(look(300, b=[1, 2]), told.append, {"public.b"})
    assert told[-1].since_us == 250
