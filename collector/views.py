"""The documented views, as SQL over the segments that the ledger names.

Readers never touch the collector's process: they read the ledger, then the files it names.
"""

from collections.abc import Iterable
from pathlib import Path

import duckdb

from collector import schema
from collector.ledger_entry import SealedFile
from collector.ledger_reading import damage_of
from collector.schema import Table
from collector.standing import standing


def open_views(data_dir: Path) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with every view of ``schema.TABLES``, as of this moment.

    Segments that are missing or have another size than sealed are left out; ``damage``
    names them. The connection can read anything its process can: for other people's SQL, call
    ``lock_down`` first.
    """
    connection = duckdb.connect(":memory:")
    # Times are stored without a zone, in UTC: comparing them with now() must not move them.
    connection.execute("SET TimeZone = 'UTC'")
    refresh_views(connection, data_dir)
    return connection


def refresh_views(connection: duckdb.DuckDBPyConnection, data_dir: Path) -> None:
    """Replace the views by those over the newest ledger."""
    state, _ = standing(data_dir)
    live = state.files.values()
    good = [file for file in live if damage_of(data_dir, file, deep=False) is None]
    for table in schema.TABLES.values():
        stored = table.stored_in or table.name
        connection.execute(view_sql(table, data_dir, (f for f in good if f.table == stored)))
    for view in schema.VIEWS.values():
        connection.execute(f'CREATE OR REPLACE VIEW "{view.name}" AS {view.sql}')


def damage(data_dir: Path) -> list[str]:
    """One sentence for each segment that the views leave out, and for a checkpoint of the ledger
    that could not be used."""
    state, problem = standing(data_dir)
    found = ((f.path, damage_of(data_dir, f, deep=False)) for f in state.files.values())
    left_out = [f"left out: {path}: {damage}" for path, damage in found if damage]
    return [f"the whole ledger was read: {problem}", *left_out] if problem else left_out


def lock_down(connection: duckdb.DuckDBPyConnection, data_dir: Path) -> None:
    """From now on only segments can be opened, and no setting changed.

    DuckDB would still let COPY write where it may read: ``cli.sql`` refuses what is not a query.
    """
    folder = str(data_dir / "segments").replace("'", "''")
    connection.execute(f"SET allowed_directories = ['{folder}']")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def view_sql(table: Table, data_dir: Path, files: Iterable[SealedFile]) -> str:
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    nulls = ", ".join(f'NULL::{c.duckdb_type} AS "{c.name}"' for c in table.columns)
    files = list(files)
    paths = [str(data_dir / file.path).replace("'", "''") for file in files]
    if not paths:
        return f'CREATE OR REPLACE VIEW "{table.name}" AS SELECT {nulls} WHERE false'
    listed = ", ".join(f"'{path}'" for path in paths)
    # Segments of an older schema lack columns; only where there are some, as it costs a look at
    # each file before the query.
    older = any(file.schema != schema.VERSION for file in files)
    options = ", union_by_name = true" if older else ""
    typed = f"(SELECT {nulls} WHERE false) UNION ALL BY NAME " if older else ""
    if not table.latest_by:
        source = f"({typed}FROM read_parquet([{listed}]{options}))"
        return f'CREATE OR REPLACE VIEW "{table.name}" AS SELECT {columns} FROM {source}'
    # File names ascend with the ledger, rows within a file with their arrival.
    keys = ", ".join(f'"{key}"' for key in table.latest_by)
    places = ", filename = true, file_row_number = true"
    source = f"({typed}FROM read_parquet([{listed}]{places}{options}))"
    return (
        f'CREATE OR REPLACE VIEW "{table.name}" AS SELECT {columns} FROM {source}'
        f" QUALIFY row_number() OVER (PARTITION BY {keys}"
        " ORDER BY filename DESC, file_row_number DESC) = 1"
    )
