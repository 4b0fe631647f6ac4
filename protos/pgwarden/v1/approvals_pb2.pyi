from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ListApprovalsRequest(_message.Message):
    __slots__ = ("all",)
    ALL_FIELD_NUMBER: _ClassVar[int]
    all: bool
    def __init__(self, all: _Optional[bool] = ...) -> None: ...

class ListApprovalsReply(_message.Message):
    __slots__ = ("requests_json",)
    REQUESTS_JSON_FIELD_NUMBER: _ClassVar[int]
    requests_json: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, requests_json: _Optional[_Iterable[str]] = ...) -> None: ...

class ShowApprovalRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: str
    def __init__(self, request: _Optional[str] = ...) -> None: ...

class ShowApprovalReply(_message.Message):
    __slots__ = ("request_json", "readers_json", "catalog_json", "catalog_problem")
    REQUEST_JSON_FIELD_NUMBER: _ClassVar[int]
    READERS_JSON_FIELD_NUMBER: _ClassVar[int]
    CATALOG_JSON_FIELD_NUMBER: _ClassVar[int]
    CATALOG_PROBLEM_FIELD_NUMBER: _ClassVar[int]
    request_json: str
    readers_json: _containers.RepeatedScalarFieldContainer[str]
    catalog_json: str
    catalog_problem: str
    def __init__(self, request_json: _Optional[str] = ..., readers_json: _Optional[_Iterable[str]] = ..., catalog_json: _Optional[str] = ..., catalog_problem: _Optional[str] = ...) -> None: ...

class DecideApprovalRequest(_message.Message):
    __slots__ = ("request", "grant", "uses", "lasts_us", "reason", "accounts")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    LASTS_US_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    request: str
    grant: bool
    uses: int
    lasts_us: int
    reason: str
    accounts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, request: _Optional[str] = ..., grant: _Optional[bool] = ..., uses: _Optional[int] = ..., lasts_us: _Optional[int] = ..., reason: _Optional[str] = ..., accounts: _Optional[_Iterable[str]] = ...) -> None: ...

class DecideApprovalReply(_message.Message):
    __slots__ = ("done", "message", "delivered", "by")
    DONE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    done: bool
    message: str
    delivered: bool
    by: str
    def __init__(self, done: _Optional[bool] = ..., message: _Optional[str] = ..., delivered: _Optional[bool] = ..., by: _Optional[str] = ...) -> None: ...
