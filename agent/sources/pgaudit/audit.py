"""pgaudit's message, a line of CSV inside a log message, to an AuditLogged."""

import re

from agent.sources.pgaudit.records import AUDIT_MARK, LogRecord
from agent.sql.decoding import decoded
from model.event import AuditLogged
from model.session import BackendKey

# AUDIT_TYPE, STATEMENT_ID, SUBSTATEMENT_ID, CLASS, COMMAND, OBJECT_TYPE, OBJECT_NAME, STATEMENT,
# PARAMETER and, with pgaudit.log_rows, ROWS.
_FIELD = re.compile(rb'(?:"((?:[^"]++|"")*+)(?:"|\Z)|([^",]*+))(?:,|\Z)')
_MIN_FIELDS = 8
_TYPES = (b"SESSION", b"OBJECT")


class AuditError(ValueError):
    """A message that begins like pgaudit's and is not."""


def parse_audit(record: LogRecord, cluster: str) -> AuditLogged:
    """Raises AuditError. ``text`` holds bytes that are not UTF-8 as surrogate escapes."""
    fields = _split(record.message[len(AUDIT_MARK) :])
    if len(fields) < _MIN_FIELDS or fields[0] not in _TYPES:
        raise AuditError(f"{len(fields)} fields, type {fields[0][:20]!r}")
    try:
        statement_id, substatement_id = int(fields[1]), int(fields[2])
    except ValueError as error:
        raise AuditError("statement id is not a number") from error
    # Behind the text there are always parameters: without them it ends where the record was cut.
    parameters = fields[8] if len(fields) > _MIN_FIELDS else b""
    return AuditLogged(
        at_ns=record.at_ns,
        backend=BackendKey(record.pid, record.started_at_seconds * 1_000_000),
        cluster=cluster,
        user=record.user,
        database=record.database,
        application_name=record.application_name,
        client_address=record.client_address,
        audit_type=decoded(fields[0]),
        statement_id=statement_id,
        substatement_id=substatement_id,
        audit_class=decoded(fields[3]),
        command=decoded(fields[4]),
        object_type=decoded(fields[5]),
        object_name=decoded(fields[6]),
        text=fields[7].decode("utf-8", "surrogateescape"),
        parameters="" if parameters == b"<none>" else parameters.decode("utf-8", "surrogateescape"),
        precision_ns=record.precision_ns,
        missing_bytes=record.missing_bytes if len(fields) == _MIN_FIELDS else 0,
    )


def _split(line: bytes) -> list[bytes]:
    """A field cut inside its quotes is given as far as it goes."""
    fields = []
    position = 0
    while position <= len(line):
        found = _FIELD.match(line, position)
        if found is None:
            raise AuditError(f"quotes do not match at byte {position}")
        quoted, plain = found.groups()
        fields.append(plain if quoted is None else quoted.replace(b'""', b'"'))
        position = found.end()
        if position == len(line) and not line.endswith(b","):
            break
        if position == len(line):
            fields.append(b"")
            break
    return fields
