"""``drift export`` and ``drift plan``: the desired state as a file, and the way back to it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from cli.context import ConfigOption, Exit, JsonOption, err, fail, out, read_config
from cli.drift.record import (
    at_place,
    choose,
    declaration,
    facts,
    kinds_of,
    moment,
    record,
)
from model.catalog import CatalogKind

ServerOption = Annotated[
    str, typer.Option("--server", help="AGENT/CLUSTER, where there are several.")
]
KindsOption = Annotated[str, typer.Option("--kinds", help="Only these: table,policy,…")]


def export(
    server: ServerOption = "",
    database: Annotated[str, typer.Option(help="Only this one; else all.")] = "",
    kinds: KindsOption = "",
    at: Annotated[str, typer.Option(help="As it was then (ISO 8601, UTC).")] = "",
    cluster_wide: Annotated[
        bool, typer.Option("--cluster-wide/--no-cluster-wide", help="Settings, roles and so on.")
    ] = True,
    config: ConfigOption = None,
) -> None:
    """Write what was last seen as a declaration (YAML) to standard output."""
    from collector.drift.declaration import export as written

    wanted = kinds_of(kinds)
    known = facts(read_config(config), moment(at))
    parts = at_place(known, choose(known, server, database))
    if not cluster_wide:
        parts = {key: items for key, items in parts.items() if key[1]}
    typer.echo(written(parts, wanted), nl=False)


def plan(
    file: Annotated[Path, typer.Argument(help="A declaration.", metavar="FILE")],
    server: ServerOption = "",
    database: Annotated[str, typer.Option(help="Only this one; else all in FILE.")] = "",
    kinds: KindsOption = "",
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Write out what drops tables and columns.")
    ] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Print the SQL that would bring a server back to FILE; it is never run. Exit 1: differs."""
    from collector.drift.plan import make, read_past, script

    settings = read_config(config)
    desired = declaration(file)
    if database and database not in desired.databases():
        fail(f"{file} declares nothing of database {database}", Exit.USAGE)
    wanted = kinds_of(kinds)
    known = facts(settings)
    place = choose(known, server)
    parts = {
        key: items
        for key, items in desired.parts.items()
        if (not wanted or key[0] in wanted) and (not database or key[1] in ("", database))
    }
    with record(settings) as views:
        past = read_past(views, place.agent, place.cluster)
    made = make(parts, at_place(known, place), past)
    if json:
        for step in made.steps:
            typer.echo(orjson.dumps(_step(step)).decode())
    elif made.steps or made.not_observed:
        title = f"pgwarden drift plan: brings {place} back to {file}"
        typer.echo(script(made, title=title, allow_loss=allow_loss), nl=False)
    for kind, name in made.not_observed:
        err.print(_unread(kind, name), style="yellow", markup=False, soft_wrap=True)
    if made.steps:
        raise typer.Exit(Exit.FOUND)
    if not json:
        out.print(f"✓ {place} is as {file} declares it", style="green", markup=False)


def _step(step: object) -> dict[str, object]:
    from collector.drift.plan.steps import Step

    assert isinstance(step, Step)
    return {
        "database": step.database,
        "phase": step.phase.name.lower(),
        "sql": "" if step.by_hand else step.text,
        "by_hand": step.text if step.by_hand else "",
        "loses_data": step.loses,
        "note": step.note,
    }


def _unread(kind: CatalogKind, database: str) -> str:
    where = f"database {database}" if database else "the cluster"
    return f"! {kind} of {where} is declared, but was not read: nothing planned for it"
