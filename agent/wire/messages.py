"""Single values of the wire: escaped text, shapes, verdicts.

Whatever a client may have chosen (text, names) is escaped and bounded here, and nowhere else.
"""

import re

from agent.digests import Seal, unsealed
from model.event import Lost
from model.rules_change import RulesChange
from model.session import Session
from model.statement import Shape
from model.verdict import Verdict
from protos.pgwarden.v1 import uplink_pb2 as pb

MAX_TEXT_BYTES = 1024 * 1024
MAX_NAME_BYTES = 8 * 1024
MAX_LIST_ITEMS = 1000
MAX_LIST_BYTES = 64 * 1024

# Newline and tab belong to SQL; everywhere else they would let a client forge lines in a log.
_UNSAFE_IN_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_UNSAFE_IN_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def escape_text(text: str, limit_bytes: int = MAX_TEXT_BYTES) -> str:
    """Valid UTF-8 without control characters except newline and tab; a bad byte reads ``\\xNN``."""
    return _escape(text, _UNSAFE_IN_TEXT, limit_bytes)


def escape_name(name: str, limit_bytes: int = MAX_NAME_BYTES) -> str:
    """As ``escape_text``, on one line."""
    return _escape(name, _UNSAFE_IN_NAME, limit_bytes)


def loss_to_wire(lost: Lost) -> pb.Loss:
    return pb.Loss(
        at_us=lost.at_ns // 1000,
        source=escape_name(lost.source),
        reason=escape_name(lost.reason),
        count=lost.count,
    )


def rules_change_to_wire(change: RulesChange) -> pb.RulesChange:
    return pb.RulesChange(
        at_us=change.at_us,
        outcome=change.outcome,
        source=change.source,
        digest=change.digest,
        previous=change.previous,
        rules=change.rules,
        version=change.version,
        problem=escape_name(change.problem),
    )


def shape_to_wire(shape: Shape) -> pb.Shape:
    """Without a digest: that is of each text, and a shape is of many."""
    return pb.Shape(
        status=shape.status,
        redacted_text=escape_text(shape.redacted_text),
        operation=escape_name(shape.operation),
        summary=escape_name(shape.summary),
        verbs=_list(shape.verbs),
        objects=_list(shape.objects),
        reads=_list(shape.reads),
        writes=_list(shape.writes),
        columns=_list(shape.columns),
        functions=_list(shape.functions),
        settings=_list(shape.settings),
        roles=_list(shape.roles),
        flags=_list(shape.flags),
        fingerprint=escape_name(shape.fingerprint),
        statements=shape.statements,
    )


def _list(items: tuple[str, ...]) -> list[str]:
    """At most 1000 items and 64 KiB, so that one row can never outgrow a batch."""
    room, kept = MAX_LIST_BYTES, []
    for item in items[:MAX_LIST_ITEMS]:
        text = escape_name(item)
        room -= string_bytes(text)
        if room < 0:
            break
        kept.append(text)
    return kept


def verdict_to_wire(
    verdict: Verdict, session: Session, redacted_text: str, seal: Seal = unsealed
) -> pb.Verdict:
    return pb.Verdict(
        at_us=verdict.at_us,
        pid=verdict.backend.pid,
        backend_started_at_us=verdict.backend.started_at_us,
        statement_id=verdict.statement_id,
        rule_id=escape_name(verdict.rule_id),
        title=escape_name(verdict.title),
        severity=verdict.severity,
        action=verdict.action,
        mode=verdict.mode,
        outcome=verdict.outcome,
        reason=escape_name(verdict.reason),
        digest=escape_name(seal(verdict.digest)),
        held_us=verdict.held_us,
        cluster=escape_name(session.cluster),
        database=escape_name(session.database),
        user=escape_name(session.user),
        application_name=escape_name(session.application_name),
        identity_kind=session.identity.kind,
        identity_name=escape_name(session.identity.name),
        redacted_text=escape_text(redacted_text),
    )


def string_bytes(text: str) -> int:
    """Size of a string as an item of a repeated field."""
    return len(text.encode()) + 5


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _escape(text: str, unsafe: re.Pattern[str], limit_bytes: int) -> str:
    """Cut first: a megabyte of bad bytes from a hostile client must not cost a second."""
    text = text[:limit_bytes]
    if unsafe.search(text):
        text = text.translate(_ESCAPES if unsafe is _UNSAFE_IN_NAME else _TEXT_ESCAPES)
    if len(text) * 4 <= limit_bytes:
        return text
    return text.encode()[:limit_bytes].decode("utf-8", "ignore")


def _escaped(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: the byte itself
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


_UNSAFE = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0xD800, 0xE000))
_ESCAPES = {code: _escaped(code) for code in _UNSAFE}
_TEXT_ESCAPES = {
    code: text for code, text in _ESCAPES.items() if code not in (0x09, 0x0A, 0x2028, 0x2029)
}
