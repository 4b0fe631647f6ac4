"""``pgwarden sql``: questions to the durable record, also while the collector writes it."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.table import Table
from rich.text import Text

from cli.context import (
    ConfigOption,
    Exit,
    JsonOption,
    err,
    fail,
    is_terminal,
    out,
    printable,
    read_config,
)
from cli.sql_values import shown_type, to_json

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

    Rows = DuckDBPyConnection | DuckDBPyRelation

SHELL_ROWS = 100
FETCH_ROWS = 1000
PIPE_WIDTH = 100_000
"""Into a pipe or file a row stays one line."""
PROMPT, MORE = "pgwarden=> ", "pgwarden-> "
HELP = "\\d lists the views, \\d VIEW its columns, \\q leaves; a query ends with ;"
_EXPLAIN = re.compile(r"\s*explain\s+(analyze\s+)?", re.IGNORECASE)


class QueryError(Exception):
    """The query cannot be answered; the message says why in one or a few lines."""


Column = tuple[str, str]
"""Its name and DuckDB's type."""


class Answer:
    """Column names, DuckDB's type names, and rows that are fetched as they are read."""

    def __init__(self, cursor: DuckDBPyConnection, columns: list[Column], limit: int) -> None:
        self.names = [name for name, _ in columns]
        self.types = [duckdb_type for _, duckdb_type in columns]
        self.more = False
        """After the last row: True when ``limit`` (0: none) left rows out."""
        self._cursor = cursor
        self._limit = limit

    def rows(self) -> Iterator[tuple[Any, ...]]:
        count = 0
        while rows := self._fetch():
            for row in rows:
                if self._limit and count == self._limit:
                    self.more = True
                    return
                count += 1
                yield row

    def _fetch(self) -> list[tuple[Any, ...]]:
        import duckdb

        try:
            return self._cursor.fetchmany(FETCH_ROWS)
        except duckdb.Error as error:
            raise QueryError(_plain(error)) from error


def open_session(data_dir: Path) -> DuckDBPyConnection:
    """The documented views, locked: nothing but segments can be read, nothing written."""
    from collector.views import lock_down, open_views

    if not data_dir.is_dir():
        raise QueryError(
            f"{data_dir} does not exist: has the collector run? see collector.data_dir"
        )
    views = open_views(data_dir)
    lock_down(views, data_dir)
    return views


def ask(views: DuckDBPyConnection, query: str, limit: int = 0) -> Answer:
    """Run one query. Raises QueryError for what is not exactly one query, or fails."""
    import duckdb

    kind = _admit(views, query)
    try:
        if kind == duckdb.StatementType.SELECT:
            columns = _columns(views.query(query))
            if casts := _casts(columns):
                shown = f"SELECT {casts} FROM ({_without_end(query)}\n)"
                return Answer(views.execute(shown), columns, limit)
        cursor = views.execute(query)
        return Answer(cursor, _columns(cursor), limit)
    except duckdb.Error as error:
        raise QueryError(_plain(error)) from error


def _without_end(query: str) -> str:
    """Without the semicolon, and what is after it."""
    import duckdb

    text = query.encode()
    ends = (
        offset
        for offset, kind in duckdb.tokenize(query)
        if kind == duckdb.token_type.operator and text[offset : offset + 1] == b";"
    )
    return text[: next(ends, len(text))].decode()


def _columns(asked: Rows) -> list[Column]:
    return [(str(column[0]), str(column[1])) for column in asked.description or []]


def _casts(columns: list[Column]) -> str:
    """What makes text of values that only DuckDB can hold; empty: there are none."""
    types = [duckdb_type for _, duckdb_type in columns]
    shown = [shown_type(each) for each in types]
    if shown == types:
        return ""
    return ", ".join(f"CAST(#{number} AS {each})" for number, each in enumerate(shown, start=1))


def _admit(views: DuckDBPyConnection, query: str) -> object:
    """Only SELECT, and EXPLAIN of a SELECT: EXPLAIN ANALYZE would run a COPY. Returns which."""
    import duckdb

    try:
        statements = views.extract_statements(query)
    except duckdb.Error as error:
        raise QueryError(_plain(error)) from error
    if len(statements) != 1:
        raise QueryError(f"give one query, not {len(statements)}")
    kind = statements[0].type
    if kind == duckdb.StatementType.EXPLAIN:
        _admit(views, _EXPLAIN.sub("", query, count=1))
    elif kind != duckdb.StatementType.SELECT:
        raise QueryError(f"{kind.name} is not a query: the record can only be read")
    return kind


def sql(
    query: Annotated[
        str | None, typer.Argument(help="One query; without it a shell opens.", metavar="SELECT…")
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many rows; 0: all.", min=0)] = 0,
    json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV with a header.")] = False,
    config: ConfigOption = None,
) -> None:
    """Ask the record in SQL. Views: see docs/views.md, or \\d in the shell."""
    if json and as_csv:
        fail("--json and --csv exclude each other", Exit.USAGE)
    data_dir = read_config(config).collector.data_dir
    try:
        _warn_of_damage(data_dir)
        if query is None:
            shell(data_dir, _lines())
            return
        with open_session(data_dir) as views:
            answer = ask(views, query, limit)
            show = show_json if json else show_csv if as_csv else show_table
            show(answer)
    except QueryError as error:
        fail(str(error))
    if answer.more:
        err.print(f"only the first {limit} rows", style="yellow")


def show_json(answer: Answer) -> None:
    for row in answer.rows():
        record = to_json(dict(zip(answer.names, row, strict=True)))
        sys.stdout.write(orjson.dumps(record, default=str).decode() + "\n")


def show_csv(answer: Answer) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(answer.names)
    for row in answer.rows():
        writer.writerow([_cell(value) for value in row])


def show_table(answer: Answer) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in answer.names:
        table.add_column(printable(name), overflow="fold")
    count = 0
    for row in answer.rows():
        count += 1
        table.add_row(*(_text(value) for value in row))
    out.print(table, width=None if is_terminal() else PIPE_WIDTH)
    out.print(f"({count} row{'' if count == 1 else 's'})", style="dim")


def shell(data_dir: Path, lines: Iterable[str]) -> None:
    """Read queries until the end of ``lines`` or \\q. Each sees what is durable by then."""
    pending = ""
    for line in lines:
        command = line.strip()
        if not pending and command.startswith("\\"):
            if command in ("\\q", "\\quit"):
                return
            _meta(command)
            continue
        pending = f"{pending}\n{line}" if pending else line
        if not command.endswith(";"):
            continue
        text, pending = pending, ""
        try:
            # Views keep the list of segments that they were made with, and these settings cannot
            # be changed back: so each question gets a session of its own.
            with open_session(data_dir) as views:
                answer = ask(views, text, SHELL_ROWS)
                show_table(answer)
            if answer.more:
                err.print(
                    f"only the first {SHELL_ROWS} rows: add LIMIT or aggregate", style="yellow"
                )
        except QueryError as error:
            err.print(f"✗ {error}", style="red", markup=False)


def _meta(command: str) -> None:
    from collector.schema import TABLES

    word, _, name = command.partition(" ")
    if word == "\\d" and not name:
        for table in TABLES.values():
            out.print(f"{table.name:12}{table.meaning}", markup=False)
    elif word == "\\d" and name.strip() in TABLES:
        for column in TABLES[name.strip()].columns:
            line = f"{column.name:22}{column.duckdb_type:11}{column.meaning}"
            out.print(line, markup=False, soft_wrap=True)
    else:
        out.print(HELP, markup=False)


def _lines() -> Iterator[str]:
    """Lines as they are typed; Ctrl-C drops a line, Ctrl-D leaves."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    import readline  # gives input() its history and editing

    readline.parse_and_bind("tab: complete")
    out.print(HELP, style="dim", markup=False)
    while True:
        try:
            yield input(PROMPT)
        except KeyboardInterrupt:
            out.print()
        except EOFError:
            out.print()
            return


def _warn_of_damage(data_dir: Path) -> None:
    from collector.views import damage

    for sentence in damage(data_dir):
        err.print(f"! {sentence}", style="yellow", markup=False)


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join("" if item is None else str(item) for item in value)
    return "" if value is None else str(value)


def _text(value: object) -> Text:
    # Not a plain string: rich would read markup in what a client wrote.
    return Text(printable(_cell(value).replace("\n", " ")))


def _plain(error: Exception) -> str:
    """DuckDB's message without its advice about settings that are locked here."""
    return printable(str(error).split("\n\nLINE")[0].strip()).replace("\\n", "\n")
