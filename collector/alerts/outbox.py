"""What has to be delivered, on disk: one queue per receiver, at least once, bounded.

The state of the groups lies in the same SQLite file, so that a decision and what it sends are one
transaction: after a crash nothing is said twice that was not, and nothing decided stays unsaid.
"""

import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from collector.alerts.grouping import Group
from collector.alerts.stored import alert_from_json, alert_to_json, group_from_json, group_to_json
from model.alert import Alert, AlertStatus

_SCHEMA = """
CREATE TABLE IF NOT EXISTS groups (key TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  receiver TEXT NOT NULL,
  group_key TEXT NOT NULL,
  status TEXT NOT NULL,
  refresh INTEGER NOT NULL,
  alert BLOB NOT NULL,
  created_us INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS outbox_by_group ON outbox (receiver, group_key, id);
"""

# The oldest of its group goes first: a resolve never overtakes its trigger. Among groups the least
# tried goes first: an alert that a receiver cannot digest does not block the others.
_NEXT = """
SELECT id, receiver, refresh, alert, created_us, attempts FROM outbox AS item
WHERE receiver = ? AND NOT EXISTS (
  SELECT 1 FROM outbox AS earlier
  WHERE earlier.receiver = item.receiver AND earlier.group_key = item.group_key
    AND earlier.id < item.id)
ORDER BY attempts, id LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential backoff per receiver, with jitter; older letters than the limit are given up."""

    first_seconds: float = 1.0
    longest_seconds: float = 300.0
    max_age_us: int = 24 * 3600 * 1_000_000

    def delay_seconds(self, failures: int, luck: float, retry_after_seconds: float = 0.0) -> float:
        """Wait after the ``failures``-th failure in a row; ``luck`` is uniform in [0, 1).

        >>> Retry().delay_seconds(3, luck=1.0), Retry().delay_seconds(3, luck=0.0)
        (4.0, 2.0)
        """
        doubled = self.first_seconds * 2.0 ** min(failures - 1, 30)
        ceiling = min(self.longest_seconds, doubled)
        return max(retry_after_seconds, ceiling * (0.5 + luck / 2))


@dataclass(frozen=True, slots=True)
class Letter:
    """One alert for one receiver. ``refresh`` repeats what the receiver has been told already."""

    receiver: str
    alert: Alert
    created_us: int
    refresh: bool = False
    id: int = 0
    attempts: int = 0


class Outbox:
    """Safe to share between threads. Raises sqlite3.Error when the disk fails or is full."""

    def __init__(self, path: Path, *, letters_per_receiver: int = 10_000) -> None:
        self._lock = threading.Lock()
        self._limit = letters_per_receiver
        self.quarantined: Path | None = None
        """Where a damaged file was moved at the start, if there was one."""
        try:
            self._connection = _open(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self.quarantined = _quarantine(path)
            self._connection = _open(path)

    def groups(self) -> list[Group]:
        with self._lock:
            rows = self._connection.execute("SELECT state FROM groups ORDER BY key").fetchall()
        return [group_from_json(state) for (state,) in rows]

    def commit(
        self, changed: Sequence[Group], removed: Sequence[str], letters: Iterable[Letter]
    ) -> list[Letter]:
        """Durable when it returns. Gives the letters that found no room."""
        with self._lock, self._connection as transaction:
            transaction.executemany(
                "INSERT OR REPLACE INTO groups VALUES (?, ?)",
                [(group.alert.group_key, group_to_json(group)) for group in changed],
            )
            transaction.executemany("DELETE FROM groups WHERE key = ?", [(key,) for key in removed])
            receivers = set()
            for letter in letters:
                self._append(letter)
                receivers.add(letter.receiver)
            return [lost for receiver in sorted(receivers) for lost in self._shrink(receiver)]

    def next(self, receiver: str) -> Letter | None:
        with self._lock:
            row = self._connection.execute(_NEXT, (receiver,)).fetchone()
        return _letter(row) if row else None

    def failed(self, letter: Letter) -> None:
        with self._lock, self._connection as transaction:
            transaction.execute(
                "UPDATE outbox SET attempts = attempts + 1 WHERE id = ?", (letter.id,)
            )

    def remove(self, letter: Letter) -> None:
        with self._lock, self._connection as transaction:
            transaction.execute("DELETE FROM outbox WHERE id = ?", (letter.id,))

    def remove_unknown(self, receivers: Sequence[str]) -> list[Letter]:
        """Takes out what waits for receivers that are no longer configured."""
        marks = ", ".join("?" * len(receivers))
        with self._lock, self._connection as transaction:
            rows = transaction.execute(
                "DELETE FROM outbox WHERE receiver NOT IN (" + marks + ")"
                " RETURNING id, receiver, refresh, alert, created_us, attempts",
                tuple(receivers),
            ).fetchall()
        return [_letter(row) for row in rows]

    def depth(self) -> dict[str, int]:
        """Letters waiting, by receiver; receivers without any are missing."""
        with self._lock:
            query = "SELECT receiver, count(*) FROM outbox GROUP BY receiver"
            return dict(self._connection.execute(query).fetchall())

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _append(self, letter: Letter) -> None:
        key = letter.alert.group_key
        last = self._connection.execute(
            "SELECT id, status, refresh FROM outbox WHERE receiver = ? AND group_key = ?"
            " ORDER BY id DESC LIMIT 1",
            (letter.receiver, key),
        ).fetchone()
        refresh = letter.refresh
        if last and last[1] == letter.alert.status.value == AlertStatus.FIRING.value:
            # The newer state says all that the unsent older one does. A new row, not an update: the
            # old one may be under way just now, and its delivery must not remove the new text.
            self._connection.execute("DELETE FROM outbox WHERE id = ?", (last[0],))
            refresh = refresh and bool(last[2])
        self._connection.execute(
            "INSERT INTO outbox (receiver, group_key, status, refresh, alert, created_us)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                letter.receiver,
                key,
                letter.alert.status.value,
                refresh,
                alert_to_json(letter.alert),
                letter.created_us,
            ),
        )

    def _shrink(self, receiver: str) -> list[Letter]:
        query = "SELECT count(*) FROM outbox WHERE receiver = ?"
        (count,) = self._connection.execute(query, (receiver,)).fetchone()
        if count <= self._limit:
            return []
        rows = self._connection.execute(
            "DELETE FROM outbox WHERE id IN"
            " (SELECT id FROM outbox WHERE receiver = ? ORDER BY id LIMIT ?)"
            " RETURNING id, receiver, refresh, alert, created_us, attempts",
            (receiver, count - self._limit),
        ).fetchall()
        return [_letter(row) for row in rows]


def _letter(row: tuple[int, str, int, bytes, int, int]) -> Letter:
    letter_id, receiver, refresh, alert, created_us, attempts = row
    return Letter(receiver, alert_from_json(alert), created_us, bool(refresh), letter_id, attempts)


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    connection = sqlite3.connect(path, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA)
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _quarantine(path: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = path.with_name(f"{path.name}.damaged-{stamp}")
    path.rename(target)
    for suffix in ("-wal", "-shm"):
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            companion.rename(target.with_name(target.name + suffix))
    return target
