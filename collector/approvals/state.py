"""Requests, grants and rows that are not yet in the record, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from collector.approvals.book import Changes, Given, Request, Row, Status
from model.approval import Bound, Grant, Term

NAME = "approvals.db"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS request (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS given (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS unsaid (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
"""


class ApprovalStateError(Exception):
    """The file cannot be read or written; the message says where and what to do."""


class ApprovalState:
    """Thread-safe; durable when a method returns."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False
            )
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_SCHEMA)
            self.seq = self._read_seq()
        except (OSError, sqlite3.Error) as error:
            raise ApprovalStateError(f"{self._path}: {error}; restore it from a backup") from error

    def requests(self) -> list[Request]:
        return [_request(json.loads(body)) for body in self._bodies("request")]

    def grants(self) -> list[Given]:
        return [_given(json.loads(body)) for body in self._bodies("given")]

    def unsaid(self) -> list[Row]:
        """Rows that may not be in the record: to be said again."""
        return [json.loads(body) for body in self._bodies("unsaid")]

    def save(self, changes: Changes, seq: int | None = None) -> None:
        """``seq``: the last ledger sequence that is contained from now on."""
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                self._put("request", changes.requests)
                self._put("given", changes.grants)
                for row in changes.rows:
                    self._database.execute(
                        "INSERT OR REPLACE INTO unsaid VALUES (?, ?)", (row["id"], json.dumps(row))
                    )
                if seq is not None:
                    self._database.execute("INSERT OR REPLACE INTO meta VALUES ('seq', ?)", (seq,))
                self._database.execute("COMMIT")
            except sqlite3.Error as error:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise ApprovalStateError(f"{self._path}: {error}") from error
        if seq is not None:
            self.seq = seq

    def said(self, ids: Iterable[str]) -> None:
        with self._lock:
            try:
                self._database.executemany("DELETE FROM unsaid WHERE id = ?", [(i,) for i in ids])
            except sqlite3.Error as error:
                raise ApprovalStateError(f"{self._path}: {error}") from error

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def _put(self, table: str, values: dict[str, Any]) -> None:
        for key, value in values.items():
            if value is None:
                self._database.execute(f"DELETE FROM {table} WHERE id = ?", (key,))
            else:
                self._database.execute(
                    f"INSERT OR REPLACE INTO {table} VALUES (?, ?)",
                    (key, json.dumps(asdict(value))),
                )

    def _bodies(self, table: str) -> list[str]:
        with self._lock:
            return [body for (body,) in self._database.execute(f"SELECT body FROM {table}")]

    def _read_seq(self) -> int:
        row = self._database.execute("SELECT value FROM meta WHERE name = 'seq'").fetchone()
        return int(row[0]) if row else 0


def _request(tree: dict[str, Any]) -> Request:
    lists = {name: tuple(tree[name]) for name in ("relations", "functions", "flags", "names")}
    fixed = {"bound": Bound(**tree["bound"]), "status": Status(tree["status"])}
    return Request(**tree | lists | fixed)


def _given(tree: dict[str, Any]) -> Given:
    grant = tree["grant"]
    return Given(
        grant=Grant(
            **grant
            | {
                "bound": Bound(**grant["bound"]),
                "term": Term(**grant["term"]),
                "relations": tuple(grant["relations"]),
                "functions": tuple(grant["functions"]),
            }
        ),
        by=tree["by"],
        reason=tree["reason"],
        uses_known=tuple(tree["uses_known"]),
        over=tree["over"],
    )
