"""Which refusals can be approved, and what the approver is told of one. Pure."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence

from agent.guard.hold import Settled
from agent.judge import STOPPING
from model.approval import ApprovalStep, Bound, Step
from model.event import Protocol
from model.session import Session
from model.statement import Shape, Statement
from model.verdict import Outcome
from rules import Approval, Match, View

LONGEST_BYTES = 64 * 1024
"""A text that nobody would read whole is approved by nobody."""
AGAIN_US = 60_000_000
REMEMBERED = 4096
RELATIONS = frozenset(
    ("table", "view", "materialized view", "foreign table", "sequence", "index", "policy")
)
"""Kinds of objects whose names are those of relations."""
_COMMON_NAME = re.compile(r"(?:^|[/,])\s*CN\s*=\s*([^/,]+)")
_PARAMETER = re.compile(rb"\$[0-9]+")


def approvable(view: View, text: bytes, matches: Sequence[Match]) -> bool:
    """Whole, understood, without credentials, and refused by no rule that nobody may overrule.

    A rule that refused because it did not understand cannot be overruled either: the approver
    would understand as little.
    """
    return (
        len(text) == view.text_bytes <= LONGEST_BYTES
        and view.protocol is Protocol.QUERY
        and view.complete
        # What holds a password has the digest of its redacted text.
        and view.shape.digest == hashlib.sha256(text).hexdigest()
        and may_be_overruled(matches)
    )


def may_be_overruled(matches: Sequence[Match]) -> bool:
    stopping = [match for match in matches if match.action in STOPPING]
    return all(m.rule.approval is Approval.ALLOWED and not m.unknown for m in stopping)


def relations_of(shape: Shape) -> tuple[str, ...]:
    objects = (name.partition(":") for name in shape.objects)
    defined = [name for kind, _, name in objects if kind in RELATIONS]
    return tuple(dict.fromkeys((*shape.writes, *shape.reads, *defined)))


def names_of(session: Session) -> tuple[str, ...]:
    """Every name under which the one who asks may be known to us."""
    process = session.peer.process
    names = (
        session.user,
        session.identity.name,
        process.account if process else "",
        session.peer.certificate,
        *_COMMON_NAME.findall(session.peer.certificate),
    )
    return tuple(dict.fromkeys(name for name in names if name))


class Requests:
    """Refused statements as requests; the same one at most once a minute. For one thread."""

    def __init__(self, bound: Callable[[str], Bound | None], *, full_text: bool = False) -> None:
        """``bound``: what the judge bound a request to; by now more may be known of the session.
        ``full_text``: literals leave the host, so that the approver reads what will run."""
        self._bound = bound
        self._full_text = full_text
        self._told: OrderedDict[str, int] = OrderedDict()

    def refused(
        self, statement: Statement, shape: Shape, rule: str, settled: Settled
    ) -> ApprovalStep | None:
        """None: it cannot be asked for, or has been just now."""
        request = settled.decision.request
        bound = self._bound(request) if request else None
        if bound is None or settled.outcome in (None, Outcome.TOO_LATE):
            return None
        if statement.started_at_us - self._told.get(request, -AGAIN_US) < AGAIN_US:
            return None
        self._told[request] = statement.started_at_us
        self._told.move_to_end(request)
        while len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        return self._step(statement, shape, rule, bound)

    def forget(self, request: str) -> None:
        """It was decided about or used: the next refusal asks anew."""
        self._told.pop(request, None)

    def forget_all(self) -> None:
        self._told.clear()

    def _step(self, statement: Statement, shape: Shape, rule: str, bound: Bound) -> ApprovalStep:
        session = statement.session
        full = statement.text.decode("utf-8", "backslashreplace")
        text = full if self._full_text else shape.redacted_text
        relations = relations_of(shape)
        flags = {
            "parameters": bool(_PARAMETER.search(statement.text)),
            "redacted": text != full,
            "bare_names": any("." not in name for name in relations),
            "multi": "multi" in shape.flags,
            "cut": len(statement.text) < statement.text_bytes,
        }
        return ApprovalStep(
            id=uuid.uuid4().hex,
            at_us=statement.started_at_us,
            step=Step.REQUESTED,
            request=bound.code,
            bound=bound,
            backend=session.key,
            statement_id=statement.id,
            identity_kind=session.identity.kind,
            identity_name=session.identity.name,
            rule=rule,
            text=text,
            relations=relations,
            functions=shape.functions,
            flags=tuple(name for name, given in flags.items() if given),
            who=names_of(session),
        )
