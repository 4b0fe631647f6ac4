"""``drift status``: open differences and who made them, and what is ignored."""

from __future__ import annotations

from typing import Any

import orjson
import typer
from rich.table import Table

from cli.context import ConfigOption, Exit, JsonOption, err, out, printable, read_config
from cli.drift.shown import NOBODY, clock_of, made_by, place_of, shortened
from cli.operator import DEADLINE_SECONDS, operator
from protos.pgwarden.v1 import operator_pb2


def status(json: JsonOption = False, config: ConfigOption = None) -> None:
    """Open differences and who made them; exit code 1 when there are any."""
    with operator(read_config(config)) as stub:
        reply = stub.DriftStatus(operator_pb2.DriftStatusRequest(), timeout=DEADLINE_SECONDS)
    rows = [orjson.loads(row) for row in reply.rows_json]
    if json:
        for row in rows:
            typer.echo(orjson.dumps(row).decode())
        raise typer.Exit(Exit.FOUND if rows else Exit.GOOD)
    for problem in reply.problems:
        err.print(f"! {printable(problem)}", style="yellow", markup=False, soft_wrap=True)
    if not reply.has_baseline:
        err.print("! no baseline yet: an agent with access to the catalog must be connected")
        return
    when = clock_of(reply.accepted_at_us)
    out.print(f"baseline accepted by {printable(reply.accepted_by)} at {when}", markup=False)
    if rows:
        out.print(_table(rows))
    else:
        out.print("✓ no difference", style="green")
    for row in reply.ignored_json:
        _show_ignored(orjson.loads(row))
    if rows:
        raise typer.Exit(Exit.FOUND)


def _table(rows: list[dict[str, Any]]) -> Table:
    columns = ("since", "where", "kind", "what", "accepted", "now", "by")
    table = Table(*columns, box=None, header_style="bold")
    for row in rows:
        who = made_by(row)
        table.add_row(
            clock_of(row.get("occurred_at")),
            shortened(place_of(row)),
            shortened(row.get("kind")),
            shortened(row.get("name")),
            shortened(row.get("desired") or "∅"),
            shortened(row.get("observed") or "∅"),
            shortened(who),
            style="red" if who == NOBODY else "",
        )
    return table


def _show_ignored(row: dict[str, Any]) -> None:
    what = " ".join(word for word in (row["kind"], row["name"], row["database"]) if word)
    until = f" until {row['until']}" if row["until"] else ""
    state = "ended" if row["expired"] else f"{row['differences']} ignored"
    out.print(
        printable(f"  {what}{until}: {state}, because {row['because']}"),
        style="yellow" if row["expired"] else "dim",
        markup=False,
        soft_wrap=True,
    )
