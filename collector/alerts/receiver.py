"""What a receiver is: a pure translation of an Alert into one HTTP request.

Senders do no input or output; ``transport.py`` posts what they return.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from model.alert import Alert


class AlertsError(Exception):
    """A receiver or route that cannot work as configured; names the entry and the remedy."""


@dataclass(frozen=True, slots=True)
class Request:
    """One POST. Any part may hold a secret, so none is shown."""

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(
        default=(("Content-Type", "application/json"),), repr=False
    )


class Outcome(StrEnum):
    DELIVERED = "delivered"
    RETRY = "retry"
    """The receiver is away, busy or misconfigured: a person can mend it while the alert waits."""
    REFUSED = "refused"
    """The receiver read it and will never take it."""


@dataclass(frozen=True, slots=True)
class Delivery:
    outcome: Outcome
    detail: str = ""
    retry_after_seconds: float = 0.0


class Receiver(Protocol):
    """Frozen values with a name that routes and metrics use."""

    @property
    def name(self) -> str: ...

    @property
    def refresh_us(self) -> int:
        """Firing alerts are sent again this often because the peer forgets them; 0: it does not."""
        ...

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that a preview must not show."""
        ...

    def request(self, alert: Alert, now_us: int) -> Request: ...


# What a receiver says about this very payload; everything else may change by itself or by a person.
_REFUSALS = frozenset({400, 413, 422})


def judge(status: int, detail: str = "", retry_after_seconds: float = 0.0) -> Delivery:
    """The meaning of an HTTP status."""
    if 200 <= status < 300:
        return Delivery(Outcome.DELIVERED, f"HTTP {status}")
    outcome = Outcome.REFUSED if status in _REFUSALS else Outcome.RETRY
    return Delivery(outcome, f"HTTP {status} {detail}".rstrip(), retry_after_seconds)


def check_url(name: str, url: str) -> None:
    """Raises AlertsError unless ``url`` is http or https with a host."""
    remedy = "give one such as https://alertmanager.example:9093"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        # Not the URL: what cannot be taken apart cannot be shown without its secrets.
        raise AlertsError(f"receiver {name}: its url is no URL; {remedy}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        shown = without_secrets(url)
        raise AlertsError(f"receiver {name}: {shown!r} is not an http or https URL; {remedy}")


def without_secrets(url: str) -> str:
    """``url`` without user information and query, for messages."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit((parts.scheme, host + port, parts.path, "", ""))
