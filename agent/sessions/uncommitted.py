"""An error behind a statement that is complete: it could not be committed, or the server refused a
message that came after it.

The first makes a failure of it and the second must not: a client that asks for a name that does not
exist would get its successes recorded as failures, which no limit counts and nobody expects
pgaudit to log. Both are an error behind CommandComplete that is about no text.
"""

from model.event import ErrorReport

_READERS = frozenset(
    (
        "PostgresMain",
        "SocketBackend",
        "pg_any_to_server",
        "perform_default_encoding_conversion",
        "report_invalid_encoding",
        "report_untranslatable_char",
    )
)
"""Who reads a Close, Flush or Sync that is malformed: they have no time of arrival to be known by.
All other readers are called ``pq_``."""
_REFUSALS = frozenset(("08P01", "22021", "22P05", "26000", "34000"))
"""What is said of a message that is no statement: malformed, in no valid encoding, of nothing that
was prepared. Where the routine is not known: any trigger can raise them."""
_AT_COMMIT = ("23", "40")
"""Classes of constraints and of serialization: no Bind, Execute or Describe meets them before it is
about a text."""
_RAISE = "exec_stmt_raise"
"""PL/pgSQL: outside of statements it runs in deferred triggers alone."""


def is_uncommitted(error: ErrorReport, later: bool) -> bool:
    """``later``: another message had come since (ResponseSent). The error may still be of the Sync
    behind that one; where both can be, a success stays a success.

    FATAL ends the session for a reason of its own: time, an administrator, bytes that are no
    message.
    """
    if error.severity != "ERROR":
        return False
    if later:
        return error.routine == _RAISE or error.sqlstate.startswith(_AT_COMMIT)
    if not error.routine:
        return error.sqlstate not in _REFUSALS
    return error.routine not in _READERS and not error.routine.startswith("pq_")
