"""Tells at once that a file of a server's configuration has changed on disk, or was read anew.

``pg_ctl reload`` is a signal that nobody sees, but then all processes of the server open
postgresql.conf at once. Only hints: whoever gets one asks the server. What goes unnoticed here (a
network file system, no inotify to be had) is found by the next regular look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import psycopg
import structlog
from psycopg.rows import dict_row
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from agent.catalog.configuration_files import CONFIG, MOST_FOLDERS, USUAL, Folders, folders_of
from agent.catalog.file_events import Handler, Readings, heard_of
from agent.catalog.host_files import HostFiles
from agent.catalog.queries import query
from agent.catalog.reading import text

log = structlog.get_logger(__name__)

AGAIN_SECONDS = 600.0
"""So often the files are followed anew without a hint, and inotify is tried again."""
JOIN_SECONDS = 2.0


class TooBusyError(Exception):
    """So many files change beside those of the configuration that listening costs too much."""

    def __str__(self) -> str:
        return "too much happens in their folders"


class FileNews:
    """Of one server. ``on_news`` is called from a thread of watchdog's, and once from the caller's
    after it began to watch: what was written just before then is no event."""

    def __init__(
        self,
        files: HostFiles,
        on_news: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = files
        self._on_news = on_news
        self._clock = clock
        self._observer: BaseObserver | None = None
        self._named: dict[str, str] = {}
        self._watched: tuple[Folders, tuple[Any, ...]] = ({}, ())
        self._again_at = 0.0
        self._heard = threading.Event()
        self._lock = threading.Lock()
        self._closed = False
        self._readings = Readings()
        self._flooded = threading.Event()
        self.problem = ""
        """One sentence on what is noticed by the interval alone; empty while all is well."""

    def follow(self, connection: psycopg.Connection[Any]) -> None:
        """Asks the server for the names, and watches what is new. Raises nothing: see
        ``problem``. Called from one thread, after each look at the server."""
        try:
            self._follow(connection)
        except psycopg.Error:
            pass  # the look says so, and the next one asks again
        except Exception as error:  # noqa: BLE001 - hints are no reason to look less; it is said
            self._again_at = self._clock() + AGAIN_SECONDS
            self._close()
            self._tell(getattr(error, "strerror", None) or str(error) or type(error).__name__)

    def close(self) -> None:
        """For good; from any thread."""
        with self._lock:
            self._closed = True
        self._close()

    def _follow(self, connection: psycopg.Connection[Any]) -> None:
        if self._closed:
            return
        if self._flooded.is_set():
            self._flooded.clear()
            raise TooBusyError
        named, now = _named(connection), self._clock()
        known = named == self._named and now < self._again_at and not self._heard.is_set()
        if known and (self._observer is None or self._stand()):
            return
        self._heard.clear()
        self._named, self._again_at = named, now + AGAIN_SECONDS
        major = connection.info.server_version // 10_000
        found = folders_of(self._files, major, named)
        folders = dict(list(found.items())[:MOST_FOLDERS])
        if self._observer is None or folders != self._watched[0] or not self._stand():
            self._watched = (folders, _identities(folders))
            self._watch(folders)
            self._on_news()
        left = len(found) - len(folders)
        self._tell(f"they are in {len(found)} folders, {left} are not watched" if left else "")

    def _stand(self) -> bool:
        """Whether the watched folders are the same as when they began to be watched."""
        folders, identities = self._watched
        return _identities(folders) == identities

    def _watch(self, folders: Folders) -> None:
        self._close()
        observer = Observer()
        # Only of this one it is asked who opens it: beside it may lie what many open.
        read = PurePosixPath(self._named.get(CONFIG) or USUAL[CONFIG]).name

        def flooded() -> None:
            self._flooded.set()
            observer.unschedule_all()

        try:
            observer.start()
            for folder, names in folders.items():
                if folder.is_dir():
                    reads = names & {read}
                    handler = Handler(names, reads, self._hear, self._opened, flooded)
                    observer.schedule(handler, str(folder), event_filter=heard_of(reads))
        except BaseException:
            _end(observer)
            raise
        with self._lock:
            if not self._closed:
                self._observer = observer
                return
        _end(observer)

    def _hear(self) -> None:
        self._heard.set()
        self._on_news()

    def _opened(self, path: str) -> None:
        """On watchdog's thread."""
        if self._readings.opened(path, self._clock()):
            self._on_news()

    def _close(self) -> None:
        with self._lock:
            observer, self._observer = self._observer, None
        if observer is not None:
            _end(observer)

    def _tell(self, why: str) -> None:
        what = "changes of its configuration files are noticed by the interval alone"
        sentence = f"{what} ({why})" if why else ""
        if sentence and sentence != self.problem:
            log.warning("catalog.no_notifications", reason=why)
        self.problem = sentence


def _end(observer: BaseObserver) -> None:
    observer.stop()
    if observer.is_alive():
        observer.join(JOIN_SECONDS)


def _named(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Empty where the role may not see them. Raises psycopg.Error."""
    major = connection.info.server_version // 10_000
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query("files", major)).fetchall()
    return {text(row["name"]): text(row["setting"]) or "" for row in rows}


def _identities(folders: Folders) -> tuple[Any, ...]:
    """A folder by the same name may be another one: a volume was mounted, a link turned."""
    return tuple(_identity(folder) for folder in folders)


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
