"""Python's side of ``postgres.bpf.h``; tests/kernel/test_layout.py proves that both agree.

``struct`` formats, not ctypes structures: a record is decoded with one ``unpack_from``, and
building a ctypes object for each would cost more than the probe does.
"""

from __future__ import annotations

import re
from enum import IntEnum
from struct import Struct

NAME_BYTES = 64
TEXT_HUGE = 1 << 20
TEXT_KEPT = 2048
TAIL_BYTES = 48
DURATION_CLASSES = 24
BYTE_DIGIT = 1
BYTE_JOINS = 2
PARAMETERS_MANY = 32
PARAMETER_BYTES = 116
PARAMETER_TYPES = 8192
CALL_BYTES = 256
CALL_UNKNOWN = 0xFFFFFFFF
NO_TEXT = 255
RESPONSE_SMALL = 192
RESPONSE_HEAD = 1024
RESPONSE_MEDIUM = 1536
RESPONSE_LARGE = 8192
CARRY_BYTES = 256
SEND_BUFFER_BYTES = 8192
UNKNOWN = 0xFFFFFFFF


class RecordKind(IntEnum):
    SESSION = 1
    STATEMENT = 2
    FAILED = 3
    RESPONSE = 4
    APPLICATION = 5
    EXIT = 6
    STRANGER = 7
    EXECUTION = 8
    NESTED = 9
    PARAMETERS = 10
    CALL = 11


class TextState(IntEnum):
    WHOLE = 0
    CUT = 1
    UNREADABLE = 2
    SAME = 3
    KNOWN = 4


TEXT_URGENT = 128
"""Beside the state."""


class FailedText(IntEnum):
    NONE = 0
    TOLD = 1
    LOST = 2
    SAME = 3
    """Of the message that the last statement came with."""
    NO_TEXT = 4
    """It was over."""
    LATER = 5
    """Nor of that message: another one has come since."""


class ParameterState(IntEnum):
    VALUE = 0
    NULL = 1
    UNKNOWN = 2
    COMPRESSED = 3
    ELSEWHERE = 4
    UNREADABLE = 5


class TypeKind(IntEnum):
    """How values of a type lie in memory; another number is their length, behind a pointer."""

    UNKNOWN = 0
    BY_VALUE = 1
    VARLENA = 2


class Evasion(IntEnum):
    """Whether a plan lets functions run past their probes."""

    NONE = 0
    JUDGED = 1
    ALONE = 2


class Part(IntEnum):
    """What a held statement belongs to that was held before it."""

    NONE = 0
    CLIENTS = 1
    """What the client's message asks for, which runs once: any statement of a string, the query of
    its CREATE TABLE AS, COPY, EXPLAIN or DECLARE."""
    COMMANDS = 2
    """The command inside another statement that was held just before: this is its query."""


class Nested(IntEnum):
    """What is told of what runs inside statements."""

    NONE = 0
    ALL = 1
    COMMANDS = 2
    """DDL, GRANT, ALTER SYSTEM and their like: what outlives the statement."""


class Aggregation(IntEnum):
    NEVER = 0
    OVERLOAD = 1
    ALWAYS = 2


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
    "execution",
    "urgent_statement",
    "urgent_response",
    "parameters",
    "unheld",
    "no_lock",
    "urgent_no_lock",
)
"""Names for the indices of ``enum loss``."""
LOST_STATEMENTS = frozenset(
    ("statement", "execution", "urgent_statement", "table_full", "no_lock", "urgent_no_lock")
)
"""Each of these is a statement of which nothing is told: those told and these are all that ran. The
other reasons count what is missing of statements that are told."""

HEAD = "IIQq"
HEAD_FIELDS = 4
FIELDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "record_head": (HEAD, ("kind", "pid", "at_ns", "session_us")),
    "session_record": (
        HEAD + "IIIHH16s64s64s64s",
        (
            "head",
            "naming",
            "cluster",
            "server_pid",
            "family",
            "port_be",
            "address",
            "user",
            "database",
            "application",
        ),
    ),
    "statement_record": (
        HEAD + "q16s16sQQIIIIIBBBBBBBBIII",
        (
            "head",
            "requested_us",
            "text_key",
            "skeleton",
            "planned",
            "touched",
            "text_bytes",
            "full_bytes",
            "text_id",
            "row_limit",
            "naming",
            "protocol",
            "depth",
            "held",
            "text_state",
            "planned_list",
            "quiet",
            "evades",
            "part",
            "start",
            "round",
            "continued",
        ),
    ),
    "execution_record": (
        HEAD + "QqQ16sIIIBBBB48s",
        (
            "head",
            "started_ns",
            "requested_us",
            "bytes_sent",
            "text_key",
            "text_bytes",
            "text_id",
            "row_limit",
            "tail_bytes",
            "before",
            "urgent",
            "continued",
            "tail",
        ),
    ),
    "response_record": (
        HEAD + "QqIIIIIHHHHBBBB",
        (
            "head",
            "bytes_sent",
            "requested_us",
            "starts",
            "round",
            "write_bytes",
            "begins",
            "ended",
            "carry_bytes",
            "head_bytes",
            "tail_bytes",
            "write",
            "walsender",
            "ready",
            "before",
            "failed",
        ),
    ),
    "application_record": (HEAD + "II64s", ("head", "naming", "padding", "application")),
    "parameters_record": (HEAD + "qII", ("head", "requested_us", "count", "depth")),
    "parameter": (
        "IIBBH116s",
        ("type", "bytes", "state", "copied", "padding", "data"),
    ),
    "stranger_record": (HEAD + "q", ("head", "started_us")),
    "config": (
        "21Q22I256s8192s",
        (
            "entry_portal_run",
            "entry_secure_write",
            "entry_report_appname",
            "entry_fastpath",
            "entry_replication",
            "entry_executor_start",
            "entry_process_utility",
            "entry_portal_fetch",
            "my_proc_port",
            "statement_start",
            "my_start_timestamp",
            "my_proc_pid",
            "pg_start_time",
            "application_name",
            "debug_query_string",
            "am_walsender",
            "client_auth_in_progress",
            "active_portal",
            "error_context",
            "hash_key_high",
            "hash_key_low",
            "port_raddr",
            "port_database_name",
            "port_user_name",
            "portal_source_text",
            "portal_statements",
            "list_cells",
            "planned_utility",
            "command_utility",
            "planned_relations",
            "planned_tree",
            "planned_results",
            "changed_parts",
            "calls",
            "aggregate",
            "nested",
            "inside",
            "context_third",
            "portal_parameters",
            "list_parameters",
            "parameters",
            "portal_at_start",
            "padding",
            "byte_classes",
            "type_kinds",
        ),
    ),
    "occasion": (
        "qQQQQQQQ32s16sIIIIIIIIBBBBBBBBBBBBBBBB",
        (
            "requested_us",
            "portal",
            "text",
            "planned",
            "touched",
            "cell",
            "unreadable",
            "claim",
            "mix",
            "skeleton",
            "kind",
            "row_limit",
            "class",
            "limit",
            "full_bytes",
            "cells",
            "start",
            "more_padding",
            "protocol",
            "depth",
            "text_state",
            "urgent",
            "hold",
            "kept",
            "told",
            "planned_list",
            "unseen",
            "judged",
            "utility",
            "quiet",
            "evades",
            "part",
            "lasting",
            "continued",
        ),
    ),
    "level": ("QQQIIII", ("frame", "text", "stack", "start", "end", "fetched", "padding")),
    "judge": (
        "QQIIII",
        ("beat_ns", "window_ns", "hold", "pressed", "epoch", "padding"),
    ),
    "known_text": ("II", ("id", "urgent")),
    "session_class": ("qII", ("session_us", "class", "naming")),
    "allowance": ("16sQII", ("text", "touched", "class", "skeleton")),
    "aggregate_key": ("qIIII", ("session_us", "pid", "text_id", "epoch", "naming")),
    "aggregate": (
        "6Q96s",
        ("count", "rows", "bytes", "duration_ns", "first_ns", "last_ns", "durations"),
    ),
    "cluster": ("II", ("number", "watched")),
    "function": ("II", ("number", "text")),
    "writing": (
        "QQQqBBBBB3s",
        (
            "start",
            "bytes",
            "result",
            "requested_us",
            "ready",
            "aligned",
            "flushed",
            "failed",
            "tail_read",
            "padding",
        ),
    ),
    "stream": (
        "QQQIIIBBBBBB6s8s4104s",
        (
            "left",
            "behind",
            "moved",
            "readable",
            "begins",
            "endings",
            "header_bytes",
            "in_step",
            "counted",
            "cut",
            "telling",
            "failed",
            "padding",
            "header",
            "window",
        ),
    ),
    "session_state": (
        "qqQQQQQQQQqQ16sIIIIIIIIIHHBBBBBBBBBBBBBBBB160s320s48s256s2048s40s4160s",
        (
            "session_us",
            "requested_us",
            "text",
            "outer_stack",
            "bytes",
            "held_at_ns",
            "started_ns",
            "base",
            "result_left",
            "claim",
            "claim_us",
            "claim_text",
            "text_key",
            "cluster",
            "starts",
            "kept_bytes",
            "text_id",
            "row_limit",
            "naming",
            "round",
            "claim_kind",
            "more_padding",
            "writes",
            "carry_bytes",
            "announced",
            "starting",
            "walsender",
            "aligned",
            "pending",
            "flushed",
            "urgent",
            "transaction",
            "protocol",
            "level",
            "known",
            "exempt",
            "calling",
            "asked",
            "no_lock",
            "continued",
            "occasion",
            "levels",
            "tail",
            "carry",
            "kept",
            "writing",
            "stream",
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


def offset_of(name: str, field: str) -> int:
    """Where a member begins, in bytes."""
    members, fields = FIELDS[name]
    codes = [
        code
        for count, kind in re.findall(r"(\d*)([a-zA-Z])", members)
        for code in ([count + kind] if kind == "s" else [kind] * int(count or 1))
    ]
    before = fields.index(field) + (HEAD_FIELDS - 1 if fields[0] == "head" else 0)
    return Struct("<" + "".join(codes[:before])).size


HELD_AT = Struct("<Q")
HELD_AT_OFFSET = offset_of("session_state", "held_at_ns")
AGGREGATE_FIELD = Struct("<I")
CALLS_OFFSET = offset_of("config", "calls")
"""Of the same form."""
AGGREGATE_OFFSET = offset_of("config", "aggregate")
RECORD_HEAD = layout_of("record_head")
SESSION = layout_of("session_record")
STATEMENT = layout_of("statement_record")
RESPONSE = layout_of("response_record")
APPLICATION = layout_of("application_record")
STRANGER = layout_of("stranger_record")
PARAMETERS = layout_of("parameters_record")
PARAMETER = layout_of("parameter")
CONFIG = layout_of("config")
JUDGE = layout_of("judge")
CLUSTER = layout_of("cluster")
FUNCTION = layout_of("function")
EXECUTION = layout_of("execution_record")
KNOWN_TEXT = layout_of("known_text")
SESSION_CLASS = layout_of("session_class")
ALLOWANCE = layout_of("allowance")
AGGREGATE_KEY = layout_of("aggregate_key")
AGGREGATE = layout_of("aggregate")
