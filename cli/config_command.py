"""``pgwarden config``: is the configuration good, before anything runs with it."""

from __future__ import annotations

import typer

from cli.context import ConfigOption, JsonOption, out, read_config

app = typer.Typer(no_args_is_help=True, help="Check or show the configuration.")


@app.command()
def validate(config: ConfigOption = None) -> None:
    """Exit 0 when it can be used, 78 with every problem when it cannot."""
    read_config(config)
    out.print("✓ the configuration is good")


@app.command()
def show(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Print what is in force, defaults included, secrets hidden."""
    text = read_config(config).model_dump_json(indent=None if json else 2)
    typer.echo(text)
