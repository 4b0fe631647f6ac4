"""Python's side of ``postgres.bpf.h``; tests/kernel/test_layout.py proves that both agree.

``struct`` formats, not ctypes structures: a record is decoded with one ``unpack_from``, and
building a ctypes object for each would cost more than the probe does.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

NAME_BYTES = 64
TEXT_HUGE = 1 << 20
RESPONSE_SMALL = 192
RESPONSE_HEAD = 1024
RESPONSE_MEDIUM = 1536
RESPONSE_LARGE = 8192
CARRY_BYTES = 256


class RecordKind(IntEnum):
    SESSION = 1
    STATEMENT = 2
    FAILED = 3
    RESPONSE = 4
    APPLICATION = 5
    EXIT = 6
    STRANGER = 7


class TextState(IntEnum):
    WHOLE = 0
    CUT = 1
    UNREADABLE = 2
    SAME = 3


LOSS_REASONS = (
    "session",
    "statement",
    "failed_text",
    "response",
    "application",
    "exit",
    "stranger",
    "table_full",
    "signal",
    "text_cut",
)
"""Names for the indices of ``enum loss``."""

HEAD = "IIQq"
FIELDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "record_head": (HEAD, ("kind", "pid", "at_ns", "session_us")),
    "session_record": (
        HEAD + "IHH16s64s64s64s",
        ("head", "cluster", "family", "port_be", "address", "user", "database", "application"),
    ),
    "statement_record": (
        HEAD + "qIIBBBBI",
        (
            "head",
            "requested_us",
            "text_bytes",
            "full_bytes",
            "protocol",
            "depth",
            "held",
            "text_state",
            "padding",
        ),
    ),
    "response_record": (
        HEAD + "QqIHHHHBBH",
        (
            "head",
            "bytes_sent",
            "requested_us",
            "write_bytes",
            "carry_bytes",
            "head_bytes",
            "tail_bytes",
            "write",
            "aligned",
            "ready",
            "padding",
        ),
    ),
    "application_record": (HEAD + "64s", ("head", "application")),
    "stranger_record": (HEAD + "q", ("head", "started_us")),
    "config": (
        "13Q6I",
        (
            "entry_portal_run",
            "entry_secure_write",
            "entry_report_appname",
            "entry_fastpath",
            "entry_replication",
            "my_proc_port",
            "my_be_entry",
            "my_start_timestamp",
            "pg_start_time",
            "application_name",
            "debug_query_string",
            "am_walsender",
            "client_auth_in_progress",
            "port_raddr",
            "port_database_name",
            "port_user_name",
            "portal_source_text",
            "status_activity_start",
            "padding",
        ),
    ),
    "judge": ("QQII", ("beat_ns", "window_ns", "hold", "padding")),
    "cluster": ("II", ("number", "watched")),
    "session_state": (
        "qqQQQQQQQIIHHHBBBBHI256s",
        (
            "session_us",
            "requested_us",
            "text",
            "outer_stack",
            "bytes",
            "write_start",
            "write_end",
            "status",
            "held_at_ns",
            "cluster",
            "starts",
            "writes",
            "full_copies",
            "carry_bytes",
            "announced",
            "starting",
            "walsender",
            "aligned",
            "padding",
            "padding2",
            "carry",
        ),
    ),
}
"""Each struct's format without byte order, and its members in order (``head`` stands for four)."""


def layout_of(name: str) -> Struct:
    return Struct("<" + FIELDS[name][0])


def pack(name: str, **values: int) -> bytes:
    """One struct without a head; members that are not named are zero."""
    members, fields = FIELDS[name]
    unknown = values.keys() - set(fields)
    if unknown:
        raise KeyError(f"{name} has no {', '.join(sorted(unknown))}")
    blank = dict(
        zip(fields, Struct("<" + members).unpack(bytes(layout_of(name).size)), strict=True)
    )
    return layout_of(name).pack(*(blank | values).values())


HELD_AT = Struct("<Q")
HELD_AT_OFFSET = Struct("<qqQQQQQQ").size
"""Of ``held_at_ns`` in ``session_state``."""
RECORD_HEAD = layout_of("record_head")
SESSION = layout_of("session_record")
STATEMENT = layout_of("statement_record")
RESPONSE = layout_of("response_record")
APPLICATION = layout_of("application_record")
STRANGER = layout_of("stranger_record")
CONFIG = layout_of("config")
JUDGE = layout_of("judge")
CLUSTER = layout_of("cluster")
