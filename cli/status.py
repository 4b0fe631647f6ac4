"""``pgwarden status``: agents, their lag, spools and losses, the ledger's head, versions."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
import orjson
import typer
from rich.table import Table
from rich.text import Text

from cli.context import ConfigOption, Exit, JsonOption, out, printable, read_config
from cli.operator import DEADLINE_SECONDS, connection
from config import Config
from model.version import __version__
from protos.pgwarden.v1 import operator_pb2, operator_pb2_grpc

LOSS_HOURS = 24
MOST = 2**63 - 1
"""What an agent counted before counts were bounded must not hide the others' losses."""
LOSSES = f"""
SELECT agent, least(sum("count"), {MOST})::BIGINT FROM losses
WHERE occurred_at > now()::TIMESTAMP - INTERVAL {LOSS_HOURS} HOUR GROUP BY agent
"""


REFUSALS = frozenset({grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED})


@dataclass(slots=True)
class AgentStatus:
    agent: str
    version: str
    connected: bool
    silent_seconds: float
    """Since the collector heard of it."""
    capture: str
    guard_mode: str
    spool_batches: int
    """That wait for the collector, as the agent said last."""
    acked_sequence: int
    lost: int
    """In the last 24 hours, whatever the reason: view ``losses`` has them."""
    degraded: list[str]

    @property
    def is_well(self) -> bool:
        return self.connected and self.capture != "none" and not self.degraded


@dataclass(slots=True)
class LedgerStatus:
    entries: int = 0
    signed: int = 0
    """Entries under the newest signed head."""
    root: str = ""
    signed_at_us: int = 0
    commit_age_seconds: float | None = None
    """Since the last entry; None: there is none."""
    segments: int = 0
    damaged: list[str] = field(default_factory=list)
    """Segments that were taken out of the record, and never came back."""
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class CollectorStatus:
    state: str
    """``serving``, ``not serving``, ``refused`` (it answers, and not to who asks) or
    ``unreachable``."""
    says: str = ""
    """Why it refuses, with the remedy."""
    agents: list[AgentStatus] = field(default_factory=list)


def status(json: JsonOption = False, config: ConfigOption = None) -> None:
    """How everything does, in one page; exit code 1 where something needs a look."""
    settings = read_config(config)
    ledger, lost = read_record(settings.collector.data_dir)
    collector = asked_collector(settings, lost)
    if json:
        found: dict[str, Any] = {
            "version": __version__,
            "collector": collector.state,
            "collector_says": collector.says,
            "agents": [asdict(agent) for agent in collector.agents],
            "lost_by_collector": lost.get("", 0),
            "ledger": asdict(ledger),
        }
        typer.echo(orjson.dumps(found).decode())
    else:
        _show(collector, ledger, lost.get("", 0))
    is_well = collector.state == "serving" and all(agent.is_well for agent in collector.agents)
    if ledger.problems or not is_well:
        raise typer.Exit(Exit.FOUND)


def read_record(data_dir: Path) -> tuple[LedgerStatus, dict[str, int]]:
    """From files, so that it is told also while no collector runs; and losses by agent."""
    import duckdb

    from collector.heads import NAME as HEADS
    from collector.ledger_reading import NAME, last_line
    from collector.proofs import ProofError, newest_head_of
    from collector.standing import standing
    from collector.views import damage, open_views

    found = LedgerStatus()
    try:
        state, _ = standing(data_dir)
        found.entries, found.segments = state.seq, len(state.files)
        found.damaged = [f"{file.path} ({file.rows} rows)" for file in state.damaged.values()]
        if line := last_line(data_dir / NAME):
            at_us = int(orjson.loads(line)["at_us"])
            found.commit_age_seconds = round(max(0.0, time.time() - at_us / 1e6), 1)
            found.problems += damage(data_dir)
        head = newest_head_of(last_line(data_dir / HEADS))
        found.signed, found.root = int(head["size"]), str(head["root"])
        found.signed_at_us = int(head["at_us"])
    except (ProofError, OSError, ValueError, KeyError) as error:
        found.problems.append(str(error))
    try:
        with open_views(data_dir) as views:
            return found, {str(agent or ""): n for agent, n in views.execute(LOSSES).fetchall()}
    except (duckdb.Error, OSError) as error:
        found.problems.append(f"losses cannot be read: {error}")
        return found, {}


def asked_collector(settings: Config, lost: dict[str, int]) -> CollectorStatus:
    """Whether it serves, and what it knows of agents."""
    try:
        with connection(settings) as channel:
            try:
                return _asked(channel, lost)
            except grpc.RpcError as error:
                if error.code() not in REFUSALS:
                    raise
                return CollectorStatus("refused", str(error.details()))
    except (typer.Exit, grpc.RpcError):
        return CollectorStatus("unreachable")


def _asked(channel: grpc.Channel, lost: dict[str, int]) -> CollectorStatus:
    """Raises RpcError."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    health = health_pb2_grpc.HealthStub(channel).Check(
        health_pb2.HealthCheckRequest(), timeout=DEADLINE_SECONDS
    )
    reply = operator_pb2_grpc.OperatorStub(channel).Agents(
        operator_pb2.AgentsRequest(), timeout=DEADLINE_SECONDS
    )
    serving = health.status == health_pb2.HealthCheckResponse.SERVING
    agents = [
        AgentStatus(
            agent=each.agent,
            version=each.version,
            connected=each.connected,
            silent_seconds=round(max(0.0, time.time() - each.last_seen_us / 1e6), 1),
            capture=each.capture,
            guard_mode=each.guard_mode,
            spool_batches=each.spool_batches,
            acked_sequence=each.acked_sequence,
            lost=lost.get(each.agent, 0),
            degraded=list(each.degraded),
        )
        for each in reply.agents
    ]
    return CollectorStatus("serving" if serving else "not serving", agents=agents)


def _show(collector: CollectorStatus, ledger: LedgerStatus, lost_here: int) -> None:
    mark, agents = "✓" if collector.state == "serving" else "✗", collector.agents
    told = f"collector {collector.state}, pgwarden {__version__}"
    if collector.state == "refused":
        told = f"the collector answers, but not to you: {printable(collector.says)}"
    out.print(f"{mark} {told}", markup=False, soft_wrap=True)
    table = Table(
        "", "agent", "version", "heard", "capture", "guard", "spool", f"lost {LOSS_HOURS} h",
        box=None, header_style="bold",
    )  # fmt: skip
    for each in agents:
        heard = f"{each.silent_seconds:.0f} s ago" if each.connected else "not connected"
        cells = (
            "✓" if each.is_well else "!", each.agent, each.version, heard, each.capture,
            each.guard_mode, str(each.spool_batches), str(each.lost),
        )  # fmt: skip
        # Not plain strings: rich would read markup in what a host says of itself.
        table.add_row(*(Text(printable(cell)) for cell in cells))
    if agents:
        out.print(table)
    for each in agents:
        for sentence in each.degraded:
            out.print(f"  ! {printable(each.agent)}: {printable(sentence)}", markup=False)
    if lost_here:
        out.print(f"! lost by the collector itself in {LOSS_HOURS} h: {lost_here}", markup=False)
    age = ledger.commit_age_seconds
    last = "no entry yet" if age is None else f"last entry {age:.0f} s ago"
    out.print(
        f"{'✗' if ledger.problems else '✓'} ledger: {ledger.entries} entries ({ledger.signed} "
        f"signed), {ledger.segments} segments, {last}",
        markup=False,
    )
    if ledger.root:
        out.print(f"  root {ledger.root}", markup=False)
    for name in ledger.damaged:
        sentence = f"  ! damaged, and out of the record: {printable(name)}"
        out.print(sentence, markup=False, soft_wrap=True)
    for sentence in ledger.problems:
        out.print(f"  ✗ {printable(sentence)}", markup=False, soft_wrap=True)
