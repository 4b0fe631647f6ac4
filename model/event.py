"""Facts that a source saw, in the past tense. Times are Unix nanoseconds."""

from dataclasses import dataclass
from enum import StrEnum

from model.session import BackendKey, Peer


class Protocol(StrEnum):
    QUERY = "query"
    """PortalRun: simple query or Execute of the extended protocol."""
    FASTPATH = "fastpath"
    REPLICATION = "replication"


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


@dataclass(frozen=True, slots=True)
class ApplicationNamed:
    at_ns: int
    backend: BackendKey
    application_name: str


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
    """0 for what the client sent, 1 for what SQL EXECUTE runs inside it."""
    protocol: Protocol = Protocol.QUERY
    held: bool = False
    """The backend is stopped and waits for a verdict."""
    hold_id: int = 0
    """Names the hold among all of its backend's: a verdict that comes late must not hit another."""


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


@dataclass(frozen=True, slots=True)
class Lost:
    """``count`` facts were lost at ``source`` for ``reason``; nothing is dropped without one."""

    at_ns: int
    source: str
    reason: str
    count: int


Event = (
    SessionSeen
    | ApplicationNamed
    | SessionExplained
    | SessionEnded
    | StatementStarted
    | ResponseSent
    | AuditLogged
    | Lost
)
