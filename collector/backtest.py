"""What rules would have said of the statements on record.

Statements that look the same to the rules are judged once. DuckDB groups a span of time by just the
columns that some rule asks for; of these groups each rule sees what it can tell apart, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import duckdb

from collector.backtest_facts import STORED, Facts
from rules import Rule, RuleSet

BATCH_ROWS = 2_000_000
EXAMPLES = 3
MOST = 2**63 - 1
"""For each rule and identity: the latest of so many kinds of them."""

OUTCOMES = ("ran", "failed", "refused", "unknown")
"""What really happened: it succeeded, the server failed it, we stopped it, no source knows."""

_OUTCOME = """CASE WHEN v.statement_id IS NOT NULL THEN 'refused'
 WHEN s.sqlstate = '00000' THEN 'ran'
 WHEN coalesce(s.sqlstate, '') = '' THEN 'unknown' ELSE 'failed' END"""
_STOPPED = """(SELECT DISTINCT agent, statement_id FROM verdicts WHERE statement_id <> 0
 AND outcome IN ('prevented', 'cancelled', 'terminated'))"""
_JUDGED = """(s.parse_status = 'parsed' OR v.statement_id IS NOT NULL OR
 (s.source <> 'pgaudit' AND coalesce(s.sqlstate, '') IN ('', '00000')))"""
"""As the agent: a typo is no finding, and what pgaudit abbreviates is no statement."""


class Who(NamedTuple):
    kind: str
    name: str
    user: str


class Example(NamedTuple):
    at: datetime
    agent: str
    statement_id: int


@dataclass(slots=True)
class Hits:
    """What one identity did that a rule matches."""

    count: int = 0
    unknown: int = 0
    """Of these: matched because they could not be understood (``unknown: deny``)."""
    first: datetime | None = None
    last: datetime | None = None
    outcomes: Counter[str] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)

    def add(self, row: _Row, unknown: bool) -> None:
        self.count += row.executions
        self.unknown += row.executions if unknown else 0
        self.first = row.first if self.first is None else min(self.first, row.first)
        self.last = row.last if self.last is None else max(self.last, row.last)
        self.outcomes[row.outcome] += row.executions
        self.examples = sorted({*self.examples, *row.examples}, reverse=True)[:EXAMPLES]


@dataclass(slots=True)
class RuleHits:
    rule: Rule
    by_identity: dict[Who, Hits] = field(default_factory=dict)
    failed: int = 0
    """Statements on which the rule could not be evaluated: it needs mending."""

    @property
    def count(self) -> int:
        return sum(hits.count for hits in self.by_identity.values())


class _Row(NamedTuple):
    who: Who
    outcome: str
    executions: int
    first: datetime
    last: datetime
    examples: tuple[Example, ...]


class _Word(NamedTuple):
    """What a rule says of all statements that look like this to it."""

    matches: bool = False
    unknown: bool = False
    failed: bool = False


def not_stored(rules: RuleSet) -> dict[str, tuple[str, ...]]:
    """By rule: what it looks at that the record does not hold, so that it cannot be judged."""
    missing = {each.rule.id: tuple(sorted(each.fields - STORED.keys())) for each in rules.compiled}
    return {rule_id: names for rule_id, names in missing.items() if names}


def backtest(
    views: duckdb.DuckDBPyConnection,
    rules: RuleSet,
    since: datetime,
    until: datetime,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, list[RuleHits]]:
    """How many executions were judged, and for each rule those that it matches.

    ``on_progress`` is told rows done and rows in all. All rules must be judgeable from the record:
    see ``not_stored``. Times are naive, UTC.
    """
    facts = Facts(views, rules.fields, since, until)
    found = [_Tried(rules.only({rule.id}), facts) for rule in rules.rules]
    judged = done = 0
    total = _size(views, since, until)
    for begin, end in _windows(since, until, total, views):
        _group(views, facts, begin, end)
        judged += _number(views, "SELECT sum(n) FROM backtest_groups")
        for each in found:
            each.judge(views)
        done += _size(views, begin, end)
        on_progress(done, total)
    return judged, [each.hits for each in found]


def strings(views: duckdb.DuckDBPyConnection, since: datetime, until: datetime) -> int:
    """Executions in strings of several statements: on record with the facts of all of them put
    together, while rules are asked about each."""
    sql = (
        "SELECT sum(coalesce(executions, 1)) FROM statements"
        " WHERE started_at >= ? AND started_at < ? AND list_contains(flags, 'multi')"
    )
    return _number(views, sql, [since, until])


class _Tried:
    """One rule, and what it said so far."""

    def __init__(self, rules: RuleSet, facts: Facts) -> None:
        self.hits = RuleHits(rules.rules[0])
        self._rules = rules
        self._facts = facts
        self._names = facts.names(rules.fields)
        self._memory: dict[tuple[Any, ...], _Word] = {}

    def judge(self, views: duckdb.DuckDBPyConnection) -> None:
        """The groups of this span: each that it can tell apart is judged once for ever."""
        names = ", ".join(map(_quoted, self._names))
        views.execute(
            "CREATE OR REPLACE TEMP TABLE backtest_looks AS SELECT row_number() OVER () AS look, *"
            f" FROM (SELECT DISTINCT {names} FROM backtest_groups)"
        )
        certain: list[int] = []
        unknown: list[int] = []
        failed: list[int] = []
        for look, *key in views.execute("FROM backtest_looks").fetchall():
            word = self._word(tuple(key))
            if word.failed:
                failed.append(look)
            if word.matches:
                (unknown if word.unknown else certain).append(look)
        for looks, is_unknown in ((certain, False), (unknown, True)):
            for row in self._rows(views, looks):
                self.hits.by_identity.setdefault(row.who, Hits()).add(row, is_unknown)
        if failed:
            sql = f"SELECT sum(n) FROM {self._seen}"
            self.hits.failed += _number(views, sql, [failed])

    def _word(self, key: tuple[Any, ...]) -> _Word:
        word = self._memory.get(key)
        if word is None:
            judgement = self._rules.consider(self._facts.view(self._names, key))
            word = self._memory[key] = _Word(
                bool(judgement.matches),
                any(match.unknown for match in judgement.matches),
                any(undecided.failed for undecided in judgement.undecided),
            )
        return word

    @property
    def _seen(self) -> str:
        names = ", ".join(map(_quoted, self._names))
        return (
            f"backtest_groups JOIN backtest_looks USING ({names})"
            " WHERE look IN (SELECT unnest(?::BIGINT[]))"
        )

    def _rows(self, views: duckdb.DuckDBPyConnection, looks: list[int]) -> Iterable[_Row]:
        if not looks:
            return
        rows = views.execute(
            f"SELECT who_kind, who_name, who_user, outcome, least(sum(n), {MOST})::BIGINT,"
            f" min(first), max(last), arg_max(example, last, {EXAMPLES})"
            f" FROM {self._seen} GROUP BY 1, 2, 3, 4",
            [looks],
        ).fetchall()
        for kind, name, user, outcome, count, first, last, examples in rows:
            told = tuple(Example(each["at"], each["agent"], each["id"]) for each in examples)
            yield _Row(Who(kind, name, user), outcome, count, first, last, told)


def texts(views: duckdb.DuckDBPyConnection, examples: Sequence[Example]) -> dict[Example, str]:
    """The redacted texts of these statements."""
    if not examples:
        return {}
    views.execute(
        "CREATE OR REPLACE TEMP TABLE backtest_examples AS SELECT unnest(?::TIMESTAMP[]) AS"
        " started_at, unnest(?::VARCHAR[]) AS agent, unnest(?::UBIGINT[]) AS id",
        [[each[n] for each in examples] for n in range(3)],
    )
    # By time as well: segments are in its order, so that most are not looked at.
    rows = views.execute(
        "SELECT DISTINCT started_at, agent, id, text FROM statements"
        " JOIN backtest_examples USING (started_at, agent, id)"
    ).fetchall()
    return {Example(at, agent, number): text or "" for at, agent, number, text in rows}


def _group(views: duckdb.DuckDBPyConnection, facts: Facts, begin: datetime, end: datetime) -> None:
    """A span of the record as ``backtest_groups``: what looks the same, from whom, and what came
    of it."""
    facts_width = len(facts.columns)
    numbers = ", ".join(str(n + 1) for n in range(facts_width + 4))
    columns = "".join(f"{sql} AS {_quoted(name)}, " for name, sql in facts.columns.items())
    views.execute(
        f"CREATE OR REPLACE TEMP TABLE backtest_groups AS SELECT {columns} {_OUTCOME} AS outcome,"
        " coalesce(s.identity_kind, 'unknown') AS who_kind,"
        " coalesce(s.identity_name, '') AS who_name, coalesce(s.user_name, '') AS who_user,"
        " sum(coalesce(s.executions, 1)) AS n, min(s.started_at) AS first,"
        " max(s.started_at) AS last,"
        " arg_max({'at': s.started_at, 'agent': s.agent, 'id': s.id}, s.started_at) AS example"
        f" FROM statements s LEFT JOIN {_STOPPED} v ON v.agent = s.agent AND v.statement_id = s.id"
        f" {facts.joins} WHERE s.started_at >= ? AND s.started_at < ? AND {_JUDGED}"
        f" GROUP BY {numbers}",
        [begin, end],
    )


def _quoted(name: str) -> str:
    return f'"{name}"'


def _number(views: duckdb.DuckDBPyConnection, sql: str, values: Sequence[object] = ()) -> int:
    row = views.execute(sql, list(values)).fetchone()
    return int(row[0] or 0) if row else 0


def _size(views: duckdb.DuckDBPyConnection, begin: datetime, end: datetime) -> int:
    sql = "SELECT count(*) FROM statements WHERE started_at >= ? AND started_at < ?"
    return _number(views, sql, [begin, end])


def _windows(
    since: datetime, until: datetime, rows: int, views: duckdb.DuckDBPyConnection
) -> Iterator[tuple[datetime, datetime]]:
    """Spans of time with about ``BATCH_ROWS`` rows each, if they come evenly."""
    row = views.execute(
        "SELECT min(started_at), max(started_at) FROM statements"
        " WHERE started_at >= ? AND started_at < ?",
        [since, until],
    ).fetchone()
    if not rows or row is None or row[0] is None:
        return
    begin, parts = row[0], rows // BATCH_ROWS + 1
    step = (row[1] - begin) / parts
    for number in range(parts):
        last = number == parts - 1
        yield begin + step * number, until if last else begin + step * (number + 1)
