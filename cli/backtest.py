"""``pgwarden rules backtest``: what rules would have said of the statements on record."""

from __future__ import annotations

import re
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

from cli.context import ConfigOption, Exit, JsonOption, err, fail, out, printable, read_config
from cli.rules import load
from rules import RuleSet

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from collector.backtest import Example, Hits, RuleHits, Who

TEXT_WIDTH = 110
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(r"(\d{1,6})([smhdw])")


def backtest(
    which: Annotated[
        list[str],
        typer.Argument(
            metavar="RULE_ID_OR_FILE…",
            help="Rules of the configuration by id; files or folders: all rules in them.",
        ),
    ],
    since: Annotated[
        str, typer.Option(help="How far back: 30d, 12h, or a date and time (UTC).")
    ] = "30d",
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Judge the statements on record by these rules: who would have been refused what."""
    begin = begin_of(since)
    rule_sets = [each for each in _rule_sets(which, config, json) if each.compiled]
    data_dir = read_config(config).collector.data_dir
    if not data_dir.is_dir():
        fail(f"{data_dir} does not exist: has the collector run? see collector.data_dir")
    with views_of(data_dir) as views:
        total = sum(_run(views, rules, begin, json) for rules in rule_sets)
    raise typer.Exit(Exit.FOUND if total else Exit.GOOD)


def _run(views: DuckDBPyConnection, rules: RuleSet, begin: datetime, json: bool) -> int:
    from collector.backtest import backtest as run
    from collector.backtest import strings
    from collector.backtest_facts import APPROXIMATE

    for field in sorted(rules.fields & APPROXIMATE.keys()):
        err.print(f"! {field}: {APPROXIMATE[field]}", style="yellow", markup=False)
    until = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=1)
    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("statements", total=None)
        judged, found = run(
            views,
            rules,
            begin,
            until,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    if together := strings(views, begin, until):
        words = f"! {together:,} executions were part of a string of several statements: judged by"
        err.print(f"{words} the facts of all of them together", style="yellow", markup=False)
    show = _show_json if json else _show
    for each in found:
        show(views, each, judged, begin)
    return sum(each.count for each in found)


def _rule_sets(which: list[str], config: Path | None, json: bool) -> Iterator[RuleSet]:
    """Of files and of ids, without the rules that the record cannot judge."""
    files = [Path(each) for each in which if _is_file(each)]
    ids = {each for each in which if not _is_file(each)}
    chosen = [load(files, config, json)] if files else []
    if ids:
        known = load(None, config, json)
        unknown = ids - {rule.id for rule in known.rules}
        if unknown:
            fail(f"no rule {sorted(unknown)[0]!r}; see: pgwarden rules list", Exit.USAGE)
        chosen.append(known.only(ids))
    judged = [_judgeable(rules) for rules in chosen]
    if not any(rules.compiled for rules in judged):
        fail("none of these rules can be judged from the record", Exit.USAGE)
    yield from judged


def _judgeable(rules: RuleSet) -> RuleSet:
    from collector.backtest import not_stored

    missing = not_stored(rules)
    for rule_id, names in missing.items():
        what = f"{', '.join(names)} cannot be told from the record"
        err.print(f"! {rule_id} is left out: {what}", style="yellow", markup=False)
    return rules.only({rule.id for rule in rules.rules} - missing.keys())


def _is_file(word: str) -> bool:
    return "/" in word or word.endswith((".yaml", ".yml")) or Path(word).exists()


def begin_of(since: str) -> datetime:
    """Naive, UTC."""
    if span := _SPAN.fullmatch(since):
        length = timedelta(**{UNITS[span[2]]: int(span[1])})
        now = datetime.now(UTC).replace(tzinfo=None)
        return now - min(length, now - datetime(1970, 1, 1))
    try:
        begin = datetime.fromisoformat(since)
    except ValueError:
        fail(f"--since {since!r} is no span like 30d or 12h, and no date", Exit.USAGE)
    return begin.astimezone(UTC).replace(tzinfo=None) if begin.tzinfo else begin


@contextmanager
def views_of(data_dir: Path) -> Iterator[DuckDBPyConnection]:
    from collector.views import damage, open_views

    for sentence in damage(data_dir):
        err.print(f"! left out: {sentence}", style="yellow", markup=False)
    with open_views(data_dir) as views:
        yield views


def _show(views: DuckDBPyConnection, found: RuleHits, judged: int, begin: datetime) -> None:
    rule = found.rule
    head = f"{rule.id} ({rule.action.value}): {found.count:,} of {judged:,} statements"
    style = "bold yellow" if found.count else "bold green"
    out.print(f"{head} since {_time(begin)}", style=style, markup=False)
    if found.failed:
        out.print(f"  ✗ could not be evaluated on {found.failed:,} statements", style="red")
    if not found.count:
        return
    table = Table("identity", "kind", "user", "count", "first", "last", "then", box=None)
    busiest, examples = _busiest(found), _examples(views, found)
    for who, hits in busiest:
        # Not plain strings: rich would read markup in what a client wrote.
        cells = (who.name, who.kind, who.user, f"{hits.count:,}", _time(hits.first))
        row = (*cells, _time(hits.last), _outcomes(hits))
        table.add_row(*(Text(printable(cell)) for cell in row))
    out.print(table)
    for who, hits in busiest:
        out.print(f"  {printable(who.name or who.user)}:", style="dim", markup=False)
        for text in _texts(hits, examples):
            shown = " ".join(text.split())
            out.print(f"    {printable(shown)[:TEXT_WIDTH]}", markup=False, soft_wrap=True)


def _show_json(views: DuckDBPyConnection, found: RuleHits, judged: int, begin: datetime) -> None:
    examples = _examples(views, found)
    answer: dict[str, Any] = {
        "rule": found.rule.id,
        "action": found.rule.action,
        "since": _iso(begin),
        "judged": judged,
        "matched": found.count,
        "failed": found.failed,
        "identities": [
            {
                "identity_kind": who.kind,
                "identity_name": who.name,
                "user_name": who.user,
                "count": hits.count,
                "unknown": hits.unknown,
                "first": _iso(hits.first),
                "last": _iso(hits.last),
                "outcomes": dict(hits.outcomes),
                "examples": _texts(hits, examples),
            }
            for who, hits in _busiest(found)
        ],
    }
    typer.echo(orjson.dumps(answer).decode())


def _busiest(found: RuleHits) -> list[tuple[Who, Hits]]:
    return sorted(found.by_identity.items(), key=lambda item: -item[1].count)


def _examples(views: DuckDBPyConnection, found: RuleHits) -> dict[Example, str]:
    from collector.backtest import texts

    return texts(views, [each for hits in found.by_identity.values() for each in hits.examples])


def _texts(hits: Hits, known: dict[Example, str]) -> list[str]:
    return list(dict.fromkeys(known[each] for each in hits.examples if known.get(each)))


def _outcomes(hits: Hits) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in hits.outcomes.most_common())


def _time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else ""


def _iso(at: datetime | None) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}Z" if at else ""
