"""Which changes were committed, and when: transactions, savepoints, statements inside others.

A snapshot sees what is committed, so a statement explains a difference only if its transaction
ended between the snapshot without it and the one with it; one that was rolled back explains none.
"""

from __future__ import annotations

import traceback
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl
import structlog

from collector.drift import one_string, wording
from collector.drift.changes import (
    PREPARED,
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
from collector.drift.one_string import OPEN, PREPARE, ROLLBACK, OneString
from collector.drift.pending import (
    Session,
    Told,
    as_other,
    fail,
    goes_on,
    last_that_counts,
    undo_to,
)
from collector.drift.round_trips import RoundTrips
from collector.drift.two_phase import TwoPhase, end
from collector.sessions import end_was_noticed

log = structlog.get_logger(__name__)

ENDS = frozenset(("commit", "end", "rollback", "abort"))
_ENDS_PREPARED = ("commit prepared", "rollback prepared")
BEGINS = frozenset(("begin", "start"))
CONTROLS = ENDS | {"savepoint", PREPARE, *_ENDS_PREPARED}
MOST_WAITING = 50_000
"""Statements whose nested ones came before them; the oldest are given up."""
MOST_SESSIONS = 10_000
MOST_LEVELS = 9

Row = Mapping[str, Any]


class Transactions:
    """Fed with rows of view ``statements`` and ``sessions`` as they come; fills in effects."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[Backend, Session] = OrderedDict()
        self._waiting: OrderedDict[tuple[str, int], list[Effect]] = OrderedDict()
        """Effects of nested statements, by the statement that ran them."""
        self._around: OrderedDict[tuple[str, int], Effect] = OrderedDict()
        """Of statements in which others may have run that come later."""
        self._two_phase = TwoPhase()
        self._round_trips = RoundTrips()

    def observe(
        self, statements: pl.DataFrame, watched: frozenset[str] = frozenset()
    ) -> list[Change]:
        """The changes among them, oldest first; their effects go on being filled in."""
        if "parent_id" not in statements.columns:
            statements = statements.with_columns(parent_id=pl.lit(0, pl.UInt64))
        marked = statements.with_columns(_changing=may_change(statements, watched))
        frame = in_microseconds(self._of_interest(marked)).sort("started_at", "id")
        self._round_trips.observe_failed(statements)
        self._note_failed(statements)
        rows = list(frame.iter_rows(named=True))
        found: list[Change] = []
        for row in rows:
            if row["parent_id"] and (change := self._change(row)):
                found.append(self._inside(row, change))
        self._hand_up([row for row in rows if row["parent_id"]])
        for row in rows:
            if not row["parent_id"]:
                found += self._of_client(row)
        return sorted(found, key=lambda change: (change.at_us, change.id))

    def ended(self, sessions: pl.DataFrame) -> None:
        """Rows of view ``sessions``: who left in the middle of a transaction has undone it, unless
        its COMMIT comes late, in another batch. One whose end nobody saw may have committed."""
        left = sessions.filter(pl.col("ended_at").is_not_null() & ~end_was_noticed())
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
            *(b.pid for b, s in self._sessions.items() if s.pending or s.unsure),
            *self._round_trips.open_pids,
        }
        in_pipelines = self._round_trips.of_interest(rows, pids)
        return rows.filter(
            changing
            | pl.col("id").is_in(list(parents))
            | (_controls(rows) & pl.col("pid").is_in(list(pids)))
            | pl.col("operation").is_in([PREPARE, *_ENDS_PREPARED])
            | pl.col("id").is_in(in_pipelines)
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

    def _inside(self, row: Row, change: Change) -> Change:
        """Those that come after the statement around them have its end."""
        known = self._around.get((row["agent"], row["parent_id"]))
        if known is None:
            self._wait((row["agent"], row["parent_id"]), [change.effect])
            return change
        self._note(row, known)
        return replace(change, effect=known)

    def _note_failed(self, statements: pl.DataFrame) -> None:
        """What ran inside them may be told later."""
        failed = ~pl.col("sqlstate").fill_null("").is_in(SUCCEEDED) & (pl.col("parent_id") == 0)
        for row in statements.filter(failed).select("agent", "id").iter_rows(named=True):
            self._note(row, Effect(undone=True, root=row["id"]))

    def _note(self, row: Row, effect: Effect) -> None:
        self._around[row["agent"], row["id"]] = effect
        while len(self._around) > MOST_WAITING:
            self._around.popitem(last=False)

    def _wait(self, parent: tuple[str, int], effects: list[Effect]) -> None:
        self._waiting.setdefault(parent, []).extend(effects)
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popitem(last=False)

    def _of_client(self, row: Row) -> list[Change]:
        effects = self._waiting.pop((row["agent"], row["id"]), [])
        for effect in effects:
            effect.root = row["id"]
        told = self._told(row)
        if (row["sqlstate"] or "") not in SUCCEEDED:
            for effect in effects:
                effect.undone = True
            if told is not None:
                fail(told, row)
            self._round_trips.passed(row, [])
            self._control(row)
            return []
        if told is not None and told.count:
            self._goes_with(row, told, effects)
            return []
        change = self._change(row)
        if told is not None:
            return self._of_string(row, told, change, effects)
        if change is not None:
            effects = [*effects, change.effect]
            self._note(row, change.effect)
        alone = self._took_part(row, effects) if effects else []
        self._round_trips.passed(row, alone)
        self._control(row)
        return [change] if change is not None else []

    def _told(self, row: Row) -> Told | None:
        """The string that it is of; a new one has no statements yet."""
        if "multi" not in (row["flags"] or ()):
            return None
        session, text, tag = self._session(backend_of(row)), row["text"] or "", row.get("tag") or ""
        told = session.string
        failed = (row["sqlstate"] or "") not in SUCCEEDED
        if (
            told is not None
            and told.text == text
            and told.count < len(told.string.statements)
            and (failed or (tag and told.string.is_next(told.count, tag)))
        ):
            return told
        session.string = None
        string = one_string.read(text, row.get("parse_status") or "")
        if failed or string is None:
            return None
        session.string = Told(text, string)
        return session.string

    def _goes_with(self, row: Row, told: Told, inside: list[Effect]) -> None:
        """A further statement of a string: what it did is known since the first."""
        transaction = told.string.where[told.count]
        told.count += 1
        known = told.effects.get(transaction, [])
        for effect in inside:
            as_other(effect, known[0] if known else None, row, told.string.ends[transaction])
        told.effects.setdefault(transaction, []).extend(inside)
        if known and known[0].transaction:
            self._session(backend_of(row)).pending += inside

    def _of_string(
        self, row: Row, told: Told, change: Change | None, inside: list[Effect]
    ) -> list[Change]:
        """By its first statement, or by the only one that is told. ``inside``: of what ran within
        it. Each transaction has its own part of the change."""
        string, session = told.string, self._session(backend_of(row))
        for name in string.back_to:
            undo_to(session, name)
        found: list[Change] = []
        ran_in = 0 if row.get("tag") else last_that_counts(string)
        for transaction, end_ in enumerate(string.ends):
            part = one_string.part_in(change, string, transaction) if change is not None else None
            effects = [part.effect] if part is not None else []
            effects += inside if transaction == ran_in else []
            told.effects[transaction] = effects
            if part is not None and end_ != ROLLBACK:
                found.append(replace(part, part=len(found), effect=part.effect))
            self._ends(row, session, string, end_, effects)
        told.count = 1
        if not row.get("tag"):
            session.string = None  # its statements are not told one by one
        return found

    def _ends(
        self, row: Row, session: Session, string: OneString, how: str, effects: list[Effect]
    ) -> None:
        """Of the transaction that is open, to which ``effects`` belong."""
        at_us = ended_us(row)
        if how == OPEN and goes_on(row, string, open_before=bool(session.pending)):
            begun = len(session.pending)
            self._pend(row, session, effects)
            session.savepoints += [
                (name, begun if at == 0 or not effects else len(session.pending))
                for name, at in string.savepoints
            ]
            return
        unsure = [] if (row.get("transaction") or "")[:1] == "I" else session.unsure
        both = [*unsure, *session.pending, *effects]
        if how == PREPARE:
            self._two_phase.prepare(row, both)
        else:
            end(both, committed=how != ROLLBACK, at_us=at_us)
        session.begun, session.unsure, session.pending, session.savepoints = False, [], [], []

    def _change(self, row: Row) -> Change | None:
        change = _read(row) if row["_changing"] else None
        if change is None or row["parent_id"] or not change.verbs & PREPARED:
            return change
        alone, prepared = "multi" not in change.flags, self._session(change.backend).prepared
        found = change if not alone or "execute" in change.verbs else None
        for words in wording.parted(row["text"] or ""):
            what = prepared.get(words[1]) if len(words) > 1 else None
            if wording.runs_nothing(words) and words[0] == "prepare":
                prepared[words[1]] = change
            elif words[0] == "execute":
                found = _executed(found, what, alone=alone)
        return found

    def _took_part(self, row: Row, effects: list[Effect]) -> list[Effect]:
        """Those that belong to no open transaction."""
        status, backend = row.get("transaction") or "", backend_of(row)
        known = self._sessions.get(backend)
        open_before = known is not None and (bool(known.pending) or known.begun)
        if status[1:2] in ("I", "E") or (status[1:2] != "T" and not open_before):
            for effect in effects:
                effect.committed_us, effect.undone = ended_us(row), _rolls_back_in_itself(row)
            if not status:
                self._session(backend).unsure += effects
            return effects
        self._pend(row, self._session(backend), effects)
        return []

    def _pend(self, row: Row, session: Session, effects: list[Effect]) -> None:
        if not session.pending:
            session.transaction = row["id"]
        for effect in effects:
            effect.transaction = session.transaction
        session.pending += effects

    def _session(self, backend: Backend) -> Session:
        session = self._sessions.setdefault(backend, Session())
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
        if verb in BEGINS and not failed:
            session = self._session(backend_of(row))
            session.begun, session.unsure = True, []
            return
        back = failed or (row.get("tag") or "") == "ROLLBACK"
        if verb == PREPARE and not back:
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
            undo_to(session, to)
        elif verb in ENDS or (status[:1] in ("T", "E") and status[1:2] == "I"):
            back = back or verb in ("rollback", "abort")
            if status[:1] == "I":
                session.unsure = []  # no transaction was open before it
            both = [*session.unsure, *session.pending]
            end(both, committed=not back, at_us=ended_us(row))
            session.begun, session.unsure, session.pending, session.savepoints = False, [], [], []


def _controls(rows: pl.DataFrame) -> pl.Expr:
    found = pl.col("operation").fill_null("").is_in(list(CONTROLS))
    in_strings = pl.col("verbs").list.set_intersection(list(CONTROLS)).list.len() > 0
    found = found | in_strings.fill_null(False)
    failed = ~pl.col("sqlstate").fill_null("").is_in(SUCCEEDED)
    begins = pl.col("operation").fill_null("").is_in(list(BEGINS))
    found = found | (begins & ~pl.col("flags").list.contains("multi").fill_null(False))
    found = found | (failed & pl.col("flags").list.contains("multi").fill_null(False))
    if "transaction" in rows.columns:
        found = found | pl.col("transaction").fill_null("").is_in(["TI", "EI"])
    return found


def _rolls_back_in_itself(row: Row) -> bool:
    """``BEGIN; GRANT ...; ROLLBACK`` in one string."""
    verbs = row["verbs"] or []
    return "multi" in (row["flags"] or []) and "rollback" in verbs and "commit" not in verbs


def _read(row: Row) -> Change | None:
    """By its lists alone where our own code fails at its text: one statement that it does not
    understand must not keep back what all others did."""
    try:
        return change_of(row)
    except Exception as error:  # noqa: BLE001 - logged, and its actor is still named
        # Not the error's own text: it may quote the statement.
        where = "".join(traceback.format_tb(error.__traceback__)[-3:])
        log.error("drift.statement_not_read", error=type(error).__name__, where=where)
        return change_of({**row, "text": ""})


def _executed(change: Change | None, what: Change | None, *, alone: bool) -> Change | None:
    """With what was prepared by that name, if that is known."""
    if change is None or what is None:
        return None if alone else change
    if alone:
        return replace(change, verbs=what.verbs, writes=what.writes)
    return replace(change, verbs=change.verbs | what.verbs, writes=change.writes | what.writes)


def _second_word(row: Row) -> str:
    words = wording.tokens(row["text"] or "")
    return words[1] if len(words) > 1 else ""


def _savepoint_of(row: Row) -> str | None:
    return wording.savepoint(wording.tokens(row["text"] or ""))
