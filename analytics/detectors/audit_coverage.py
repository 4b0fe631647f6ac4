"""Audit coverage: a source of statements missed what the other saw in a backend's minute."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import polars as pl

from analytics.audit import minutes
from analytics.audit.minutes import SECOND_US, SIDES, Clock, Minute
from analytics.audit.statements import SERVER, judged
from analytics.findings import between, finding_id, literal
from model.finding import Finding, FindingKind
from model.verdict import Severity

NAME = "audit_coverage"
OTHER = {"pgaudit": "ebpf", "ebpf": "pgaudit"}
SAYS = {
    "pgaudit": "pgaudit did not log {missing} of {expected} statements that eBPF saw",
    "ebpf": "eBPF did not see {missing} of {expected} statements that pgaudit logged",
}
WRITES = frozenset(("insert", "update", "delete", "merge", "copy"))
READS = frozenset(("select", "with", "values", "table", "show", "fetch", "explain"))
"""First words of texts."""
SEVERITIES = {"pgaudit": Severity.HIGH, "ebpf": Severity.MEDIUM}
IRRELEVANT_LOSSES = ("rules", "guard", "catalog", "analytics", "store")
"""Sources of losses that are no statements."""
IRRELEVANT_REASONS = (
    "audit_record_late", "audit_record_over_limit", "refused_unread", "text_cut_for_memory",
    "unattributed",
)  # fmt: skip
"""No statement lacks its half for them: the row is there, with a record or an object less, or the
server refused a message that was no statement. Clients can bring all of them about."""


@dataclass(frozen=True)
class AuditCoverageSettings:
    window_seconds: float = 60
    grace_seconds: float = 10
    """How long after its end a window waits, by the clock of the statements."""
    idle_seconds: float = 20
    """And by the collector's clock, where no statement comes to say that time has passed."""
    forget_seconds: float = 86_400
    """A source that was silent about a whole server for so long is not expected any more."""
    min_missing: int = 1
    many_backends: int = 3
    """More in one minute of a server are one finding."""
    max_keys: int = 500_000

    @property
    def clock(self) -> Clock:
        seconds = (self.window_seconds, self.grace_seconds, self.forget_seconds)
        return Clock(*(int(each * 1e6) for each in seconds))


@dataclass(frozen=True)
class AuditCoverage:
    """Score: the number of statements missed.

    A window closes when a statement of its server ended ``grace_seconds`` after it; what comes
    later still counts in the oldest window that is open, so nothing is left out.
    """

    settings: AuditCoverageSettings = AuditCoverageSettings()
    name: str = NAME

    def empty_state(self) -> pl.DataFrame:
        return minutes.empty()

    def observe(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        after, done = self.measure(state, batch)
        return after, self.findings(done)

    def measure(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Minute]]:
        """As ``observe``, with the numbers of every window that closed."""
        after, done = self.measure_rows(state, batch)
        return after, [minute for _, each in done for minute in each]

    def measure_rows(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[tuple[int, list[Minute]]]]:
        """As ``measure``, by the number of the row of ``batch`` that closed them."""
        statements = judged(batch)
        if statements.is_empty():
            return state, []
        done: list[tuple[int, list[Minute]]] = []
        for group in _by_server(statements):
            state = self._server(state, group, done)
        done.sort(key=lambda closing: closing[0])
        return self._bounded(state), done

    def settle(self, state: pl.DataFrame, now_us: int) -> tuple[pl.DataFrame, list[Minute]]:
        """Close what would be closed by now if statements had come; also what lies in the future,
        where an agent's clock was wrong.
        """
        clock = self.settings.clock
        due = clock.open_from(now_us - int(self.settings.idle_seconds * 1e6))
        windows = state.filter(pl.col("kind") == minutes.WINDOW)
        stale = (pl.col("window") < due) | (pl.col("window") > now_us // clock.window_us + 1)
        done: list[Minute] = []
        for agent, cluster in (
            windows.filter(stale).select(SERVER).unique().sort(SERVER).iter_rows()
        ):
            mine = (pl.col("agent") == agent) & (pl.col("cluster") == cluster)
            newest = windows.filter(mine & stale)["window"].max()
            assert isinstance(newest, int)
            server, found = minutes.closed(
                state.filter(mine), self._losses(state, agent), newest + 1, clock
            )
            state = pl.concat([state.filter(~mine), server])
            done += found
        return state, done

    def lost(self, state: pl.DataFrame, losses: pl.DataFrame) -> pl.DataFrame:
        """What agents counted as lost (view ``losses``), to be told beside a gap."""
        relevant = losses.filter(
            ~pl.col("source").fill_null("").is_in(IRRELEVANT_LOSSES)
            & ~pl.col("reason").fill_null("").is_in(IRRELEVANT_REASONS)
            & pl.col("occurred_at").is_not_null()
        )
        return state if relevant.is_empty() else minutes.lost(state, relevant, self.settings.clock)

    def findings(self, done: Iterable[Minute]) -> list[Finding]:
        found = []
        for _, group in groupby(done, key=lambda m: (m.agent, m.cluster, m.from_us)):
            together = list(group)
            for side in SIDES:
                found += self._findings_of(side, together)
        return found

    def _server(
        self,
        state: pl.DataFrame,
        statements: pl.DataFrame,
        done: list[tuple[int, list[Minute]]],
    ) -> pl.DataFrame:
        """Statements of one server, in the order of their arrival; closes windows in between."""
        clock = self.settings.clock
        agent, cluster = (statements[name][0] for name in SERVER)
        mine = (pl.col("agent") == agent) & (pl.col("cluster") == cluster)
        server, others = state.filter(mine), state.filter(~mine)
        losses = self._losses(state, agent)
        known_us = pl.lit(minutes.watermark_us(server), pl.Int64)
        heard_us = pl.max_horizontal(pl.col("end_us").cum_max(), known_us)
        before_us = pl.max_horizontal(pl.col("end_us").cum_max().shift(1), known_us)
        placed = statements.with_columns(
            open_from=clock.open_from(heard_us),
            window=pl.max_horizontal(
                pl.col("end_us") // clock.window_us, clock.open_from(before_us)
            ),
        )
        server, closings = minutes.passed(server, losses, placed, clock)
        done += closings
        old = (pl.col("kind") == minutes.LOSS) & (pl.col("agent") == agent)
        open_from = placed["open_from"][-1]
        return pl.concat([others, server]).filter(~(old & (pl.col("window") < open_from - 1)))

    def _losses(self, state: pl.DataFrame, agent: str) -> pl.DataFrame:
        return state.filter((pl.col("kind") == minutes.LOSS) & (pl.col("agent") == agent))

    def _bounded(self, state: pl.DataFrame) -> pl.DataFrame:
        """Windows go first, the longest unused of them."""
        if state.height <= self.settings.max_keys:
            return state
        order = state.with_columns(window_row=pl.col("kind") == minutes.WINDOW)
        by = ["window_row", "last_us", *minutes.KEY]
        descending = [False, True] + [False] * len(minutes.KEY)
        return order.sort(by, descending=descending).head(self.settings.max_keys).drop("window_row")

    def _findings_of(self, side: str, together: list[Minute]) -> list[Finding]:
        missed = [m for m in together if m.missed[side] >= self.settings.min_missing]
        if len(missed) <= self.settings.many_backends:
            return [_finding(side, [minute]) for minute in missed]
        missed.sort(key=lambda minute: -minute.missed[side])
        return [_finding(side, missed)]


def _by_server(statements: pl.DataFrame) -> Iterable[pl.DataFrame]:
    if all((statements[name] == statements[name][0]).all() for name in SERVER):
        return [statements]
    return (group for _, group in statements.group_by(SERVER, maintain_order=True))


def _finding(side: str, missed: Sequence[Minute]) -> Finding:
    """About one backend, or about many of one server, those with most first."""
    first = missed[0]
    examples = [example for minute in missed for example in minute.examples[side]]
    missing = sum(minute.missed[side] for minute in missed)
    lost = sum(first.lost.values())
    at_us = min(example.at_us for example in examples)
    one = len(missed) == 1
    return Finding(
        id=finding_id(
            at_us, NAME, side, "lossy" if lost >= missing else _gap(missed, side),
            first.agent, first.cluster,
            *((str(first.pid), str(first.backend_second)) if one else ("many",)),
        ),
        kind=FindingKind.ANOMALY,
        detector=NAME,
        severity=Severity.LOW if lost >= missing else SEVERITIES[side],
        title=f"{side} misses statements of {_who(missed)}",
        sentence=_sentence(side, missed, missing, lost),
        at_us=at_us,
        agent=first.agent,
        cluster=first.cluster,
        database=first.database if one else "",
        user=first.user_name,
        identity=first.identity,
        object=side,
        score=float(missing),
        evidence_sql=_evidence(side, missed, at_us),
        statement_id=examples[0].id,
        details=_details(side, missed, examples, missing),
    )  # fmt: skip


def _gap(missed: Sequence[Minute], side: str) -> str:
    """What sort of gap it is: one that was told must not hide a worse one of the same day."""
    if not any(minute.matched for minute in missed):
        return "all"
    texts = (example.text for minute in missed for example in minute.examples[side])
    words = {text.split(maxsplit=1)[0].lower() for text in texts if text.strip()}
    return "commands" if words - WRITES - READS else "writes" if words & WRITES else "reads"


def _who(missed: Sequence[Minute]) -> str:
    first = missed[0]
    if len(missed) == 1:
        return f"{first.identity} (backend {first.pid})"
    return f"{len(missed)} backends, most of {first.identity} (backend {first.pid})"


def _sentence(side: str, missed: Sequence[Minute], missing: int, lost: int) -> str:
    expected = missing + sum(minute.matched for minute in missed)
    span = f"{(missed[0].until_us - missed[0].from_us) / SECOND_US:g} s"
    loss = f"; {lost} facts were counted as lost then" if lost else ""
    told = SAYS[side].format(missing=missing, expected=expected)
    return f"{told} of {_who(missed)[:120]} within {span}{loss}"


def _evidence(side: str, missed: Sequence[Minute], at_us: int) -> str:
    first = missed[0]
    pids = ", ".join(str(minute.pid) for minute in missed[:50])
    return (
        "SELECT started_at, pid, user_name, application_name, client_address, source, sqlstate, "
        f"text FROM statements WHERE agent = {literal(first.agent)} "
        f"AND cluster = {literal(first.cluster)} AND pid IN ({pids}) "
        f"AND source = {literal(OTHER[side])} "
        f"AND {between('started_at', at_us, max(at_us + 1, first.until_us))} "
        "ORDER BY started_at LIMIT 100"
    )


def _details(
    side: str, missed: Sequence[Minute], examples: Sequence[Any], missing: int
) -> tuple[tuple[str, str], ...]:
    first = missed[0]
    return (
        ("side", side),
        ("pid", str(first.pid)),
        ("missed", str(missing)),
        ("matched", str(sum(minute.matched for minute in missed))),
        ("backends", str(len(missed))),
        *((f"example_{n}", example.text) for n, example in enumerate(examples[:3], 1)),
        *((f"lost: {reason}", str(count)) for reason, count in sorted(first.lost.items())),
    )
