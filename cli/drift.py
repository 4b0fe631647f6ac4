"""``pgwarden drift``: how servers differ from what was accepted, and accepting it."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Annotated

import orjson
import typer
from rich.table import Table

from cli.context import ConfigOption, Exit, JsonOption, err, fail, out, printable, read_config
from cli.lines import clock
from cli.operator import DEADLINE_SECONDS, operator
from protos.pgwarden.v1 import operator_pb2

VALUE_WIDTH = 60

app = typer.Typer(
    no_args_is_help=True, help="Settings, roles and privileges against their accepted baseline."
)


@app.command()
def status(json: JsonOption = False, config: ConfigOption = None) -> None:
    """Open differences and who made them; exit code 1 when there are any."""
    with operator(read_config(config)) as stub:
        reply = stub.DriftStatus(operator_pb2.DriftStatusRequest(), timeout=DEADLINE_SECONDS)
    rows = [orjson.loads(row) for row in reply.rows_json]
    if json:
        for row in rows:
            typer.echo(orjson.dumps(row).decode())
        raise typer.Exit(Exit.FOUND if rows else Exit.GOOD)
    if not reply.has_baseline:
        err.print("! no baseline yet: an agent with access to the catalog must be connected")
        return
    when = clock_of(reply.accepted_at_us)
    out.print(f"baseline accepted by {printable(reply.accepted_by)} at {when}", markup=False)
    if not rows:
        out.print("✓ no difference", style="green")
        return
    out.print(_table(rows))
    raise typer.Exit(Exit.FOUND)


@app.command()
def accept(
    reason: Annotated[str, typer.Option(help="Why this is right; kept in the record.")],
    by: Annotated[str, typer.Option(help="Who accepts.")] = "",
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Take what is there now as the baseline."""
    if not reason.strip():
        fail("--reason must say why", Exit.USAGE)
    who = by.strip() or getpass.getuser()
    request = operator_pb2.DriftAcceptRequest(accepted_by=who, reason=reason.strip())
    with operator(read_config(config)) as stub:
        reply = stub.DriftAccept(request, timeout=DEADLINE_SECONDS)
    if json:
        typer.echo(orjson.dumps({"items": reply.items, "accepted_by": who}).decode())
        return
    out.print(f"✓ {reply.items} items are the baseline from now on", style="green")


def _table(rows: list[dict[str, object]]) -> Table:
    columns = ("since", "where", "kind", "what", "accepted", "now", "by")
    table = Table(*columns, box=None, header_style="bold")
    for row in rows:
        nobody = row.get("attribution") == "unattributed"
        table.add_row(
            clock_of(row.get("occurred_at")),
            _shown("/".join(str(row[k]) for k in ("agent", "cluster", "database") if row.get(k))),
            _shown(row.get("kind")),
            _shown(row.get("name")),
            _shown(row.get("desired") or "∅"),
            _shown(row.get("observed") or "∅"),
            "nobody on the wire" if nobody else _shown(row.get("actor")),
            style="red" if nobody else "",
        )
    return table


def _shown(value: object) -> str:
    text = printable(str(value if value is not None else ""))
    text = text if len(text) <= VALUE_WIDTH else text[: VALUE_WIDTH - 1] + "…"
    return text.replace("[", "\\[")


def clock_of(at: object) -> str:
    """``at``: Unix microseconds, or ISO 8601 text."""
    if isinstance(at, int):
        at = datetime.fromtimestamp(at / 1e6, UTC)
    return clock(at)
