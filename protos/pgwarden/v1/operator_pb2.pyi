from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TailRequest(_message.Message):
    __slots__ = ("kinds",)
    KINDS_FIELD_NUMBER: _ClassVar[int]
    kinds: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, kinds: _Optional[_Iterable[str]] = ...) -> None: ...

class TailItem(_message.Message):
    __slots__ = ("kind", "row_json")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ROW_JSON_FIELD_NUMBER: _ClassVar[int]
    kind: str
    row_json: str
    def __init__(self, kind: _Optional[str] = ..., row_json: _Optional[str] = ...) -> None: ...

class RetireAgentRequest(_message.Message):
    __slots__ = ("agent", "reason", "requested_by")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    agent: str
    reason: str
    requested_by: str
    def __init__(self, agent: _Optional[str] = ..., reason: _Optional[str] = ..., requested_by: _Optional[str] = ...) -> None: ...

class RetireAgentReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AgentsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AgentsReply(_message.Message):
    __slots__ = ("agents",)
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    agents: _containers.RepeatedCompositeFieldContainer[Agent]
    def __init__(self, agents: _Optional[_Iterable[_Union[Agent, _Mapping]]] = ...) -> None: ...

class Agent(_message.Message):
    __slots__ = ("agent", "connected", "last_seen_us", "version", "capture", "guard_mode", "spool_batches", "acked_sequence", "degraded", "rules_digest", "rules_version")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_US_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_FIELD_NUMBER: _ClassVar[int]
    GUARD_MODE_FIELD_NUMBER: _ClassVar[int]
    SPOOL_BATCHES_FIELD_NUMBER: _ClassVar[int]
    ACKED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    RULES_DIGEST_FIELD_NUMBER: _ClassVar[int]
    RULES_VERSION_FIELD_NUMBER: _ClassVar[int]
    agent: str
    connected: bool
    last_seen_us: int
    version: str
    capture: str
    guard_mode: str
    spool_batches: int
    acked_sequence: int
    degraded: _containers.RepeatedScalarFieldContainer[str]
    rules_digest: str
    rules_version: int
    def __init__(self, agent: _Optional[str] = ..., connected: _Optional[bool] = ..., last_seen_us: _Optional[int] = ..., version: _Optional[str] = ..., capture: _Optional[str] = ..., guard_mode: _Optional[str] = ..., spool_batches: _Optional[int] = ..., acked_sequence: _Optional[int] = ..., degraded: _Optional[_Iterable[str]] = ..., rules_digest: _Optional[str] = ..., rules_version: _Optional[int] = ...) -> None: ...

class SessionsRequest(_message.Message):
    __slots__ = ("running",)
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    running: bool
    def __init__(self, running: _Optional[bool] = ...) -> None: ...

class SessionsReply(_message.Message):
    __slots__ = ("rows_json", "problems")
    ROWS_JSON_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    rows_json: _containers.RepeatedScalarFieldContainer[str]
    problems: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, rows_json: _Optional[_Iterable[str]] = ..., problems: _Optional[_Iterable[str]] = ...) -> None: ...

class ActRequest(_message.Message):
    __slots__ = ("kind", "agent", "pid", "backend_started_at_us", "reason", "requested_by")
    KIND_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    BACKEND_STARTED_AT_US_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    kind: str
    agent: str
    pid: int
    backend_started_at_us: int
    reason: str
    requested_by: str
    def __init__(self, kind: _Optional[str] = ..., agent: _Optional[str] = ..., pid: _Optional[int] = ..., backend_started_at_us: _Optional[int] = ..., reason: _Optional[str] = ..., requested_by: _Optional[str] = ...) -> None: ...

class ActReply(_message.Message):
    __slots__ = ("outcome", "message")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    outcome: str
    message: str
    def __init__(self, outcome: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class DriftStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DriftStatusReply(_message.Message):
    __slots__ = ("has_baseline", "rows_json", "accepted_by", "accepted_at_us", "ignored_json", "problems")
    HAS_BASELINE_FIELD_NUMBER: _ClassVar[int]
    ROWS_JSON_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_BY_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_AT_US_FIELD_NUMBER: _ClassVar[int]
    IGNORED_JSON_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    has_baseline: bool
    rows_json: _containers.RepeatedScalarFieldContainer[str]
    accepted_by: str
    accepted_at_us: int
    ignored_json: _containers.RepeatedScalarFieldContainer[str]
    problems: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, has_baseline: _Optional[bool] = ..., rows_json: _Optional[_Iterable[str]] = ..., accepted_by: _Optional[str] = ..., accepted_at_us: _Optional[int] = ..., ignored_json: _Optional[_Iterable[str]] = ..., problems: _Optional[_Iterable[str]] = ...) -> None: ...

class DriftAcceptRequest(_message.Message):
    __slots__ = ("accepted_by", "reason", "kind", "name", "finding_id")
    ACCEPTED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FINDING_ID_FIELD_NUMBER: _ClassVar[int]
    accepted_by: str
    reason: str
    kind: str
    name: str
    finding_id: str
    def __init__(self, accepted_by: _Optional[str] = ..., reason: _Optional[str] = ..., kind: _Optional[str] = ..., name: _Optional[str] = ..., finding_id: _Optional[str] = ...) -> None: ...

class DriftAcceptReply(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: int
    def __init__(self, items: _Optional[int] = ...) -> None: ...

class JudgeFindingRequest(_message.Message):
    __slots__ = ("finding_id", "opinion", "because", "accounts")
    FINDING_ID_FIELD_NUMBER: _ClassVar[int]
    OPINION_FIELD_NUMBER: _ClassVar[int]
    BECAUSE_FIELD_NUMBER: _ClassVar[int]
    ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    finding_id: str
    opinion: str
    because: str
    accounts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, finding_id: _Optional[str] = ..., opinion: _Optional[str] = ..., because: _Optional[str] = ..., accounts: _Optional[_Iterable[str]] = ...) -> None: ...

class JudgeFindingReply(_message.Message):
    __slots__ = ("finding_id", "by", "detector", "identity", "object", "moved_before", "moved_after")
    FINDING_ID_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    MOVED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    MOVED_AFTER_FIELD_NUMBER: _ClassVar[int]
    finding_id: str
    by: str
    detector: str
    identity: str
    object: str
    moved_before: float
    moved_after: float
    def __init__(self, finding_id: _Optional[str] = ..., by: _Optional[str] = ..., detector: _Optional[str] = ..., identity: _Optional[str] = ..., object: _Optional[str] = ..., moved_before: _Optional[float] = ..., moved_after: _Optional[float] = ...) -> None: ...

class ThresholdsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ThresholdsReply(_message.Message):
    __slots__ = ("thresholds_json",)
    THRESHOLDS_JSON_FIELD_NUMBER: _ClassVar[int]
    thresholds_json: str
    def __init__(self, thresholds_json: _Optional[str] = ...) -> None: ...
