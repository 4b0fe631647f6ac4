from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AgentMessage(_message.Message):
    __slots__ = ("hello", "batch", "result", "status", "witnessed")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    WITNESSED_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    batch: Batch
    result: CommandResult
    status: Status
    witnessed: Witnessed
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., batch: _Optional[_Union[Batch, _Mapping]] = ..., result: _Optional[_Union[CommandResult, _Mapping]] = ..., status: _Optional[_Union[Status, _Mapping]] = ..., witnessed: _Optional[_Union[Witnessed, _Mapping]] = ...) -> None: ...

class CollectorMessage(_message.Message):
    __slots__ = ("ack", "command", "reject", "rules", "head")
    ACK_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    REJECT_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    ack: Ack
    command: Command
    reject: Reject
    rules: Rules
    head: Head
    def __init__(self, ack: _Optional[_Union[Ack, _Mapping]] = ..., command: _Optional[_Union[Command, _Mapping]] = ..., reject: _Optional[_Union[Reject, _Mapping]] = ..., rules: _Optional[_Union[Rules, _Mapping]] = ..., head: _Optional[_Union[Head, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("agent", "epoch", "version", "host", "boot_id", "protocol", "oldest_protocol", "witness_size", "instance", "acknowledged", "spool_epoch", "configuration")
    class ConfigurationEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    AGENT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    OLDEST_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    WITNESS_SIZE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    SPOOL_EPOCH_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    agent: str
    epoch: int
    version: str
    host: str
    boot_id: str
    protocol: int
    oldest_protocol: int
    witness_size: int
    instance: str
    acknowledged: int
    spool_epoch: int
    configuration: _containers.ScalarMap[str, str]
    def __init__(self, agent: _Optional[str] = ..., epoch: _Optional[int] = ..., version: _Optional[str] = ..., host: _Optional[str] = ..., boot_id: _Optional[str] = ..., protocol: _Optional[int] = ..., oldest_protocol: _Optional[int] = ..., witness_size: _Optional[int] = ..., instance: _Optional[str] = ..., acknowledged: _Optional[int] = ..., spool_epoch: _Optional[int] = ..., configuration: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("epoch", "sequence", "protocol")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    sequence: int
    protocol: int
    def __init__(self, epoch: _Optional[int] = ..., sequence: _Optional[int] = ..., protocol: _Optional[int] = ...) -> None: ...

class Head(_message.Message):
    __slots__ = ("line", "from_size", "leaves", "peaks", "ledger_key", "successions")
    LINE_FIELD_NUMBER: _ClassVar[int]
    FROM_SIZE_FIELD_NUMBER: _ClassVar[int]
    LEAVES_FIELD_NUMBER: _ClassVar[int]
    PEAKS_FIELD_NUMBER: _ClassVar[int]
    LEDGER_KEY_FIELD_NUMBER: _ClassVar[int]
    SUCCESSIONS_FIELD_NUMBER: _ClassVar[int]
    line: bytes
    from_size: int
    leaves: bytes
    peaks: bytes
    ledger_key: bytes
    successions: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, line: _Optional[bytes] = ..., from_size: _Optional[int] = ..., leaves: _Optional[bytes] = ..., peaks: _Optional[bytes] = ..., ledger_key: _Optional[bytes] = ..., successions: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Witnessed(_message.Message):
    __slots__ = ("size", "line", "key", "refused")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    size: int
    line: bytes
    key: bytes
    refused: str
    def __init__(self, size: _Optional[int] = ..., line: _Optional[bytes] = ..., key: _Optional[bytes] = ..., refused: _Optional[str] = ...) -> None: ...

class Reject(_message.Message):
    __slots__ = ("epoch", "sequence", "reason")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    sequence: int
    reason: str
    def __init__(self, epoch: _Optional[int] = ..., sequence: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("at_us", "capture", "guard_mode", "spool_batches", "spool_bytes", "degraded", "rules_digest", "rules_version")
    AT_US_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_FIELD_NUMBER: _ClassVar[int]
    GUARD_MODE_FIELD_NUMBER: _ClassVar[int]
    SPOOL_BATCHES_FIELD_NUMBER: _ClassVar[int]
    SPOOL_BYTES_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    RULES_DIGEST_FIELD_NUMBER: _ClassVar[int]
    RULES_VERSION_FIELD_NUMBER: _ClassVar[int]
    at_us: int
    capture: str
    guard_mode: str
    spool_batches: int
    spool_bytes: int
    degraded: _containers.RepeatedScalarFieldContainer[str]
    rules_digest: str
    rules_version: int
    def __init__(self, at_us: _Optional[int] = ..., capture: _Optional[str] = ..., guard_mode: _Optional[str] = ..., spool_batches: _Optional[int] = ..., spool_bytes: _Optional[int] = ..., degraded: _Optional[_Iterable[str]] = ..., rules_digest: _Optional[str] = ..., rules_version: _Optional[int] = ...) -> None: ...

class Rules(_message.Message):
    __slots__ = ("version", "bundle", "signature")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    version: int
    bundle: bytes
    signature: bytes
    def __init__(self, version: _Optional[int] = ..., bundle: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("id", "kind", "cluster", "pid", "backend_started_at_us", "reason", "requested_by", "grants", "inspect", "database", "unended")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    BACKEND_STARTED_AT_US_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    INSPECT_FIELD_NUMBER: _ClassVar[int]
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    UNENDED_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: str
    cluster: str
    pid: int
    backend_started_at_us: int
    reason: str
    requested_by: str
    grants: Grants
    inspect: Inspect
    database: str
    unended: Unended
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[str] = ..., cluster: _Optional[str] = ..., pid: _Optional[int] = ..., backend_started_at_us: _Optional[int] = ..., reason: _Optional[str] = ..., requested_by: _Optional[str] = ..., grants: _Optional[_Union[Grants, _Mapping]] = ..., inspect: _Optional[_Union[Inspect, _Mapping]] = ..., database: _Optional[str] = ..., unended: _Optional[_Union[Unended, _Mapping]] = ...) -> None: ...

class Unended(_message.Message):
    __slots__ = ("pid", "backend_started_at_us", "cluster")
    PID_FIELD_NUMBER: _ClassVar[int]
    BACKEND_STARTED_AT_US_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    pid: _containers.RepeatedScalarFieldContainer[int]
    backend_started_at_us: _containers.RepeatedScalarFieldContainer[int]
    cluster: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, pid: _Optional[_Iterable[int]] = ..., backend_started_at_us: _Optional[_Iterable[int]] = ..., cluster: _Optional[_Iterable[str]] = ...) -> None: ...

class Grants(_message.Message):
    __slots__ = ("grants",)
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    grants: _containers.RepeatedCompositeFieldContainer[Grant]
    def __init__(self, grants: _Optional[_Iterable[_Union[Grant, _Mapping]]] = ...) -> None: ...

class Grant(_message.Message):
    __slots__ = ("id", "request", "cluster", "database", "user", "identity", "digest", "uses", "used", "left_us", "relations", "functions")
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    LEFT_US_FIELD_NUMBER: _ClassVar[int]
    RELATIONS_FIELD_NUMBER: _ClassVar[int]
    FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    id: str
    request: str
    cluster: str
    database: str
    user: str
    identity: str
    digest: bytes
    uses: int
    used: int
    left_us: int
    relations: _containers.RepeatedScalarFieldContainer[str]
    functions: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., request: _Optional[str] = ..., cluster: _Optional[str] = ..., database: _Optional[str] = ..., user: _Optional[str] = ..., identity: _Optional[str] = ..., digest: _Optional[bytes] = ..., uses: _Optional[int] = ..., used: _Optional[int] = ..., left_us: _Optional[int] = ..., relations: _Optional[_Iterable[str]] = ..., functions: _Optional[_Iterable[str]] = ...) -> None: ...

class Inspect(_message.Message):
    __slots__ = ("database", "relations")
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    RELATIONS_FIELD_NUMBER: _ClassVar[int]
    database: str
    relations: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, database: _Optional[str] = ..., relations: _Optional[_Iterable[str]] = ...) -> None: ...

class CommandResult(_message.Message):
    __slots__ = ("id", "outcome", "message", "at_us")
    ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    AT_US_FIELD_NUMBER: _ClassVar[int]
    id: str
    outcome: str
    message: str
    at_us: int
    def __init__(self, id: _Optional[str] = ..., outcome: _Optional[str] = ..., message: _Optional[str] = ..., at_us: _Optional[int] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("epoch", "sequence", "strings", "shapes", "statements", "sessions", "verdicts", "losses", "snapshots", "digests", "rules_changes", "approvals")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    SHAPES_FIELD_NUMBER: _ClassVar[int]
    STATEMENTS_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    RULES_CHANGES_FIELD_NUMBER: _ClassVar[int]
    APPROVALS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    sequence: int
    strings: _containers.RepeatedScalarFieldContainer[str]
    shapes: _containers.RepeatedCompositeFieldContainer[Shape]
    statements: StatementColumns
    sessions: SessionColumns
    verdicts: _containers.RepeatedCompositeFieldContainer[Verdict]
    losses: _containers.RepeatedCompositeFieldContainer[Loss]
    snapshots: _containers.RepeatedCompositeFieldContainer[Snapshot]
    digests: _containers.RepeatedScalarFieldContainer[bytes]
    rules_changes: _containers.RepeatedCompositeFieldContainer[RulesChange]
    approvals: _containers.RepeatedCompositeFieldContainer[ApprovalStep]
    def __init__(self, epoch: _Optional[int] = ..., sequence: _Optional[int] = ..., strings: _Optional[_Iterable[str]] = ..., shapes: _Optional[_Iterable[_Union[Shape, _Mapping]]] = ..., statements: _Optional[_Union[StatementColumns, _Mapping]] = ..., sessions: _Optional[_Union[SessionColumns, _Mapping]] = ..., verdicts: _Optional[_Iterable[_Union[Verdict, _Mapping]]] = ..., losses: _Optional[_Iterable[_Union[Loss, _Mapping]]] = ..., snapshots: _Optional[_Iterable[_Union[Snapshot, _Mapping]]] = ..., digests: _Optional[_Iterable[bytes]] = ..., rules_changes: _Optional[_Iterable[_Union[RulesChange, _Mapping]]] = ..., approvals: _Optional[_Iterable[_Union[ApprovalStep, _Mapping]]] = ...) -> None: ...

class Shape(_message.Message):
    __slots__ = ("status", "digest", "redacted_text", "operation", "summary", "verbs", "objects", "reads", "writes", "columns", "functions", "settings", "roles", "flags", "fingerprint", "statements")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    REDACTED_TEXT_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    VERBS_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    READS_FIELD_NUMBER: _ClassVar[int]
    WRITES_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    STATEMENTS_FIELD_NUMBER: _ClassVar[int]
    status: str
    digest: str
    redacted_text: str
    operation: str
    summary: str
    verbs: _containers.RepeatedScalarFieldContainer[str]
    objects: _containers.RepeatedScalarFieldContainer[str]
    reads: _containers.RepeatedScalarFieldContainer[str]
    writes: _containers.RepeatedScalarFieldContainer[str]
    columns: _containers.RepeatedScalarFieldContainer[str]
    functions: _containers.RepeatedScalarFieldContainer[str]
    settings: _containers.RepeatedScalarFieldContainer[str]
    roles: _containers.RepeatedScalarFieldContainer[str]
    flags: _containers.RepeatedScalarFieldContainer[str]
    fingerprint: str
    statements: int
    def __init__(self, status: _Optional[str] = ..., digest: _Optional[str] = ..., redacted_text: _Optional[str] = ..., operation: _Optional[str] = ..., summary: _Optional[str] = ..., verbs: _Optional[_Iterable[str]] = ..., objects: _Optional[_Iterable[str]] = ..., reads: _Optional[_Iterable[str]] = ..., writes: _Optional[_Iterable[str]] = ..., columns: _Optional[_Iterable[str]] = ..., functions: _Optional[_Iterable[str]] = ..., settings: _Optional[_Iterable[str]] = ..., roles: _Optional[_Iterable[str]] = ..., flags: _Optional[_Iterable[str]] = ..., fingerprint: _Optional[str] = ..., statements: _Optional[int] = ...) -> None: ...

class StatementColumns(_message.Message):
    __slots__ = ("id", "parent_id", "shape", "started_at_us", "duration_us", "rows", "bytes_sent", "text_bytes", "pid", "backend_started_at_us", "cluster_s", "database_s", "user_s", "application_name_s", "client_address_s", "identity_kind_s", "identity_name_s", "source_s", "protocol_s", "tag_s", "sqlstate_s", "error_message_s", "audit_class_s", "audit_objects_s", "rule_s", "preparation_us", "transaction_s", "executions", "durations_s", "trace_parent_s", "digest_d", "parameters_s", "confidence", "evidence_s")
    ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_US_FIELD_NUMBER: _ClassVar[int]
    DURATION_US_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_SENT_FIELD_NUMBER: _ClassVar[int]
    TEXT_BYTES_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    BACKEND_STARTED_AT_US_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_S_FIELD_NUMBER: _ClassVar[int]
    DATABASE_S_FIELD_NUMBER: _ClassVar[int]
    USER_S_FIELD_NUMBER: _ClassVar[int]
    APPLICATION_NAME_S_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ADDRESS_S_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_KIND_S_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_NAME_S_FIELD_NUMBER: _ClassVar[int]
    SOURCE_S_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_S_FIELD_NUMBER: _ClassVar[int]
    TAG_S_FIELD_NUMBER: _ClassVar[int]
    SQLSTATE_S_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_S_FIELD_NUMBER: _ClassVar[int]
    AUDIT_CLASS_S_FIELD_NUMBER: _ClassVar[int]
    AUDIT_OBJECTS_S_FIELD_NUMBER: _ClassVar[int]
    RULE_S_FIELD_NUMBER: _ClassVar[int]
    PREPARATION_US_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_S_FIELD_NUMBER: _ClassVar[int]
    EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    DURATIONS_S_FIELD_NUMBER: _ClassVar[int]
    TRACE_PARENT_S_FIELD_NUMBER: _ClassVar[int]
    DIGEST_D_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_S_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_S_FIELD_NUMBER: _ClassVar[int]
    id: _containers.RepeatedScalarFieldContainer[int]
    parent_id: _containers.RepeatedScalarFieldContainer[int]
    shape: _containers.RepeatedScalarFieldContainer[int]
    started_at_us: _containers.RepeatedScalarFieldContainer[int]
    duration_us: _containers.RepeatedScalarFieldContainer[int]
    rows: _containers.RepeatedScalarFieldContainer[int]
    bytes_sent: _containers.RepeatedScalarFieldContainer[int]
    text_bytes: _containers.RepeatedScalarFieldContainer[int]
    pid: _containers.RepeatedScalarFieldContainer[int]
    backend_started_at_us: _containers.RepeatedScalarFieldContainer[int]
    cluster_s: _containers.RepeatedScalarFieldContainer[int]
    database_s: _containers.RepeatedScalarFieldContainer[int]
    user_s: _containers.RepeatedScalarFieldContainer[int]
    application_name_s: _containers.RepeatedScalarFieldContainer[int]
    client_address_s: _containers.RepeatedScalarFieldContainer[int]
    identity_kind_s: _containers.RepeatedScalarFieldContainer[int]
    identity_name_s: _containers.RepeatedScalarFieldContainer[int]
    source_s: _containers.RepeatedScalarFieldContainer[int]
    protocol_s: _containers.RepeatedScalarFieldContainer[int]
    tag_s: _containers.RepeatedScalarFieldContainer[int]
    sqlstate_s: _containers.RepeatedScalarFieldContainer[int]
    error_message_s: _containers.RepeatedScalarFieldContainer[int]
    audit_class_s: _containers.RepeatedScalarFieldContainer[int]
    audit_objects_s: _containers.RepeatedScalarFieldContainer[int]
    rule_s: _containers.RepeatedScalarFieldContainer[int]
    preparation_us: _containers.RepeatedScalarFieldContainer[int]
    transaction_s: _containers.RepeatedScalarFieldContainer[int]
    executions: _containers.RepeatedScalarFieldContainer[int]
    durations_s: _containers.RepeatedScalarFieldContainer[int]
    trace_parent_s: _containers.RepeatedScalarFieldContainer[int]
    digest_d: _containers.RepeatedScalarFieldContainer[int]
    parameters_s: _containers.RepeatedScalarFieldContainer[int]
    confidence: _containers.RepeatedScalarFieldContainer[float]
    evidence_s: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, id: _Optional[_Iterable[int]] = ..., parent_id: _Optional[_Iterable[int]] = ..., shape: _Optional[_Iterable[int]] = ..., started_at_us: _Optional[_Iterable[int]] = ..., duration_us: _Optional[_Iterable[int]] = ..., rows: _Optional[_Iterable[int]] = ..., bytes_sent: _Optional[_Iterable[int]] = ..., text_bytes: _Optional[_Iterable[int]] = ..., pid: _Optional[_Iterable[int]] = ..., backend_started_at_us: _Optional[_Iterable[int]] = ..., cluster_s: _Optional[_Iterable[int]] = ..., database_s: _Optional[_Iterable[int]] = ..., user_s: _Optional[_Iterable[int]] = ..., application_name_s: _Optional[_Iterable[int]] = ..., client_address_s: _Optional[_Iterable[int]] = ..., identity_kind_s: _Optional[_Iterable[int]] = ..., identity_name_s: _Optional[_Iterable[int]] = ..., source_s: _Optional[_Iterable[int]] = ..., protocol_s: _Optional[_Iterable[int]] = ..., tag_s: _Optional[_Iterable[int]] = ..., sqlstate_s: _Optional[_Iterable[int]] = ..., error_message_s: _Optional[_Iterable[int]] = ..., audit_class_s: _Optional[_Iterable[int]] = ..., audit_objects_s: _Optional[_Iterable[int]] = ..., rule_s: _Optional[_Iterable[int]] = ..., preparation_us: _Optional[_Iterable[int]] = ..., transaction_s: _Optional[_Iterable[int]] = ..., executions: _Optional[_Iterable[int]] = ..., durations_s: _Optional[_Iterable[int]] = ..., trace_parent_s: _Optional[_Iterable[int]] = ..., digest_d: _Optional[_Iterable[int]] = ..., parameters_s: _Optional[_Iterable[int]] = ..., confidence: _Optional[_Iterable[float]] = ..., evidence_s: _Optional[_Iterable[int]] = ...) -> None: ...

class SessionColumns(_message.Message):
    __slots__ = ("pid", "backend_started_at_us", "cluster_s", "database_s", "user_s", "application_name_s", "client_address_s", "client_port", "identity_kind_s", "identity_name_s", "identity_confidence", "identity_evidence_s", "ended_at_us", "seen_at_us", "origin_s")
    PID_FIELD_NUMBER: _ClassVar[int]
    BACKEND_STARTED_AT_US_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_S_FIELD_NUMBER: _ClassVar[int]
    DATABASE_S_FIELD_NUMBER: _ClassVar[int]
    USER_S_FIELD_NUMBER: _ClassVar[int]
    APPLICATION_NAME_S_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ADDRESS_S_FIELD_NUMBER: _ClassVar[int]
    CLIENT_PORT_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_KIND_S_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_NAME_S_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_EVIDENCE_S_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_US_FIELD_NUMBER: _ClassVar[int]
    SEEN_AT_US_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_S_FIELD_NUMBER: _ClassVar[int]
    pid: _containers.RepeatedScalarFieldContainer[int]
    backend_started_at_us: _containers.RepeatedScalarFieldContainer[int]
    cluster_s: _containers.RepeatedScalarFieldContainer[int]
    database_s: _containers.RepeatedScalarFieldContainer[int]
    user_s: _containers.RepeatedScalarFieldContainer[int]
    application_name_s: _containers.RepeatedScalarFieldContainer[int]
    client_address_s: _containers.RepeatedScalarFieldContainer[int]
    client_port: _containers.RepeatedScalarFieldContainer[int]
    identity_kind_s: _containers.RepeatedScalarFieldContainer[int]
    identity_name_s: _containers.RepeatedScalarFieldContainer[int]
    identity_confidence: _containers.RepeatedScalarFieldContainer[float]
    identity_evidence_s: _containers.RepeatedScalarFieldContainer[int]
    ended_at_us: _containers.RepeatedScalarFieldContainer[int]
    seen_at_us: _containers.RepeatedScalarFieldContainer[int]
    origin_s: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, pid: _Optional[_Iterable[int]] = ..., backend_started_at_us: _Optional[_Iterable[int]] = ..., cluster_s: _Optional[_Iterable[int]] = ..., database_s: _Optional[_Iterable[int]] = ..., user_s: _Optional[_Iterable[int]] = ..., application_name_s: _Optional[_Iterable[int]] = ..., client_address_s: _Optional[_Iterable[int]] = ..., client_port: _Optional[_Iterable[int]] = ..., identity_kind_s: _Optional[_Iterable[int]] = ..., identity_name_s: _Optional[_Iterable[int]] = ..., identity_confidence: _Optional[_Iterable[float]] = ..., identity_evidence_s: _Optional[_Iterable[int]] = ..., ended_at_us: _Optional[_Iterable[int]] = ..., seen_at_us: _Optional[_Iterable[int]] = ..., origin_s: _Optional[_Iterable[int]] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("at_us", "pid", "backend_started_at_us", "statement_id", "rule_id", "title", "severity", "action", "mode", "outcome", "reason", "digest", "held_us", "cluster", "database", "user", "application_name", "identity_kind", "identity_name", "redacted_text")
    AT_US_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    BACKEND_STARTED_AT_US_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_ID_FIELD_NUMBER: _ClassVar[int]
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    HELD_US_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    APPLICATION_NAME_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_KIND_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_NAME_FIELD_NUMBER: _ClassVar[int]
    REDACTED_TEXT_FIELD_NUMBER: _ClassVar[int]
    at_us: int
    pid: int
    backend_started_at_us: int
    statement_id: int
    rule_id: str
    title: str
    severity: str
    action: str
    mode: str
    outcome: str
    reason: str
    digest: str
    held_us: int
    cluster: str
    database: str
    user: str
    application_name: str
    identity_kind: str
    identity_name: str
    redacted_text: str
    def __init__(self, at_us: _Optional[int] = ..., pid: _Optional[int] = ..., backend_started_at_us: _Optional[int] = ..., statement_id: _Optional[int] = ..., rule_id: _Optional[str] = ..., title: _Optional[str] = ..., severity: _Optional[str] = ..., action: _Optional[str] = ..., mode: _Optional[str] = ..., outcome: _Optional[str] = ..., reason: _Optional[str] = ..., digest: _Optional[str] = ..., held_us: _Optional[int] = ..., cluster: _Optional[str] = ..., database: _Optional[str] = ..., user: _Optional[str] = ..., application_name: _Optional[str] = ..., identity_kind: _Optional[str] = ..., identity_name: _Optional[str] = ..., redacted_text: _Optional[str] = ...) -> None: ...

class RulesChange(_message.Message):
    __slots__ = ("at_us", "outcome", "source", "digest", "previous", "rules", "version", "problem")
    AT_US_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    at_us: int
    outcome: str
    source: str
    digest: str
    previous: str
    rules: int
    version: int
    problem: str
    def __init__(self, at_us: _Optional[int] = ..., outcome: _Optional[str] = ..., source: _Optional[str] = ..., digest: _Optional[str] = ..., previous: _Optional[str] = ..., rules: _Optional[int] = ..., version: _Optional[int] = ..., problem: _Optional[str] = ...) -> None: ...

class ApprovalStep(_message.Message):
    __slots__ = ("id", "at_us", "step", "request", "grant", "cluster", "database", "user", "identity", "digest", "pid", "backend_started_at_us", "statement_id", "identity_kind", "identity_name", "rule", "text", "relations", "functions", "flags", "who", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    AT_US_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    BACKEND_STARTED_AT_US_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_ID_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_KIND_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_NAME_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RELATIONS_FIELD_NUMBER: _ClassVar[int]
    FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    WHO_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    at_us: int
    step: str
    request: str
    grant: str
    cluster: str
    database: str
    user: str
    identity: str
    digest: str
    pid: int
    backend_started_at_us: int
    statement_id: int
    identity_kind: str
    identity_name: str
    rule: str
    text: str
    relations: _containers.RepeatedScalarFieldContainer[str]
    functions: _containers.RepeatedScalarFieldContainer[str]
    flags: _containers.RepeatedScalarFieldContainer[str]
    who: _containers.RepeatedScalarFieldContainer[str]
    reason: str
    def __init__(self, id: _Optional[str] = ..., at_us: _Optional[int] = ..., step: _Optional[str] = ..., request: _Optional[str] = ..., grant: _Optional[str] = ..., cluster: _Optional[str] = ..., database: _Optional[str] = ..., user: _Optional[str] = ..., identity: _Optional[str] = ..., digest: _Optional[str] = ..., pid: _Optional[int] = ..., backend_started_at_us: _Optional[int] = ..., statement_id: _Optional[int] = ..., identity_kind: _Optional[str] = ..., identity_name: _Optional[str] = ..., rule: _Optional[str] = ..., text: _Optional[str] = ..., relations: _Optional[_Iterable[str]] = ..., functions: _Optional[_Iterable[str]] = ..., flags: _Optional[_Iterable[str]] = ..., who: _Optional[_Iterable[str]] = ..., reason: _Optional[str] = ...) -> None: ...

class Loss(_message.Message):
    __slots__ = ("at_us", "source", "reason", "count")
    AT_US_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    at_us: int
    source: str
    reason: str
    count: int
    def __init__(self, at_us: _Optional[int] = ..., source: _Optional[str] = ..., reason: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("at_us", "cluster", "database", "kinds", "items", "server_version", "base_at_us", "removed", "first_name", "end_name", "since_us", "cluster_wide", "kinds_in_part", "format", "unwatched_from_us", "unwatched_until_us")
    AT_US_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    BASE_AT_US_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    FIRST_NAME_FIELD_NUMBER: _ClassVar[int]
    END_NAME_FIELD_NUMBER: _ClassVar[int]
    SINCE_US_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_WIDE_FIELD_NUMBER: _ClassVar[int]
    KINDS_IN_PART_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    UNWATCHED_FROM_US_FIELD_NUMBER: _ClassVar[int]
    UNWATCHED_UNTIL_US_FIELD_NUMBER: _ClassVar[int]
    at_us: int
    cluster: str
    database: str
    kinds: _containers.RepeatedScalarFieldContainer[str]
    items: _containers.RepeatedCompositeFieldContainer[CatalogItem]
    server_version: str
    base_at_us: int
    removed: _containers.RepeatedCompositeFieldContainer[CatalogKey]
    first_name: str
    end_name: str
    since_us: int
    cluster_wide: bool
    kinds_in_part: _containers.RepeatedScalarFieldContainer[str]
    format: int
    unwatched_from_us: int
    unwatched_until_us: int
    def __init__(self, at_us: _Optional[int] = ..., cluster: _Optional[str] = ..., database: _Optional[str] = ..., kinds: _Optional[_Iterable[str]] = ..., items: _Optional[_Iterable[_Union[CatalogItem, _Mapping]]] = ..., server_version: _Optional[str] = ..., base_at_us: _Optional[int] = ..., removed: _Optional[_Iterable[_Union[CatalogKey, _Mapping]]] = ..., first_name: _Optional[str] = ..., end_name: _Optional[str] = ..., since_us: _Optional[int] = ..., cluster_wide: _Optional[bool] = ..., kinds_in_part: _Optional[_Iterable[str]] = ..., format: _Optional[int] = ..., unwatched_from_us: _Optional[int] = ..., unwatched_until_us: _Optional[int] = ...) -> None: ...

class CatalogKey(_message.Message):
    __slots__ = ("kind", "database", "name")
    KIND_FIELD_NUMBER: _ClassVar[int]
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    kind: str
    database: str
    name: str
    def __init__(self, kind: _Optional[str] = ..., database: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class CatalogItem(_message.Message):
    __slots__ = ("kind", "database", "name", "value", "detail")
    KIND_FIELD_NUMBER: _ClassVar[int]
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    kind: str
    database: str
    name: str
    value: str
    detail: str
    def __init__(self, kind: _Optional[str] = ..., database: _Optional[str] = ..., name: _Optional[str] = ..., value: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...
