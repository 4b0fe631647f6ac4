"""Grants and untold steps of this host in one SQLite file: durable before anything follows."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from agent.approvals.known import Known, Request
from agent.probes.layout import Part
from model.approval import ApprovalStep, Bound, Grant, Step, Term
from model.session import BackendKey, IdentityKind

_SCHEMA = """
CREATE TABLE IF NOT EXISTS known (
  id TEXT PRIMARY KEY, body TEXT NOT NULL, ended_at_us INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS step (
  number INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL
) STRICT;
"""


class ApprovalStoreError(Exception):
    """The file cannot be read or written; the message names it."""


class ApprovalStore:
    """Thread-safe. Every write is on the disk when it returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                path, timeout=0.05, isolation_level=None, check_same_thread=False
            )
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise ApprovalStoreError(f"{path}: {error}") from error

    def load(self) -> list[tuple[Known, bool]]:
        """Each with whether the collector listed it last. What was used of the others counts."""
        rows = self._all("SELECT body, ended_at_us = 0 FROM known")
        try:
            return [(_known_from(json.loads(body)), bool(listed)) for body, listed in rows]
        except (ValueError, KeyError, TypeError) as error:
            raise ApprovalStoreError(f"{self._path}: {error}; move it away") from error

    def save(self, known: Iterable[Known], steps: Iterable[ApprovalStep] = ()) -> None:
        """All or nothing."""
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                for each in known:
                    self._database.execute(
                        "INSERT OR REPLACE INTO known (id, body) VALUES (?, ?)",
                        (each.grant.id, json.dumps(asdict(each))),
                    )
                for step in steps:
                    self._database.execute(
                        "INSERT INTO step (body) VALUES (?)", (json.dumps(asdict(step)),)
                    )
                self._database.execute("COMMIT")
            except sqlite3.Error as error:
                self._roll_back()
                raise ApprovalStoreError(f"{self._path}: {error}") from error

    def end(self, ids: Iterable[str], at_us: int, forget_before_us: int) -> None:
        """No longer living at the collector. Kept for a while, with what was used of them: a
        collector that comes back from a backup may know them as living."""
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                self._database.executemany(
                    "UPDATE known SET ended_at_us = ? WHERE id = ? AND ended_at_us = 0",
                    [(at_us, each) for each in ids],
                )
                self._database.execute(
                    "DELETE FROM known WHERE ended_at_us > 0 AND ended_at_us < ?",
                    (forget_before_us,),
                )
                self._database.execute("COMMIT")
            except sqlite3.Error as error:
                self._roll_back()
                raise ApprovalStoreError(f"{self._path}: {error}") from error

    def steps(self, after: int = 0) -> list[tuple[int, ApprovalStep]]:
        """Steps that are not known to be in the record, in their order."""
        rows = self._all("SELECT number, body FROM step WHERE number > ? ORDER BY number", after)
        return [(number, _step_from(json.loads(body))) for number, body in rows]

    def told(self, up_to: int) -> None:
        """They are in the spool."""
        self._all("DELETE FROM step WHERE number <= ?", up_to)

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def _all(self, sql: str, *values: object) -> list[Any]:
        with self._lock:
            try:
                return self._database.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise ApprovalStoreError(f"{self._path}: {error}") from error

    def _roll_back(self) -> None:
        if self._database.in_transaction:
            self._database.execute("ROLLBACK")


def _known_from(tree: dict[str, Any]) -> Known:
    grant, last = tree["grant"], tree["last"]
    return Known(
        grant=Grant(
            id=grant["id"],
            request=grant["request"],
            bound=Bound(**grant["bound"]),
            uses=grant["uses"],
            term=Term(**grant["term"]),
            relations=tuple(grant["relations"]),
            functions=tuple(grant["functions"]),
        ),
        used=tree["used"],
        last=_request_from(last) if last else None,
        void=tree["void"],
        fingerprint=tree["fingerprint"],
    )


def _request_from(tree: dict[str, Any]) -> Request:
    return Request(BackendKey(**tree["backend"]), tree["at_us"], tree.get("part", Part.NONE))


def _step_from(tree: dict[str, Any]) -> ApprovalStep:
    lists = ("relations", "functions", "flags", "who")
    values = {field.name: tree[field.name] for field in fields(ApprovalStep)}
    return ApprovalStep(
        **values
        | {name: tuple(tree[name]) for name in lists}
        | {
            "step": Step(tree["step"]),
            "bound": Bound(**tree["bound"]),
            "backend": BackendKey(**tree["backend"]),
            "identity_kind": IdentityKind(tree["identity_kind"]),
        }
    )
