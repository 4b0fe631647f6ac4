"""What the server's log says of logins that it refused; no probe tells of those.

Only records of severity FATAL with the server's own English words count (``lc_messages`` of the
server's messages other than C or English hides them). A client chooses what stands in the quotes,
never what stands before them.
"""

import re

from agent.sources.pgaudit.records import AUDIT_MARK, LogRecord
from agent.sql.decoding import decoded
from model.event import LoginFailed
from model.session import BackendKey

FATAL = b"FATAL"
PASSWORD, REFUSED = "28P01", "28000"
_USER = rb'"(?P<user>.*?)"'
_WORDINGS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(words + rb"\Z", re.DOTALL), sqlstate)
    for words, sqlstate in (
        (rb"password authentication failed for user " + _USER, PASSWORD),
        (rb'[\w"-]{1,40} authentication failed for user ' + _USER, REFUSED),
        (rb"role " + _USER + rb" (?:does not exist|is not permitted to log in)", REFUSED),
        (
            rb"(?:no pg_hba\.conf entry|pg_hba\.conf rejects connection) for "
            rb'(?:host|replication connection from host) "(?P<host>[^"]*)", user '
            + _USER
            + rb'(?:, database "(?P<database>.*?)")?(?:, [\w ]+)?',
            REFUSED,
        ),
        (rb"connection requires a valid client certificate", REFUSED),
    )
)


def may_tell(line: bytes) -> bool:
    """Whether a line of the log is worth a closer look."""
    return AUDIT_MARK in line or FATAL in line


def tells(severity: bytes, message: bytes) -> bool:
    """A record of pgaudit, or of a login that was refused."""
    return message.startswith(AUDIT_MARK) or (severity == FATAL and _found(message) is not None)


def failed_login(record: LogRecord, cluster: str) -> LoginFailed | None:
    """None where the record says something else."""
    found = _found(record.message)
    if found is None:
        return None
    words, sqlstate = found
    named = words.groupdict()
    return LoginFailed(
        at_ns=record.at_ns,
        backend=BackendKey(record.pid, record.started_at_seconds * 1_000_000),
        cluster=cluster,
        user=record.user or decoded(named.get("user") or b""),
        database=record.database or decoded(named.get("database") or b""),
        client_address=record.client_address or decoded(named.get("host") or b""),
        sqlstate=sqlstate,
        message=decoded(record.message),
    )


def _found(message: bytes) -> tuple[re.Match[bytes], str] | None:
    for words, sqlstate in _WORDINGS:
        if found := words.match(message):
            return found, sqlstate
    return None
