"""What may stand in the configuration, with its defaults. Unknown keys are errors."""

import socket
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from model.catalog import CatalogKind
from model.finding import FindingKind
from model.session import IdentityKind
from model.verdict import Mode, RuleAction, Severity

MIB = 1024 * 1024


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsFiles(Section):
    """Mutual TLS. Without it only unix sockets and loopback addresses are accepted."""

    certificate: Path
    key: Path
    ca: Path


class CollectorTlsFiles(TlsFiles):
    crl: Path | None = None
    """Revoked certificates (``pgwarden pki revoke``), signed by an authority of ``ca``."""


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
    nested_commands: bool = True
    """Of that at least the commands that outlive the statement: DDL, GRANT, ALTER SYSTEM."""
    parameters: Parameters = Parameters.NONE
    """Bind parameters: not read at all, hashed under a key of this installation, or as they are.
    Those of statements whose text speaks of credentials are withheld in any case."""
    merge_window_seconds: float = Field(default=1.5, ge=0, le=60)
    rescan_seconds: float = Field(default=5, ge=0.2)
    canary_interval_seconds: float = Field(default=60, ge=0)
    """Between two sessions of our own that prove the probes of a cluster; 0: there are none."""
    canary_seconds: float = Field(default=10, ge=1)
    """From the end of such a session to the moment by which the probes must have told of it."""


class Guard(Section):
    mode: Mode = Mode.OBSERVE
    deadline_ms: int = Field(default=200, ge=10, le=5000)
    on_timeout: Literal["allow", "deny"] = "allow"
    contact: str = Field(default="your database security team", max_length=200)
    actions_per_minute: int = Field(default=10, ge=1)


def _clock(value: object) -> object:
    """YAML reads 22:00 without quotes as 1320: minutes, in base 60."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value // 60:02}:{value % 60:02}"
    return value


Clock = Annotated[str, BeforeValidator(_clock)]


class RuleException(Section):
    """A rule or limit that says nothing where ``when`` (CEL) holds, until the end of a day."""

    rule: str
    when: str
    because: str = Field(min_length=1)
    until: date | None = None


class WindowOpening(Section):
    days: list[str] = []
    """mon to sun, those on which it opens; none: all."""
    opens: Clock = Field(alias="from")
    closes: Clock = Field(alias="to")
    timezone: str = ""
    """Empty: that of the rules."""


class AgentApprovals(Section):
    enabled: bool = True
    """A refused statement makes a request, and a grant lets it pass."""
    full_text: bool = False
    """Requests carry their literals to the collector, so that approvers read what will run."""


class CentralRules(Section):
    public_key: Path
    """PEM, Ed25519: only what its private key has signed is used."""
    required: bool = False
    """Not ready, and an alarm, as long as no bundle has come."""


class Rules(Section):
    packs: list[Path] | None = None
    """Rule files or folders; none means the packs that come with pgwarden."""
    vars: dict[str, list[str] | str | int | float | bool] = {}
    exceptions: list[RuleException] = []
    actions: dict[str, RuleAction] = {}
    """By rule: what it does instead of what its file says."""
    data_classes: dict[str, list[str]] = {}
    """Patterns of names by class of data: ``schema.relation``, ``schema.relation.column``."""
    timezone: str = ""
    """Of ``time.hour``, ``time.weekday`` and ``time.date``; empty: the rule files', else UTC."""
    windows: dict[str, list[WindowOpening]] = {}
    central: CentralRules | None = None
    """Rules that the collector hands out, beside those of ``packs``. Without ``packs`` they take
    the place of the packs that come with pgwarden."""


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


class WatchedRows(Section):
    """A table or query whose rows are configuration: each row is an item of the catalog."""

    table: str | None = Field(default=None, pattern=r"\.")
    """With its schema, as SQL writes it."""
    query: str | None = None
    """One SELECT; it needs a ``name`` and a ``key``."""
    name: str = Field(default="", max_length=200)
    database: str = ""
    """Empty: the one that the catalog session connects to."""
    key: list[str] = []
    """Columns that tell rows apart; none: the primary key."""
    secrets: list[str] = []
    """Columns of which only hashes leave the host."""
    limit: int = Field(default=10_000, ge=1, le=100_000)
    """A table of more rows is not read."""

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if (self.table is None) == (self.query is None):
            raise ValueError("give either table or query")
        if self.query is not None and not (self.name and self.key):
            raise ValueError("a query needs a name and a key")
        return self


class Catalog(Section):
    enabled: bool = True
    user: str = "pgwarden"
    """Role for clusters that name no dsn, over their unix socket."""
    database: str = "postgres"
    interval_seconds: float = Field(default=60, ge=0.5)
    """Between two looks at the catalog; up to five times as long while nothing changes."""
    watched: list[WatchedRows] = []
    function_bodies: Literal["hash", "text"] = "hash"
    """Text: bodies of functions leave the host, with whatever stands in them."""

    @field_validator("watched")
    @classmethod
    def _names_are_unique(cls, watched: list[WatchedRows]) -> list[WatchedRows]:
        names = [(each.database, each.name or each.table) for each in watched]
        if len(set(names)) < len(names):
            raise ValueError("two entries of one database have the same name")
        return watched


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
    approvals: AgentApprovals = AgentApprovals()
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


class DaySettings(Section):
    min_bits: float = Field(default=1.0, ge=0)
    """Candidates below this score, -log10 of the chance of such a day, are not looked at."""
    day_seconds: float = Field(default=86_400, gt=0)
    """The span whose extremes are compared with those of the spans before it."""


class FirstActSettings(DaySettings):
    pass


class FirstSeenSettings(DaySettings):
    pass


class VolumeSettings(DaySettings):
    window_seconds: float = Field(default=600, gt=0)
    floor_rows: int = Field(default=1_000, ge=0)
    floor_bytes: int = Field(default=MIB, ge=0)


class ErrorBurstSettings(DaySettings):
    window_seconds: float = Field(default=60, gt=0)
    floor: int = Field(default=3, ge=1)


class NewShapeSettings(DaySettings):
    pass


class ApplicationChangeSettings(Section):
    learn_seconds: float = Field(default=7 * 86400, ge=0)
    learn_statements: int = Field(default=200, ge=0)
    settle_seconds: float = Field(default=600, gt=0)
    """Nothing new for so long: the change is over and told."""


class AuditCoverageSettings(Section):
    window_seconds: float = Field(default=60, gt=0)
    grace_seconds: float = Field(default=10, ge=0)
    idle_seconds: float = Field(default=20, ge=0)
    forget_seconds: float = Field(default=86_400, gt=0)
    min_missing: int = Field(default=1, ge=1)
    many_backends: int = Field(default=3, ge=1)


class RoleProfileSettings(Section):
    min_bits: float = Field(default=0.75, gt=0, le=40)
    """-log10 of the chance of such a day, for this and the next two."""


class EdgeBurstSettings(Section):
    tick_seconds: float = Field(default=300, gt=0)
    min_bits: float = Field(default=0.75, gt=0, le=40)


class SlowDripSettings(Section):
    floor_rows: int = Field(default=1000, ge=1)
    """Rows of one relation in seven days; fewer are never remarkable."""
    min_bits: float = Field(default=0.75, gt=0, le=40)


class HarvestSettings(DaySettings):
    floor_rows: int = Field(default=100, ge=1)
    """A result of fewer rows is never a large one."""
    floor_of_hour: int = Field(default=1_000, ge=1)
    """Rows of an hour's large results; fewer are never remarkable."""


class RepetitionSettings(DaySettings):
    floor: int = Field(default=6, ge=2)
    """So often in an hour a new statement is run by whoever tries it out."""


class OriginSettings(Section):
    min_bits: float = Field(default=1, ge=0)
    """Of a candidate: -log10 of the chance that an ordinary day has it."""


class ActivityTimeSettings(Section):
    memory_days: float = Field(default=90, gt=0)
    min_bits: float = Field(default=1, ge=0)


class WorkloadMixSettings(Section):
    block_statements: int = Field(default=50, ge=10)
    memory_days: float = Field(default=14, gt=0)
    min_bits: float = Field(default=1, ge=0)


class LatencySettings(Section):
    block_statements: int = Field(default=40, ge=10)
    memory_days: float = Field(default=14, gt=0)
    floor_us: int = Field(default=1_000, ge=0)
    """A 95th percentile below it is never remarkable."""
    min_bits: float = Field(default=2, ge=0)


class MaintenanceEntry(Section):
    """Statistics are odd then, and nobody is told; patterns as in a shell."""

    because: str = Field(min_length=1)
    starts: AwareDatetime | None = None
    ends: AwareDatetime | None = None
    """Once, with a time zone. Neither these nor ``weekly``: always."""
    weekly: list[WindowOpening] = []
    """Again and again; without a zone of their own in UTC."""
    identity: str = "*"
    database: str = "*"
    agent: str = "*"
    detector: str = "*"

    @model_validator(mode="after")
    def _can_be_open(self) -> Self:
        if self.starts and self.ends and self.ends <= self.starts:
            raise ValueError("it ends before it starts")
        return self


class Response(StrEnum):
    NONE = "none"
    CANCEL = "cancel"
    TERMINATE = "terminate"


class RespondEntry(Section):
    """A rule over a finding: CEL over ``finding``."""

    when: str = Field(min_length=1)
    do: Literal[Response.CANCEL, Response.TERMINATE]


class Analytics(Section):
    enabled: bool = True
    alerts_per_day_per_100_identities: float = Field(default=5, gt=0, le=10_000)
    """The budget that sets the threshold of statistical findings."""
    least_bits: float = Field(default=1.9, ge=0, le=12)
    """However large the budget: -log10 of the chance of a day that is worth telling of."""
    maintenance: list[MaintenanceEntry] = []
    on_agreement: Response = Response.NONE
    """Of a session, when two independent detectors are sure of its identity within 10 minutes."""
    respond: list[RespondEntry] = []
    first_act: FirstActSettings = FirstActSettings()
    first_seen: FirstSeenSettings = FirstSeenSettings()
    volume: VolumeSettings = VolumeSettings()
    error_burst: ErrorBurstSettings = ErrorBurstSettings()
    new_shape: NewShapeSettings = NewShapeSettings()
    application_change: ApplicationChangeSettings = ApplicationChangeSettings()
    audit_coverage: AuditCoverageSettings = AuditCoverageSettings()
    origin: OriginSettings = OriginSettings()
    activity_time: ActivityTimeSettings = ActivityTimeSettings()
    workload_mix: WorkloadMixSettings = WorkloadMixSettings()
    latency: LatencySettings = LatencySettings()
    role_profile: RoleProfileSettings = RoleProfileSettings()
    edge_burst: EdgeBurstSettings = EdgeBurstSettings()
    slow_drip: SlowDripSettings = SlowDripSettings()
    harvest: HarvestSettings = HarvestSettings()
    repetition: RepetitionSettings = RepetitionSettings()
    findings_per_day: int = Field(default=20, ge=1)
    """Of each detector whose findings are no guesses; what exceeds it is counted."""


class IgnoreEntry(Section):
    """Differences that are not reported; patterns as in a shell."""

    kind: CatalogKind | None = None
    """None: any."""
    name: str = "*"
    database: str = ""
    """Empty: any, and what belongs to the whole cluster."""
    cluster: str = "*"
    because: str = Field(min_length=1)
    until: date | None = None
    """The last day (UTC) on which it counts."""


class DeclaredEntry(Section):
    """A declaration that is the accepted state, in place of what ``drift accept`` took."""

    file: Path
    cluster: str = "*"
    database: str = ""
    """What the file's database is called there; empty: as in the file."""


class Drift(Section):
    accept_first: bool = True
    """Take the first snapshot of a cluster as its baseline."""
    attribution_seconds: float = Field(default=3, ge=0)
    history_days: int | None = Field(default=None, ge=1)
    """So long what the catalog was, and resolved differences, stay in the record; null: for good.
    What is so now, open differences and the baseline stay in any case."""
    ignore: list[IgnoreEntry] = []
    declared: list[DeclaredEntry] = []


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


class Approver(Section):
    """Somebody who may decide about requests, by certificate or by account of this host."""

    name: str = Field(min_length=1)
    """As identities and logins call them: nobody grants their own."""
    certificate: str | None = None
    """Whose client certificate (``pgwarden pki issue approver``); of an authority of your own, its
    common name."""
    account: str | None = None


class CollectorApprovals(Section):
    approvers: list[Approver] = []
    """None: root and the collector's own account; nobody while others may open its socket."""
    max_seconds: float = Field(default=86_400, gt=0, le=30 * 86_400)
    max_uses: int = Field(default=100, ge=1)


class CollectorRules(Section):
    directory: Path | None = None
    """Bundles (``*.bundle``) that ``pgwarden rules sign`` made; agents get the newest."""


class SyslogCarrier(StrEnum):
    UDP = "udp"
    TCP = "tcp"


class SyslogPlace(Section):
    type: Literal["syslog"]
    name: str = ""
    socket: Path | None = None
    """``/dev/log``, in place of host and port."""
    host: str = ""
    port: int = Field(default=514, ge=1, le=65535)
    carrier: SyslogCarrier = SyslogCarrier.UDP
    every_seconds: float = Field(default=60, ge=0)

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if (self.socket is None) == (not self.host):
            raise ValueError("give a host, or the socket of this host's syslog")
        return self


class HttpPlace(Section):
    type: Literal["http"]
    name: str = ""
    url: str
    token: SecretStr | None = None
    every_seconds: float = Field(default=60, ge=0)


class TimestampPlace(Section):
    type: Literal["timestamp"]
    name: str = ""
    url: str
    every_seconds: float = Field(default=3600, ge=0)


OutsidePlace = Annotated[SyslogPlace | HttpPlace | TimestampPlace, Field(discriminator="type")]


class LedgerSettings(Section):
    key: Path | None = None
    """Ed25519, PEM; made at the first start. None: ``ledger.key`` in ``data_dir``."""
    heads_to: Path | None = None
    """Each signed head is appended to this file as well: best where this host cannot rewrite it."""
    tell: list[OutsidePlace] = []
    """Others outside that get the newest head, each at most once in ``every_seconds``."""
    head_entries: int = Field(default=64, ge=1)
    head_seconds: float = Field(default=10, ge=0.1)
    """A head is signed after so many entries or seconds."""
    cosign_seconds: float = Field(default=300, ge=0.1)
    """So often agents are asked to sign the newest head as well, and when they connect."""


RetainedTable = Literal[
    "statements", "sessions", "alerts", "audit_coverage",
    "verdicts", "losses", "findings", "rules_changes", "accesses",
]  # fmt: skip


HeldTable = Literal[RetainedTable, "catalog", "catalog_changes", "drift"]
"""The history of the catalog has ``drift.history_days``, and holds keep it as well."""


class LegalHold(Section):
    because: str
    starts: AwareDatetime
    ends: AwareDatetime
    """What came from then until then stays."""
    tables: list[HeldTable] = []
    """Empty: all."""

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.ends <= self.starts:
            raise ValueError("it ends before it starts")
        return self


class RetentionSettings(Section):
    days: int | None = Field(default=None, ge=1)
    """Null: for good."""
    days_of: dict[RetainedTable, Annotated[int, Field(ge=1)]] = {}
    """By table, in place of ``days``."""
    max_bytes: int | None = Field(default=None, ge=1 << 20)
    """Of all segments; beyond it the oldest statements, sessions, alerts and coverage go."""
    hold: list[LegalHold] = []


class CollectorConfig(Section):
    data_dir: Path = Path("/var/lib/pgwarden/collector")
    listen: Annotated[list[str], Field(min_length=1)] = ["unix:/run/pgwarden/collector.sock"]
    tls: CollectorTlsFiles | None = None
    metrics: Listen = Listen(port=9128)
    commit_seconds: float = Field(default=0.5, gt=0, le=10)
    analytics: Analytics = Analytics()
    drift: Drift = Drift()
    alerts: Alerts = Alerts()
    approvals: CollectorApprovals = CollectorApprovals()
    rules: CollectorRules = CollectorRules()
    ledger: LedgerSettings = LedgerSettings()
    retention: RetentionSettings = RetentionSettings()


class Config(Section):
    agent: AgentConfig = Field(default_factory=AgentConfig)
    collector: CollectorConfig = Field(default_factory=CollectorConfig)
