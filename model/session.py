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
    ended_at_us: int = 0
    """Unix microseconds; 0 while the session lives."""

    @property
    def local(self) -> bool:
        return self.client_address in ("local", "127.0.0.1", "::1")
