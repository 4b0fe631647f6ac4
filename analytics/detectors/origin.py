"""Origin: an identity comes from an address or with a program that it never came from or with.

How strange that is depends on how near the new place is to the known ones, and on how often the
identity and its peers came from new places on earlier days (``analytics.places``). An address
whose logins fail for many roles is a spray, and whoever works from it afterwards may be the role
whose password was guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from analytics import alike, candidates, keyed, places, said, spray
from analytics.alike import Dated
from analytics.findings import CLAIMED, DAY_US, between, finding_id, literal, on_server
from model.finding import Finding, FindingKind
from model.verdict import Severity

NAME = "origin"
KEY = places.KEY
SUBJECT = KEY[:3]
LOGINS = ("known", "new here", "stranger")
"""A login whose person is known, one that never worked on the server, and one of nobody."""
KEPT = (
    "row", "at_us", "id", "agent", "cluster", "database", "user_name", "identity", "identity_kind",
    "identity_name", "client_address", "application_name", "operation", "sqlstate",
    "alike", "day", "late", "segment",
)  # fmt: skip


@dataclass(frozen=True)
class OriginSettings:
    day_seconds: float = 86_400
    """How strange a new place is depends on how many such spans brought one."""
    min_bits: float = 1.0
    max_keys: int = 300_000
    max_keys_per_subject: int = 5_000
    """Places of one identity, and roles that failed from one address."""


@dataclass(frozen=True)
class Origin:
    """Score: -log10 of the chance of so strange a new place in a day, and of the failures there."""

    settings: OriginSettings = OriginSettings()
    name: str = NAME

    def empty_state(self) -> pl.DataFrame:
        return keyed.empty(dict.fromkeys(KEY, pl.String), places.VALUES)

    def observe(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        known = pl.col("identity") != ""
        day_us = int(self.settings.day_seconds * 1e6)
        dated = alike.dated_by_agent(batch, known, state, day_us)
        if dated.alike.is_empty():
            return state, []
        if dated.clocks is not None:
            state = self._put(state, places.clock_rows(dated.clocks))
        found: list[Finding] = []
        for part in dated.parts():
            state, news = self._observe_day(state, dated, part.select(KEPT))
            found += news
        return state, found

    def _observe_day(
        self, state: pl.DataFrame, dated: Dated, part: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        failed = part.filter(spray.failed())
        if not failed.is_empty():
            failed = dated.rows(failed).select(failed.columns)
        worked = places.visits(part.filter(pl.col("operation") != "login"))
        visits, unknown = places.split(state, worked)
        sprayed = spray.observe(state, failed, visits)
        if unknown.is_empty() and sprayed.nothing_failed():
            return state, []
        moved = places.observe(state, unknown, int(self.settings.day_seconds * 1e6))
        state = self._put(state, moved.after)
        scored = spray.with_success(visits, sprayed, moved)
        scored = places.said_today(state, scored.filter(pl.col("score") >= self.settings.min_bits))
        due = said.told(said.due(scored, self.settings.min_bits), SUBJECT)
        trials = said.told(said.due(sprayed.trials, self.settings.min_bits), SUBJECT)
        if due:
            state = self._put(state, places.with_said(state, said.scores(due, SUBJECT)))
        after = spray.with_said(sprayed.after, said.scores(trials, SUBJECT))
        moves = [(row["row"], _move(row)) for row in due]
        tries = [(row["row"], _try(row)) for row in trials]
        return self._put(state, after), candidates.in_order([*moves, *tries])

    def _put(self, state: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
        bound = keyed.GroupBound(SUBJECT, self.settings.max_keys_per_subject)
        return keyed.put(state, rows, self.settings.max_keys, bound)


def _move(row: dict[str, Any]) -> Finding:
    who, address = candidates.shortened(row["identity"]), row["client_address"] or "a local socket"
    ending, history = candidates.history(row["lived"])
    known = "identity_name" if row["identity_name"] else "user_name"
    roles, tries = int(row["roles"]), int(row["tries"])
    failed = row["spray"] >= 0.5
    parts = [
        f"1 address ({address}) failed on {roles} {'role' if roles == 1 else 'roles'} in {tries} "
        f"logins, then became {who}"
        if failed
        else f"{who} came from {address}"
    ]
    if row["novelty"] > 0:
        parts += _new(row)
    return Finding(
        id=finding_id(row["at_us"], NAME, row["agent"], row["cluster"], row["identity"]),
        kind=FindingKind.ANOMALY,
        detector=NAME,
        severity=Severity.HIGH if failed and roles > 2 else candidates.severity(row["score"]),
        title=f"New origin: {who}" if not failed else f"Failed logins, then {who}",
        sentence="; ".join(parts)[: 298 - len(ending)] + ending,
        at_us=row["at_us"],
        agent=row["agent"],
        cluster=row["cluster"],
        database=row["database"],
        user=row["user_name"],
        identity=row["identity"],
        object=row["client_address"] or "local",
        score=round(row["score"], 3),
        evidence_sql=(
            "SELECT started_at, user_name, client_address, application_name, operation, sqlstate, "
            f"text FROM statements WHERE {on_server(row)} "
            f"AND ({known} = {literal(row['identity'])} OR "
            f"operation = 'login') AND client_address = {literal(row['client_address'])} "
            f"AND {between('started_at', row['at_us'] - DAY_US, row['at_us'] + DAY_US)} "
            "ORDER BY started_at LIMIT 100"
        ),
        statement_id=row["id"],
        details=(
            ("expected", "a place it knows"),
            ("seen", f"{address} {row['application_name']}"),
            ("unit", "places"),
            ("peers", str(row["members"])),
            ("peers_have", str(row["address_have"])),
            ("peers_have_program", str(row["program_have"])),
            ("failed_roles", str(roles)),
            ("failed_logins", str(tries)),
            ("address_bits", f"{row['address_bits']:.2f}"),
            ("program_bits", f"{row['program_bits']:.2f}"),
            ("login_bits", f"{row['login_bits']:.2f}"),
            ("login", LOGINS[row["login_level"] or 0]),
            ("spray_bits", f"{row['spray']:.2f}"),
            ("statements", str(row["id"])),
            ("window_seconds", "86400"),
            *history,
        ),
    )


def _new(row: dict[str, Any]) -> list[str]:
    of = row["kind"] or "identity"
    parts = []
    if level := row["login_level"]:
        parts.append(places.LEVELS[places.FIRST_LOGIN_LEVEL + level - 1])
    if level := row["address_level"]:
        parts.append(
            f"{places.LEVELS[level - 1]} ({row['address_have']} of {row['members']} of kind {of} "
            "came from it)"
        )
    if level := row["program_level"]:
        program = candidates.shortened(row["application_name"] or "no name", 40)
        parts.append(
            f"{places.LEVELS[places.ADDRESS_LEVELS + level - 1]}, {program} "
            f"({row['program_have']} of kind {of} used it)"
        )
    return parts


def _try(row: dict[str, Any]) -> Finding:
    who, address = candidates.shortened(row["identity"]), row["client_address"] or "a local socket"
    roles, tries = int(row["roles"]), int(row["tries"])
    usual = (row["failed_roles"] + 1) / (row["failed_days"] + 1)
    return Finding(
        id=finding_id(
            row["at_us"], NAME, row["agent"], row["cluster"], "from", row["client_address"]
        ),
        kind=FindingKind.ANOMALY,
        detector=NAME,
        severity=candidates.severity(row["score"]),
        title=f"Failed logins from {address}",
        sentence=f"1 address ({address}) failed on {roles} {'role' if roles == 1 else 'roles'} in "
        f"{tries} logins today, the last as {who}; usual are {usual:.1f} roles in a day with any",
        at_us=row["at_us"],
        agent=row["agent"],
        cluster=row["cluster"],
        database=row["database"],
        user=row["user_name"],
        identity=row["identity"],
        object=row["client_address"] or "local",
        score=round(row["score"], 3),
        evidence_sql=(
            "SELECT started_at, user_name, client_address, sqlstate, error_message FROM statements "
            f"WHERE {on_server(row)} "
            f"AND operation = 'login' AND client_address = {literal(row['client_address'])} "
            f"AND {between('started_at', row['at_us'] - DAY_US, row['at_us'] + DAY_US)} "
            "ORDER BY started_at LIMIT 100"
        ),
        statement_id=row["id"],
        details=(
            ("expected", f"{usual:.2f}"),
            ("seen", str(roles)),
            ("unit", "roles with failed logins from one address in a day"),
            ("failed_roles", str(roles)),
            ("failed_logins", str(tries)),
            CLAIMED,
            ("statements", str(row["id"])),
            ("window_seconds", "86400"),
            ("history_days", str(int(row["failed_days"]))),
        ),
    )
