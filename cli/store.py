"""``pgwarden store``: whether the files of the record are all there and whole; the index anew."""

from __future__ import annotations

import json as json_
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cli.context import ConfigOption, Exit, JsonOption, err, fail, out, printable, read_config

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Another data directory, a copy for instance.")
]

app = typer.Typer(no_args_is_help=True, help="The files of the record, and their index.")


@app.command()
def check(
    data_dir: DataOption = None, json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Compare every segment with the ledger, and the index with both; the collector may run."""
    from collector.store_check import check_store

    folder = _folder(data_dir, config)
    try:
        with _progress("checked", json) as progress:
            report = check_store(folder, progress)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    if json:
        names = ("segments", "rows", "notices", "problems")
        typer.echo(json_.dumps({name: getattr(report, name) for name in names}))
    else:
        counted = f"{report.segments} segments, {report.rows} rows"
        _show(counted, report.notices, report.problems)
    if report.problems:
        raise typer.Exit(Exit.FOUND)


@app.command()
def rebuild(
    data_dir: DataOption = None, json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Make index.duckdb anew from the segments; stop the collector first."""
    import duckdb

    from collector.store import StoreError
    from collector.store_rebuild import rebuild_index

    folder = _folder(data_dir, config)
    try:
        with _progress("read", json) as progress:
            rebuilt = rebuild_index(folder, progress)
    except (StoreError, duckdb.Error) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    if json:
        names = ("segments", "rows", "problems")
        typer.echo(json_.dumps({name: getattr(rebuilt, name) for name in names}))
    else:
        _show(f"index of {rebuilt.segments} segments, {rebuilt.rows} rows", [], rebuilt.problems)
    if rebuilt.problems:
        raise typer.Exit(Exit.FOUND)


def _folder(data_dir: Path | None, config: Path | None) -> Path:
    folder = data_dir or read_config(config).collector.data_dir
    if not (folder / "ledger.jsonl").is_file():
        fail(f"{folder} has no ledger: has the collector run? see collector.data_dir")
    return folder


def _show(counted: str, notices: list[str], problems: list[str]) -> None:
    marked = [("!", each) for each in notices] + [("✗", each) for each in problems]
    for mark, text in marked:
        out.print(f"{mark} {printable(text)}", markup=False, soft_wrap=True)
    verdict = f"✗ {len(problems)} problems" if problems else "✓ all well"
    out.print(f"{verdict}: {counted}", markup=False, soft_wrap=True)


@contextmanager
def _progress(word: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """On standard error, and only for a person."""
    if quiet or not err.is_terminal:
        yield lambda _done, _all: None
        return
    with err.status(word) as line:
        yield lambda done, all_: line.update(f"{word} {done} of {all_} segments")
