"""A database of 20,000 tables is read in one consistent snapshot, within bounds."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator

import pytest

from agent.catalog import take_snapshot
from agent.wire.catalog import snapshots_to_wire
from model.catalog import CatalogKind
from tests.live.postgres import PostgresCluster, server_folder

pytestmark = [pytest.mark.live, pytest.mark.slow]

TABLES, AT_ONCE = 20_000, 500
MESSAGE_BYTES = 7 * 2**18
MOST_KIB = 400 * 1024
"""Of memory for the snapshot and its messages."""
MAKE = """
DO $$ BEGIN FOR i IN {first}..{last} LOOP
    EXECUTE format('CREATE TABLE s.t%s (id bigint, a text NOT NULL)', i);
    EXECUTE format('GRANT SELECT ON s.t%s TO reader', i);
END LOOP; END $$
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    if not server_folder().exists():
        pytest.skip("PostgreSQL 15 is not installed: ./run setup installs it")
    with PostgresCluster(pgaudit=False) as cluster:
        with cluster.connect() as connection:
            connection.execute("CREATE ROLE reader; CREATE SCHEMA s")
            for first in range(0, TABLES, AT_ONCE):
                connection.execute(MAKE.format(first=first, last=first + AT_ONCE - 1))
            connection.execute(
                "CREATE TABLE s.left_side (i int); GRANT SELECT ON s.left_side TO reader"
            )
        yield cluster


def test_it_is_whole_and_neither_its_messages_nor_its_memory_are_large(cluster):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with cluster.connect() as connection:
        snapshot = take_snapshot(connection, "5432")
    wire = snapshots_to_wire(snapshot, MESSAGE_BYTES)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tables = [item for item in snapshot.items if item.kind is CatalogKind.TABLE]
    granted = [item for item in snapshot.items if item.name.endswith("<-reader")]
    assert snapshot.problems == ()
    assert (len(tables), len(granted)) == (TABLES + 1, TABLES + 1)
    assert len(wire.messages) > 1
    assert max(message.ByteSize() for message in wire.messages) <= MESSAGE_BYTES
    assert after - before < MOST_KIB


def test_what_changes_while_it_is_read_is_seen_wholly_or_not_at_all(cluster):
    """One of two tables is there, with its grant; somebody swaps them all the time."""
    over, swaps = threading.Event(), []

    def swap():
        sides = ["left_side", "right_side"]
        with cluster.connect() as connection:
            while not over.wait(0.4):
                old, new = sides
                connection.execute(
                    f"BEGIN; DROP TABLE s.{old}; CREATE TABLE s.{new} (i int);"
                    f"GRANT SELECT ON s.{new} TO reader; COMMIT"
                )
                swaps.append(sides.reverse())

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        with cluster.connect() as connection:
            kinds = frozenset((CatalogKind.TABLE, CatalogKind.PRIVILEGE))
            snapshots = [take_snapshot(connection, "5432", kinds=kinds) for _ in range(4)]
    finally:
        over.set()
        thread.join()
    assert swaps
    whole = [snapshot for snapshot in snapshots if kinds <= {*snapshot.kinds}]
    assert whole
    for snapshot in whole:
        names = {item.name for item in snapshot.items if "_side" in item.name}
        assert names in (
            {"s.left_side", "table:s.left_side<-reader"},
            {"s.right_side", "table:s.right_side<-reader"},
        )
