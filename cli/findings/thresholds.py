"""``findings thresholds``: what it takes now to be told of, and what moved it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import typer
from rich.table import Table
from rich.text import Text

from cli.context import ConfigOption, JsonOption, out, printable, read_config
from cli.findings.judge import moved
from cli.operator import DEADLINE_SECONDS, operator
from protos.pgwarden.v1 import operator_pb2 as pb


def thresholds(json: JsonOption = False, config: ConfigOption = None) -> None:
    """Per detector: the score that is enough now, its history, and what was held back."""
    with operator(read_config(config)) as stub:
        reply = stub.Thresholds(pb.ThresholdsRequest(), timeout=DEADLINE_SECONDS)
    found = orjson.loads(reply.thresholds_json)
    if json:
        typer.echo(orjson.dumps(found).decode())
        return
    budget = found["alerts_per_day_per_100_identities"]
    out.print(
        f"a case is told of from {found['threshold_bits']:.2f} bits"
        f" (budget: {budget:g} a day per 100 identities; today {found['raised_today']})"
    )
    out.print(_table(found["detectors"]))
    for line in _lines(found):
        out.print(line, markup=False, soft_wrap=True)


def _table(detectors: list[dict[str, Any]]) -> Table:
    table = Table("detector", "score that is enough", "history", "peaks", "held back", box=None)
    for each in detectors:
        held = ", ".join(f"{n} {reason}" for reason, n in sorted(each["suppressed"].items()))
        history = f"{each['history_days']:g} days, {each['identity_days']} identity-days"
        score = "-" if each["score"] is None else f"{each['score']:.2f}"
        cells = (each["detector"], score, history, str(each["peaks"]), held)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [
        f"moved      {each['detector']} about {each['identity']}"
        + (f", {each['object']}" if each["object"] else "")
        + f" {moved(each['bits'])}"
        for each in found["moved"]
    ]
    for each in found["mutes"]:
        state = "muted now" if each["open"] else "muted at times"
        names = ("identity", "database", "agent", "detector")
        scope = ", ".join(f"{name} {each[name]}" for name in names if each[name] != "*")
        lines.append(f"{state}  {scope or 'everything'}: {each['because']}")
    for each in found["deployments"]:
        at = datetime.fromtimestamp(each["at_us"] / 1e6, UTC).astimezone()
        lines.append(f"muted now  what a release explains of {each['identity']}, since {at:%H:%M}")
    return [printable(line) for line in lines]
