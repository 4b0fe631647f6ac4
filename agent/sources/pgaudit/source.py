"""pgaudit's records and refused logins of one cluster, as events.

Reading goes on where the last confirmed ones ended.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, tzinfo
from enum import StrEnum
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirModifiedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from agent.sources.pgaudit.audit import AuditError, parse_audit
from agent.sources.pgaudit.csvlog import CsvlogParser
from agent.sources.pgaudit.jsonlog import JsonlogParser
from agent.sources.pgaudit.lines import MAX_RECORD_BYTES
from agent.sources.pgaudit.logins import failed_login
from agent.sources.pgaudit.position import load_position, save_position
from agent.sources.pgaudit.records import LogClock, LogRecord, RecordParser
from agent.sources.pgaudit.stderr import StderrParser, compile_prefix
from agent.sources.pgaudit.tail import LogFile, LogPosition, LogTail, TailError
from model.event import AuditLogged, Event, LoginFailed, Lost

_LOOK_SECONDS = 0.05
"""How often the files that are open are asked for news; one fstat each."""
_SCAN_SECONDS = 1.0
"""How often the folder is listed when no notification says so earlier."""


class LogFormat(StrEnum):
    JSONLOG = "jsonlog"
    CSVLOG = "csvlog"
    STDERR = "stderr"


class PgauditSource:
    """``pattern`` matches names in ``directory``, rotated ones too (``postgresql-*.csv*``).

    ``zone`` is the server's log_timezone, ``own_pids`` as in Cluster. Without a state file reading
    begins at the present end of the log (``from_beginning`` for the other). Raises PrefixError for
    a prefix that does not name the backend; an unreadable folder does not raise: see ``problem``.
    """

    def __init__(
        self,
        cluster: str,
        directory: Path,
        pattern: str,
        format: LogFormat,
        state_file: Path,
        prefix: str = "",
        zone: tzinfo = UTC,
        from_beginning: bool = False,
        max_record_bytes: int = MAX_RECORD_BYTES,
        clock_ns: Callable[[], int] = time.time_ns,
        own_pids: bool = False,
    ) -> None:
        self.cluster = cluster
        self.problem = ""
        """In plain words why nothing comes, empty while all is well."""
        self._directory = directory
        self._format = format
        self._prefix = prefix
        self._log_clock = LogClock(zone)
        self._max_record_bytes = max_record_bytes
        self._clock_ns = clock_ns
        self._own_pids = own_pids
        self._state_file = state_file
        self._lost: Counter[str] = Counter()
        self._parsers: dict[LogFile, tuple[RecordParser, int]] = {}
        if format is LogFormat.STDERR:
            compile_prefix(prefix)
        start, damage = load_position(state_file)
        if damage:
            self._lost["state_file_damaged"] += 1
        self._tail = LogTail(directory, pattern, start, from_beginning)
        self._hint = threading.Event()
        self._observer: BaseObserver | None = None
        self._next_scan = 0.0
        self._scan(time.monotonic())

    def poll(self, timeout_seconds: float = 0.0) -> list[Event]:
        """Records written since the last call; waits up to ``timeout_seconds`` for the first."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            now = time.monotonic()
            if self._hint.is_set() or now >= self._next_scan:
                self._scan(now)
            events = self._read()
            if events or (left := deadline - now) <= 0:
                return events
            self._hint.wait(min(left, _LOOK_SECONDS))

    @property
    def behind(self) -> bool:
        """Whether the last look left something unread."""
        return self._tail.behind

    def position(self) -> LogPosition:
        """Covers every event that poll has returned so far: give it to ``confirm`` once those are
        durable.
        """
        return self._tail.position()

    def confirm(self, position: LogPosition) -> None:
        """Reading goes on after ``position`` when the agent starts again. Raises OSError."""
        save_position(self._state_file, position)

    def losses(self) -> list[Lost]:
        """What was lost or left out since the last call, by reason."""
        counts, self._lost = self._lost, Counter()
        for counter in (
            self._tail.counts,
            *(parser.skipped for parser, _ in self._parsers.values()),
        ):
            counts.update(counter)
            counter.clear()
        # Noticed, but nothing was lost by it.
        counts.pop("copies_ignored", None)
        at_ns = self._clock_ns()
        return [Lost(at_ns, "pgaudit", reason, n) for reason, n in sorted(counts.items()) if n]

    def close(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(timeout=5)
        self._tail.close()

    def _scan(self, now: float) -> None:
        self._hint.clear()
        self._next_scan = now + _SCAN_SECONDS
        if self._observer is None and self._directory.is_dir():
            self._watch()
        try:
            self._tail.scan()
            self.problem = ""
        except TailError as error:
            self.problem = str(error)

    def _watch(self) -> None:
        observer = Observer()
        try:
            # Not for writes: a busy log would cost a Python call for each, and an fstat every
            # 50 ms says the same.
            observer.schedule(
                _Hint(self._hint),
                str(self._directory),
                event_filter=[
                    FileCreatedEvent,
                    FileMovedEvent,
                    FileDeletedEvent,
                    FileClosedEvent,
                    DirCreatedEvent,
                    DirMovedEvent,
                    DirDeletedEvent,
                    DirModifiedEvent,
                ],
            )
            observer.start()
        except OSError:
            # No inotify instance is left: the listing every second finds the same, later.
            self._next_scan = 0.0
            return
        self._observer = observer

    def _read(self) -> list[Event]:
        events: list[Event] = []
        for file, data in self._tail.read():
            parser, base = self._parser(file, len(data))
            if not data:
                self._end(file, parser)
                continue
            for record in parser.feed(data):
                if (event := self._event(record)) is not None:
                    events.append(replace(event, own_pids=True) if self._own_pids else event)
            file.given_out = max(file.given_out, base + parser.end)
        return events

    def _parser(self, file: LogFile, read_bytes: int) -> tuple[RecordParser, int]:
        """The file's parser, and the offset in the file of that parser's first byte."""
        found = self._parsers.get(file)
        if found is None:
            found = self._new_parser(file.resumed), file.offset - read_bytes
            self._parsers[file] = found
        return found

    def _new_parser(self, resumed: bool) -> RecordParser:
        match self._format:
            case LogFormat.JSONLOG:
                return JsonlogParser(self._log_clock, self._max_record_bytes)
            case LogFormat.CSVLOG:
                return CsvlogParser(self._log_clock, self._max_record_bytes, resumed)
            case LogFormat.STDERR:
                return StderrParser(self._log_clock, self._prefix, self._max_record_bytes)

    def _end(self, file: LogFile, parser: RecordParser) -> None:
        parser.finish()
        self._lost.update(parser.skipped)
        self._parsers.pop(file, None)

    def _event(self, record: LogRecord) -> AuditLogged | LoginFailed | None:
        if record.at_ns == 0:
            # The prefix carries no time that we understand: now is the best that is known.
            record = record._replace(at_ns=self._clock_ns())
        if (login := failed_login(record, self.cluster)) is not None:
            return login
        try:
            return parse_audit(record, self.cluster)
        except AuditError:
            self._lost["damaged_audit"] += 1
            return None


class _Hint(FileSystemEventHandler):
    def __init__(self, hint: threading.Event) -> None:
        self._hint = hint

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._hint.set()
