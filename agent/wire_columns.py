"""Rows of one Batch in the making: columns of numbers, strings and shapes interned."""

from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.message import Message

from agent.wire_messages import escape_name, shape_to_wire, string_bytes
from model.session import Session
from model.statement import Shape, Statement, StatementRun
from protos.pgwarden.v1 import uplink_pb2 as pb

ROW_BYTES = 205
"""The most that the numbers of one row of StatementColumns take: 31 varints."""
SESSION_ROW_BYTES = 95

_STATEMENT_NAMES = (
    "cluster_s",
    "database_s",
    "user_s",
    "application_name_s",
    "client_address_s",
    "identity_kind_s",
    "identity_name_s",
    "source_s",
    "protocol_s",
    "tag_s",
    "sqlstate_s",
    "error_message_s",
    "audit_class_s",
    "audit_objects_s",
    "rule_s",
    "transaction_s",
    "durations_s",
    "trace_parent_s",
    "parameters_s",
)
_STATEMENT_NUMBERS = (
    "id",
    "parent_id",
    "shape",
    "started_at_us",
    "duration_us",
    "rows",
    "bytes_sent",
    "text_bytes",
    "pid",
    "backend_started_at_us",
    "preparation_us",
    "executions",
)
_SESSION_NAMES = (
    "cluster_s",
    "database_s",
    "user_s",
    "application_name_s",
    "client_address_s",
    "identity_kind_s",
    "identity_name_s",
    "identity_evidence_s",
    "origin_s",
)
_SESSION_NUMBERS = (
    "pid",
    "backend_started_at_us",
    "client_port",
    "identity_confidence",
    "ended_at_us",
    "seen_at_us",
)


class BulkRows:
    """Rows of one Batch in the making; ``bytes`` is an upper bound of its size."""

    def __init__(self) -> None:
        self.bytes = 64
        self._strings: dict[str, int] = {"": 0}
        self._shapes: dict[tuple[str, str, str], int] = {}
        self._shape_messages: list[pb.Shape] = []
        self._statements: list[list[int]] = [
            [] for _ in range(len(_STATEMENT_NUMBERS) + len(_STATEMENT_NAMES))
        ]
        self._sessions: list[tuple[float, ...]] = []

    @property
    def rows(self) -> int:
        return len(self._statements[0]) + len(self._sessions)

    def fits(self, row: int, names: Iterable[str], shape: Shape | None, limit: int) -> bool:
        """Whether ``row`` bytes more stay within ``limit``; the first row always does."""
        if not self.rows:
            return True
        size = self.bytes + row
        size += sum(string_bytes(escape_name(n)) for n in names if n not in self._strings)
        if shape is not None and _shape_key(shape) not in self._shapes:
            size += shape_to_wire(shape).ByteSize() + 6
        return size <= limit

    def add_statement(self, statement: Statement, shape: Shape, names: tuple[str, ...]) -> None:
        self.bytes += ROW_BYTES
        key = statement.session.key
        values = (
            statement.id,
            statement.parent_id,
            self._intern_shape(shape),
            statement.started_at_us,
            statement.duration_us,
            statement.rows,
            statement.bytes_sent,
            statement.text_bytes,
            key.pid,
            key.started_at_us,
            statement.preparation_us,
            statement.executions,
            *map(self._intern, names),
        )
        for column, value in zip(self._statements, values, strict=True):
            column.append(value)

    def add_run(
        self, run: StatementRun, first: int, count: int, shape: Shape, names: tuple[str, ...]
    ) -> None:
        """``count`` executions from ``first`` on: a column at a time, most of it one value."""
        self.bytes += ROW_BYTES * count
        started, duration, preparation, rows, sent = zip(
            *run.executions[first : first + count], strict=True
        )
        first_id, key, same = run.first_id + first, run.session.key, [0]
        columns = (
            range(first_id, first_id + count),
            same * count,
            [self._intern_shape(shape)] * count,
            started,
            duration,
            rows,
            sent,
            [len(run.text)] * count,
            [key.pid] * count,
            [key.started_at_us] * count,
            preparation,
            [1] * count,
            *([self._intern(name)] * count for name in names),
        )
        for column, values in zip(self._statements, columns, strict=True):
            column.extend(values)

    def add_session(self, session: Session, seen_at_us: int, names: tuple[str, ...]) -> None:
        self.bytes += SESSION_ROW_BYTES
        numbers = (
            session.key.pid,
            session.key.started_at_us,
            max(session.client_port, 0),  # PostgreSQL says -1 for a unix socket
            session.identity.confidence,
            session.ended_at_us,
            seen_at_us,
        )
        self._sessions.append(numbers + tuple(map(self._intern, names)))

    def seal(self) -> tuple[bytes, dict[str, int]]:
        """The serialized Batch, and its rows by kind."""
        # Different names may escape to the same text: indices follow the raw ones.
        batch = pb.Batch(strings=map(escape_name, self._strings), shapes=self._shape_messages)
        _fill(batch.statements, _STATEMENT_NUMBERS + _STATEMENT_NAMES, self._statements)
        sessions = list(zip(*self._sessions, strict=True))
        _fill(batch.sessions, _SESSION_NUMBERS + _SESSION_NAMES, sessions)
        counts = {"statements": len(self._statements[0]), "sessions": len(self._sessions)}
        return batch.SerializeToString(), {kind: n for kind, n in counts.items() if n}

    def _intern(self, name: str) -> int:
        index = self._strings.get(name)
        if index is None:
            index = self._strings[name] = len(self._strings)
            self.bytes += string_bytes(escape_name(name))
        return index

    def _intern_shape(self, shape: Shape) -> int:
        key = _shape_key(shape)
        index = self._shapes.get(key)
        if index is None:
            index = self._shapes[key] = len(self._shapes)
            message = shape_to_wire(shape)
            self._shape_messages.append(message)
            self.bytes += message.ByteSize() + 6
        return index


class PriorityRows:
    def __init__(self) -> None:
        self.bytes = 64
        self._messages: dict[str, list[Message]] = {}

    @property
    def rows(self) -> int:
        return sum(map(len, self._messages.values()))

    def add(self, kind: str, message: Message, size: int) -> None:
        self._messages.setdefault(kind, []).append(message)
        self.bytes += size

    def seal(self) -> tuple[bytes, dict[str, int]]:
        """The serialized Batch, and its rows by kind."""
        batch = pb.Batch()
        for kind, messages in self._messages.items():
            getattr(batch, kind).extend(messages)
        counts = {kind: len(messages) for kind, messages in self._messages.items()}
        return batch.SerializeToString(), counts


def _fill(columns: Message, names: tuple[str, ...], values: Sequence[Sequence[Any]]) -> None:
    for name, column in zip(names, values, strict=False):
        getattr(columns, name).extend(column)


def statement_names(
    statement: Statement | StatementRun,
    error_message: str = "",
    rule: str = "",
    parameters: str = "",
) -> tuple[str, ...]:
    if isinstance(statement, StatementRun):
        statement = statement.statement(0)
    session, audit = statement.session, statement.audit
    return (
        session.cluster,
        session.database,
        session.user,
        session.application_name,
        session.client_address,
        session.identity.kind,
        session.identity.name,
        statement.source,
        statement.protocol,
        statement.tag,
        statement.sqlstate,
        error_message,
        audit.audit_class if audit else "",
        ",".join(audit.objects) if audit else "",
        rule,
        statement.transaction,
        ",".join(map(str, statement.durations)),
        statement.trace_parent,
        parameters,
    )


def session_names(session: Session) -> tuple[str, ...]:
    return (
        session.cluster,
        session.database,
        session.user,
        session.application_name,
        session.client_address,
        session.identity.kind,
        session.identity.name,
        "; ".join(session.identity.evidence),
        str(session.origin),
    )


def _shape_key(shape: Shape) -> tuple[str, str, str]:
    return shape.digest, shape.status, shape.redacted_text
