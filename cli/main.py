"""The ``pgwarden`` command."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from model.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMANDS: Mapping[str, str] = {
    "up": "cli.programs:up",
    "agent": "cli.programs:agent",
    "collector": "cli.programs:collector",
    "tail": "cli.live:tail",
    "sessions": "cli.live:sessions",
    "kill": "cli.live:kill",
    "agents": "cli.live:agents",
    "demo": "cli.demo.command:demo",
    "doctor": "cli.doctor.command:doctor",
    "sql": "cli.sql:sql",
    "findings": "cli.findings:app",
    "replay": "cli.replay:replay",
    "config": "cli.config_command:app",
    "rules": "cli.rules_group:app",
    "drift": "cli.drift:app",
    "approvals": "cli.approvals:app",
    "pki": "cli.pki:app",
    "token": "cli.tokens:app",
    "ledger": "cli.ledger:app",
    "store": "cli.store:app",
    "status": "cli.status:status",
    "support": "cli.support:app",
}
"""Where each command is defined: a function, or a Typer application with commands of its own."""


class CommandsOnDemand(TyperGroup):
    """Imports a command when it is asked for: what one of them needs (DuckDB, Polars, the parser)
    takes longer to import than most others take to run."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*COMMANDS, *self.commands]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, attribute = COMMANDS[cmd_name].split(":")
        found = getattr(import_module(module), attribute)
        if isinstance(found, typer.Typer):
            group = get_group(found)
            group.name = cmd_name
            return group
        alone = typer.Typer(
            add_completion=False, pretty_exceptions_show_locals=False, context_settings=SETTINGS
        )
        alone.command(cmd_name)(found)
        return get_command(alone)


SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="pgwarden",
    cls=CommandsOnDemand,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold statements
    context_settings=SETTINGS,
)


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
