"""Commands that speak with the running collector: tail, sessions, kill, agents."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.table import Table
from rich.text import Text

from cli.context import ConfigOption, Exit, JsonOption, err, fail, out, printable, read_config
from cli.lines import clock, line, shortened
from cli.operator import DEADLINE_SECONDS, operator
from protos.pgwarden.v1 import operator_pb2

KINDS = ("statement", "session", "verdict", "approval", "finding", "alert", "drift", "loss")
KILL_DEADLINE_SECONDS = 15.0
SESSION_COLUMNS = {
    "pid": "pid", "identity": "identity_name", "kind": "identity_kind",
    "sure": "identity_confidence", "user": "user_name", "database": "database",
    "application": "application_name", "from": "client_address", "cluster": "cluster",
    "agent": "agent", "origin": "origin",
}  # fmt: skip
RUNNING_COLUMNS = {
    "pid": "pid", "since": "started_at", "state": "state", "identity": "identity_name",
    "user": "user_name", "database": "database", "application": "application_name",
    "agent": "agent", "statement": "text",
}  # fmt: skip


def tail(
    kinds: Annotated[
        list[str] | None, typer.Argument(help=f"What to show, of: {', '.join(KINDS)}.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="Only this login.")] = None,
    identity: Annotated[str | None, typer.Option(help="Only this identity.")] = None,
    limit: Annotated[int, typer.Option(help="Stop after this many; 0: go on.")] = 0,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show what happens, as it becomes durable."""
    unknown = sorted(set(kinds or ()) - set(KINDS))
    if unknown:
        fail(f"unknown kind {unknown[0]}; there are {', '.join(KINDS)}", Exit.USAGE)
    shown = 0
    with operator(read_config(config)) as stub:
        err.print("[dim]following; Ctrl-C ends[/dim]")
        for item in stub.Tail(operator_pb2.TailRequest(kinds=kinds or KINDS)):
            row = orjson.loads(item.row_json)
            if user and row.get("user_name") != user:
                continue
            if identity and identity not in (row.get("identity_name"), row.get("identity")):
                continue
            if json:
                typer.echo(orjson.dumps({"kind": item.kind, **row}).decode())
            else:
                out.print(line(item.kind, row), soft_wrap=True)
            shown += 1
            if limit and shown >= limit:
                return


def sessions(
    why: Annotated[bool, typer.Option("--why", help="With the evidence of each identity.")] = False,
    running: Annotated[
        bool, typer.Option("--running", help="What they run at this moment, longest first.")
    ] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Who is connected now, or what runs now."""
    with operator(read_config(config)) as stub:
        request = operator_pb2.SessionsRequest(running=running)
        reply = stub.Sessions(request, timeout=DEADLINE_SECONDS)
    for problem in reply.problems:
        err.print(printable(problem), style="yellow", markup=False)
    rows = [orjson.loads(row) for row in reply.rows_json]
    if json:
        for row in rows:
            typer.echo(orjson.dumps(row).decode())
        return
    columns = RUNNING_COLUMNS if running else SESSION_COLUMNS
    table = Table(*columns, box=None, header_style="bold")
    for row in rows:
        # Not plain strings: rich would read markup in what a client wrote.
        table.add_row(*(Text(_cell(_shown(row, name))) for name in columns.values()))
    out.print(table)
    for row in rows if why else ():
        out.print(f"\n{row['pid']} {_cell(row.get('identity_name'))}", style="bold", markup=False)
        for sentence in str(row.get("identity_evidence") or "nothing is known").split("; "):
            out.print(f"    {printable(sentence)}", markup=False, soft_wrap=True)


def _shown(row: dict[str, object], name: str) -> object:
    text = str(row.get(name) or "")
    if name == "started_at":
        return clock(text)
    return shortened(text) if name == "text" else row.get(name)


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else printable(str(value or ""))


def kill(
    pid: Annotated[int, typer.Argument(help="Backend pid, as `pgwarden sessions` shows it.")],
    reason: Annotated[str, typer.Option(help="Kept in the record.")] = "operator",
    cancel: Annotated[bool, typer.Option("--cancel", help="Only its statement.")] = False,
    agent: Annotated[str, typer.Option(help="Needed when two hosts have this pid.")] = "",
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """End a session (or, with --cancel, the statement it runs)."""
    request = operator_pb2.ActRequest(
        kind="cancel" if cancel else "terminate",
        agent=agent,
        pid=pid,
        reason=reason,
        requested_by=getpass.getuser(),
    )
    with operator(read_config(config)) as stub:
        reply = stub.Act(request, timeout=KILL_DEADLINE_SECONDS)
    if json:
        typer.echo(orjson.dumps({"outcome": reply.outcome, "message": reply.message}).decode())
    else:
        out.print(f"{reply.outcome}: {printable(reply.message)}", markup=False)
    if reply.outcome != "done":
        raise typer.Exit(Exit.FOUND)


def agents(
    retire: Annotated[
        str, typer.Option(help="No longer miss this agent: it will not come again.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Why it is retired; kept in the record.")] = "",
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Agents that this collector knows, and how they do."""
    if retire:
        _retire(retire, reason.strip(), config)
        return
    with operator(read_config(config)) as stub:
        reply = stub.Agents(operator_pb2.AgentsRequest(), timeout=DEADLINE_SECONDS)
    for agent in reply.agents:
        row = {
            "agent": agent.agent,
            "connected": agent.connected,
            "version": agent.version,
            "capture": agent.capture,
            "guard_mode": agent.guard_mode,
            "spool_batches": agent.spool_batches,
            "acked_sequence": agent.acked_sequence,
            "degraded": list(agent.degraded),
            "rules_digest": agent.rules_digest,
            "rules_version": agent.rules_version,
        }
        if json:
            typer.echo(orjson.dumps(row).decode())
            continue
        well = agent.connected and agent.capture != "none" and not agent.degraded
        mark = "✓" if well else "!"
        gone = "" if agent.connected else " not connected"
        shown = (
            f"{mark} {agent.agent}{gone} {agent.version} capture={agent.capture} "
            f"guard={agent.guard_mode} spool={agent.spool_batches} "
            f"rules={agent.rules_digest[:12]}"
            + (f" central={agent.rules_version}" if agent.rules_version else "")
        )
        out.print(printable(shown), markup=False)
        for sentence in agent.degraded:
            out.print(f"    ! {printable(sentence)}", markup=False)


def _retire(agent: str, reason: str, config: Path | None) -> None:
    if not reason:
        fail("--reason must say why it is retired", Exit.USAGE)
    request = operator_pb2.RetireAgentRequest(
        agent=agent, reason=reason, requested_by=getpass.getuser()
    )
    with operator(read_config(config)) as stub:
        stub.RetireAgent(request, timeout=DEADLINE_SECONDS)
    out.print(f"✓ {printable(agent)} is no longer missed", style="green", markup=False)
