"""``pgwarden doctor``."""

from __future__ import annotations

import typer

from cli.context import ConfigOption, Exit, JsonOption, out, read_config
from cli.doctor.check import Check
from cli.doctor.report import as_json, counts, line, summary, summary_as_json


def doctor(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Say what works here and what does not, with the exact remedy; exit 1 when something is ✗."""
    settings = read_config(config)
    # Late: what is looked at brings half of the program along.
    from cli.doctor.examine import examine

    checks: list[Check] = []
    for check in examine(settings):
        checks.append(check)
        if json:
            typer.echo(as_json(check).decode())
        else:
            out.print(line(check), soft_wrap=True)
    numbers = counts(checks)
    if json:
        typer.echo(summary_as_json(numbers).decode())
    else:
        out.print(summary(numbers))
    raise typer.Exit(Exit.FOUND if numbers["bad"] else Exit.GOOD)
