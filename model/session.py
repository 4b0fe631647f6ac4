"""Who is on the other end of a backend."""

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True, order=True)
class BackendKey:
    """One server process for its whole life; a reused pid gives another key.

    ``started_at_us`` is the process start time in Unix microseconds as PostgreSQL itself keeps it
    (``MyStartTimestamp``): the same value as ``pg_stat_activity.backend_start``, and its seconds
    are the first half of the log's session id (``%c``).
    """

    pid: int
    started_at_us: int


class IdentityKind(StrEnum):
    HUMAN = "human"
    SERVICE = "service"
    AI_AGENT = "ai_agent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is behind a login, how sure we are (0 to 1) and why."""

    kind: IdentityKind = IdentityKind.UNKNOWN
    name: str = ""
    confidence: float = 0.0
    evidence: tuple[str, ...] = ()
    proven: bool = False
    """By a configured rule or a client certificate: what a client says of itself changes nothing.
    """


@dataclass(frozen=True, slots=True)
class PeerProcess:
    """The client's process on this host, without arguments that may be secret."""

    pid: int
    uid: int = -1
    """-1 when it could not be read."""
    account: str = ""
    """Name of ``uid``; empty where this host has none."""
    name: str = ""
    """The kernel's short name (comm): a process may change it."""
    executable: str = ""
    command: str = ""
    """Program and, for an interpreter, its script: ``node server.js …``."""
    unit: str = ""
    """Unit of systemd, ``billing.service`` or ``session-4.scope``."""
    container: str = ""
    """``docker 0123456789ab``."""
    terminal: bool = False
    ancestors: tuple[str, ...] = ()
    """Names of the processes that started it, parent first."""


@dataclass(frozen=True, slots=True)
class Peer:
    """What was found out about the other end of a connection, from outside it."""

    process: PeerProcess | None = None
    missing: str = ""
    """Why a local process was not found; empty while nobody has looked."""
    tls: bool | None = None
    """None: unknown."""
    certificate: str = ""
    """Subject of the client's certificate, which the server has verified."""


class OriginKind(StrEnum):
    UNKNOWN = ""
    ADDRESS = "address"
    PROCESS = "process"
    CONTAINER = "container"
    POOLER = "pooler"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection comes from: behind a pooler that is not who is behind the statement."""

    kind: OriginKind = OriginKind.UNKNOWN
    what: str = ""
    sure: bool = False
    """False where only the client's own word says so."""

    def __str__(self) -> str:
        return f"{self.kind} {self.what}".strip()


@dataclass(frozen=True, slots=True)
class Session:
    """A client connection. Empty strings stand for what is not known (yet)."""

    key: BackendKey
    cluster: str = ""
    user: str = ""
    database: str = ""
    application_name: str = ""
    client_address: str = ""
    """Numeric address of the peer, ``local`` for a unix socket."""
    client_port: int = 0
    superuser: bool | None = None
    """None when the catalog has not been read."""
    identity: Identity = field(default_factory=Identity)
    peer: Peer = field(default_factory=Peer)
    origin: Origin = field(default_factory=Origin)
    startup: tuple[tuple[str, str], ...] = ()
    """Settings that the client sent with its start-up packet; known to the capture thread alone."""
    ended_at_us: int = 0
    """Unix microseconds; 0 while the session lives."""

    @property
    def local(self) -> bool:
        return self.client_address in ("local", "127.0.0.1", "::1")
