"""``drift compare A B``: staging and production, or either against a declaration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from cli.context import ConfigOption, Exit, JsonOption, err, fail, out, read_config
from cli.drift.desired import KindsOption
from cli.drift.record import (
    DATABASE_OF_FILE,
    at_place,
    choose,
    declaration,
    facts,
    is_file,
    kinds_of,
)
from cli.drift.shown import as_json, diff_lines, listed

if TYPE_CHECKING:
    from collector.drift.baseline import Facts, Scope
    from collector.drift.observed import Whole

SIDE = "FILE, FILE#DATABASE, AGENT/CLUSTER or AGENT/CLUSTER/DATABASE."


def compare(
    one: Annotated[str, typer.Argument(help=SIDE, metavar="A")],
    other: Annotated[str, typer.Argument(help=SIDE, metavar="B")],
    kinds: KindsOption = "",
    cluster_wide: Annotated[
        bool | None,
        typer.Option(
            "--cluster-wide/--no-cluster-wide",
            help="Settings, roles and so on as well; by default only for whole servers.",
        ),
    ] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """How B differs from A, line by line; exit 1 when it does."""
    from collector.drift.comparing import as_database, compared, only_one_side

    wanted = kinds_of(kinds)
    known = {} if is_file(one) and is_file(other) else facts(read_config(config))
    (first, first_name), (second, second_name) = _side(one, known), _side(other, known)
    if bool(first_name) != bool(second_name):
        fail(f"{one} and {other} must both name a database, or neither", Exit.USAGE)
    if first_name and second_name:
        first = as_database(first, first_name, first_name)
        second = as_database(second, second_name, first_name)
    whole = not first_name if cluster_wide is None else cluster_wide
    found = [
        each
        for each in compared(first, second, cluster_wide=whole)
        if not wanted or each[0] in wanted
    ]
    for kind, database, difference in found:
        if json:
            typer.echo(orjson.dumps(as_json(kind, database, difference)).decode())
            continue
        for line in diff_lines(kind, difference, where=database):
            out.print(line, soft_wrap=True)
    unknown = [
        f"{kind} of {database or 'the cluster'}"
        for kind, database in only_one_side(first, second)
        if (database or whole) and (not wanted or kind in wanted)
    ]
    if unknown:
        message = f"! not compared, because one side does not know it: {listed(unknown)}"
        err.print(message, style="yellow", markup=False, soft_wrap=True)
    if found:
        raise typer.Exit(Exit.FOUND)
    if not json:
        out.print("✓ no difference", style="green")


def _side(name: str, known: dict[Scope, Facts]) -> tuple[Whole, str]:
    """Facts, and the database that was named."""
    if is_file(name):
        path, _, database = name.partition(DATABASE_OF_FILE)
        declared = declaration(Path(path))
        if database and database not in declared.databases():
            fail(f"{path} declares nothing of database {database}", Exit.USAGE)
        return declared.parts, database
    place = choose(known, name)
    return at_place(known, place), place.database or ""
