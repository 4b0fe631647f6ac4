"""``pgwarden config``: is the configuration good, before anything runs with it."""

from __future__ import annotations

import orjson
import typer

from cli.context import ConfigOption, Exit, JsonOption, err, out, read_config

app = typer.Typer(no_args_is_help=True, help="Check or show the configuration.")


@app.command()
def validate(config: ConfigOption = None) -> None:
    """Exit 0 when the programs would take it, 78 with every problem when not."""
    from cli.config_checks import problems_of

    problems = problems_of(read_config(config))
    for problem in problems:
        err.print(f"✗ {problem}", style="red", markup=False, soft_wrap=True)
    if problems:
        raise typer.Exit(Exit.CONFIGURATION)
    out.print("✓ the configuration is good")


@app.command()
def show(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Print what is in force, defaults included; secrets, and of URLs all but the host, hidden."""
    from cli.support.scrub import shown

    found = shown(read_config(config))
    typer.echo(orjson.dumps(found, option=0 if json else orjson.OPT_INDENT_2).decode())
