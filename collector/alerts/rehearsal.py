"""Try the way to the pager before it is needed: a test alert, or only a look at the payload."""

from dataclasses import dataclass, replace

from collector.alerts.receiver import Delivery, Outcome, Receiver, without_secrets
from collector.alerts.transport import Transport
from model.alert import Alert, AlertStatus
from model.verdict import Severity

_MASK = "********"


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be posted, with secrets masked."""

    receiver: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: str


def rehearsal_alert(now_us: int, severity: Severity = Severity.LOW) -> Alert:
    return Alert(
        group_key="rehearsal/pgwarden",
        status=AlertStatus.FIRING,
        severity=severity,
        title="pgwarden test alert",
        summary="Somebody asked pgwarden for a test alert. Nothing is wrong.",
        starts_at_us=now_us,
        ends_at_us=0,
        labels=(
            ("alertname", "PgwardenTest"),
            ("kind", "rehearsal"),
            ("detector", "rehearsal"),
            ("severity", severity.value),
        ),
        annotations=(),
        finding_ids=(),
    )


def rehearse(
    receiver: Receiver, transport: Transport, now_us: int, severity: Severity = Severity.LOW
) -> list[Delivery]:
    """Fires and, if that arrived, resolves, so that no page stays open."""
    alert = rehearsal_alert(now_us, severity)
    fired = transport(receiver.request(alert, now_us))
    if fired.outcome is not Outcome.DELIVERED:
        return [fired]
    over = replace(alert, status=AlertStatus.RESOLVED, ends_at_us=now_us)
    return [fired, transport(receiver.request(over, now_us))]


def preview(receiver: Receiver, alert: Alert, now_us: int) -> Preview:
    request = receiver.request(alert, now_us)
    secrets = [secret for secret in receiver.secrets if secret]

    def masked(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, _MASK)
        return text

    hidden_url = request.url in secrets
    return Preview(
        receiver=receiver.name,
        url=_MASK if hidden_url else masked(without_secrets(request.url)),
        headers=tuple((name, masked(value)) for name, value in request.headers),
        body=masked(request.body.decode()),
    )
