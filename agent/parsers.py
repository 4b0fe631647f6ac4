"""The sandboxed parsers of one agent: for the record, for the guard, and for its long texts."""

from __future__ import annotations

from agent.guard.priority import prefer
from agent.sql.cache import ShapeCache
from agent.sql.client import ParserClient
from config import schema
from model.verdict import Mode

SHARE_OF_DEADLINE = 4
"""A part of the deadline, so that there is time to act on a text that takes too long, and for the
sessions that wait behind it."""


class Parsers:
    """They share what they have learned. Each has a worker process: to be made before gRPC runs."""

    def __init__(self, guard: schema.Guard) -> None:
        self.cache = ShapeCache()
        self.record = ParserClient(self.cache)
        holds = guard.mode is Mode.ENFORCE
        self.guard = _of_guard(guard, self.cache) if holds else None
        self.patient = _of_guard(guard, self.cache) if holds else None
        """For long texts: nobody else waits for it."""

    def close(self) -> None:
        for parser in (self.record, self.guard, self.patient):
            if parser is not None:
                parser.close()


def _of_guard(guard: schema.Guard, cache: ShapeCache) -> ParserClient:
    seconds = guard.deadline_ms / 1000 / SHARE_OF_DEADLINE
    return ParserClient(cache, seconds, spare=True, on_started=prefer)
