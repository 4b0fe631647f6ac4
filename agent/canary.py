"""Are the probes alive? Each minute a short session of our own does what each of them tells of.

A probe can be attached and never fire, and one that fired can fall silent. The session has our own
application_name, is judged and on record like every other one, and what proves a probe is taken
from its records before they are queued, so that neither pgaudit nor the recorder has a part in it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import structlog

from agent.sources.canary import Sightings
from model.event import Event

log = structlog.get_logger(__name__)

TRIES = 3
"""Of one round: where there is no room for them, records of a canary are lost like others."""
LOOK_SECONDS = 0.05
ROUNDS_MISSED = 2


class Minded:
    """The sessions whose events somebody waits for. ``observe`` is for the thread that reads the
    probes; canaries come and go by other ones."""

    def __init__(self) -> None:
        self._canaries: tuple[Sightings, ...] = ()
        self._changing = threading.Lock()

    def mind(self, sightings: Sightings) -> None:
        with self._changing:
            self._canaries = (*self._canaries, sightings)

    def leave(self, sightings: Sightings) -> None:
        with self._changing:
            self._canaries = tuple(one for one in self._canaries if one is not sightings)

    def observe(self, events: Iterable[Event]) -> None:
        canaries = self._canaries
        if not canaries:
            return
        for event in events:
            for sightings in canaries:
                sightings.observe(event)


class Canary:
    """Of one cluster. ``run`` in a thread of its own: a server that stands still keeps nobody but
    that waiting. ``fires`` and ``problems`` may be asked by any thread.
    """

    def __init__(
        self,
        minded: Minded,
        attached: Callable[[], list[str]],
        sing: Callable[[Sightings], None],
        interval_seconds: float,
        grace_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``attached``: functions whose probes are to be proven; none while there are no probes.
        ``sing`` does what they tell of, and raises what says that it could not.
        ``grace_seconds``: from that to the moment by which they must have told."""
        self._minded = minded
        self._attached = attached
        self._sing = sing
        self._interval_seconds = interval_seconds
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._stopped = threading.Event()
        self._fires: dict[str, bool] = {}
        self._proven_at = clock()
        self._obstacle = "no session has come to its end"

    def stop(self) -> None:
        """Nothing of ours is begun any more. Does not wait for what has been."""
        self._stopped.set()

    def run(self) -> None:
        """Until ``stop``."""
        while not self._stopped.is_set():
            self.round()
            self._stopped.wait(self._interval_seconds)

    def round(self) -> None:
        """One look at each probe, which takes at most ``TRIES`` times the grace."""
        attached = self._attached()
        if not attached:
            self._fires, self._proven_at = {}, self._clock()
            return
        try:
            proofs = self._look(attached)
        except Exception as error:  # noqa: BLE001 - supervised: whatever it was, nothing is proven
            said = str(error).strip().splitlines() or [type(error).__name__]
            self._obstacle = said[0]
            return
        if not self._stopped.is_set():
            self._fires, self._proven_at = proofs, self._clock()

    def fires(self) -> dict[str, bool]:
        """By function: does its probe fire? Without those that this login can say nothing about;
        all False where no round has come to its end for long."""
        if self._overdue:
            return dict.fromkeys(self._fires or self._attached(), False)
        return dict(self._fires)

    def problems(self) -> list[str]:
        """A sentence on each probe that is silent, or one on why nobody knows."""
        if self._overdue:
            return [f"its probes have not been tried for long: {self._obstacle}"]
        return [f"the probe on {one} does not fire" for one, ok in self._fires.items() if not ok]

    @property
    def _overdue(self) -> bool:
        longest = ROUNDS_MISSED * self._interval_seconds + TRIES * self._grace_seconds
        return self._clock() - self._proven_at > longest

    def _look(self, attached: list[str]) -> dict[str, bool]:
        """A probe is silent if no try was told of by it."""
        found: dict[str, bool] = {}
        for _ in range(TRIES):
            sightings = Sightings(attached)
            self._minded.mind(sightings)
            try:
                self._sing(sightings)
                self._wait_for(sightings)
            finally:
                self._minded.leave(sightings)
            for function, fired in sightings.proofs():
                if fired is not None:
                    found[function] = found.get(function, False) or fired
            if all(found.values()) or self._stopped.is_set():
                break
        return found

    def _wait_for(self, sightings: Sightings) -> None:
        until = self._clock() + self._grace_seconds
        while not sightings.complete and self._clock() < until:
            if self._stopped.wait(LOOK_SECONDS):
                return
