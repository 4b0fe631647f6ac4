"""What is known of a session's open portals. While one is open, pgaudit gives the number of its
statement to all that runs; and it writes at Bind, which may be long before Execute. Portals end
with their transaction.
"""

from collections import deque

from agent.sessions.audits import BOUND, latest_ns
from agent.sessions.execution import Execution
from model.event import AuditLogged, StatementsExecuted

_MOST = 100
_MOST_BYTES = 2 << 20
"""Of texts: one of them is 1 MiB at most."""
_SLICES = 8
_RAN = 8
_RAN_BYTES = 1 << 13
"""Of the text of one that ran to its end: most of them are never executed again."""
_IDLE = "I"
_UNKNOWN = ("", "?")


class Portals:
    __slots__ = ("_firsts", "_heard", "_ran", "idle_at_us", "slices")

    def __init__(self) -> None:
        self._firsts: dict[bytes, Execution] = {}
        """By text, what was executed with a limit: it may be continued."""
        self._ran: dict[bytes, Execution] = {}
        """By text, the last ones without a limit: a client may execute them again, in vain."""
        self.slices: deque[Execution] = deque(maxlen=_SLICES)
        """What continued one of them last."""
        self.idle_at_us = 0
        """When no transaction was open, as of the last answer that says so."""
        self._heard = False

    def began(self, execution: Execution) -> None:
        if execution.row_limit:
            self.opened(execution)
        elif len(execution.text) <= _RAN_BYTES and execution.continues is None:
            self._ran.pop(execution.text, None)
            self._ran[execution.text] = execution
            if len(self._ran) > _RAN:
                del self._ran[next(iter(self._ran))]

    def opened(self, execution: Execution) -> None:
        """It was executed with a limit."""
        first = execution.continues or execution
        self._firsts.pop(first.text, None)
        self._firsts[first.text] = first
        while len(self._firsts) > _MOST or sum(map(len, self._firsts)) > _MOST_BYTES:
            del self._firsts[next(iter(self._firsts))]

    def continued_by(self, execution: Execution) -> bool:
        """Whether the portal is known whose next slice this is; it is empty where that has run to
        its end."""
        text = execution.text
        execution.continues = self._firsts.get(text) or self._ran.get(text)
        if execution.continues is None:
            return False
        self.slices.append(execution)
        return True

    def executed(self, execution: Execution, event: StatementsExecuted) -> bool:
        """It came with its answer. Whether it continues one that is known."""
        execution.idle_at_us = self.idle_at_us
        continues = event.continued and self.continued_by(execution)
        if not event.tag:
            self.opened(execution)
        else:
            self.began(execution)
        before, after = event.transaction[:1], event.transaction[1:]
        self.answered(before, after, execution.started_at_us, execution.ended_at_us)
        return continues

    def answered(self, before: str, after: str, began_us: int, at_us: int) -> None:
        """A round trip is over; the transaction's status as in ReadyForQuery."""
        self._heard |= after not in _UNKNOWN
        if before == _IDLE and not self.idle_at_us:
            self.idle_at_us = began_us
        if after == _IDLE:
            self.idle_at_us = at_us
            self._firsts.clear()
            self._ran.clear()
            self.slices.clear()

    def may_be_bound(self, record: AuditLogged) -> bool:
        """Whether it may be of a portal that is open, and was not executed yet."""
        of_query = record.command == BOUND
        return self._heard and of_query and latest_ns(record) >= self.idle_at_us * 1000
