"""What may stand in the configuration, with its defaults. Unknown keys are errors."""

import socket
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from model.finding import FindingKind
from model.session import IdentityKind
from model.verdict import Mode, Severity

MIB = 1024 * 1024


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsFiles(Section):
    """Mutual TLS. Without it only unix sockets and loopback addresses are accepted."""

    certificate: Path
    key: Path
    ca: Path


class Listen(Section):
    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)


class Loader(StrEnum):
    AUTO = "auto"
    LIBBPF = "libbpf"
    BCC = "bcc"


class Aggregate(StrEnum):
    NEVER = "never"
    OVERLOAD = "overload"
    ALWAYS = "always"


class Parameters(StrEnum):
    NONE = "none"
    HASHED = "hashed"
    FULL = "full"


class Capture(Section):
    ebpf: bool = True
    pgaudit: bool = True
    loader: Loader = Loader.AUTO
    ring_bytes: int = Field(default=4 * MIB, ge=4096)
    aggregate: Aggregate = Aggregate.OVERLOAD
    """When repeated statements of a session become one row with their count: while the agent cannot
    keep up, always, or never (then what exceeds it is lost, and counted)."""
    nested: bool = False
    """What runs inside statements (functions, procedures, triggers, DO) is captured as well."""
    parameters: Parameters = Parameters.NONE
    """Bind parameters: not read at all, hashed under a key of this installation, or as they are.
    Those of statements whose text speaks of credentials are withheld in any case."""
    merge_window_seconds: float = Field(default=1.5, ge=0, le=60)
    rescan_seconds: float = Field(default=5, ge=0.2)
    canary_seconds: float = Field(default=10, ge=1)
    """From our own catalog query to the moment at which both probes must have told of it."""


class Guard(Section):
    mode: Mode = Mode.OBSERVE
    deadline_ms: int = Field(default=200, ge=10, le=5000)
    on_timeout: Literal["allow", "deny"] = "allow"
    contact: str = Field(default="your database security team", max_length=200)
    actions_per_minute: int = Field(default=10, ge=1)


class Rules(Section):
    packs: list[Path] | None = None
    """Rule files or folders; none means the packs that come with pgwarden."""
    vars: dict[str, list[str] | str | int | float | bool] = {}


class IdentityPatterns(Section):
    """All given patterns must match; ``*`` and ``?`` are wildcards, addresses may be CIDR."""

    user: str | None = None
    database: str | None = None
    application_name: str | None = None
    client_address: str | None = None
    certificate: str | None = None
    account: str | None = None
    program: str | None = None
    unit: str | None = None
    container: str | None = None


class IdentityEntry(IdentityPatterns):
    kind: IdentityKind
    name: str
    confidence: float = Field(default=0.9, ge=0, le=1)


class PoolerEntry(IdentityPatterns):
    """Sessions of a pooler: comments in their statements may say who sends them."""

    name: str = "pooler"


class IdentitySettings(Section):
    """What is looked at beside names; docs/identity.md says how sure each is."""

    processes: bool = True
    """Find the process of a client on this host."""
    certificates: bool = True
    """Ask pg_stat_ssl, through the catalog login, for the client's certificate."""
    address_map: Path | None = None
    poolers: list[PoolerEntry] = []
    comment_keys: dict[str, IdentityKind] = {
        "agent": IdentityKind.AI_AGENT,
        "user": IdentityKind.HUMAN,
        "service": IdentityKind.SERVICE,
        "application": IdentityKind.SERVICE,
    }
    """Keys of sqlcommenter comments that name somebody, the first that is there; {}: none."""


class ClusterAccess(Section):
    """How to reach one server for its settings, roles and privileges."""

    port: int | None = None
    data_directory: Path | None = None
    name: str | None = None
    dsn: SecretStr | None = None


class Catalog(Section):
    enabled: bool = True
    user: str = "pgwarden"
    """Role for clusters that name no dsn, over their unix socket."""
    database: str = "postgres"
    interval_seconds: float = Field(default=60, ge=0.5)


class Spool(Section):
    max_bytes: int = Field(default=512 * MIB, ge=MIB)


class AgentConfig(Section):
    name: str = Field(default_factory=socket.gethostname, min_length=1, max_length=200)
    state_dir: Path = Path("/var/lib/pgwarden/agent")
    collector: str = "unix:/run/pgwarden/collector.sock"
    tls: TlsFiles | None = None
    metrics: Listen = Listen(port=9127)
    capture: Capture = Capture()
    guard: Guard = Guard()
    rules: Rules = Rules()
    identities: list[IdentityEntry] = []
    identity: IdentitySettings = IdentitySettings()
    clusters: list[ClusterAccess] = []
    only_configured_clusters: bool = False
    """True: ignore discovered servers that ``clusters`` does not name."""
    catalog: Catalog = Catalog()
    spool: Spool = Spool()
    send_full_text: bool = False
    """Ship statements as they were sent, literals included. Off: literals never leave the host."""


class FirstSeenSettings(Section):
    learn_seconds: float = Field(default=7 * 86400, ge=0)
    learn_statements: int = Field(default=200, ge=0)


class VolumeSettings(Section):
    window_seconds: float = Field(default=600, gt=0)
    learn_windows: int = Field(default=12, ge=1)
    floor_rows: int = Field(default=10_000, ge=0)
    floor_bytes: int = Field(default=10 * MIB, ge=0)


class ErrorBurstSettings(Section):
    window_seconds: float = Field(default=60, gt=0)
    floor: int = Field(default=10, ge=1)


class NewShapeSettings(Section):
    learn_seconds: float = Field(default=7 * 86400, ge=0)
    learn_statements: int = Field(default=200, ge=0)


class AuditCoverageSettings(Section):
    window_seconds: float = Field(default=60, gt=0)
    grace_seconds: float = Field(default=10, ge=0)
    idle_seconds: float = Field(default=20, ge=0)
    forget_seconds: float = Field(default=86_400, gt=0)
    min_missing: int = Field(default=1, ge=1)
    many_backends: int = Field(default=3, ge=1)


class Analytics(Section):
    enabled: bool = True
    first_seen: FirstSeenSettings = FirstSeenSettings()
    volume: VolumeSettings = VolumeSettings()
    error_burst: ErrorBurstSettings = ErrorBurstSettings()
    new_shape: NewShapeSettings = NewShapeSettings()
    audit_coverage: AuditCoverageSettings = AuditCoverageSettings()
    findings_per_day: int = Field(default=20, ge=1)
    """Alert budget of each detector; what exceeds it is counted."""


class Drift(Section):
    accept_first: bool = True
    """Take the first snapshot of a cluster as its baseline."""
    attribution_seconds: float = Field(default=3, ge=0)


class AlertmanagerReceiver(Section):
    type: Literal["alertmanager"]
    name: str
    url: str


class PagerDutyReceiver(Section):
    type: Literal["pagerduty"]
    name: str
    routing_key: SecretStr
    url: str = "https://events.pagerduty.com/v2/enqueue"


class WebhookReceiver(Section):
    type: Literal["webhook"]
    name: str
    url: str
    secret: SecretStr | None = None


Receiver = Annotated[
    AlertmanagerReceiver | PagerDutyReceiver | WebhookReceiver, Field(discriminator="type")
]


class RouteEntry(Section):
    """The first route that matches takes the finding; none: all receivers."""

    kinds: list[FindingKind] = []
    detector: str = "*"
    min_severity: Severity = Severity.LOW
    receivers: list[str]


class Alerts(Section):
    min_severity: Severity = Severity.MEDIUM
    receivers: list[Receiver] = []
    routes: list[RouteEntry] = []
    repeat_seconds: float = Field(default=4 * 3600, gt=0)
    quiet_seconds: float = Field(default=900, gt=0)
    """Anomaly and guard alerts resolve after this long without another finding."""


class CollectorConfig(Section):
    data_dir: Path = Path("/var/lib/pgwarden/collector")
    listen: list[str] = ["unix:/run/pgwarden/collector.sock"]
    tls: TlsFiles | None = None
    metrics: Listen = Listen(port=9128)
    commit_seconds: float = Field(default=0.5, gt=0, le=10)
    analytics: Analytics = Analytics()
    drift: Drift = Drift()
    alerts: Alerts = Alerts()


class Config(Section):
    agent: AgentConfig = Field(default_factory=AgentConfig)
    collector: CollectorConfig = Field(default_factory=CollectorConfig)
