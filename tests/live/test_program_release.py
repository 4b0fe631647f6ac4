"""A program's new release on a real server: one finding that counts what is new, not fifty."""

from __future__ import annotations

import os
import time

import pytest

from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]
SETTLE_SECONDS = 4
CONFIG = {
    "agent": {
        "identities": [
            {"application_name": "orders-api", "kind": "service", "name": "orders-api"}
        ]
    },
    "collector": {
        "analytics": {
            "application_change": {
                "learn_seconds": 5, "learn_statements": 50, "settle_seconds": SETTLE_SECONDS,
            }
        }
    },
}  # fmt: skip
OLD = (
    "SELECT note FROM shop.orders WHERE id = %s",
    "UPDATE shop.orders SET note = 'n' WHERE id = %s",
)
NEW = (
    "SELECT code FROM shop.coupons WHERE id = %s",
    "UPDATE shop.coupons SET code = 'c' WHERE id = %s",
    "SELECT count(*) FROM shop.orders WHERE id > %s",
)


AFTER_NEXT = (OLD[0], *NEW[:2], "DELETE FROM shop.coupons WHERE id = -%s")
"""A statement more, and two less."""


def test_a_release_is_one_finding_with_its_shapes_and_its_table_and_what_is_gone():
    with PostgresCluster() as cluster:
        prepare(cluster)
        with cluster.connect() as connection:
            connection.execute(
                "CREATE TABLE shop.coupons (id int, code text); GRANT ALL ON shop.coupons TO app"
            )
        with (
            Running(cluster, CONFIG) as running,
            cluster.connect(user="app", application_name="orders-api") as session,
        ):
            work(session, OLD, seconds=8)
            assert found(running) == []
            work(session, (*OLD, *NEW), seconds=3)
            running.wait(
                lambda: work(session, (*OLD, *NEW), seconds=0.2) or found(running),
                "the release is told",
                30,
            )
            work(session, (*OLD, *NEW), seconds=SETTLE_SECONDS * 2)
            (told,) = found(running)
            assert told["sentence"].startswith(
                "orders-api changed: 3 new shapes, 1 new table, 1 new column, 0 dropped:"
                " shop.coupons"
            )
            rows = running.sql(told["evidence_sql"])
            assert {row["application_name"] for row in rows} == {"orders-api"}
            work(session, AFTER_NEXT, seconds=6)
            running.wait(lambda: len(found(running)) == 2, "the next release is told", 30)
            (_, told) = found(running)
            assert told["sentence"].startswith(
                "orders-api changed: 1 new shape, 0 new tables, 0 new columns, 2 dropped"
            )


def work(session, statements, seconds) -> None:
    deadline, number = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        for text in statements:
            number += 1
            session.execute(text, (number % 50,))
        # Many uses: what is gone must have been missed for long within SETTLE_SECONDS.
        time.sleep(0.02)


def found(running):
    return running.sql(
        "SELECT * FROM findings WHERE detector = 'application_change' ORDER BY occurred_at"
    )
