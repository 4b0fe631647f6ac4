"""What every command needs: the configuration, exit codes, errors a person can act on."""

from __future__ import annotations

import sys
from enum import IntEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from config import Config, ConfigError, load
from config.program import DEFAULT_CONFIG


class Exit(IntEnum):
    GOOD = 0
    FOUND = 1
    USAGE = 2
    CONFIGURATION = 78


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="PGWARDEN_CONFIG",
        help=f"Configuration file; {DEFAULT_CONFIG} if it is there, else the defaults.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line, for scripts.")]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def read_config(path: Path | None) -> Config:
    """The configuration, or exit 78 with its problems on standard error."""
    if path is None and _may_exist(DEFAULT_CONFIG):
        path = DEFAULT_CONFIG
    try:
        return load(path)
    except ConfigError as error:
        for problem in error.problems:
            err.print(f"✗ {problem}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(Exit.CONFIGURATION) from None


def _may_exist(path: Path) -> bool:
    """True as well where we may not look: to go on with the defaults would mislead."""
    try:
        return path.exists()
    except PermissionError:
        return True


def fail(message: str, code: Exit = Exit.FOUND) -> NoReturn:
    err.print(f"✗ {message}", style="red", markup=False, soft_wrap=True)
    raise typer.Exit(code)


def printable(text: str) -> str:
    """Hostile text for a terminal: control characters as ``\\x1b``, so that nothing acts."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def is_terminal() -> bool:
    return sys.stdout.isatty()
