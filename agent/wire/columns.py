"""Rows of one Batch in the making: columns of numbers, strings and shapes interned."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from google.protobuf.message import Message

from agent.digests import Seal, unsealed
from agent.wire.messages import escape_name, shape_to_wire, string_bytes, varint
from model.event import Protocol
from model.session import Session
from model.statement import Facts, Shape, Source, Statement, StatementRun
from protos.pgwarden.v1 import uplink_pb2 as pb

ROW_BYTES = 260
"""The most that the numbers of one row of StatementColumns take: 33 varints, a float, a digest."""
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
    "evidence_s",
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
    "digest_d",
)
_PACKED = 2
_TAGS = {
    field.name: varint(field.number << 3 | _PACKED)
    for field in pb.StatementColumns.DESCRIPTOR.fields
}
_COLUMNS = len(_STATEMENT_NUMBERS) + 1
"""One more says which names a row has: rows of one session mostly have the same, all at once."""
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


class Names:
    """The texts of one row, by column, and how sure the identity among them is. No two in one
    ``KnownNames`` have the same, so that a row finds its own by identity, which is quicker to look
    up than twenty texts."""

    __slots__ = ("confidence", "texts")

    def __init__(self, texts: tuple[str, ...], confidence: float) -> None:
        self.texts = texts
        self.confidence = confidence


class KnownNames:
    """Of the rows collected since the last batch."""

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[str, ...], float], Names] = {}
        self._of_runs: dict[tuple[int, str, str], tuple[Session, Names]] = {}
        """With the session, whose number stays its own for as long as it is kept."""

    def of(self, texts: tuple[str, ...], session: Session) -> Names:
        key = texts, session.identity.confidence
        names = self._known.get(key)
        if names is None:
            names = self._known[key] = Names(*key)
        return names

    def of_run(self, run: StatementRun, parameters: str) -> Names:
        if parameters or run.trace_parent:
            return self.of(statement_names(run, parameters=parameters), run.session)
        key = id(run.session), run.tag, run.transaction
        known = self._of_runs.get(key)
        if known is None:
            names = self.of(statement_names(run), run.session)
            known = self._of_runs[key] = run.session, names
        return known[1]


class BulkRows:
    """Rows of one Batch in the making; ``bytes`` is an upper bound of its size."""

    def __init__(self, seal: Seal = unsealed) -> None:
        self._seal = seal
        self.bytes = 64
        self.folded = self.urgent = 0
        """As Payload calls them."""
        self._strings: dict[str, int] = {"": 0}
        self._names: dict[Names, int] = {}
        self._name_indices: list[tuple[int, ...]] = []
        self._confidences: list[float] = []
        """Of the names with this number."""
        self._shapes: dict[Facts, int] = {}
        self._shape_messages: list[pb.Shape] = []
        self._next_shape: tuple[Facts, pb.Shape] | None = None
        self._digests: dict[str, int] = {"": 0}
        self._singles: list[tuple[int, ...]] = []
        self._runs: list[list[int]] = [[] for _ in range(_COLUMNS)]
        self._sessions: list[tuple[float, ...]] = []

    @property
    def rows(self) -> int:
        return len(self._singles) + len(self._runs[0]) + len(self._sessions)

    def bytes_with(self, row_bytes: int, names: Names, shape: Shape | None) -> int:
        """What ``bytes`` would be with such rows."""
        size = self.bytes + row_bytes
        if names not in self._names:
            new = (name for name in names.texts if name not in self._strings)
            size += sum(string_bytes(escape_name(name)) for name in new)
        if shape is not None and shape.form not in self._shapes:
            self._next_shape = shape.form, shape_to_wire(shape)
            size += self._next_shape[1].ByteSize() + 6
        return size

    def count(self, rows: int, executions: int, urgent: bool) -> None:
        """So many rows were just added, which stand for so many executions."""
        self.folded += executions - rows
        if urgent:
            self.urgent += executions

    def add_statement(self, statement: Statement, shape: Shape, names: Names) -> None:
        self.bytes += ROW_BYTES
        key = statement.session.key
        self._singles.append(
            (
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
                self._intern_digest(shape.digest),
                self._intern_names(names),
            )
        )

    def add_run(
        self, run: StatementRun, first: int, count: int, shape: Shape, names: Names
    ) -> None:
        """``count`` executions from ``first`` on: a column at a time, most of it one value."""
        self.bytes += ROW_BYTES * count
        if count == 1:
            self._add_single(run, first, shape, names)
            return
        started, duration, preparation, rows, sent = zip(
            *run.executions[first : first + count], strict=True
        )
        first_id, key = run.first_id + first, run.session.key
        columns = (
            range(first_id, first_id + count),
            [0] * count,
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
            [self._intern_digest(shape.digest)] * count,
            [self._intern_names(names)] * count,
        )
        for column, values in zip(self._runs, columns, strict=True):
            column.extend(values)

    def _add_single(self, run: StatementRun, index: int, shape: Shape, names: Names) -> None:
        started, duration, preparation, rows, sent = run.executions[index]
        key = run.session.key
        self._singles.append(
            (
                run.first_id + index,
                0,
                self._intern_shape(shape),
                started,
                duration,
                rows,
                sent,
                len(run.text),
                key.pid,
                key.started_at_us,
                preparation,
                1,
                self._intern_digest(shape.digest),
                self._intern_names(names),
            )
        )

    def add_session(self, session: Session, seen_at_us: int, names: Names) -> None:
        self.bytes += SESSION_ROW_BYTES
        numbers = (
            session.key.pid,
            session.key.started_at_us,
            max(session.client_port, 0),  # PostgreSQL says -1 for a unix socket
            names.confidence,
            session.ended_at_us,
            seen_at_us,
        )
        self._sessions.append(numbers + tuple(map(self._intern, names.texts)))

    def seal(self) -> tuple[bytes, dict[str, int]]:
        """The serialized Batch, and its rows by kind."""
        # Different names may escape to the same text: indices follow the raw ones.
        batch = pb.Batch(
            strings=map(escape_name, self._strings),
            shapes=self._shape_messages,
            digests=(bytes.fromhex(self._seal(each)) for each in islice(self._digests, 1, None)),
        )
        self._fill_statements(batch.statements, self._runs)
        if self._singles:
            self._fill_statements(batch.statements, list(zip(*self._singles, strict=True)))
        sessions = list(zip(*self._sessions, strict=True))
        _fill(batch.sessions, _SESSION_NUMBERS + _SESSION_NAMES, sessions)
        counts = {
            "statements": len(self._singles) + len(self._runs[0]),
            "sessions": len(self._sessions),
        }
        return batch.SerializeToString(), {kind: n for kind, n in counts.items() if n}

    def _intern_names(self, names: Names) -> int:
        index = self._names.get(names)
        if index is None:
            index = self._names[names] = len(self._names)
            self._name_indices.append(tuple(map(self._intern, names.texts)))
            self._confidences.append(names.confidence)
        return index

    def _fill_statements(self, wire: pb.StatementColumns, values: Sequence[Sequence[int]]) -> None:
        *numbers, named = values
        _fill(wire, _STATEMENT_NUMBERS, numbers)
        wire.confidence.extend(map(self._confidences.__getitem__, named))
        used = sorted(set(named))
        columns = zip(*(self._name_indices[index] for index in used), strict=True)
        for name, column in zip(_STATEMENT_NAMES, columns, strict=False):
            if len(set(column)) == 1:  # most of them
                wire.MergeFromString(_one_value(name, column[0], len(named)))
            else:
                string_of = dict(zip(used, column, strict=True))
                getattr(wire, name).extend([string_of[index] for index in named])

    def _intern(self, name: str) -> int:
        index = self._strings.get(name)
        if index is None:
            index = self._strings[name] = len(self._strings)
            self.bytes += string_bytes(escape_name(name))
        return index

    def _intern_digest(self, digest: str) -> int:
        return self._digests.setdefault(digest, len(self._digests))

    def _intern_shape(self, shape: Shape) -> int:
        key = shape.form
        index = self._shapes.get(key)
        if index is None:
            index = self._shapes[key] = len(self._shapes)
            known = self._next_shape
            message = known[1] if known and known[0] == key else shape_to_wire(shape)
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


def _fill(columns: Message, names: tuple[str, ...], values: Iterable[Sequence[Any]]) -> None:
    for name, column in zip(names, values, strict=False):
        getattr(columns, name).extend(column)


def _one_value(name: str, value: int, count: int) -> bytes:
    """A column as it is serialized: to read that takes a fifth of what ``extend`` does."""
    values = varint(value) * count
    return _TAGS[name] + varint(len(values)) + values


def statement_names(
    statement: Statement | StatementRun,
    error_message: str = "",
    rule: str = "",
    parameters: str = "",
) -> tuple[str, ...]:
    session = statement.session
    audit, sqlstate, durations = None, "00000", ""
    source, protocol = Source.EBPF, Protocol.QUERY
    if isinstance(statement, Statement):
        audit, sqlstate = statement.audit, statement.sqlstate
        source, protocol = statement.source, statement.protocol
        durations = ",".join(map(str, statement.durations))
    return (
        session.cluster,
        session.database,
        session.user,
        session.application_name,
        session.client_address,
        session.identity.kind,
        session.identity.name,
        source,
        protocol,
        statement.tag,
        sqlstate,
        error_message,
        audit.audit_class if audit else "",
        ",".join(audit.objects) if audit else "",
        rule,
        statement.transaction,
        durations,
        statement.trace_parent,
        parameters,
        _evidence(session),
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
        _evidence(session),
        str(session.origin),
    )


def _evidence(session: Session) -> str:
    return "; ".join(session.identity.evidence)
