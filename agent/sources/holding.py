"""What the kernel is told about holding: whether the judge is alive, who is never held, and what
need not be held again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

from agent.probes.layout import (
    ALLOWANCE,
    HELD_AT,
    HELD_AT_OFFSET,
    JUDGE,
    SESSION_CLASS,
    layout_of,
    offset_of,
)
from agent.sources.instance import ZERO, Instance
from agent.sources.records import POSTGRES_EPOCH_US
from model.event import StatementStarted
from model.session import BackendKey

HOLD_WINDOW_MS = 250
"""Without a beat for so long the kernel holds nothing more."""
ALLOWANCES = 32768
"""Of the kernel program, which takes no more."""
SESSION_STATE_BYTES = layout_of("session_state").size
EXEMPT_OFFSET = offset_of("session_state", "exempt")


class Holding:
    """Of all servers alike. ``beat``, ``is_held`` and ``never_hold`` may come from any thread."""

    def __init__(self, instances: Iterable[Instance], window_ms: int = HOLD_WINDOW_MS) -> None:
        """``instances``: each time those in use at that moment."""
        self._instances = instances
        self._window_ns = window_ms * 1_000_000
        self._hold = self._paused = False
        self._beat_ns = 0
        self._pressed = False
        self.epoch = 0
        """Of what the kernel counts; told with the next beat."""

    @property
    def holds(self) -> bool:
        """Whether statements are held at this moment."""
        age_ns = time.monotonic_ns() - self._beat_ns
        return self._hold and not self._paused and age_ns <= self._window_ns

    def set_hold(self, hold: bool) -> None:
        """Whether client backends are stopped at the start of a statement while the judge beats."""
        self._hold = hold
        self.beat()

    def pause(self, paused: bool) -> None:
        """While paused nothing is held, and what had to be is counted (``unheld``)."""
        self._paused = paused
        self.beat()

    def beat(self) -> None:
        """The judge is alive. Without it for ``window_ms`` nothing is held any more."""
        pulse = self.pulse()
        for instance in self._instances:
            instance.map("judges").update(ZERO, pulse)
        self._beat_ns = time.monotonic_ns()

    def press(self, pressed: bool) -> None:
        """The reader cannot keep up, or can again: what is known is counted meanwhile."""
        if pressed is not self._pressed:
            self._pressed = pressed
            self.beat()

    def classify(self, backend: BackendKey, number: int, naming: int) -> None:
        """What rules can see of this session goes by ``number`` (not 0), as of ``naming``."""
        session_us = backend.started_at_us - POSTGRES_EPOCH_US
        value = SESSION_CLASS.pack(session_us, number, naming)
        for instance in self._instances:
            with contextlib.suppress(OSError):  # full: its statements are held, no more than that
                instance.map("classes").update(backend.pid.to_bytes(4, "little"), value)

    def allow(self, text_key: bytes, touched: int, number: int, *, skeleton: bool) -> None:
        """Statements with this text (or skeleton) that touch the same relations, in sessions of
        this class, are not held again."""
        key = ALLOWANCE.pack(text_key, touched, number, skeleton)
        for instance in self._instances:
            with contextlib.suppress(OSError):  # full: it is held and judged again
                instance.map("allowances").update(key, ZERO)

    def forget_allowed(self) -> None:
        """Rules have changed, or the table is full: everything is judged anew."""
        for instance in self._instances:
            allowances = instance.map("allowances")
            entries = allowances.entries(ALLOWANCE.size, len(ZERO), ALLOWANCES)
            allowances.delete_all([key for key, _ in entries])

    def is_held(self, event: StatementStarted) -> bool:
        """Whether the last hold of that backend is still this one: False once it went on, by
        whatever hand, and was held again. May be asked from another thread.
        """
        key = event.backend.pid.to_bytes(4, "little")
        for instance in self._instances:
            state = instance.map("sessions").lookup(key, SESSION_STATE_BYTES)
            if state is not None:
                return bool(HELD_AT.unpack_from(state, HELD_AT_OFFSET)[0] == event.hold_id)
        return False

    def never_hold(self, pid: int) -> bool:
        """This backend serves us: who judges must not wait for itself. To be called while it is
        idle, from any thread; False if the probes have not met it."""
        key = pid.to_bytes(4, "little")
        for instance in self._instances:
            states = instance.map("sessions")
            state = states.lookup(key, SESSION_STATE_BYTES)
            if state is not None:
                exempt = bytearray(state)
                exempt[EXEMPT_OFFSET] = 1
                states.update(key, bytes(exempt))
                return True
        return False

    def pulse(self) -> bytes:
        """What the judge says of itself, as the kernel reads it."""
        beat_ns = 0 if self._paused else time.monotonic_ns()
        return JUDGE.pack(beat_ns, self._window_ns, self._hold, self._pressed, self.epoch, 0)
