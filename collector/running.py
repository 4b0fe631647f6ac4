"""What sessions run at this moment, by what the agents answer."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from protos.pgwarden.v1 import uplink_pb2 as pb

RUNNING = "running"
"""The kind of command that asks for it."""
ANSWER_SECONDS = 8.0
"""Less than who asks waits for us."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIMES = ("started_at", "backend_started_at")
DONE = "done"


def running_rows(
    answers: Mapping[str, pb.CommandResult],
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of all agents, what runs for longest first; and what is missing of them, a sentence for
    each agent."""
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    for agent, result in answers.items():
        if result.outcome != DONE:
            problems.append(f"{agent}: {result.message}")
            continue
        try:
            told = orjson.loads(result.message)
            rows += [_row(agent, one) for one in told["rows"]]
            more = int(told["more"])
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            problems.append(f"{agent}: its answer makes no sense ({type(error).__name__})")
            continue
        if more:
            problems.append(f"{agent}: {more} more run, for less long")
    return sorted(rows, key=lambda row: row["started_at"]), problems


def _row(agent: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """``agent`` is whose stream it came by, whatever it says."""
    times = {name: _iso(int(told[f"{name}_us"])) for name in TIMES}
    rest = {name: value for name, value in told.items() if name.removesuffix("_us") not in TIMES}
    return {**rest, "agent": agent, **times}


def _iso(at_us: int) -> str:
    return (EPOCH + timedelta(microseconds=at_us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
