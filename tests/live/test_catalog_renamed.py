"""What is renamed while the catalog is read: functions that spell definitions say the new name,
though the snapshot is of the moment before."""

from __future__ import annotations

import pytest

from agent.catalog import snapshot as module
from agent.catalog import take_snapshot
from agent.catalog.kinds import IN_DATABASE
from model.catalog import CatalogKind

pytestmark = pytest.mark.live

SETUP = """
CREATE ROLE renamed_owner;
CREATE SCHEMA torn;
CREATE TYPE torn.mood AS ENUM ('glad');
CREATE FUNCTION torn.fits(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 0';
CREATE TABLE torn.one (i int CHECK (torn.fits(i)), m torn.mood);
CREATE INDEX one_i ON torn.one (i);
CREATE TABLE torn.other (n int);
ALTER TABLE torn.one OWNER TO renamed_owner;
"""
AWAY = (
    "DROP SCHEMA IF EXISTS torn, ragged CASCADE; DROP ROLE IF EXISTS renamed_owner, renamed_other"
)
TABLES = frozenset((CatalogKind.TABLE,))


@pytest.fixture
def beside(postgres):
    with postgres.connect() as connection:
        connection.execute(SETUP)
        yield connection
        connection.execute(AWAY)


@pytest.fixture
def tables(postgres, monkeypatch):
    """``tables(hook)``: a snapshot of tables, and what else came of it. The hook runs when the
    snapshot's moment is over and the tables are not read yet."""

    def take(hook):
        [(kind, read)] = [each for each in IN_DATABASE if each[0] is CatalogKind.TABLE]

        def after(reading):
            hook()
            return read(reading)

        monkeypatch.setattr(module, "IN_DATABASE", ((kind, after),))
        with postgres.connect() as connection:
            return take_snapshot(connection, "5432", kinds=TABLES)

    return take


RENAMES = {
    "table": ("ALTER TABLE torn.one RENAME TO two", "index one_i: CREATE INDEX one_i ON torn.two"),
    "schema": ("ALTER SCHEMA torn RENAME TO ragged", "CREATE INDEX one_i ON ragged.one"),
    "function": ("ALTER FUNCTION torn.fits RENAME TO suits", "CHECK (torn.suits(i))"),
    "type": ("ALTER TYPE torn.mood RENAME TO feeling", "column m: torn.feeling"),
    "role": ("ALTER ROLE renamed_owner RENAME TO renamed_other", "owner: renamed_other"),
}


@pytest.mark.parametrize("what", RENAMES)
def test_a_rename_is_seen_wholly_or_not_at_all(beside, tables, what):
    rename, said = RENAMES[what]
    left = [rename]
    taken = []

    def hook():
        taken.append(len(left))
        if left:
            beside.execute(left.pop())

    snapshot = tables(hook)
    [item] = [each for each in snapshot.items if said in each.value]
    assert taken == [1, 0], "what was read first is read again"
    assert item.name == {"table": "torn.two", "schema": "ragged.one"}.get(what, "torn.one")
    assert snapshot.problems == ()


def test_a_rename_each_time_leaves_the_kind_out_and_says_so(beside, tables):
    names = ["one", "two", "three", "four"]

    def hook():
        old = names.pop(0)
        beside.execute(f"ALTER TABLE torn.{old} RENAME TO {names[0]}")

    snapshot = tables(hook)
    assert names == ["four"]
    assert (snapshot.kinds, snapshot.items) == ((), ())
    [problem] = snapshot.problems
    assert "the table of 5432/postgres cannot be read (torn.four was being renamed)" in problem
    assert "it is read again in the next round" in problem


@pytest.mark.parametrize(
    "other",
    [
        "CREATE TABLE torn.{0} (i int)",
        "GRANT SELECT ON torn.one TO renamed_owner; ALTER TABLE torn.one ADD COLUMN {0} int",
        "CREATE TEMP TABLE {0} (i int); ALTER TABLE {0} RENAME TO away_{0}",
        "DROP TABLE IF EXISTS torn.other",
    ],
)
def test_what_renames_nothing_is_no_reason_to_read_again(beside, tables, other):
    reads = []

    def hook():
        reads.append(beside.execute(other.format(f"new_{len(reads)}")))

    snapshot = tables(hook)
    assert len(reads) == 1
    assert snapshot.problems == ()
    assert "torn.one" in {item.name for item in snapshot.items}
