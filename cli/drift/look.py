"""``drift diff``, ``history`` and ``explain``: what differs, since when, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.text import Text

from cli.context import ConfigOption, Exit, JsonOption, err, fail, out, printable, read_config
from cli.drift.record import kinds_of, record
from cli.drift.shown import (
    NOBODY,
    clock_of,
    diff_lines,
    difference_of,
    finding_of,
    made_by,
    place_of,
    row_json,
    severity_mark,
)
from cli.lines import SEVERITY_STYLE
from model.catalog import CatalogKind, DriftChange

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MOST_LEVELS = 9
OPEN = "SELECT * FROM drift WHERE resolved_at IS NULL ORDER BY occurred_at, kind, database, name"


def diff(
    kind: Annotated[str, typer.Option("--kind", help="Only these: table,policy,…")] = "",
    name: Annotated[str, typer.Option(help="Only names like this; * and ? as in a shell.")] = "*",
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """What differs now from what was accepted, line by line; exit 1 when anything does."""
    wanted = kinds_of(kind)
    with record(read_config(config)) as views:
        rows = [row for row in _rows(views, OPEN) if _asked_for(row, wanted, name)]
    for row in rows:
        of_kind, difference = CatalogKind(row["kind"]), difference_of(row)
        if json:
            typer.echo(row_json(row))
            continue
        said = f"by {made_by(row)}, {clock_of(row['occurred_at'])}{finding_of(row)}"
        said = f"{renamed}, {said}" if (renamed := row.get("renamed")) else said
        head, *lines = diff_lines(of_kind, difference, where=place_of(row), after=said)
        for line in (Text.assemble(severity_mark(str(row["severity"])), head), *lines):
            out.print(line, soft_wrap=True)
    if rows:
        raise typer.Exit(Exit.FOUND)
    if not json:
        out.print("✓ no difference", style="green")


def history(
    kind: Annotated[str, typer.Option("--kind", help="Only these: table,policy,…")] = "",
    name: Annotated[str, typer.Option(help="Only names like this; * and ? as in a shell.")] = "*",
    hours: Annotated[int, typer.Option(help="How far back.", min=1)] = 24 * 7,
    limit: Annotated[int, typer.Option(min=1)] = 200,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """What changed and who did it, oldest first."""
    wanted = kinds_of(kind)
    with record(read_config(config)) as views:
        every = [row for row in _history(views, hours) if _asked_for(row, wanted, name)]
    rows = every[-limit:]
    if len(rows) < len(every):
        err.print(f"! the last {len(rows)} of {len(every)} changes: --limit shows more")
    for row in rows:
        if json:
            typer.echo(row_json(row))
            continue
        if not (clause := _clause(row, rows)):
            continue
        out.print(
            Text.assemble(
                (f"{row['occurred_at']:%Y-%m-%d} {clock_of(row['occurred_at'])} ", "dim"),
                severity_mark(str(row["severity"] or "")),
                printable(clause),
                (f"  by {printable(made_by(row))}", "red" if made_by(row) == NOBODY else "cyan"),
                (f"  in {printable(place_of(row))}{finding_of(row)}", "dim"),
                (_end(row), "green"),
            ),
            soft_wrap=True,
        )
    if not rows and not json:
        out.print(f"no change in the last {hours} h")


def explain(
    finding: Annotated[str, typer.Argument(help="Its id, or how it begins.", metavar="ID")],
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """One finding of drift: what changed, who did it with which statement, and how bad it is."""
    with record(read_config(config)) as views:
        row = _finding(views, finding)
        cause = _statement(views, row["agent"], row["statement_id"])
        outer = _outermost(views, cause)
        changes = _changes(views, row)
    if json:
        told = {**row, "statement": cause, "inside": outer, "changes": changes}
        typer.echo(row_json(told))
        return
    out.print(Text(printable(row["title"] or ""), style="bold"), soft_wrap=True)
    out.print(Text(printable(row["sentence"] or "")), soft_wrap=True)
    details = orjson.loads(row["details"] or "{}")
    _say("when", f"{row['occurred_at']:%Y-%m-%d} {clock_of(row['occurred_at'])}")
    _say("where", place_of(row))
    _say("severity", row["severity"], SEVERITY_STYLE.get(row["severity"], ""))
    ended = row["resolved_at"] is not None
    outcomes = sorted({str(each["outcome"]) for each in changes}) if ended else []
    _say("outcome", ", ".join(outcomes) or details.get("attribution", ""))
    for clause in str(details.get("consequences", "")).splitlines():
        _say("  •", clause)
    for name, value in details.items():
        if name not in ("attribution", "consequences"):
            _say(name, str(value).replace("\n", "; "))
    if cause:
        _say("statement", cause.get("text") or cause.get("summary") or "")
        _say("inside", outer.get("text") or outer.get("summary") or "")
        _say("by", _login(cause))
    for name in ("approval", "note"):
        said = str(details.get(name, "")).splitlines()
        for text in dict.fromkeys(str(change[name]) for change in changes if change[name]):
            if text not in said:
                _say(name, text)
    for change in changes:
        for line in _change(change):
            out.print(line, soft_wrap=True)
    if row["resolved_at"]:
        _say("ended", f"{row['resolved_at']:%Y-%m-%d} {clock_of(row['resolved_at'])}", "green")
    _say("evidence", row["evidence_sql"] or "", "dim")


def _say(name: str, value: str, style: str = "") -> None:
    if value:
        out.print(Text.assemble((f"{name:10} ", "dim"), (printable(value), style)), soft_wrap=True)


def _finding(views: DuckDBPyConnection, start: str) -> dict[str, Any]:
    rows = _rows(
        views,
        "SELECT * FROM findings WHERE kind = 'drift' AND starts_with(id, ?) "
        "QUALIFY row_number() OVER (PARTITION BY id ORDER BY resolved_at DESC NULLS LAST) = 1 "
        "LIMIT 3",
        start,
    )
    if not rows:
        fail(f"no finding of drift with the id {printable(start)}; see: pgwarden findings")
    if len(rows) > 1:
        fail(f"several findings begin with {printable(start)}; give more of the id", Exit.USAGE)
    return rows[0]


def _statement(views: DuckDBPyConnection, agent: str, number: int) -> dict[str, Any]:
    if not number:
        return {}
    query = "SELECT * FROM statements WHERE agent = ? AND id = ? LIMIT 1"
    return next(iter(_rows(views, query, agent, number)), {})


def _outermost(views: DuckDBPyConnection, inner: dict[str, Any]) -> dict[str, Any]:
    """What the client sent, of a statement inside a function; empty where it is that itself."""
    found: dict[str, Any] = {}
    for _ in range(MOST_LEVELS):
        around = found or inner
        above = _statement(views, around.get("agent", ""), around.get("parent_id") or 0)
        if not above:
            break
        found = above
    return found


def _changes(views: DuckDBPyConnection, row: dict[str, Any]) -> list[dict[str, Any]]:
    """The differences that this finding tells of, in their last state."""
    query = "SELECT * FROM drift WHERE finding_id = ? ORDER BY kind, database, name LIMIT 1000"
    return _rows(views, query, row["id"])


def _change(row: dict[str, Any]) -> list[Text]:
    kind, difference = CatalogKind(row["kind"]), difference_of(row)
    first, *rest = diff_lines(kind, difference, after=str(row.get("renamed") or ""))
    return [Text.assemble(severity_mark(str(row.get("severity") or "")), first), *rest]


def _login(row: dict[str, Any]) -> str:
    from cli.lines import who

    application = row.get("application_name")
    return who(row) + (f" with {application}" if application else "")


def _history(views: DuckDBPyConnection, hours: int) -> list[dict[str, Any]]:
    return _rows(
        views,
        "SELECT * FROM drift WHERE occurred_at >= now()::TIMESTAMP - to_hours(?) "
        "ORDER BY occurred_at, kind, name",
        hours,
    )


def _clause(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Empty for the old name of what is told by its new one."""
    from collector.drift.clauses import describe
    from collector.drift.renamed import clause, former_name, later_name

    kind, difference = CatalogKind(row["kind"]), difference_of(row)
    if not (renamed := str(row.get("renamed") or "")):
        return describe(kind, difference)
    if later := later_name(renamed):
        place = ("agent", "cluster", "database", "kind", "occurred_at")
        twins = (other for other in rows if all(other[key] == row[key] for key in place))
        return "" if any(t["name"] == later for t in twins) else clause(kind, difference, renamed)
    said = clause(kind, difference, renamed)
    whole = former_name(renamed) and difference.change is not DriftChange.CHANGED
    return said if whole else f"{said}; {describe(kind, difference)}"


def _end(row: dict[str, Any]) -> str:
    if not row["resolved_at"]:
        return ""
    by = f", reverted by {printable(row['resolved_by'])}" if row.get("resolved_by") else ""
    return f"  until {clock_of(row['resolved_at'])}{by}"


def _asked_for(row: dict[str, Any], kinds: frozenset[CatalogKind], name: str) -> bool:
    from collector.drift.patterns import matches

    known = row["kind"] in map(str, CatalogKind)
    return known and (not kinds or row["kind"] in kinds) and matches(row["name"], name)


def _rows(views: DuckDBPyConnection, query: str, *values: object) -> list[dict[str, Any]]:
    result = views.execute(query, list(values))
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
