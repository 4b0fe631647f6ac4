"""``pgwarden config``: is the configuration good, before anything runs with it."""

from __future__ import annotations

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
    """Print what is in force, defaults included, secrets hidden."""
    text = read_config(config).model_dump_json(by_alias=True, indent=None if json else 2)
    typer.echo(text)
