"""``pgwarden drift``: how servers differ from what they should be, and who made it so."""

from __future__ import annotations

import typer

from cli.drift.accept import accept
from cli.drift.check import check
from cli.drift.compare import compare
from cli.drift.desired import export, plan
from cli.drift.look import diff, explain, history
from cli.drift.status import status

app = typer.Typer(
    no_args_is_help=True,
    help="Settings, rights and schema: what they should be, what they are, and who did it.",
)
for command in (status, diff, history, explain, accept, export, plan, compare, check):
    app.command()(command)
