"""``pgwarden support``: what somebody who helps needs to see, without secrets."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from cli.context import ConfigOption, fail, out, read_config

app = typer.Typer(no_args_is_help=True, help="Help others to help you.")


@app.callback()
def support() -> None:
    """Help others to help you."""


@app.command()
def bundle(
    to: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="pgwarden-support-TIME.tar.gz if not given."),
    ] = None,
    logs: Annotated[
        list[Path] | None, typer.Option("--log", help="A log file of agent or collector to add.")
    ] = None,
    doctor: Annotated[bool, typer.Option(help="Also what pgwarden doctor says.")] = True,
    config: ConfigOption = None,
) -> None:
    """Put status, versions, metrics, logs and the shape of the record into one file: no rows, no
    statements, no secrets. docs/operations.md says what is in it."""
    from cli.support.bundle import parts, write

    settings = read_config(config)
    target = to or Path(time.strftime("pgwarden-support-%Y%m%d-%H%M%S.tar.gz", time.gmtime()))
    try:
        names = write(target, settings, parts(settings, logs or [], doctor, config))
    except OSError as error:
        fail(f"{error.filename or target}: {error.strerror}")
    for name in names:
        out.print(f"  {name}", markup=False)
    out.print(f"✓ {target}: look into it before you send it", markup=False, soft_wrap=True)
