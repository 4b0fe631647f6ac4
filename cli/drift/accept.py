"""``drift accept``: what is there now is right, says somebody, and why."""

from __future__ import annotations

import getpass
from typing import Annotated

import orjson
import typer

from cli.context import ConfigOption, Exit, JsonOption, err, fail, out, read_config
from cli.drift.record import kinds_of
from cli.operator import DEADLINE_SECONDS, operator
from protos.pgwarden.v1 import operator_pb2


def accept(
    reason: Annotated[str, typer.Option(help="Why this is right; kept in the record.")],
    by: Annotated[str, typer.Option(help="Who accepts.")] = "",
    kind: Annotated[str, typer.Option(help="Only differences of this kind.")] = "",
    name: Annotated[str, typer.Option(help="Only names like this; * and ? as in a shell.")] = "",
    finding: Annotated[str, typer.Option(help="Only what this finding (its id) tells of.")] = "",
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Take what is there now as the baseline: all of it, or the differences that are named."""
    if not reason.strip():
        fail("--reason must say why", Exit.USAGE)
    kinds_of(kind)
    who = by.strip() or getpass.getuser()
    request = operator_pb2.DriftAcceptRequest(
        accepted_by=who, reason=reason.strip(), kind=kind, name=name, finding_id=finding
    )
    with operator(read_config(config)) as stub:
        reply = stub.DriftAccept(request, timeout=DEADLINE_SECONDS)
        status = stub.DriftStatus(operator_pb2.DriftStatusRequest(), timeout=DEADLINE_SECONDS)
    left = len(status.rows_json)
    if json:
        told = {"items": reply.items, "accepted_by": who, "open": left}
        typer.echo(orjson.dumps(told).decode())
        return
    if kind or name or finding:
        if not reply.items:
            fail(
                "no open difference is like that, or a file declares what it should be; "
                "see: pgwarden drift diff"
            )
        what = "difference is" if reply.items == 1 else "differences are"
        out.print(f"✓ {reply.items} {what} accepted", style="green")
        return
    out.print(f"✓ {reply.items} items are the baseline from now on", style="green")
    if left:
        what = "difference stays" if left == 1 else "differences stay"
        err.print(
            f"! {left} {what} open: a file declares otherwise; change the file (collector.drift."
            "declared), see: pgwarden drift diff",
            style="yellow", markup=False, soft_wrap=True,
        )  # fmt: skip
