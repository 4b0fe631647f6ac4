"""``findings confirm`` and ``findings dismiss``: what somebody thinks of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from cli.approvals import accounts
from cli.context import ConfigOption, Exit, JsonOption, fail, out, printable, read_config
from cli.operator import operator
from protos.pgwarden.v1 import operator_pb2 as pb

DEADLINE_SECONDS = 20.0
Id = Annotated[str, typer.Argument(help="The finding's id, or how it begins.")]
OptionalWhy = Annotated[str, typer.Option("--because", help="Why; kept in the record.")]
Why = Annotated[str, typer.Option("--because", help="Why; kept in the record.")]


def confirm(
    finding: Id, because: OptionalWhy = "", json: JsonOption = False, config: ConfigOption = None
) -> None:
    """It was right: such things are told of sooner from now on."""
    _judge(finding, "confirmed", because, json, config)


def dismiss(
    finding: Id, because: Why, json: JsonOption = False, config: ConfigOption = None
) -> None:
    """It was nothing: the same of the same identity needs more to be told of."""
    if not because.strip():
        fail("--because must say why", Exit.USAGE)
    _judge(finding, "dismissed", because, json, config)


def moved(bits: float) -> str:
    """
    >>> moved(1.5), moved(-1), moved(0)
    ('needs 1.5 bits more than others', 'needs 1.0 bits less than others', 'is as before')
    """
    if not bits:
        return "is as before"
    return f"needs {abs(bits):.1f} bits {'more' if bits > 0 else 'less'} than others"


def _judge(finding: str, opinion: str, because: str, json: bool, config: Path | None) -> None:
    request = pb.JudgeFindingRequest(
        finding_id=finding, opinion=opinion, because=because.strip(), accounts=accounts()
    )
    with operator(read_config(config)) as stub:
        reply = stub.JudgeFinding(request, timeout=DEADLINE_SECONDS)
    if json:
        row = {field.name: value for field, value in reply.ListFields()}
        typer.echo(orjson.dumps({"opinion": opinion, **row}).decode())
        return
    about = f"{reply.detector} about {reply.identity}" + (f", {reply.object}" * bool(reply.object))
    out.print(
        f"✓ {opinion} by {printable(reply.by)}: {printable(about)} {moved(reply.moved_after)}",
        style="green",
        markup=False,
    )
