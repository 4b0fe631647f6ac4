"""Facts that a source saw, in the past tense. Times are Unix nanoseconds."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from model.session import BackendKey, Peer


class Protocol(StrEnum):
    QUERY = "query"
    """PortalRun: simple query or Execute of the extended protocol."""
    FASTPATH = "fastpath"
    REPLICATION = "replication"
    STARTUP = "startup"
    """A login that the server refused: no session came of it, and no statement."""


@dataclass(frozen=True, slots=True)
class SessionSeen:
    """A client backend was met for the first time, or one of its attributes became known."""

    at_ns: int
    backend: BackendKey
    cluster: str
    user: str
    database: str
    application_name: str | None
    """None: this source does not know."""
    client_address: str
    client_port: int
    naming: int = 0
    """How often its application_name had changed by then: facts of an older naming are stale."""
    server_pid: int = 0
    """What the server itself calls the process, and its log: another number than ``backend.pid`` in
    a pid namespace of its own; 0 unknown."""


@dataclass(frozen=True, slots=True)
class ApplicationNamed:
    at_ns: int
    backend: BackendKey
    application_name: str
    naming: int = 0


@dataclass(frozen=True, slots=True)
class SessionExplained:
    """The other end of a connection was looked at; what is empty in ``peer`` says nothing."""

    at_ns: int
    backend: BackendKey
    peer: Peer


@dataclass(frozen=True, slots=True)
class SessionEnded:
    at_ns: int
    backend: BackendKey


class Asked(NamedTuple):
    """A statement as a client sent it: who asked is what its comment says."""

    text: bytes
    number: int = 0
    """As of a StatementStarted."""


@dataclass(frozen=True, slots=True)
class StatementStarted:
    """A backend is about to execute ``text``."""

    at_ns: int
    backend: BackendKey
    text: bytes
    """As the client sent it, at most 1 MiB."""
    text_bytes: int
    """Full length; larger than ``len(text)`` when the text was cut or could not be read."""
    requested_at_us: int = 0
    """When the client's message arrived (``st_activity_start_timestamp``), 0 if unknown."""
    depth: int = 0
    """0 for what the client sent; 1 for what runs inside it, 2 for what runs inside that."""
    protocol: Protocol = Protocol.QUERY
    held: bool = False
    """The backend is stopped and waits for a verdict."""
    hold_id: int = 0
    """Names the hold among all of its backend's: a verdict that comes late must not hit another."""
    row_limit: int = 0
    """Rows that this execution may return (a portal with a limit), 0 for all."""
    naming: int = 0
    """``SessionSeen.naming`` at this moment."""
    text_key: bytes = b""
    """The kernel's name for the text, by which it can be told to let it pass; empty if it has none
    (a long text)."""
    skeleton: bytes = b""
    """The same of the text with every number that stands alone made equal; only when ``held``."""
    nested: bool = False
    """Found by the probes for nested statements: nobody tells how it ends. What SQL EXECUTE runs
    ends, without them, as the outer one does."""
    urgent: bool = False
    """DDL, roles, what is held: the last thing to be left out when there is no room."""
    parameters: bytes = field(default=b"", repr=False)
    """What was bound, as captured; empty unless asked for. agent/sources/parameters.py reads it."""
    planned: int = 0
    """Where its plan (a PlannedStmt, or a List of them if ``planned_list``) lies in the backend's
    memory, to be read while it is held; 0 unknown."""
    planned_list: bool = False
    touched: int = 0
    """The kernel's number for the relations that the plan touches, and for what the client's
    message claims where this runs inside it: with the text and the session it decides whether a
    hold is needed again."""
    quiet: bool = False
    """Held only to be judged: it is on the record if it was refused, and not otherwise."""
    evades: int = 0
    """Functions of it may run past their probes (agent/probes/layout.py, Evasion); only when
    ``held``."""
    part: int = 0
    """What it belongs to that was held before (agent/probes/layout.py, Part); if ``held``."""
    calls: str = ""
    """The built-in function that is called, where the call itself was held; ``text`` is a statement
    that would call it like that."""
    met: bool = False
    """It was running when the probes came."""
    round: int = 0
    """Counts its backend's round trips; only with ``number``."""
    number: int = 0
    """Which of the statements of its round trip it is, from 1; 0: unknown, or inside of one."""
    continued: bool = False
    """Its portal has run before: the client reads a result in slices, and for pgaudit it is
    the statement that it was then."""
    asked: Asked | None = None
    """What the client asked for, of which this is a part; None: it is that itself, or not known."""

    @property
    def inside(self) -> bool:
        """It is a part of what the client asked for."""
        return self.nested or self.depth > 0


@dataclass(frozen=True, slots=True)
class Completion:
    """One CommandComplete message; ``rows`` is -1 where the tag carries no count."""

    tag: str
    rows: int


@dataclass(frozen=True, slots=True)
class ErrorReport:
    severity: str
    sqlstate: str
    message: str
    routine: str = ""
    """The server's function that raised it, which no client can name; empty if unknown."""


@dataclass(frozen=True, slots=True)
class ResponseSent:
    """The server wrote protocol bytes to its client."""

    at_ns: int
    backend: BackendKey
    bytes_sent: int
    """All bytes since the previous ResponseSent of this backend."""
    completions: tuple[Completion, ...] = ()
    error: ErrorReport | None = None
    failed_text: bytes | None = None
    """``debug_query_string`` at an error: the text of a statement that failed before execution."""
    requested_at_us: int = 0
    ready: bool = False
    """ReadyForQuery: the round trip is over."""
    transaction_status: str = ""
    """I idle, T in a transaction, E in a failed one; empty unless ``ready``."""
    transaction_before: str = ""
    """The status in the ReadyForQuery before; empty if unknown."""
    round: int = 0
    starts: int = 0
    """How many statements of this round trip have started."""
    ended: int = -1
    """How many of those are over without an error; -1 unknown."""
    numbers: tuple[int, ...] = ()
    """Which of those each completion is of, from 1; empty if unknown."""
    later: bool = False
    """The error came when the client had sent another message (Bind, Execute, Describe) since the
    one that the last statement came with."""
    failed_bytes: int = 0
    """Length of all of ``failed_text``, which may be cut."""


class Executed(NamedTuple):
    """One execution. A NamedTuple: there may be tens of thousands in a second."""

    started_at_us: int
    duration_us: int
    preparation_us: int
    """Of the duration: from the message's arrival to the start of execution, so parsing, planning
    and waiting for locks; -1 unknown."""
    rows: int
    bytes_sent: int


class StatementsExecuted(NamedTuple):
    """Executions of one text by one backend, oldest first; each was alone in its round trip and
    succeeded. A NamedTuple as well: where no text repeats there is one for each of them."""

    backend: BackendKey
    text: bytes
    tag: str
    transaction: str
    """Status before and after as in ReadyForQuery, two letters; ``?`` for what is not known."""
    executions: list[Executed]
    urgent: bool = False
    """As of a StatementStarted."""
    parameters: bytes = b""
    """As in StatementStarted; then ``executions`` holds one."""
    continued: bool = False
    """As in StatementStarted."""


@dataclass(frozen=True, slots=True)
class StatementsCounted:
    """Executions of one text by one backend that the kernel counted instead of telling each."""

    backend: BackendKey
    text: bytes
    count: int
    rows: int
    """Sums over all of them."""
    bytes_sent: int
    duration_us: int
    first_at_us: int
    last_at_us: int
    durations: tuple[int, ...]
    """How many took less than 2**index microseconds (and no less than half of that)."""
    naming: int = 0
    """``SessionSeen.naming`` when they ran: they are told later, maybe under another name."""


@dataclass(frozen=True, slots=True)
class AuditLogged:
    """One pgaudit record. ``backend.started_at_us`` is 0 where the log line does not carry it."""

    at_ns: int
    backend: BackendKey
    cluster: str
    user: str
    database: str
    application_name: str
    client_address: str
    audit_type: str
    """SESSION or OBJECT."""
    statement_id: int
    substatement_id: int
    audit_class: str
    command: str
    object_type: str
    object_name: str
    text: str
    parameters: str
    precision_ns: int = 1_000_000
    """Log times are cut: it was written within so much after ``at_ns``."""
    missing_bytes: int = 0
    """Of ``text``, at its end: cut to save memory, or by the bound of a record. Then they count as
    the log wrote them, quotes doubled and all."""
    own_pids: bool = False
    """``backend.pid`` is the number in the server's own pid namespace, and not this host's."""


@dataclass(frozen=True, slots=True)
class LoginFailed:
    """The server refused a client before there was a session; ``user`` is what it claimed to be."""

    at_ns: int
    backend: BackendKey
    cluster: str
    user: str
    database: str
    client_address: str
    sqlstate: str
    message: str
    """The server's own words, with the names that the client sent."""
    own_pids: bool = False
    """As of an AuditLogged."""


@dataclass(frozen=True, slots=True)
class Lost:
    """``count`` facts were lost at ``source`` for ``reason``; nothing is dropped without one."""

    at_ns: int
    source: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class ClockMoved:
    """Somebody set this host's clock: times from now on are ``by_us`` later than those before."""

    at_ns: int
    by_us: int


Event = (
    SessionSeen
    | ApplicationNamed
    | SessionExplained
    | SessionEnded
    | StatementStarted
    | ResponseSent
    | StatementsExecuted
    | StatementsCounted
    | AuditLogged
    | LoginFailed
    | Lost
    | ClockMoved
)
