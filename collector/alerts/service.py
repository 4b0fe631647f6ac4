"""The wiring of alerts: findings in, letters out, records of what happened back."""

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import structlog

from collector.alerts.causes import cause_without_values
from collector.alerts.courier import Courier
from collector.alerts.grouping import Grouper, Policy
from collector.alerts.outbox import Letter, Outbox, Retry
from collector.alerts.receiver import AlertsError, Delivery, Outcome, Receiver
from collector.alerts.routes import Route, receivers_for
from collector.alerts.transport import HttpTransport, Transport
from model.alert import Alert, AlertStatus
from model.finding import Finding

log = structlog.get_logger(__name__)


class AlertEvent(StrEnum):
    RAISED = "raised"
    """Decided and durable; receivers follow."""
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """What happened to an alert, for the table ``alerts``."""

    at_us: int
    event: AlertEvent
    alert: Alert
    receiver: str = ""
    detail: str = ""


class Alerts:
    """Thread-safe. ``record`` is called from the caller's thread and from the senders' threads."""

    def __init__(
        self,
        state_dir: Path,
        receivers: Sequence[Receiver] = (),
        routes: Sequence[Route] = (),
        *,
        policy: Policy | None = None,
        retry: Retry | None = None,
        record: Callable[[AlertRecord], None] = lambda _: None,
        transport: Transport | None = None,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        letters_per_receiver: int = 10_000,
    ) -> None:
        problems = problems_of([receiver.name for receiver in receivers], routes)
        if problems:
            raise AlertsError("; ".join(problems))
        self._receivers = {receiver.name: receiver for receiver in receivers}
        self._routes = tuple(routes)
        self._record = record
        self._clock_us = clock_us
        self._lock = threading.RLock()
        self._delivered: Counter[tuple[str, str]] = Counter()
        self._failed: Counter[str] = Counter()
        self._given_up: Counter[tuple[str, str]] = Counter()
        self._storage_errors = 0
        self._last_sent_us: dict[tuple[str, str], int] = {}
        self._unsaved: list[Letter] = []
        self._outbox = Outbox(
            state_dir / "alerts.sqlite", letters_per_receiver=letters_per_receiver
        )
        if self._outbox.quarantined:
            self._storage_errors += 1
            log.error("damaged alert outbox set aside", path=str(self._outbox.quarantined))
        self._grouper = Grouper(policy or Policy(), self._outbox.groups())
        self._own_transport: HttpTransport | None = None
        self._couriers = self._couriers_to(receivers, transport, retry or Retry())
        for letter in self._outbox.remove_unknown(tuple(self._receivers)):
            self._give_up(letter, "unconfigured")
        for courier in self._couriers.values():
            courier.start()

    def _couriers_to(
        self, receivers: Sequence[Receiver], transport: Transport | None, retry: Retry
    ) -> dict[str, Courier]:
        if not receivers:
            return {}
        if transport is None:
            # Only now: it reads the certificates of all authorities that the host trusts.
            transport = self._own_transport = HttpTransport()
        return {
            receiver.name: Courier(
                receiver, self._outbox, transport, retry, self._clock_us, self._report
            )
            for receiver in receivers
        }

    def on_findings(self, findings: Iterable[Finding], now_us: int) -> list[Alert]:
        """Durable when it returns; gives what will be sent."""
        with self._lock:
            observed = (self._grouper.observe(finding, now_us) for finding in findings)
            alerts = self._say([alert for alert in observed if alert], now_us)
        self._note_raised(alerts, now_us)
        return alerts

    def tick(self, now_us: int) -> None:
        """Call about once a second: ends quiet groups, refreshes those that receivers forget."""
        with self._lock:
            ended = self._say(self._grouper.tick(now_us), now_us)
            refreshed = list(self._refreshes(now_us))
            if refreshed or self._unsaved:
                self._commit(refreshed)
        self._note_raised(ended, now_us)

    def resolve(self, group_key: str, now_us: int) -> Alert | None:
        """An operator or detector says that it is over."""
        with self._lock:
            alert = self._grouper.resolve(group_key, now_us)
            alerts = self._say([alert] if alert else [], now_us)
        self._note_raised(alerts, now_us)
        return alert

    def ask_to_stop(self) -> None:
        """Never waits."""
        for courier in self._couriers.values():
            courier.stop()

    def close(self, timeout_seconds: float = 15.0) -> None:
        """Stops the senders; what waits stays on disk."""
        self.ask_to_stop()
        deadline = time.monotonic() + timeout_seconds
        ended = [c.join(max(0.0, deadline - time.monotonic())) for c in self._couriers.values()]
        if self._own_transport:
            self._own_transport.close()
        # A sender that is stuck in a reply still uses the outbox; the process takes both down.
        if all(ended):
            self._outbox.close()

    @property
    def firing(self) -> tuple[Alert, ...]:
        with self._lock:
            return tuple(group.alert for group in self._grouper.groups if group.firing)

    @property
    def delivered_total(self) -> dict[tuple[str, str], int]:
        """By receiver and status: firing, resolved, refresh."""
        with self._lock:
            return dict(self._delivered)

    @property
    def failed_total(self) -> dict[str, int]:
        """Attempts that failed and will be tried again, by receiver."""
        with self._lock:
            return dict(self._failed)

    @property
    def given_up_total(self) -> dict[tuple[str, str], int]:
        """By receiver and reason: refused, expired, overflow, unconfigured."""
        with self._lock:
            return dict(self._given_up)

    @property
    def storage_errors_total(self) -> int:
        with self._lock:
            return self._storage_errors

    @property
    def outbox_depth(self) -> dict[str, int]:
        try:
            waiting = self._outbox.depth()
        except sqlite3.Error:
            waiting = {}
        return {name: waiting.get(name, 0) for name in self._receivers}

    def _say(self, alerts: Sequence[Alert], now_us: int) -> list[Alert]:
        letters = []
        for alert in alerts:
            receivers = self._receivers_of(alert)
            self._grouper.told(alert.group_key, receivers)
            letters += [Letter(name, alert, now_us) for name in receivers]
            for name in receivers:
                self._last_sent_us[name, alert.group_key] = now_us
        self._commit(letters)
        return list(alerts)

    def _note_raised(self, alerts: Sequence[Alert], now_us: int) -> None:
        for alert in alerts:
            self._note(AlertRecord(now_us, AlertEvent.RAISED, alert))

    def _receivers_of(self, alert: Alert) -> tuple[str, ...]:
        """The routes' answer, and who heard of it before: they must hear of its end too."""
        group = self._grouper.get(alert.group_key)
        told = group.receivers if group else ()
        known = tuple(self._receivers)
        if alert.status is AlertStatus.RESOLVED:
            return tuple(name for name in known if name in told)
        chosen = receivers_for(alert, self._routes, known)
        return tuple(name for name in known if name in chosen or name in told)

    def _refreshes(self, now_us: int) -> Iterable[Letter]:
        for group in self._grouper.groups:
            for name in group.receivers:
                receiver = self._receivers.get(name)
                key = (name, group.alert.group_key)
                if not group.firing or receiver is None or not receiver.refresh_us:
                    self._last_sent_us.pop(key, None)
                    continue
                # Nothing remembered after a restart: sent at once, Alertmanager may have forgotten.
                if now_us - self._last_sent_us.get(key, 0) >= receiver.refresh_us:
                    self._last_sent_us[key] = now_us
                    yield Letter(name, _unchanged(group.alert), now_us, refresh=True)

    def _commit(self, letters: Sequence[Letter]) -> None:
        changed, removed = self._grouper.take_changes()
        letters = [*self._unsaved, *letters]
        if not (changed or removed or letters):
            return
        try:
            overflow = self._outbox.commit(changed, removed, letters)
        except sqlite3.Error as error:
            # Kept in memory until the disk is back; tick() tries again.
            self._storage_errors += 1
            self._unsaved = list(letters)
            self._grouper.restore_changes(changed, removed)
            log.error("alert outbox cannot be written", error=type(error).__name__)
            return
        self._unsaved = []
        for letter in overflow:
            self._give_up(letter, "overflow")
        for name in {letter.receiver for letter in letters}:
            self._couriers[name].wake()

    def _report(self, letter: Letter, delivery: Delivery) -> None:
        if delivery.outcome is Outcome.REFUSED:
            reason = "expired" if delivery.detail == "expired" else "refused"
            self._give_up(letter, reason, delivery.detail)
            return
        with self._lock:
            if delivery.outcome is Outcome.RETRY:
                self._failed[letter.receiver] += 1
                log.warning("alert delayed", receiver=letter.receiver, detail=delivery.detail)
                return
            status = "refresh" if letter.refresh else letter.alert.status.value
            self._delivered[letter.receiver, status] += 1
        if not letter.refresh:
            self._note(
                AlertRecord(
                    self._clock_us(),
                    AlertEvent.DELIVERED,
                    letter.alert,
                    letter.receiver,
                    delivery.detail,
                )
            )

    def _give_up(self, letter: Letter, reason: str, detail: str = "") -> None:
        with self._lock:
            self._given_up[letter.receiver, reason] += 1
        log.error("alert given up", receiver=letter.receiver, reason=reason, detail=detail)
        self._note(
            AlertRecord(
                self._clock_us(),
                AlertEvent.GIVEN_UP,
                letter.alert,
                letter.receiver,
                f"{reason} {detail}".strip(),
            )
        )

    def _note(self, record: AlertRecord) -> None:
        try:
            self._record(record)
        except Exception:  # noqa: BLE001 - a full store must not stop the pager
            log.error("alert record not kept", error=cause_without_values())


def _unchanged(alert: Alert) -> Alert:
    """A refresh must not end the old severity again."""
    notes = tuple((k, v) for k, v in alert.annotations if k != "previous_severity")
    return replace(alert, annotations=notes)


def problems_of(names: Sequence[str], routes: Sequence[Route]) -> list[str]:
    """A sentence for each receiver and route that cannot work."""
    problems = [
        f"receiver name used twice: {name}; give each its own name"
        for name, count in sorted(Counter(names).items())
        if count > 1
    ]
    for number, route in enumerate(routes, 1):
        unknown = sorted(set(route.receivers) - set(names))
        if unknown:
            problems.append(
                f"route {number} names unknown receivers: {', '.join(unknown)}; "
                f"known are: {', '.join(names) or 'none'}"
            )
    return problems
