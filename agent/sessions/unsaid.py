"""Sessions of which only the log has told so far wait here before anybody hears of them.

The log knows starts to the second, so the probes give such a session another key, which makes it
another session for everybody behind us.
"""

from dataclasses import replace

from agent.sessions.backend import Backend
from agent.sessions.waiting import WaitingRoom
from model.session import Session


class UnsaidSessions:
    """``window_us``: how long the log's word waits for that of the probes."""

    def __init__(self, window_us: int) -> None:
        self._window_us = window_us
        self._waiting: WaitingRoom[Backend] = WaitingRoom(window_us)

    def told(self, backend: Backend) -> list[Session]:
        """What is to be said of a session that is new or has changed."""
        if backend.said or not backend.imprecise or not self._window_us:
            return [say(backend)]
        if not backend.waits:
            backend.waits = True
            self._waiting.add(backend)
        return []

    def due(self, now_us: int) -> list[Session]:
        return [say(backend) for backend in self._waiting.due(now_us) if not backend.said]

    def clock_moved(self, by_us: int) -> None:
        self._waiting.clock_moved(by_us)


def say(backend: Backend) -> Session:
    backend.said = True
    return backend.session


def under_former_key(backend: Backend, session: Session, at_us: int) -> list[Session]:
    """It was said already, under a key that nobody will hear of again."""
    if not backend.said or session.key == backend.session.key:
        return []
    return [replace(backend.session, ended_at_us=at_us)]
