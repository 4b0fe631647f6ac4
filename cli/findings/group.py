"""``pgwarden findings`` lists; its subcommands show one, take a word on it, and show thresholds."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.context import ConfigOption, JsonOption
from cli.findings.judge import confirm, dismiss
from cli.findings.listing import KINDS, listing
from cli.findings.show import show
from cli.findings.thresholds import thresholds

app = typer.Typer(invoke_without_command=True, help="Findings: list, show, confirm, dismiss.")
app.command()(show)
app.command()(confirm)
app.command()(dismiss)
app.command()(thresholds)


@app.callback()
def findings(
    context: typer.Context,
    kind: Annotated[str, typer.Option(help=f"Only one of: {', '.join(KINDS)}.")] = "",
    hours: Annotated[int, typer.Option(help="How far back.", min=1)] = 24,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    evidence: Annotated[bool, typer.Option(help="Print the query that shows each.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List findings, newest first; exit 1 when there are any that are not resolved."""
    if context.invoked_subcommand is None:
        listing(kind, hours, limit, evidence, json, config)
