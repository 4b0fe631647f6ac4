"""Logins that the server refused, as rows among the statements: nobody's session, no text."""

from model.event import LoginFailed, Protocol
from model.session import Session
from model.statement import ParseStatus, Shape, Source, Statement

LOGIN = Shape(status=ParseStatus.PARSED, digest="", redacted_text="", operation="login")


def refused_login(id: int, event: LoginFailed) -> Statement:
    """``session`` is what the client claimed; it never lived, so nobody hears of it otherwise."""
    session = Session(
        event.backend,
        cluster=event.cluster,
        user=event.user,
        database=event.database,
        client_address=event.client_address,
    )
    return Statement(
        id=id,
        session=session,
        text=b"",
        text_bytes=0,
        started_at_us=event.at_ns // 1000,
        source=Source.PGAUDIT,
        rows=0,
        bytes_sent=0,
        sqlstate=event.sqlstate,
        error_message=event.message,
        protocol=Protocol.STARTUP,
    )
