"""What may end a session because of findings: an agreement of detectors, or a rule over a finding.

Only where the configuration says so, and never for one statistical finding alone. Orders go the way
of ``pgwarden kill``, in a thread of their own: an agent may take seconds to answer.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import structlog

from analytics.gate import Agreement
from config.schema import Analytics, RespondEntry, Response
from model.finding import Finding
from protos.pgwarden.v1 import uplink_pb2 as pb
from rules.language.cel import CelError, EvaluationError, Program, Values

log = structlog.get_logger(__name__)

REQUESTED_BY = "analytics"
MOST_REMEMBERED = 10_000
MOST_WAITING = 1_000
FRESH_US = 120_000_000
"""An order for what is older comes too late: a pid may have been reused, a person knows."""

Order = Callable[[str, pb.Command], pb.CommandResult]


class RespondError(ValueError):
    """An expression of ``analytics.respond`` does not compile; the message says where."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A finding, who agreed with it, and the session of its statement."""

    finding: Finding
    agrees: tuple[str, ...]
    pid: int
    backend_started_at_us: int


def suspects(
    findings: Iterable[Finding],
    agreements: Iterable[Agreement],
    statements: pl.DataFrame | None,
) -> list[Suspect]:
    """Those whose statement is among ``statements``: only of them the session is known."""
    if statements is None:
        return []
    agreed = {each.finding.id: (each.finding, each.detectors) for each in agreements}
    alone = {each.id: (each, ()) for each in findings}
    found: list[Suspect] = []
    for finding, detectors in (alone | agreed).values():
        rows = statements.filter(
            (pl.col("id") == finding.statement_id) & (pl.col("agent") == finding.agent)
        ).select("pid", pl.col("backend_started_at").dt.epoch("us"))
        for pid, started in rows.head(1).rows():
            if pid and started:
                found.append(Suspect(finding, tuple(detectors), pid, started))
    return found


class Responder:
    """``offer`` never waits. One order for each session and kind."""

    def __init__(
        self, config: Analytics, order: Order, clock: Callable[[], float] = time.time
    ) -> None:
        """Raises RespondError."""
        self._clock = clock
        self._on_agreement = config.on_agreement
        self._rules = compiled(config.respond)
        self._order = order
        self._done: dict[tuple[str, int, int, Response], None] = {}
        self._orders: queue.Queue[tuple[Suspect, Response] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="responding", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._orders.put(None)
        if self._thread.ident is not None:
            self._thread.join(1)

    def offer(self, found: Sequence[Suspect], now_us: int) -> None:
        for suspect in found:
            response = self.decide(suspect)
            key = (suspect.finding.agent, suspect.pid, suspect.backend_started_at_us, response)
            late = abs(now_us - suspect.finding.at_us) > FRESH_US
            if response is Response.NONE or late or key in self._done:
                continue
            if self._orders.qsize() >= MOST_WAITING:
                log.error("response.dropped", finding=suspect.finding.id, reason="too many wait")
                continue
            self._done[key] = None
            if len(self._done) > MOST_REMEMBERED:
                del self._done[next(iter(self._done))]
            self._orders.put((suspect, response))

    def decide(self, suspect: Suspect) -> Response:
        """The strongest that applies."""
        asked = [response for program, response in self._rules if _matches(program, suspect)]
        if suspect.agrees:
            asked.append(self._on_agreement)
        return max(asked, key=list(Response).index, default=Response.NONE)

    def _run(self) -> None:
        while (item := self._orders.get()) is not None:
            suspect, response = item
            if abs(self._clock() * 1e6 - suspect.finding.at_us) > FRESH_US:
                continue  # agents before it took long to answer
            result = self._order(suspect.finding.agent, command(suspect, response))
            log.info(
                "response", kind=response.value, finding=suspect.finding.id, outcome=result.outcome
            )


def command(suspect: Suspect, response: Response) -> pb.Command:
    finding = suspect.finding
    others = f", and {', '.join(suspect.agrees)}" if suspect.agrees else ""
    return pb.Command(
        kind=response.value,
        cluster=finding.cluster,
        pid=suspect.pid,
        backend_started_at_us=suspect.backend_started_at_us,
        reason=f"finding {finding.id} of {finding.detector}{others}",
        requested_by=REQUESTED_BY,
    )


def variables(suspect: Suspect) -> Mapping[str, Mapping[str, object]]:
    """What a rule over a finding may look at. ``agrees`` counts the detectors that are sure within
    minutes, this one included."""
    finding, details = suspect.finding, dict(suspect.finding.details)
    return {
        "finding": {
            "detector": finding.detector,
            "kind": finding.kind.value,
            "severity": finding.severity.value,
            "identity": finding.identity,
            "user": finding.user,
            "agent": finding.agent,
            "cluster": finding.cluster,
            "database": finding.database,
            "object": finding.object,
            "score": finding.score,
            "bits": float(details.get("bits", 0)),
            "agrees": 1 + len(suspect.agrees),
        }
    }


def compiled(entries: Iterable[RespondEntry]) -> list[tuple[Program, Response]]:
    """Raises RespondError."""
    return [(_program(entry), Response(entry.do)) for entry in entries]


def _program(entry: RespondEntry) -> Program:
    try:
        return Program(entry.when)
    except CelError as error:
        raise RespondError(f"{entry.when!r}: {error.message}") from error


def _matches(program: Program, suspect: Suspect) -> bool:
    try:
        return program.evaluate(Values(variables(suspect))) is True
    except EvaluationError as error:
        log.error("response.failed", expression=program.expression, problem=str(error))
        return False
