"""What happened when nobody on the wire did it: restarts, losses, code that nobody looked into."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Collection, Mapping
from typing import NamedTuple

import polars as pl

from collector.drift.baseline import Difference, Scope
from collector.sessions import end_was_noticed
from model.catalog import CatalogKind

MOST = 5_000
TOGETHER_US = 300_000
"""A server that ends takes all its sessions within such a time."""
SHORT_US = 5_000_000
"""A session that is over so soon did what it came for and left: scripts and psql do, one after the
other, and no restart follows from it."""
LATE_LOSS_US = 3_000_000
FEWEST_SESSIONS = 2
APPLICATION_NAME = "pgwarden"
"""Of the agent's own sessions."""
NO_STATEMENTS = frozenset(("catalog", "analytics", "alerts", "collector"))
"""Sources whose losses are none of statements."""
ONLY_AT_START = re.compile(
    r"^(archive_mode|autovacuum_max_workers|cluster_name|data_directory|dynamic_shared_memory_type"
    r"|event_source|external_pid_file|hba_file|hot_standby|huge_pages|ident_file|listen_addresses"
    r"|logging_collector|max_(connections|files_per_process|locks_per_transaction|prepared_transact"
    r"ions|replication_slots|wal_senders|worker_processes|logical_replication_workers)|port"
    r"|shared_buffers|shared_memory_type|shared_preload_libraries|superuser_reserved_connections"
    r"|track_commit_timestamp|unix_socket_.*|wal_buffers|wal_level|wal_log_hints)$"
)
PENDING = "restart pending"
FILES = frozenset((CatalogKind.SETTING, CatalogKind.HBA, CatalogKind.IDENT))

BY_ORDINARY = frozenset((CatalogKind.WATCHED, CatalogKind.SLOT))
"""Kinds that no command changes, but DML and calls of functions."""
ORDINARY = ("select", "insert", "update", "delete", "merge")
"""Inside others they are captured only where all is."""


class _Loss(NamedTuple):
    at_us: int
    agent: str
    reason: str
    facts: int


class _Left(NamedTuple):
    at_us: int
    agent: str
    cluster: str


class _Call(NamedTuple):
    """A statement that ran others, which nobody told of."""

    at_us: int
    agent: str
    cluster: str
    database: str
    who: str
    what: str
    by_trigger: bool = False
    """Only a trigger of the table that it wrote can have run others."""


class Outside:
    """Fed with rows of views ``losses``, ``sessions`` and ``statements``."""

    def __init__(self) -> None:
        self._losses: deque[_Loss] = deque(maxlen=MOST)
        self._left: deque[_Left] = deque(maxlen=MOST)
        self._calls: deque[_Call] = deque(maxlen=MOST)
        self._tell_of_nested: set[str] = set()
        """Agents that capture what runs inside others."""
        self._tell_of_commands: set[str] = set()
        """Agents that capture of that what changes schema, rights or settings."""
        self._live: dict[tuple[str, int, int], tuple[str, int]] = {}

    def observe(self, frames: Mapping[str, pl.DataFrame], triggered: Collection[str] = ()) -> None:
        """``triggered``: bare names of tables with triggers."""
        if (losses := frames.get("losses")) is not None:
            rows = losses.with_columns(pl.col("occurred_at").dt.epoch("us"))
            for row in rows.iter_rows(named=True):
                if row["source"] not in NO_STATEMENTS:
                    self._losses.append(
                        _Loss(row["occurred_at"], row["agent"], row["reason"], row["count"])
                    )
        if (sessions := frames.get("sessions")) is not None:
            self._observe_sessions(sessions)
        if (statements := frames.get("statements")) is not None:
            self._observe_calls(statements, triggered)

    def reason(
        self, scope: Scope, step: Difference, at_us: int, since_us: int, unwatched: str = ""
    ) -> str:
        """A clause, empty where nothing is known: ``3 facts were lost then (ring_full)``.
        ``unwatched``: when nobody watched; who called something at another time has no part."""
        return "; ".join(
            clause
            for clause in (
                self._restart(scope, step, at_us, since_us),
                unwatched,
                self._gap(scope, at_us, since_us),
                "" if unwatched else self._called(scope, at_us, since_us),
            )
            if clause
        )

    def _gap(self, scope: Scope, at_us: int, since_us: int) -> str:
        lost = Counter[str]()
        for loss in self._losses:
            if loss.agent == scope.agent and since_us < loss.at_us <= at_us + LATE_LOSS_US:
                lost[loss.reason] += loss.facts
        count = sum(lost.values())
        if not count:
            return ""
        what = "1 fact was lost" if count == 1 else f"{count} facts were lost"
        return f"{what} then ({', '.join(sorted(lost))})"

    def _restart(self, scope: Scope, step: Difference, at_us: int, since_us: int) -> str:
        of_start = scope.kind is CatalogKind.SETTING and ONLY_AT_START.match(step.name)
        if of_start and PENDING not in step.observed:
            return "the server was restarted then"
        ended = sorted(
            left.at_us
            for left in self._left
            if (left.agent, left.cluster) == (scope.agent, scope.cluster)
            and since_us < left.at_us <= at_us
        )
        together = [at for at in ended if ended and at >= ended[-1] - TOGETHER_US]
        if len(together) < FEWEST_SESSIONS:
            return ""
        older = any(
            key[0] == scope.agent and cluster == scope.cluster and started_us < together[0]
            for key, (cluster, started_us) in self._live.items()
        )
        # Clients of one program may close theirs together, too.
        as_in = f"all {len(together)} sessions that were known ended together then, as in a restart"
        return "" if older else as_in

    def _called(self, scope: Scope, at_us: int, since_us: int) -> str:
        """No cause, for nobody saw what it did: where to look first."""
        if scope.agent in self._tell_of_nested or scope.kind in FILES:
            return ""
        if scope.agent in self._tell_of_commands and scope.kind not in BY_ORDINARY:
            return ""
        calls = [
            call
            for call in self._calls
            if (call.agent, call.cluster) == (scope.agent, scope.cluster)
            and scope.database in ("", call.database)
            and since_us < call.at_us <= at_us
            and (scope.kind is CatalogKind.WATCHED or not call.by_trigger)
        ]
        if not calls:
            return ""
        last, more = calls[-1], len(calls) - 1
        others = f" (and {more} more such)" if more else ""
        return (
            f"{last.who} ran {last.what}{others} then, and what it ran inside is not captured"
            " (agent.capture.nested)"
        )

    def _observe_calls(self, statements: pl.DataFrame, triggered: Collection[str]) -> None:
        if "functions" not in statements.columns or "parent_id" not in statements.columns:
            return
        nested = statements.filter(pl.col("parent_id") != 0)
        self._tell_of_commands |= {*nested["agent"].unique()}
        ordinary = nested.filter(pl.col("operation").is_in(ORDINARY))
        self._tell_of_nested |= {*ordinary["agent"].unique()}
        # Built-in functions are called without their schema; of others many are called with it.
        named = pl.col("functions").list.join(" ").str.replace_all("pg_catalog.", "", literal=True)
        of_users = named.str.contains(".", literal=True)
        runs = (pl.col("operation").is_in(["call", "do"]) | of_users).fill_null(False)
        last = pl.col("writes").list.eval(pl.element().str.split(".").list.last())
        fires = (last.list.set_intersection([*triggered]).list.len() > 0).fill_null(False)
        fires = fires & ~runs if triggered else pl.lit(False)
        called = _others(statements.with_columns(_fires=fires)).filter(
            (runs | fires) & pl.col("sqlstate").fill_null("").is_in(["", "00000"])
        )
        for row in called.with_columns(pl.col("started_at").dt.epoch("us")).iter_rows(named=True):
            who = row["identity_name"] or row["user_name"] or "somebody"
            place = (row["agent"], row["cluster"], row["database"])
            what = " ".join([(row["operation"] or "").upper(), *(row["functions"] or [])[:1]])
            what = row["summary"] or what if row["_fires"] else what
            self._calls.append(_Call(row["started_at"] or 0, *place, who, what, row["_fires"]))

    def _observe_sessions(self, sessions: pl.DataFrame) -> None:
        times = pl.col("backend_started_at", "ended_at").dt.epoch("us")
        rows = _others(sessions).with_columns(end_was_noticed().alias("noticed"))
        for row in rows.with_columns(times).iter_rows(named=True):
            key = (row["agent"], row["pid"], row["backend_started_at"])
            if row["ended_at"] is None:
                self._live[key] = (row["cluster"], row["backend_started_at"] or 0)
                continue
            known = self._live.pop(key, None)
            if known and row["ended_at"] - known[1] > SHORT_US and not row["noticed"]:
                self._left.append(_Left(row["ended_at"], row["agent"], row["cluster"]))


def _others(rows: pl.DataFrame) -> pl.DataFrame:
    """Of our own sessions nothing follows: they come, look around and go."""
    if "application_name" not in rows.columns:
        return rows
    return rows.filter(pl.col("application_name").fill_null("") != APPLICATION_NAME)
