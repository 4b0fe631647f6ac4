"""A client that goes on after errors, and remembers everything that the server sent it."""

from dataclasses import dataclass, field

import psycopg
from psycopg import pq
from psycopg.pq import ConnStatus, ExecStatus, PipelineStatus

from tests.conformance.clients.wire import Wire
from tests.guard.entry import Step

SECRET = b"SECRET-"
"""Stands in every row that may not be read."""
NAMED_REPEATS = 3


@dataclass
class Seen:
    """What came back from one session."""

    errors: list[tuple[str, str]] = field(default_factory=list)
    """SQLSTATE and message."""
    leaked: int = 0
    """Messages of the server with a secret in them."""
    rows: int = 0
    lost: bool = False
    """The server closed the connection."""


class Client:
    def __init__(self, conninfo: str) -> None:
        self.seen = Seen()
        self._conninfo = conninfo
        self._connection = pq.PGconn.connect(conninfo.encode())
        if self._connection.status != ConnStatus.OK:
            raise psycopg.OperationalError(self._connection.get_error_message())
        self._connection.notice_handler = self._notice

    def close(self) -> None:
        self._connection.finish()

    def play(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            if self.seen.lost:
                return
            getattr(self, f"_{step.send}")(step.text)
            self.seen.lost = self._connection.status != ConnStatus.OK

    def ask(self, sql: str) -> str:
        """One value, or why there is none; not part of what was seen."""
        result = self._connection.exec_(sql.encode())
        if result.status != ExecStatus.TUPLES_OK:
            return "error"
        return (result.get_value(0, 0) or b"").decode() if result.ntuples else ""

    def _simple(self, text: bytes) -> None:
        self._connection.send_query(text)
        self._drain()

    _replication = _simple

    def _extended(self, text: bytes) -> None:
        self._connection.send_query_params(text, None)
        self._drain()

    def _prepared(self, text: bytes) -> None:
        """Prepared once, executed again and again while the caches are warm."""
        self._connection.send_prepare(b"named", text)
        self._drain()
        for _ in range(NAMED_REPEATS):
            self._connection.send_query_prepared(b"named", None)
            self._drain()
        self._connection.send_query(b"DEALLOCATE named")
        self._drain()

    def _pipeline(self, text: bytes) -> None:
        """Between two harmless ones, under Syncs of their own."""
        self._connection.enter_pipeline_mode()
        try:
            for one in (b"SELECT 1", text, b"SELECT 2"):
                self._connection.send_query_params(one, None)
                self._connection.pipeline_sync()
            syncs = 0
            while syncs < 3 and self._connection.status == ConnStatus.OK:
                result = self._connection.get_result()
                if result is None:
                    continue
                syncs += result.status == ExecStatus.PIPELINE_SYNC
                self._take(result)
        finally:
            if self._connection.pipeline_status != PipelineStatus.OFF:
                while self._connection.get_result() is not None:
                    pass
                self._connection.exit_pipeline_mode()

    def _portal(self, text: bytes) -> None:
        """A row at a time, in a session of its own: Execute with a limit, again and again."""
        with Wire(_Address(self._conninfo), **_names(self._conninfo)) as wire:
            wire.parse(text.decode(), "slow").bind(name="slow", portal="p")
            for _ in range(3):
                wire.execute(1, "p")
            self._wire_seen(wire.sync().send().until(b"Z"))

    def _wire(self, text: bytes) -> None:
        """Messages by hand: type, then body with backslash escapes, one a line."""
        with Wire(_Address(self._conninfo), **_names(self._conninfo)) as wire:
            lines = text.decode().split("\n")
            for line in lines:
                body = line[1:].encode("latin-1").decode("unicode_escape").encode("latin-1")
                wire.add(line[:1].encode(), body)
            wire.sync().send()
            for _ in range(1 + sum(line[:1] in "SQ" for line in lines)):
                self._wire_seen(wire.until(b"Z"))

    def _call(self, text: bytes) -> None:
        """By fastpath, after harmless calls that warm the caches."""
        number = self.ask(f"SELECT '{text.decode()}'::regproc::oid")
        with Wire(_Address(self._conninfo), **_names(self._conninfo)) as wire:
            wire.query("SELECT 1").send().until(b"Z")
            for _ in range(2):
                self._wire_seen(wire.call(int(number)).send().until(b"Z"))

    def _wire_seen(self, messages: list[tuple[bytes, bytes]]) -> None:
        for kind, data in messages:
            self.seen.leaked += SECRET in data
            self.seen.rows += kind == b"D"
            if kind == b"E":
                parts = {
                    part[:1]: part[1:].decode("utf-8", "replace") for part in data.split(b"\0")
                }
                self.seen.errors.append((parts.get(b"C", ""), parts.get(b"M", "")))

    def _drain(self) -> None:
        while (result := self._connection.get_result()) is not None:
            self._take(result)
            if result.status == ExecStatus.COPY_OUT:
                self._copy_out()
            elif result.status == ExecStatus.COPY_IN:
                self._connection.put_copy_end()
            elif result.status == ExecStatus.COPY_BOTH:
                self.seen.rows += 1
                self.seen.lost = True
                self._connection.finish()
                return

    def _copy_out(self) -> None:
        while True:
            size, data = self._connection.get_copy_data(0)
            if size < 0:
                return
            self.seen.rows += 1
            self.seen.leaked += SECRET in bytes(data)

    def _take(self, result: pq.abc.PGresult) -> None:
        if result.status in (ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE):
            self.seen.errors.append((_field(result, "SQLSTATE"), _field(result, "MESSAGE_PRIMARY")))
            self.seen.leaked += SECRET in (result.error_message or b"")
        self.seen.rows += result.ntuples
        for row in range(result.ntuples):
            for column in range(result.nfields):
                self.seen.leaked += SECRET in (result.get_value(row, column) or b"")

    def _notice(self, result: pq.abc.PGresult) -> None:
        self.seen.leaked += SECRET in (result.error_message or b"")


@dataclass(frozen=True)
class _Address:
    """What Wire asks of a Place."""

    conninfo: str
    transport: str = "tcp"
    application_name: str = "corpus"

    @property
    def host(self) -> str:
        return psycopg.conninfo.conninfo_to_dict(self.conninfo)["host"]

    @property
    def port(self) -> int:
        return int(psycopg.conninfo.conninfo_to_dict(self.conninfo)["port"])


def _names(conninfo: str) -> dict[str, str]:
    words = psycopg.conninfo.conninfo_to_dict(conninfo)
    return {"user": words["user"], "database": words["dbname"]}


def _field(result: pq.abc.PGresult, name: str) -> str:
    raw = result.error_field(getattr(pq.DiagnosticField, name))
    return (raw or b"").decode("utf-8", "replace")
