"""Each baseline says of ordinary days little, and of what it is made for the most."""

import polars as pl
import pytest

from bench.detection.baselines import BASELINES
from tests.analytics.streams import SCHEMA, START_US, frame, statement

DAY = 86_400
MIDNIGHT = DAY - START_US // 1_000_000 % DAY
"""Seconds from the start of the stream to a midnight."""
USERS = ("alice", "bob", "carol")


def days(count: int) -> pl.DataFrame:
    """Three people at steady work; alice and bob on orders, carol on products."""
    rows = []
    for day in range(count):
        for n in range(60):
            who = USERS[n % 3]
            relation = "products" if who == "carol" else "orders"
            rows.append(
                statement(
                    MIDNIGHT + day * DAY + 8 * 3600 + n * 300,
                    user_name=who, identity_name=who, identity_kind="human",
                    reads=[relation], columns_used=[f"{relation}.id"], rows=10 + (n + day) % 5,
                    bytes_sent=900 + (n * 7 + day * 13) % 300, fingerprint=relation,
                    text=f"SELECT id FROM {relation}",
                )
            )  # fmt: skip
    return frame(rows)


def strange(day: int) -> pl.DataFrame:
    """carol takes everything that is the others', from elsewhere."""
    at = MIDNIGHT + day * DAY + 12 * 3600
    rows = [
        statement(
            at + n, user_name="carol", identity_name="carol", identity_kind="human",
            reads=["orders", "pg_authid"], columns_used=["orders.id"], rows=900_000,
            bytes_sent=80_000_000, client_address="203.0.113.9", fingerprint=f"dump{n}",
            text="SELECT id FROM orders UNION SELECT rolpassword FROM pg_authid",
        )
        for n in range(30)
    ]  # fmt: skip
    close = statement(at + 3600, user_name="alice", identity_name="alice", reads=["orders"])
    return frame([*rows, close], first_id=1_000_000)


@pytest.fixture(params=list(BASELINES))
def said(request):
    """Of eleven ordinary days, and of the strange one after them."""
    baseline = BASELINES[request.param]()
    ordinary = [c for part in days(11).iter_slices(97) for c in baseline.observe(part)]
    # Half-space trees are not sure on so few days.
    unsure = 0.1 * len(ordinary) if request.param == "half_space_trees" else 0
    return ordinary, baseline.observe(strange(11)), unsure


def test_what_is_strange_scores_higher_than_what_is_ordinary(said):
    ordinary, news, unsure = said
    best = max(news, key=lambda candidate: candidate.score)
    assert best.identity == "carol"
    higher = sum(candidate.score >= best.score for candidate in ordinary)
    assert higher <= unsure


def test_its_time_is_of_the_event_or_of_the_end_of_its_window(said):
    _, news, _ = said
    begin_us = START_US + (MIDNIGHT + 11 * DAY + 12 * 3600) * 1_000_000
    best = max(news, key=lambda candidate: candidate.score)
    assert begin_us <= best.at_us <= begin_us + 600 * 1_000_000


@pytest.mark.parametrize("name", BASELINES)
def test_an_empty_batch_says_nothing(name):
    assert BASELINES[name]().observe(pl.DataFrame(schema=SCHEMA)) == []
