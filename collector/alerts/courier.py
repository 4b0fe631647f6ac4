"""Delivers one receiver's queue in its own thread: a dead pager holds up nobody else."""

import random
import threading
from collections.abc import Callable

import structlog

from collector.alerts.causes import cause_without_values
from collector.alerts.outbox import Letter, Outbox, Retry
from collector.alerts.receiver import Delivery, Outcome, Receiver
from collector.alerts.transport import Transport

_IDLE_SECONDS = 1.0
"""Backstop only; new letters wake the courier."""

log = structlog.get_logger(__name__)

Report = Callable[[Letter, Delivery], None]


class Courier:
    """``report`` is called after each attempt, from this thread."""

    def __init__(
        self,
        receiver: Receiver,
        outbox: Outbox,
        transport: Transport,
        retry: Retry,
        clock_us: Callable[[], int],
        report: Report,
    ) -> None:
        self._receiver = receiver
        self._outbox = outbox
        self._transport = transport
        self._retry = retry
        self._clock_us = clock_us
        self._report = report
        self._failures = 0
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"alerts-{receiver.name}", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._woken.set()

    def stop(self) -> None:
        """Asks; ``join`` waits."""
        self._stopping.set()
        self._woken.set()

    def join(self, timeout_seconds: float) -> bool:
        """True when the thread has ended."""
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                pause_seconds = self._step()
            except Exception:  # noqa: BLE001 - supervising loop: log, wait, go on
                log.error(
                    "alert delivery step failed",
                    receiver=self._receiver.name,
                    error=cause_without_values(),
                )
                pause_seconds = self._back_off(0.0)
            if pause_seconds > 0:
                self._stopping.wait(pause_seconds)

    def _step(self) -> float:
        """Seconds to wait before the next step."""
        letter = self._outbox.next(self._receiver.name)
        if letter is None:
            self._woken.wait(_IDLE_SECONDS)
            return 0.0
        now_us = self._clock_us()
        if now_us - letter.created_us > self._retry.max_age_us:
            self._outbox.remove(letter)
            self._report(letter, Delivery(Outcome.REFUSED, "expired"))
            return 0.0
        delivery = self._transport(self._receiver.request(letter.alert, now_us))
        return self._settle(letter, delivery)

    def _settle(self, letter: Letter, delivery: Delivery) -> float:
        if delivery.outcome is Outcome.RETRY:
            self._outbox.failed(letter)
            self._report(letter, delivery)
            return self._back_off(delivery.retry_after_seconds)
        self._outbox.remove(letter)
        self._failures = 0
        self._report(letter, delivery)
        return 0.0

    def _back_off(self, retry_after_seconds: float) -> float:
        self._failures += 1
        return self._retry.delay_seconds(self._failures, random.random(), retry_after_seconds)
