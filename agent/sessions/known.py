"""What one event tells of a session, added to what is known of it."""

from dataclasses import replace

from model.event import AuditLogged, SessionSeen
from model.session import Peer, Session


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
