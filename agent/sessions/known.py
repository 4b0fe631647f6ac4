"""What one event tells of a session, added to what is known of it."""

from dataclasses import replace
from typing import TypeAlias

from model.event import ApplicationNamed, AuditLogged, SessionSeen
from model.session import Peer, Session

Names: TypeAlias = dict[int, str]
"""The application_name of each ``naming``."""
NAMES = 64
"""So many of one session are remembered: what is counted is told within seconds."""


def remember_name(names: Names, event: SessionSeen | ApplicationNamed) -> None:
    if event.application_name is None:
        return
    names.pop(event.naming, None)
    names[event.naming] = event.application_name
    if len(names) > NAMES:
        del names[next(iter(names))]


def named(session: Session, names: Names, naming: int) -> Session:
    """As it was called then, as far as that is remembered."""
    return replace(session, application_name=names.get(naming, session.application_name))


def seen(before: Session, event: SessionSeen) -> Session:
    """The probe knows better, except where it knows nothing."""
    name = event.application_name
    return replace(
        before,
        key=event.backend,
        cluster=event.cluster or before.cluster,
        user=event.user or before.user,
        database=event.database or before.database,
        application_name=before.application_name if name is None else name,
        client_address=event.client_address or before.client_address,
        client_port=event.client_port or before.client_port,
    )


def logged(before: Session, record: AuditLogged) -> Session:
    """The log fills gaps only: its line may be older than what the probe said."""
    if before.user and before.database:
        return before
    return replace(
        before,
        cluster=before.cluster or record.cluster,
        user=before.user or record.user,
        database=before.database or record.database,
        application_name=before.application_name or record.application_name,
        client_address=before.client_address or record.client_address,
    )


def explained(before: Session, found: Peer) -> Session:
    """Process and certificate are looked up at different times: neither takes the other away."""
    known = before.peer
    process = found.process or known.process
    return replace(
        before,
        peer=Peer(
            process=process,
            missing="" if process else found.missing or known.missing,
            tls=known.tls if found.tls is None else found.tls,
            certificate=found.certificate or known.certificate,
        ),
    )
