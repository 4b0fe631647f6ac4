"""``drift status``: open differences and who made them, and what is ignored."""

from __future__ import annotations

from typing import Any

import grpc
import orjson
import typer

from cli.context import ConfigOption, Exit, JsonOption, err, out, printable, read_config
from cli.drift.shown import clock_of, told_lines
from cli.operator import DEADLINE_SECONDS, operator
from protos.pgwarden.v1 import operator_pb2, operator_pb2_grpc


def status(json: JsonOption = False, config: ConfigOption = None) -> None:
    """Open differences and who made them; exit code 1 when there are any."""
    with operator(read_config(config)) as stub:
        reply = stub.DriftStatus(operator_pb2.DriftStatusRequest(), timeout=DEADLINE_SECONDS)
        unwell = _unwell(stub)
    rows = [orjson.loads(row) for row in reply.rows_json]
    if json:
        for row in rows:
            typer.echo(orjson.dumps(row).decode())
        raise typer.Exit(Exit.FOUND if rows else Exit.GOOD)
    for problem in reply.problems:
        err.print(f"! {printable(problem)}", style="yellow", markup=False, soft_wrap=True)
    for agent, count in unwell:
        what = "1 problem" if count == 1 else f"{count} problems"
        err.print(
            f"! {printable(agent)} has {what}; what it cannot read is not compared, see: "
            "pgwarden status",
            style="yellow", markup=False, soft_wrap=True,
        )  # fmt: skip
    if not reply.has_baseline:
        err.print("! no baseline yet: an agent with access to the catalog must be connected")
        return
    when = clock_of(reply.accepted_at_us)
    out.print(f"baseline accepted by {printable(reply.accepted_by)} at {when}", markup=False)
    if rows:
        for row in rows:
            for line in told_lines(row):
                out.print(line, soft_wrap=True)
    else:
        out.print("✓ no difference", style="green")
    for row in reply.ignored_json:
        _show_ignored(orjson.loads(row))
    if rows:
        raise typer.Exit(Exit.FOUND)


def _unwell(stub: operator_pb2_grpc.OperatorStub) -> list[tuple[str, int]]:
    """Agents that say what they cannot do, and how many things. Who may ask for drift may not ask
    for agents everywhere."""
    try:
        reply = stub.Agents(operator_pb2.AgentsRequest(), timeout=DEADLINE_SECONDS)
    except grpc.RpcError:
        return []
    return [(each.agent, len(each.degraded)) for each in reply.agents if each.degraded]


def _show_ignored(row: dict[str, Any]) -> None:
    what = " ".join(word for word in (row["kind"], row["name"], row["database"]) if word)
    until = f" until {row['until']}" if row["until"] else ""
    state = "ended" if row["expired"] else f"{row['differences']} ignored"
    out.print(
        printable(f"  {what}{until}: {state}, because {row['because']}"),
        style="yellow" if row["expired"] else "dim",
        markup=False,
        soft_wrap=True,
    )
