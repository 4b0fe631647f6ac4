"""The ``pgwarden`` command."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import config_command, drift, live, programs, rules, sql
from cli.demo.command import demo
from cli.doctor.command import doctor
from cli.findings import findings
from model.version import __version__

app = typer.Typer(
    name="pgwarden",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold statements
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(programs.up)
app.command()(programs.agent)
app.command()(programs.collector)
app.command()(live.tail)
app.command()(live.sessions)
app.command()(live.kill)
app.command()(live.agents)
app.command()(demo)
app.command()(doctor)
app.command()(sql.sql)
app.command()(findings)
app.add_typer(config_command.app, name="config")
app.add_typer(rules.app, name="rules")
app.add_typer(drift.app, name="drift")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """See, attribute, guard and record what happens in PostgreSQL."""


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
