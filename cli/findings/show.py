"""``findings show``: one finding with everything that stands behind it, out of the record."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
import typer
from rich.table import Table
from rich.text import Text

from cli import lines
from cli.context import ConfigOption, JsonOption, fail, out, printable, read_config
from cli.findings import chart
from cli.findings.judge import Id, moved

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]
MOST_STATEMENTS = 20
FIRST_ROWS = 10
NUMBERS = ("expected", "seen", "unit", "peers_have", "peers", "window_seconds", "history_days")
SUMS = {
    "rows": "sum(coalesce(rows, 0))",
    "bytes": "sum(coalesce(bytes_sent, 0))",
    "errors": "count(*) FILTER (WHERE coalesce(sqlstate, '') NOT IN ('', '00000'))",
    "statements": "count(*)",
}
METRICS = {"slow_drip": "rows", "error_burst": "errors", "origin": "errors"}
HOURLY = """
SELECT date_trunc('hour', started_at), {metric} FROM statements
WHERE coalesce(nullif(identity_name, ''), user_name) = ? AND agent = ? AND cluster = ?
  AND coalesce(parent_id, 0) = 0 AND started_at >= ?::TIMESTAMP AND started_at < ?::TIMESTAMP
GROUP BY 1
"""


def show(finding: Id, json: JsonOption = False, config: ConfigOption = None) -> None:
    """The sentence, its numbers, its statements, its evidence, a week around it, and feedback."""
    from collector.store import open_views
    from collector.views import lock_down

    data_dir = read_config(config).collector.data_dir
    with open_views(data_dir) as views:
        lock_down(views, data_dir)
        row = _finding(views, finding)
        row["details"] = orjson.loads(row["details"] or "{}")
        row["statements"] = _statements(views, row)
        row["evidence"], row["evidence_problem"] = _evidence(views, row)
        row["feedback"], row["moved_bits"] = _feedback(views, row)
        metric, hours = _hours(views, row)
        row["week"] = {"metric": metric, "hours": hours}
    if json:
        typer.echo(orjson.dumps(row, default=str, option=orjson.OPT_NON_STR_KEYS).decode())
        return
    for part in _parts(row):
        out.print(part, markup=False, soft_wrap=not isinstance(part, Table))


def _rows(views: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any]) -> list[Row]:
    result = views.execute(sql, parameters)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _finding(views: duckdb.DuckDBPyConnection, id_: str) -> Row:
    sql = "SELECT * FROM findings WHERE starts_with(id, ?) ORDER BY id LIMIT 2"
    found = _rows(views, sql, [id_]) if id_ else []
    if not found:
        fail(f"no finding {id_!r}; see: pgwarden findings")
    if len(found) > 1 and found[0]["id"] != id_:
        fail(f"several findings begin with {id_}; give more of the id")
    return found[0]


def _statements(views: duckdb.DuckDBPyConnection, row: Row) -> list[Row]:
    written = str(row["details"].get("statements", "")).split(",")
    ids = [int(each) for each in written if each.strip().isdecimal()][:MOST_STATEMENTS]
    ids = ids or ([row["statement_id"]] if row["statement_id"] else [])
    sql = "SELECT * FROM statements WHERE agent = ? AND list_contains(?, id) ORDER BY started_at"
    return _rows(views, sql, [row["agent"], ids]) if ids else []


def _evidence(views: duckdb.DuckDBPyConnection, row: Row) -> tuple[list[Row], str]:
    import duckdb

    if not row["evidence_sql"]:
        return [], ""
    try:
        return _rows(views, f"SELECT * FROM ({row['evidence_sql']}) LIMIT {FIRST_ROWS}", []), ""
    except duckdb.Error as error:
        return [], str(error).splitlines()[0]


def _feedback(views: duckdb.DuckDBPyConnection, row: Row) -> tuple[list[Row], float]:
    """What was said of it, and how far the threshold of such findings is moved by everything that
    was said of this detector and identity."""
    from analytics.gate.feedback import Opinions
    from analytics.gate.history import Who
    from collector.gatekeeper import feedback_of

    sql = """SELECT * FROM finding_feedback
        WHERE finding_id = ? OR (detector = ? AND agent = ? AND cluster = ? AND identity = ?)
        ORDER BY occurred_at"""
    who = Who(row["agent"], row["cluster"], row["identity"] or row["user_name"])
    found = _rows(views, sql, [row["id"], row["detector"], *who])
    opinions = Opinions()
    for each in found:
        opinions = opinions.with_(feedback_of(each))
    bits = opinions.shift(row["detector"], who, row["object"] or "")
    return [each for each in found if each["finding_id"] == row["id"]], bits


def _hours(views: duckdb.DuckDBPyConnection, row: Row) -> tuple[str, dict[str, float]]:
    """The finding's number by hour of the week until its day ended; hours in UTC."""
    metric = METRICS.get(row["detector"], row["object"] if row["object"] in SUMS else "statements")
    at = row["occurred_at"]
    span = [at - timedelta(days=chart.DAYS + 1), at + timedelta(days=1)]
    who = row["identity"] or row["user_name"]
    found = views.execute(
        HOURLY.format(metric=SUMS[metric]), [who, row["agent"], row["cluster"], *span]
    ).fetchall()
    return metric, {f"{hour:%Y-%m-%dT%H:00:00Z}": float(value or 0) for hour, value in found}


def _parts(row: Row) -> Iterator[Any]:
    at = row["occurred_at"].replace(tzinfo=UTC).astimezone()
    yield lines.line("finding", row)
    where = "/".join(each for each in (row["agent"], row["cluster"], row["database"]) if each)
    yield f"id         {row['id']}  {at:%Y-%m-%d %H:%M:%S}  {printable(where)}"
    yield from _numbers(row)
    yield from _judged(row)
    if row["statements"]:
        yield "statements"
        for statement in row["statements"]:
            yield Text("    ").append_text(lines.line("statement", statement))
    yield from _evidence_parts(row)
    yield f"{row['week']['metric']} by hour, of {printable(row['identity'] or row['user_name'])}"
    hours = {
        datetime.fromisoformat(hour).astimezone(at.tzinfo): value
        for hour, value in row["week"]["hours"].items()
    }
    yield from chart.week(hours, at)


def _numbers(row: Row) -> Iterator[str]:
    details = row["details"]
    known = [f"{name} {details[name]}" for name in NUMBERS if details.get(name)]
    if known:
        yield f"numbers    {printable(', '.join(known))}"
    if details.get("bits"):
        agrees = f", agreeing: {details['agrees']}" if details.get("agrees") else ""
        yield printable(
            f"weighed    {details['bits']} bits, case {details.get('evidence', '?')} of"
            f" {details.get('threshold', '?')} needed ({details.get('budget', '')}){agrees}"
        )
    if details.get("warm_up"):
        yield f"young      {printable(str(details['warm_up']))}"


def _judged(row: Row) -> Iterator[str]:
    for each in row["feedback"]:
        at = each["occurred_at"].replace(tzinfo=UTC).astimezone()
        because = f": {each['because']}" if each["because"] else ""
        yield printable(
            f"feedback   {at:%Y-%m-%d %H:%M} {each['opinion']} by {each['author']}{because}"
        )
    if row["moved_bits"]:
        about = f"{row['detector']} about {row['identity']}"
        cause = f", {row['object']}" if row["object"] else ""
        yield printable(f"moved      {about}{cause} {moved(row['moved_bits'])}")


def _evidence_parts(row: Row) -> Iterator[Any]:
    if not row["evidence_sql"]:
        return
    yield "evidence"
    yield f"    {printable(row['evidence_sql'])}"
    if row["evidence_problem"]:
        yield f"    ! {printable(row['evidence_problem'])}"
    if row["evidence"]:
        table = Table(*row["evidence"][0], box=None)
        for each in row["evidence"]:
            table.add_row(*(Text(printable(_cell(value))) for value in each.values()))
        yield table


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= lines.TEXT_WIDTH else text[: lines.TEXT_WIDTH - 1] + "…"
