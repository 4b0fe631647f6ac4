"""``pgwarden token``: let people who are not on the collector's host ask it, each by a role."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer

from cli.approvals import accounts
from cli.context import ConfigOption, JsonOption, err, out, printable, read_config
from cli.operator import DEADLINE_SECONDS, connection
from model.access import AccessRole
from protos.pgwarden.v1 import access_pb2 as pb
from protos.pgwarden.v1 import access_pb2_grpc

DAY_US = 86_400_000_000

app = typer.Typer(no_args_is_help=True, help="Tokens for who is not on the collector's host.")


@app.command()
def issue(
    name: Annotated[str, typer.Argument(help="Whom it is for, as approvals and rows name them.")],
    role: Annotated[AccessRole, typer.Option(help="What they may do: docs/access.md.")],
    days: Annotated[float, typer.Option(help="How long it is good.", min=0.001, max=3650)] = 90,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Print a new token. It is shown once: the collector keeps only its hash."""
    asked = pb.IssueTokenRequest(
        name=name, role=role.value, lasts_us=int(days * DAY_US), accounts=accounts()
    )
    with _service(config) as stub:
        reply = stub.Issue(asked, timeout=DEADLINE_SECONDS)
    if json:
        told = {"id": reply.id, "token": reply.secret, "ends_at": _time(reply.ends_at_us)}
        typer.echo(orjson.dumps(told).decode())
        return
    typer.echo(reply.secret)
    err.print(
        f"{reply.id}: {role} {printable(name)}, until {_time(reply.ends_at_us)}; "
        "give it as PGWARDEN_ACCESS_TOKEN, or name a file with it in PGWARDEN_ACCESS_TOKEN_FILE",
        markup=False,
        soft_wrap=True,
    )


@app.command(name="list")
def list_(json: JsonOption = False, config: ConfigOption = None) -> None:
    """Tokens that were issued and not revoked: id, owner, role, end, who issued them."""
    with _service(config) as stub:
        reply = stub.List(pb.ListTokensRequest(), timeout=DEADLINE_SECONDS)
    now_us = datetime.now(UTC).timestamp() * 1e6
    for token in reply.tokens:
        state = "good" if token.ends_at_us > now_us else "ended"
        ends = _time(token.ends_at_us)
        if json:
            row = {
                "id": token.id, "name": token.name, "role": token.role, "state": state,
                "issued_at": _time(token.issued_at_us), "ends_at": ends, "by": token.by,
            }  # fmt: skip
            typer.echo(orjson.dumps(row).decode())
            continue
        line = f"{token.id} {state:6}{token.role:13}{ends}  {token.name}  (by {token.by})"
        out.print(printable(line), markup=False, soft_wrap=True)


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID|NAME", help="By name: all of that name.")],
    config: ConfigOption = None,
) -> None:
    """End a token now, for calls that are open as well."""
    with _service(config) as stub:
        asked = pb.RevokeTokenRequest(token=token, accounts=accounts())
        reply = stub.Revoke(asked, timeout=DEADLINE_SECONDS)
    for gone in reply.ids:
        out.print(f"✓ revoked: {gone}", markup=False)


@contextmanager
def _service(path: Path | None) -> Iterator[access_pb2_grpc.AccessStub]:
    with connection(read_config(path)) as channel:
        yield access_pb2_grpc.AccessStub(channel)


def _time(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
