"""Where PostgreSQL 12 to 18 keep the fields that the probes read, on x86-64.

Source: compiled from the headers of each major version (``offsetof``), and each proven on a running
server: 12.22, 13.23, 14.23, 15.18, 16.14, 17.10, 18.4. Minor releases keep them:
PostgreSQL promises extensions a stable ABI within a major version.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.probes.errors import CaptureUnavailable


@dataclass(frozen=True, slots=True)
class Layout:
    """Byte offsets."""

    port_database_name: int
    port_user_name: int
    portal_source_text: int
    port_raddr: int = 152
    """``SockAddr raddr`` lies right before ``remote_host`` (288), and is 136 bytes long."""
    status_activity_start: int = 32
    """``PgBackendStatus.st_activity_start_timestamp``."""


LAYOUTS = {
    12: Layout(port_database_name=328, port_user_name=336, portal_source_text=48),
    13: Layout(port_database_name=328, port_user_name=336, portal_source_text=48),
    14: Layout(port_database_name=328, port_user_name=336, portal_source_text=48),
    15: Layout(port_database_name=328, port_user_name=336, portal_source_text=56),
    16: Layout(port_database_name=328, port_user_name=336, portal_source_text=56),
    17: Layout(port_database_name=320, port_user_name=328, portal_source_text=56),
    18: Layout(port_database_name=384, port_user_name=392, portal_source_text=56),
}


def layout_for(version: int) -> Layout:
    """Raises CaptureUnavailable for a major version whose layout nobody has checked."""
    layout = LAYOUTS.get(version)
    if layout is None:
        raise CaptureUnavailable(
            f"the layout of PostgreSQL {version} is unknown (known: {min(LAYOUTS)} to "
            f"{max(LAYOUTS)})",
            "use a pgwarden release that knows this version; reading with a wrong layout would "
            "report nonsense",
        )
    return layout
