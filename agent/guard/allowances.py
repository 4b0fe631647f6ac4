"""What need not be held again: told to the kernel, so that a text that was judged costs a look-up.

An answer of the rules depends on the text, on the relations that its names mean at that moment
(``StatementStarted.touched``) and on what they can see of the session. The latter goes by a number
(its class); the kernel knows the class of each backend, and drops it at the moment when the session
gets another name. Only the word "allow" is kept there: what is refused is held.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol, TypeAlias

from model.event import StatementStarted
from model.session import BackendKey, Session
from model.statement import ParseStatus, Shape

LIMIT = 16_384
"""Half of the kernel's table; then it is emptied, and filled with what is in use."""
CLASSES = 65_536

_PLAIN = re.compile(rb"[\t\n\r !#%&()*+,\-/0-9:;<=>?@A-Z\[\]^_a-z{|}~.]*")
"""No quotes, dollars, backslashes or bytes beyond ASCII: what is a number is plain to see."""
_COMMENT = re.compile(rb"--|/\*")
_GLUED = re.compile(rb"(?<![A-Za-z0-9_.])[0-9]+[A-Za-z_.]")
"""A number with something on its heels: 1e5, 1.5, 0x1F, 1_000."""

_Facts: TypeAlias = tuple[object, ...]


class Kernel(Protocol):
    def classify(self, backend: BackendKey, number: int, naming: int) -> None: ...
    def allow(self, text_key: bytes, touched: int, number: int, *, skeleton: bool) -> None: ...
    def forget_allowed(self) -> None: ...


class Allowances:
    """For one thread. ``interchangeable``: whether what rules see of a text stays the same when
    numbers in it are replaced by others; asked for texts that are ``plain``. ``exhausted``: which
    limits a session has used up."""

    def __init__(
        self,
        kernel: Kernel,
        interchangeable: Callable[[bytes], bool],
        limit: int = LIMIT,
        exhausted: Callable[[Session], frozenset[str]] = lambda _: frozenset(),
        exchanging: Callable[[], bool] = lambda: False,
    ) -> None:
        """``exchanging``: new rules answer already, and the old ones are still those of the record:
        what passes without a hold then must have been let pass by the old ones."""
        self._kernel = kernel
        self._exhausted = exhausted
        self._exchanging = exchanging
        self._interchangeable = interchangeable
        self._limit = limit
        self._numbers: dict[_Facts, int] = {}
        self._next = 1
        self._classes: dict[BackendKey, tuple[int, int]] = {}
        self._count = 0
        self._generation = 0

    def know(self, session: Session, naming: int) -> None:
        """What is known of a session is this, since its ``naming``."""
        facts = (*_facts(session), self._exhausted(session))
        number = self._numbers.get(facts)
        if number is None:
            if len(self._numbers) >= CLASSES:
                self._numbers.clear()  # the old numbers are never given again
            number = self._numbers[facts] = self._next
            self._next += 1
        if self._classes.get(session.key) != (number, naming):
            self._classes[session.key] = number, naming
            self._kernel.classify(session.key, number, naming)

    def forget(self, backend: BackendKey) -> None:
        self._classes.pop(backend, None)

    def as_of(self, backend: BackendKey) -> tuple[object, ...]:
        """Another value once what was known, of rules, names or this session, is out of date."""
        return self._generation, self._classes.get(backend)

    def allow(self, event: StatementStarted, shape: Shape) -> None:
        """Rules have let this statement pass, with the facts that ``know`` was told last."""
        known = self._classes.get(event.backend)
        if known is None or known[1] != event.naming or not event.text_key:
            return
        if self._exchanging():
            return
        if shape.status is ParseStatus.FAILED:
            return  # the parser died under it; it may do better next time
        if self._count >= self._limit:
            self._kernel.forget_allowed()
            self._count = 0
        self._count += 1
        if event.skeleton and plain(event.text) and self._interchangeable(event.text):
            self._kernel.allow(event.skeleton, event.touched, known[0], skeleton=True)
        else:
            self._kernel.allow(event.text_key, event.touched, known[0], skeleton=False)

    def renew(self) -> None:
        """Relations have other names now: everything is judged anew, of sessions as they are."""
        self._generation += 1
        self._kernel.forget_allowed()
        self._count = 0

    def reset(self) -> None:
        """The rules are others now."""
        self._generation += 1
        self._kernel.forget_allowed()
        self._numbers.clear()
        self._classes.clear()
        self._count = 0


def plain(text: bytes) -> bool:
    """Every number in the text, and in all texts with the same skeleton, is a number to PostgreSQL
    too: nothing around it could make it part of a string, a comment, a name or a longer number."""
    return bool(_PLAIN.fullmatch(text) and not _COMMENT.search(text) and not _GLUED.search(text))


def _facts(session: Session) -> _Facts:
    """All that a rule can ask of a session (rules/view.py), and what it was started with."""
    identity = session.identity
    return (
        session.cluster,
        session.user,
        session.database,
        session.application_name,
        session.client_address,
        session.superuser,
        identity.kind,
        identity.name,
        identity.confidence,
        identity.proven,
        session.startup,
    )
