"""Which changes were committed, and when: transactions, savepoints, statements inside others.

A snapshot sees what is committed, so a statement explains a difference only if its transaction
ended between the snapshot without it and the one with it; one that was rolled back explains none.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from collector.drift import wording
from collector.drift.changes import (
    SUCCEEDED,
    Backend,
    Change,
    Effect,
    backend_of,
    change_of,
    ended_us,
    in_microseconds,
    may_change,
)
from collector.drift.two_phase import TwoPhase, end

ENDS = frozenset(("commit", "end", "rollback", "abort"))
_PREPARE = "prepare transaction"
_ENDS_PREPARED = ("commit prepared", "rollback prepared")
CONTROLS = ENDS | {"savepoint", _PREPARE, *_ENDS_PREPARED}
MOST_WAITING = 50_000
"""Statements whose nested ones came before them; the oldest are given up."""
MOST_SESSIONS = 10_000
MOST_LEVELS = 9

Row = Mapping[str, Any]


@dataclass(slots=True)
class _Session:
    pending: list[Effect] = field(default_factory=list)
    """Of the open transaction."""
    transaction: int = 0
    savepoints: list[tuple[str, int]] = field(default_factory=list)
    """Name, and how many were pending then."""
    prepared: dict[str, Change] = field(default_factory=dict)
    """What SQL's PREPARE prepared, by name."""


class Transactions:
    """Fed with rows of view ``statements`` and ``sessions`` as they come; fills in effects."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[Backend, _Session] = OrderedDict()
        self._waiting: OrderedDict[tuple[str, int], list[Effect]] = OrderedDict()
        """Effects of nested statements, by the statement that ran them."""
        self._two_phase = TwoPhase()

    def observe(
        self, statements: pl.DataFrame, watched: frozenset[str] = frozenset()
    ) -> list[Change]:
        """The changes among them, oldest first; their effects go on being filled in."""
        if "parent_id" not in statements.columns:
            statements = statements.with_columns(parent_id=pl.lit(0, pl.UInt64))
        marked = statements.with_columns(_changing=may_change(statements, watched))
        frame = in_microseconds(self._of_interest(marked)).sort("started_at", "id")
        rows = list(frame.iter_rows(named=True))
        found: list[Change] = []
        for row in rows:
            if row["parent_id"] and (change := self._change(row)):
                self._wait((row["agent"], row["parent_id"]), [change.effect])
                found.append(change)
        self._hand_up([row for row in rows if row["parent_id"]])
        for row in rows:
            if not row["parent_id"]:
                found += self._of_client(row)
        return sorted(found, key=lambda change: (change.at_us, change.id))

    def ended(self, sessions: pl.DataFrame) -> None:
        """Rows of view ``sessions``: who left in the middle of a transaction has undone it, unless
        its COMMIT comes late, in another batch."""
        left = sessions.filter(pl.col("ended_at").is_not_null())
        for row in in_microseconds(left).iter_rows(named=True):
            backend = backend_of(row)
            session = self._sessions.get(backend)
            if session is not None and not session.pending:
                del self._sessions[backend]
            for effect in session.pending if session is not None else ():
                effect.undone = True

    def _of_interest(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Changes; what controls transactions of sessions with changes; parents of nested changes.

        Every transaction of an application begins and ends: only few of them are looked at.
        """
        changing = pl.col("_changing")
        own = rows.filter(changing)
        parents = {parent for _, parent in self._waiting} | {*own["parent_id"]} - {0}
        for _ in range(MOST_LEVELS if parents else 0):
            more = {*rows.filter(pl.col("id").is_in(list(parents)))["parent_id"]} - {0} - parents
            if not more:
                break
            parents |= more
        above = rows.filter(pl.col("id").is_in(list(parents)))
        pids = {
            *own["pid"],
            *above["pid"],
            *(b.pid for b, s in self._sessions.items() if s.pending),
        }
        return rows.filter(
            changing
            | pl.col("id").is_in(list(parents))
            | (_controls(rows) & pl.col("pid").is_in(list(pids)))
            | pl.col("operation").is_in([_PREPARE, *_ENDS_PREPARED])
        )

    def _hand_up(self, nested: list[Row]) -> None:
        """What waits for a statement that is nested itself waits for the one around that."""
        for _ in range(MOST_LEVELS):
            moved = False
            for row in nested:
                if effects := self._waiting.pop((row["agent"], row["id"]), None):
                    self._wait((row["agent"], row["parent_id"]), effects)
                    moved = True
            if not moved:
                return

    def _wait(self, parent: tuple[str, int], effects: list[Effect]) -> None:
        self._waiting.setdefault(parent, []).extend(effects)
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popitem(last=False)

    def _of_client(self, row: Row) -> list[Change]:
        effects = self._waiting.pop((row["agent"], row["id"]), [])
        for effect in effects:
            effect.root = row["id"]
        if (row["sqlstate"] or "") not in SUCCEEDED:
            for effect in effects:
                effect.undone = True
            self._control(row)
            return []
        change = self._change(row)
        if change is not None:
            effects = [*effects, change.effect]
        if effects:
            self._took_part(row, effects)
        self._control(row)
        return [change] if change is not None else []

    def _change(self, row: Row) -> Change | None:
        change = change_of(row) if row["_changing"] else None
        if change is None or row["parent_id"] or row["operation"] not in ("prepare", "execute"):
            return change
        name = _second_word(row)
        if row["operation"] == "prepare":
            self._session(change.backend).prepared[name] = change
            return None
        known = self._sessions.get(change.backend)
        what = known.prepared.get(name) if known is not None else None
        return replace(change, verbs=what.verbs, writes=what.writes) if what is not None else None

    def _took_part(self, row: Row, effects: list[Effect]) -> None:
        status, backend = row.get("transaction") or "", backend_of(row)
        known = self._sessions.get(backend)
        open_before = known is not None and bool(known.pending)
        if status[1:2] in ("I", "E") or (status[1:2] != "T" and not open_before):
            for effect in effects:
                effect.committed_us, effect.undone = ended_us(row), _rolls_back_in_itself(row)
            return
        session = self._session(backend)
        if not session.pending:
            session.transaction = row["id"]
        for effect in effects:
            effect.transaction = session.transaction
        session.pending += effects

    def _session(self, backend: Backend) -> _Session:
        session = self._sessions.setdefault(backend, _Session())
        self._sessions.move_to_end(backend)
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return session

    def _control(self, row: Row) -> None:
        verb, status = row["operation"] or "", row.get("transaction") or ""
        failed = (row["sqlstate"] or "") not in SUCCEEDED
        if verb in _ENDS_PREPARED:
            if not failed:
                self._two_phase.end(row, committed=verb == "commit prepared")
            return
        session = self._sessions.get(backend_of(row))
        back = failed or (row.get("tag") or "") == "ROLLBACK"
        if verb == _PREPARE and not back:
            self._two_phase.prepare(row, session.pending if session is not None else [])
            if session is not None:
                session.pending, session.savepoints = [], []
            return
        if session is None:
            return
        to = _savepoint_of(row) if verb == "rollback" and not failed else None
        if verb == "savepoint":
            session.savepoints.append((_second_word(row), len(session.pending)))
        elif to is not None:
            _undo_to(session, to)
        elif verb in ENDS or (status[:1] in ("T", "E") and status[1:2] == "I"):
            back = back or verb in ("rollback", "abort")
            end(session.pending, committed=not back, at_us=ended_us(row))
            session.pending, session.savepoints = [], []


def _controls(rows: pl.DataFrame) -> pl.Expr:
    found = pl.col("operation").fill_null("").is_in(list(CONTROLS))
    if "transaction" in rows.columns:
        found = found | pl.col("transaction").fill_null("").is_in(["TI", "EI"])
    return found


def _undo_to(session: _Session, name: str) -> None:
    """A savepoint that is not known is older than all that is pending."""
    keep = 0
    for at in range(len(session.savepoints) - 1, -1, -1):
        if session.savepoints[at][0] == name:
            keep = session.savepoints[at][1]
            del session.savepoints[at + 1 :]
            break
    for effect in session.pending[keep:]:
        effect.undone = True
    del session.pending[keep:]


def _rolls_back_in_itself(row: Row) -> bool:
    """``BEGIN; GRANT ...; ROLLBACK`` in one string."""
    verbs = row["verbs"] or []
    return "multi" in (row["flags"] or []) and "rollback" in verbs and "commit" not in verbs


def _second_word(row: Row) -> str:
    words = wording.tokens(row["text"] or "")
    return words[1] if len(words) > 1 else ""


def _savepoint_of(row: Row) -> str | None:
    return wording.savepoint(wording.tokens(row["text"] or ""))
