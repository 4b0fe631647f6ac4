"""A second worker that stands ready for when the first one dies.

To start one takes longer than a held statement may wait. A thread of its own starts them, for the
kernel ends a worker together with the thread that started it. That of a judge who was too late ends
with his answer; this one lives as long as the client.
"""

from __future__ import annotations

import threading

from agent.sql.process import START_SECONDS, WorkerError, WorkerProcess

CLOSE_SECONDS = 0.5
LOOK_SECONDS = 0.5
"""So often we look whether the spare one is still alive."""


class SpareWorker:
    """One worker more than is at work, as soon as it can be had. Safe for threads."""

    def __init__(self) -> None:
        self._spare: WorkerProcess | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="spare-parser", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        return self._spare is not None

    def take(self, patience_seconds: float = START_SECONDS) -> WorkerProcess:
        """The spare worker, which belongs to the caller now; the next one is started at once.

        Raises WorkerError where there is none within ``patience_seconds``.
        """
        with self._changed:
            while self._changed.wait_for(lambda: self._closed or self._spare, patience_seconds):
                taken, self._spare = self._spare, None
                self._changed.notify_all()
                if taken is None:
                    break
                if taken.alive:
                    return taken
                taken.kill()
        raise WorkerError("no parser worker could be started")

    def close(self) -> None:
        """Ends what was not taken; what was taken ends with it."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        # One that is just being started ends with the thread that starts it.
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._closed:
            if self._spare is None:
                self._start()
            with self._changed:
                if not self._closed and self._spare is not None:
                    self._changed.wait(LOOK_SECONDS)
                if self._spare is not None and (self._closed or not self._spare.alive):
                    self._spare.kill()
                    self._spare = None

    def _start(self) -> None:
        try:
            started = WorkerProcess()
        except WorkerError:
            with self._changed:  # no memory, for example: tried again later
                self._changed.wait(LOOK_SECONDS)
            return
        with self._changed:
            self._spare = started
            self._changed.notify_all()
