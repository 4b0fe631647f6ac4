"""A call that an approved statement itself makes is part of it, and not asked for again. Pure."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from agent.approvals.known import Request
from agent.sql.skeleton import literals_in
from model.event import StatementStarted
from model.session import BackendKey
from model.statement import Shape

REMEMBERED = 4096
OWN = "pg_catalog."
COMPUTED = "?"
"""A name of a setting that was not known before the statement ran."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A statement that a grant lets pass."""

    request: Request
    grant: str
    code: str
    shape: Shape
    text: bytes


class Running:
    """What grants have let pass last in each session. For any thread."""

    def __init__(self) -> None:
        self._passed: OrderedDict[BackendKey, Passed] = OrderedDict()
        self._lock = threading.Lock()

    def let_pass(self, passed: Passed) -> None:
        backend = passed.request.backend
        with self._lock:
            self._passed[backend] = passed
            self._passed.move_to_end(backend)
            while len(self._passed) > REMEMBERED:
                self._passed.popitem(last=False)

    def of(self, event: StatementStarted, shape: Shape) -> Passed | None:
        """The statement of the same message that was let pass, if it names the built-in function
        that is about to be called, with the same words (a file, for example); and the setting,
        unless its own was to be worked out."""
        passed = self._passed.get(event.backend)
        if not event.calls or passed is None or not event.requested_at_us:
            return None
        if passed.request.at_us != event.requested_at_us:
            return None
        named = {name.removeprefix(OWN) for name in passed.shape.functions}
        settings = set(passed.shape.settings)
        if event.calls not in named or not _words(event.text) <= _words(passed.text):
            return None
        same = COMPUTED in settings or settings.issuperset(shape.settings)
        return passed if same else None


def _words(text: bytes) -> set[bytes]:
    """The strings in it, as they are written. One that is written in another way is another one."""
    return {
        text[literal.start : literal.end]
        for literal in literals_in(text)
        if literal.kind == "SCONST"
    }
