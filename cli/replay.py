"""``pgwarden replay``: what another configuration would have told of the statements on record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from cli.backtest import begin_of, views_of
from cli.context import ConfigOption, Exit, JsonOption, err, fail, out, printable, read_config

if TYPE_CHECKING:
    import polars as pl

    from collector.replaying import Difference
    from model.finding import Finding

MOST_SHOWN = 40
MARKS = {"both": " ", "only_present": "-", "only_other": "+"}


def replay(
    file: Annotated[
        Path | None,
        typer.Argument(help="A Parquet file with columns of view statements, in place of --since."),
    ] = None,
    other: Annotated[
        Path | None,
        typer.Option("--with", metavar="CONFIG", help="The other configuration."),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(help="Other alerts a day for 100 identities.", min=0.01, max=10_000),
    ] = None,
    since: Annotated[
        str, typer.Option(help="How far back: 30d, 12h, or a date and time (UTC).")
    ] = "30d",
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Run detectors and gate over history twice, with the present configuration and with another,
    and show which findings only one of them tells; exit 1 when there are any."""
    from collector.replaying import ReplayError, difference, replayed
    from collector.thinking import analysis_settings

    if other is None and budget is None:
        fail("say what is to be different: --with CONFIG or --budget NUMBER", Exit.USAGE)
    present = read_config(config).collector
    changed = read_config(other).collector.analytics if other else present.analytics
    if budget is not None:
        changed = changed.model_copy(update={"alerts_per_day_per_100_identities": budget})
    runs = [analysis_settings(present.analytics), analysis_settings(changed)]
    try:
        with _history(file, since, present.data_dir) as (batches, words, rows), _progress() as bar:
            task = bar.add_task("statements", total=rows)
            first, second = replayed(
                batches, runs, words, lambda done: bar.update(task, completed=done)
            )
    except ReplayError as error:
        fail(str(error), Exit.USAGE)
    found = difference(first, second)
    (_show_json if json else _show)(found)
    differs = bool(found.only_first or found.only_second)
    raise typer.Exit(Exit.FOUND if differs else Exit.GOOD)


@contextmanager
def _history(
    file: Path | None, since: str, data_dir: Path
) -> Iterator[tuple[Iterator[pl.DataFrame], pl.DataFrame, int | None]]:
    """Batches, people's words on findings, and how many rows (None: unknown)."""
    from collector import replaying

    if file is not None:
        yield replaying.in_file(str(file)), replaying.NO_FEEDBACK, None
        return
    begin = begin_of(since)
    if not data_dir.is_dir():
        fail(f"{data_dir} does not exist: has the collector run? see collector.data_dir")
    until = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=1)
    with views_of(data_dir) as views:
        words = replaying.feedback(views)
        counted = views.execute(
            "SELECT count(*) FROM statements WHERE started_at >= ?", [begin]
        ).fetchone()
        rows = counted[0] if counted else None
        yield replaying.stored(views, begin, until), words, rows


def _progress() -> Progress:
    return Progress(console=err, transient=True, disable=not err.is_terminal)


def _show(found: Difference) -> None:
    out.print(
        f"{len(found.both)} findings in both, {len(found.only_first)} only with the present "
        f"configuration, {len(found.only_second)} only with the other",
        style="bold",
        markup=False,
    )
    if counts := _by_detector(found):
        table = Table("detector", "both", "only present", "only other", box=None)
        for detector, cells in sorted(counts.items()):
            table.add_row(Text(detector), *(str(cells[name]) for name in MARKS))
        out.print(table)
    differing = [(mark, each) for mark, each in _marked(found) if mark != MARKS["both"]]
    for mark, each in differing[:MOST_SHOWN]:
        at = datetime.fromtimestamp(each.at_us / 1e6, UTC)
        line = f"{mark} {at:%Y-%m-%d %H:%M} {each.detector}: {printable(each.sentence)}"
        style = "yellow" if mark == MARKS["only_other"] else "dim"
        out.print(line, style=style, markup=False, soft_wrap=True)
    if len(differing) > MOST_SHOWN:
        out.print(f"… and {len(differing) - MOST_SHOWN} more; --json has all", style="dim")


def _show_json(found: Difference) -> None:
    for mark, each in _marked(found):
        where = next(name for name, known in MARKS.items() if known == mark)
        typer.echo(orjson.dumps({"in": where.removeprefix("only_"), **_row(each)}).decode())


def _row(finding: Finding) -> dict[str, Any]:
    at = datetime.fromtimestamp(finding.at_us / 1e6, UTC).replace(tzinfo=None)
    return {
        "id": finding.id,
        "at": f"{at:%Y-%m-%dT%H:%M:%S.%f}Z",
        "detector": finding.detector,
        "severity": finding.severity,
        "identity": finding.identity,
        "database": finding.database,
        "object": finding.object,
        "sentence": finding.sentence,
    }


def _marked(found: Difference) -> list[tuple[str, Finding]]:
    parts = {
        "both": found.both,
        "only_present": found.only_first,
        "only_other": found.only_second,
    }
    marked = [(MARKS[name], each) for name, some in parts.items() for each in some]
    return sorted(marked, key=lambda pair: (pair[1].at_us, pair[1].id))


def _by_detector(found: Difference) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    names = {mark: name for name, mark in MARKS.items()}
    for mark, each in _marked(found):
        counts.setdefault(each.detector, Counter())[names[mark]] += 1
    return counts
