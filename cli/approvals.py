"""``pgwarden approvals``: what refused statements ask for, and the answer of a person."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.table import Table
from rich.text import Text

from cli.context import ConfigOption, Exit, JsonOption, err, fail, out, printable, read_config
from cli.operator import connection
from protos.pgwarden.v1 import approvals_pb2 as pb
from protos.pgwarden.v1 import approvals_pb2_grpc

DEADLINE_SECONDS = 20.0
LIST_WIDTH = 70
_DURATION = re.compile(r"([0-9]+)\s*([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
NOTES = {
    "parameters": "it has parameters ($1 ...): they are not bound, so any values may be sent",
    "redacted": "literals are hidden; ask for the text and compare it: --text FILE",
    "bare_names": "it names relations without their schema: which ones they are depends on the"
    " session's search_path",
    "multi": "several statements come in this text, and all of them are let pass",
    "cut": "only the beginning of it was kept here",
}

app = typer.Typer(
    no_args_is_help=True, help="Let a refused statement pass: just this one, for a while."
)
Request = Annotated[str, typer.Argument(help="The id in the client's message.")]
Because = Annotated[str, typer.Option("--because", help="Why; kept in the record.")]


@app.command(name="list")
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Also those that are decided.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Requests that wait for a decision, and grants that live."""
    with _service(config) as stub:
        reply = stub.List(pb.ListApprovalsRequest(all=all_), timeout=DEADLINE_SECONDS)
    rows = [orjson.loads(row) for row in reply.requests_json]
    if json:
        for row in rows:
            typer.echo(orjson.dumps(row).decode())
        return
    if not rows:
        out.print("nothing waits for a decision")
        return
    table = Table("request", "status", "asked", "who", "where", "statement", box=None)
    for row in rows:
        table.add_row(*(Text(cell) for cell in _cells(row)))
    out.print(table)


@app.command()
def show(
    request: Request,
    text: Annotated[
        Path | None, typer.Option("--text", help="Is this file the statement? - for stdin.")
    ] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Who asks, where, for what, and what hangs on it."""
    with _service(config) as stub:
        reply = stub.Show(pb.ShowApprovalRequest(request=request), timeout=DEADLINE_SECONDS)
    asked = orjson.loads(reply.request_json)
    asked["readers"] = [orjson.loads(row) for row in reply.readers_json]
    asked["catalog"] = orjson.loads(reply.catalog_json) if reply.catalog_json else None
    asked["catalog_problem"] = reply.catalog_problem
    if text is not None:
        asked["text_is_it"] = _is_it(text, asked["digest"])
    if json:
        typer.echo(orjson.dumps(asked).decode())
    else:
        for line in _lines(asked):
            out.print(line, markup=False, soft_wrap=True)
    if asked.get("text_is_it") is False:
        raise typer.Exit(Exit.FOUND)


@app.command()
def grant(
    request: Request,
    because: Because,
    uses: Annotated[int, typer.Option(min=1, help="How often.")] = 1,
    lasts: Annotated[str, typer.Option("--for", help="How long: 90s, 30m, 1h, 2d.")] = "1h",
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Let it pass: this text, of this login, in this database, from any client."""
    asked = pb.DecideApprovalRequest(
        request=request,
        grant=True,
        uses=uses,
        lasts_us=_seconds(lasts) * 1_000_000,
        reason=because,
        accounts=accounts(),
    )
    _decide(asked, "granted", json, config)


@app.command()
def deny(
    request: Request, because: Because, json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Say no; a grant that lives is taken back."""
    asked = pb.DecideApprovalRequest(request=request, reason=because, accounts=accounts())
    _decide(asked, "denied", json, config)


def accounts() -> list[str]:
    """Who runs this: who logged in first of all, whatever su or sudo made of it."""
    found = [_name(_login_uid()), os.environ.get("SUDO_USER", ""), _name(os.getuid())]
    return list(dict.fromkeys(name for name in found if name))


def _login_uid() -> int:
    try:
        uid = int(Path("/proc/self/loginuid").read_text())
    except (OSError, ValueError):
        return -1
    return uid if uid != 2**32 - 1 else -1


def _name(uid: int) -> str:
    if uid < 0:
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _decide(asked: pb.DecideApprovalRequest, word: str, json: bool, config: Path | None) -> None:
    if not asked.reason.strip():
        fail("--because must say why", Exit.USAGE)
    with _service(config) as stub:
        reply = stub.Decide(asked, timeout=DEADLINE_SECONDS)
    if json:
        row = {"done": reply.done, "message": reply.message, "by": reply.by}
        typer.echo(orjson.dumps(row | {"delivered": reply.delivered}).decode())
    elif reply.done:
        out.print(f"✓ {word} by {printable(reply.by)}", style="green", markup=False)
        if reply.message:
            err.print(f"! {printable(reply.message)}", markup=False, soft_wrap=True)
    else:
        fail(printable(reply.message))
    if not reply.done or not reply.delivered:
        raise typer.Exit(Exit.FOUND)


@contextmanager
def _service(config: Path | None) -> Iterator[approvals_pb2_grpc.ApprovalsStub]:
    with connection(read_config(config)) as channel:
        yield approvals_pb2_grpc.ApprovalsStub(channel)


def _seconds(text: str) -> int:
    found = _DURATION.fullmatch(text.strip().lower())
    if not found or not int(found[1]):
        fail(f"--for {text!r}: give a number with s, m, h or d, such as 30m", Exit.USAGE)
    return int(found[1]) * _SECONDS[found[2]]


def _is_it(path: Path, digest: str) -> bool:
    """As it is, or without the newline with which an editor ends a file."""
    try:
        data = typer.get_binary_stream("stdin").read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        fail(f"{path}: {error.strerror}", Exit.USAGE)
    return any(
        hashlib.sha256(each).hexdigest() == digest for each in (data, data.removesuffix(b"\n"))
    )


def _cells(row: dict[str, Any]) -> list[str]:
    text = printable(" ".join(str(row["text"]).split()))
    return [
        row["request"],
        row["status"],
        _day(row["last_us"]),
        _who(row),
        printable("/".join((row["agent"], row["cluster"], row["database"]))),
        text if len(text) <= LIST_WIDTH else text[: LIST_WIDTH - 1] + "…",
    ]


def _who(row: dict[str, Any]) -> str:
    name = row["identity_name"]
    known = f" ({row['identity_kind']} {name})" if name and name != row["user_name"] else ""
    return printable(f"{row['user_name']}{known}")


def _lines(asked: dict[str, Any]) -> Iterator[str]:
    yield f"request    {asked['request']}, {asked['status']}"
    yield f"who        {_who(asked)}; bound to login {printable(asked['user_name'])}" + (
        f" and identity {printable(asked['identity'])}" if asked["identity"] else ""
    )
    where = "/".join((asked["agent"], asked["cluster"], asked["database"]))
    yield f"where      {printable(where)}"
    yield f"asked      {asked['times']} times, last at {_day(asked['last_us'])}"
    yield f"refused by rule {printable(asked['rule_id'])}"
    yield "statement"
    for line in str(asked["text"]).splitlines():
        yield f"    {printable(line)}"
    yield f"digest     {asked['digest']}"
    if "text_is_it" in asked:
        answer = "✓ the file is this statement" if asked["text_is_it"] else "✗ the file is another"
        yield f"text       {answer}"
    for flag in asked["flags"]:
        yield f"! {NOTES.get(flag, printable(str(flag)))}"
    yield from _blast(asked)
    if grant_ := asked["grant"]:
        yield (
            f"grant      by {printable(grant_['by'])}: {grant_['used']} of {grant_['uses']} uses,"
            f" {grant_['over'] or 'until ' + _day(grant_['expires_us'])}"
            f" ({printable(grant_['reason'])})"
        )


def _blast(asked: dict[str, Any]) -> Iterator[str]:
    before = asked.get("ran_before") or {}
    if before.get("times"):
        yield (
            f"before     statements of this form ran {before['times']} times,"
            f" {before['mean_rows']:.0f} rows on average, {before['most_rows']} at most"
        )
    for relation in asked["catalog"] or ():
        rows = relation["rows"]
        size = "never analyzed" if rows < 0 else f"about {rows} rows"
        yield f"relation   {printable(relation['relation'])}: {size}"
        for each in relation["dependants"]:
            yield f"    {printable(each)}"
    if asked["catalog_problem"]:
        yield f"! the catalog was not asked: {printable(asked['catalog_problem'])}"
    if asked["relations"] and not asked["readers"]:
        yield "used by    nobody in the last 30 days, as far as was recorded"
    for use in asked["readers"]:
        name = use["identity_name"] or use["user_name"]
        verb = "reads" if use["how"] == "read" else "writes"
        yield (
            f"used by    {printable(name)} {verb} {printable(use['relation'])}:"
            f" {use['times']} times in 30 days, last {_day(use['last_us'])}"
        )


def _day(at_us: int) -> str:
    """Local time; a grant may end on another day."""
    return f"{datetime.fromtimestamp(at_us / 1e6, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
