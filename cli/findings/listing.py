"""The list of findings, out of the record."""

from __future__ import annotations

from pathlib import Path

import orjson
import typer

from cli.context import Exit, fail, out, printable, read_config
from cli.lines import line
from model.finding import FindingKind

KINDS = tuple(FindingKind)
SHOWN_ID = 8
LATEST = """
SELECT * FROM findings
WHERE occurred_at >= now() - to_hours(?) AND (? = '' OR kind = ?)
QUALIFY row_number() OVER (
    PARTITION BY id ORDER BY occurred_at DESC, resolved_at DESC NULLS LAST) = 1
ORDER BY occurred_at DESC LIMIT ?
"""


def listing(
    kind: str, hours: int, limit: int, evidence: bool, json: bool, config: Path | None
) -> None:
    """Prints them; exits with 1 when there are any that are not resolved."""
    if kind and kind not in KINDS:
        fail(f"unknown kind {kind}; there are {', '.join(KINDS)}", Exit.USAGE)
    from collector.store import open_views

    with open_views(read_config(config).collector.data_dir) as views:
        result = views.execute(LATEST, [hours, kind, kind, limit])
        names = [column[0] for column in result.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    for row in rows:
        if json:
            typer.echo(orjson.dumps(row, default=str).decode())
            continue
        out.print(
            line("finding", row).append(f"  {str(row['id'])[:SHOWN_ID]}", "dim"), soft_wrap=True
        )
        if evidence and row["evidence_sql"]:
            out.print("    " + printable(row["evidence_sql"]), markup=False, soft_wrap=True)
    if not rows and not json:
        out.print(f"no findings in the last {hours} h")
    if any(row["resolved_at"] is None for row in rows):
        raise typer.Exit(Exit.FOUND)
