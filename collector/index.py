"""index.duckdb: a catalogue of the segments for the collector's own use.

It holds nothing that the ledger does not; damaged, stale or missing, it is built again.
"""

from pathlib import Path

import duckdb

from collector.ledger import Ledger
from collector.ledger_state import LedgerState

NAME = "index.duckdb"

_SCHEMA = """
CREATE TABLE segments (
  path VARCHAR PRIMARY KEY, "table" VARCHAR, rows UBIGINT, bytes UBIGINT, sha256 VARCHAR,
  first_at TIMESTAMP, last_at TIMESTAMP);
CREATE TABLE sources (agent VARCHAR, epoch UBIGINT, last UBIGINT, PRIMARY KEY (agent, epoch));
CREATE TABLE head (hash VARCHAR);
"""


def open_index(data_dir: Path, ledger: Ledger) -> duckdb.DuckDBPyConnection:
    """The index as of the ledger's head, rebuilt if it is anything else."""
    try:
        connection = duckdb.connect(str(data_dir / NAME))
    except (duckdb.Error, OSError):  # whatever it is, it is not our index
        return build_index(data_dir, ledger)
    if _head(connection) == ledger.head:
        return connection
    # Closed before the file is replaced: DuckDB would hand out the open database again.
    connection.close()
    return build_index(data_dir, ledger)


def _head(connection: duckdb.DuckDBPyConnection) -> str | None:
    try:
        ((hash_,),) = connection.execute("SELECT hash FROM head").fetchall()
    except (duckdb.Error, ValueError):
        return None
    return str(hash_)


def build_index(data_dir: Path, ledger: Ledger) -> duckdb.DuckDBPyConnection:
    for name in (NAME, f"{NAME}.wal"):
        (data_dir / name).unlink(missing_ok=True)
    connection = duckdb.connect(str(data_dir / NAME))
    fill_index(connection, ledger.standing)
    return connection


def fill_index(connection: duckdb.DuckDBPyConnection, state: LedgerState) -> None:
    """Make the tables and all their rows in an empty database."""
    connection.execute(_SCHEMA)
    connection.begin()
    connection.execute("INSERT INTO head VALUES (?)", [state.head])
    _insert(connection, state, set(state.files))
    connection.commit()


def index_rows(
    connection: duckdb.DuckDBPyConnection,
) -> tuple[str | None, dict[str, tuple[str, int, int, str]], dict[tuple[str, int], int]]:
    """The ledger's head, segments (table, rows, bytes, SHA-256) by path, and sources, for a
    comparison. Raises duckdb.Error where it is no index."""
    rows = connection.execute('SELECT path, "table", rows, bytes, sha256 FROM segments').fetchall()
    sources = connection.execute("SELECT agent, epoch, last FROM sources").fetchall()
    return (
        _head(connection),
        {path: (table, count, size, sha256) for path, table, count, size, sha256 in rows},
        {(agent, epoch): last for agent, epoch, last in sources},
    )


def update_index(connection: duckdb.DuckDBPyConnection, ledger: Ledger) -> None:
    """Bring it from an earlier head to the present one; called after a commit."""
    known = {path for (path,) in connection.execute("SELECT path FROM segments").fetchall()}
    connection.begin()
    for path in known - ledger.files.keys():
        connection.execute("DELETE FROM segments WHERE path = ?", [path])
    _insert(connection, ledger.standing, ledger.files.keys() - known)
    connection.execute("UPDATE head SET hash = ?", [ledger.head])
    connection.commit()


def _insert(connection: duckdb.DuckDBPyConnection, state: LedgerState, paths: set[str]) -> None:
    """One statement for all rows: each costs as much as hundreds of rows do."""
    files = [state.files[path] for path in sorted(paths)]
    columns = [
        [file.path for file in files],
        [file.table for file in files],
        [file.rows for file in files],
        [file.bytes for file in files],
        [file.sha256 for file in files],
        [file.first_us for file in files],
        [file.last_us for file in files],
    ]
    if files:
        connection.execute(_ADD_SEGMENTS, columns)
    known = {
        (agent, epoch): last
        for agent, epoch, last in connection.execute("SELECT * FROM sources").fetchall()
    }
    moved = [(*key, last) for key, last in state.high_water.items() if known.get(key) != last]
    if moved:
        connection.execute(_ADD_SOURCES, [list(column) for column in zip(*moved, strict=True)])


_ADD_SEGMENTS = """
INSERT INTO segments
SELECT path, "table", rows, bytes, sha256, make_timestamp(first_us), make_timestamp(last_us)
FROM (SELECT unnest(?::VARCHAR[]) AS path, unnest(?::VARCHAR[]) AS "table",
  unnest(?::UBIGINT[]) AS rows, unnest(?::UBIGINT[]) AS bytes, unnest(?::VARCHAR[]) AS sha256,
  unnest(?::BIGINT[]) AS first_us, unnest(?::BIGINT[]) AS last_us)
"""
_ADD_SOURCES = """
INSERT OR REPLACE INTO sources
SELECT unnest(?::VARCHAR[]), unnest(?::UBIGINT[]), unnest(?::UBIGINT[])
"""
