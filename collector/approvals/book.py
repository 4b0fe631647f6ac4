"""Requests and grants of all agents, and what may be done with them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from collector.approvals.shares import surplus
from model.approval import Bound, Grant, Moment, Step, Term

Row = dict[str, Any]
"""Of view ``approvals``; times in Unix microseconds."""

KEPT_US = 30 * 86_400_000_000
"""A request that nobody decided about, and one that is over, is forgotten after so long. Its steps
stay in the record."""
LONGEST_REASON = 500


class Status(StrEnum):
    PENDING = "pending"
    GRANTED = "granted"
    DENIED = "denied"
    USED = "used"
    EXPIRED = "expired"
    VOID = "void"


class DecisionError(Exception):
    """It cannot be decided so; the message is for the approver."""


@dataclass(frozen=True, slots=True)
class Request:
    bound: Bound
    status: Status
    first_us: int
    last_us: int
    times: int
    """How often it was told: at most once a minute of refusals."""
    identity_kind: str
    identity_name: str
    pid: int
    backend_started_at_us: int
    statement_id: int
    rule: str
    text: str
    relations: tuple[str, ...]
    functions: tuple[str, ...]
    flags: tuple[str, ...]
    names: tuple[str, ...]
    """Of everybody who has sent this."""
    step: str
    """The last one that told of it."""

    @property
    def id(self) -> str:
        return self.bound.code


@dataclass(frozen=True, slots=True)
class Given:
    """A grant, who gave it, and which uses of it are known."""

    grant: Grant
    by: str
    reason: str
    uses_known: tuple[str, ...] = ()
    """Steps: one that is told twice is one use."""
    over: str = ""
    """Why it lives no longer; empty while it does."""


@dataclass(frozen=True, slots=True)
class Who:
    """An approver under all names that are known."""

    by: str
    names: tuple[str, ...]


@dataclass
class Changes:
    """What is to be made durable."""

    requests: dict[str, Request | None] = field(default_factory=dict)
    """None: forgotten."""
    grants: dict[str, Given | None] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    pushed_out: Counter[str] = field(default_factory=Counter)
    """By agent: requests that waited for a decision, and that there was no room for."""


class Book:
    def __init__(self, requests: Iterable[Request] = (), grants: Iterable[Given] = ()) -> None:
        self._requests = {each.id: each for each in requests}
        self._grants = {each.grant.id: each for each in grants}
        self._changes = Changes()

    def requests(self) -> list[Request]:
        """Newest first."""
        return sorted(self._requests.values(), key=lambda each: -each.last_us)

    def request(self, request: str) -> Request | None:
        return self._requests.get(request)

    def grant_of(self, request: str) -> Given | None:
        """The last one that was given."""
        found = [each for each in self._grants.values() if each.grant.request == request]
        return max(found, key=lambda each: each.grant.term.expires_at_us, default=None)

    def living(self, agent: str) -> list[Given]:
        return [
            each
            for each in self._grants.values()
            if not each.over and each.grant.bound.agent == agent
        ]

    def take(self) -> Changes:
        changes, self._changes = self._changes, Changes()
        return changes

    def observe(self, row: Mapping[str, Any]) -> None:
        """A step that an agent told; a repeat changes nothing."""
        known = self._requests.get(row["request"])
        if known is not None and known.bound.agent != row["agent"]:
            return
        if row["step"] == Step.REQUESTED:
            self._asked(row, known)
            return
        given = self._grants.get(row["grant_id"])
        if given is None or given.grant.bound.agent != row["agent"]:
            return
        if row["step"] == Step.USED:
            self._used(given, row["id"])
        elif row["step"] == Step.VOIDED and not given.over:
            self._end(given, row["reason"] or "void", Status.VOID)

    def give(
        self,
        request: str,
        who: Who,
        new_id: str,
        *,
        uses: int,
        lasts_us: int,
        reason: str,
        now: Moment,
    ) -> Given:
        """Raises DecisionError; an attempt to grant one's own is a row all the same."""
        asked = self._decidable(request, reason)
        if mine := self._own(asked, who):
            self._say(asked, Step.REFUSED_SELF, now, actor=who.by, reason=reason)
            raise DecisionError(
                f"nobody grants their own: {mine} sent the statement; somebody else must decide"
            )
        if any(given.grant.request == request for given in self.living(asked.bound.agent)):
            raise DecisionError("it is granted already; deny it first to grant it otherwise")
        grant = Grant(
            new_id,
            request,
            asked.bound,
            uses,
            Term.begin(now, lasts_us),
            asked.relations,
            asked.functions,
        )
        given = Given(grant, who.by, reason)
        self._keep_grant(given)
        self._keep(replace(asked, status=Status.GRANTED))
        self._say(asked, Step.GRANTED, now, given, actor=who.by, reason=reason)
        return given

    def refuse(self, request: str, who: Who, *, reason: str, now: Moment) -> bool:
        """Deny, or take a grant back; says whether there was one. Raises DecisionError."""
        asked = self._decidable(request, reason)
        living = [g for g in self.living(asked.bound.agent) if g.grant.request == request]
        for given in living:
            self._keep_grant(replace(given, over=f"taken back by {who.by}"))
        self._keep(replace(asked, status=Status.DENIED))
        last = living[0] if living else None
        self._say(asked, Step.DENIED, now, last, actor=who.by, reason=reason)
        return bool(living)

    def learn(self, request: str, names: tuple[str, ...]) -> None:
        """More names of who asked have become known."""
        if (asked := self._requests.get(request)) is not None:
            known = tuple(dict.fromkeys((*asked.names, *names)))
            if known != asked.names:
                self._keep(replace(asked, names=known))

    def void(self, grant_id: str, reason: str, now: Moment) -> None:
        given = self._grants[grant_id]
        if not given.over:
            self._end(given, reason, Status.VOID)
            asked = self._requests[given.grant.request]
            self._say(asked, Step.VOIDED, now, given, reason=reason)

    def tick(self, now: Moment) -> None:
        """End what has lasted long enough; forget what is long over."""
        for given in list(self._grants.values()):
            if not given.over and not given.grant.term.left_us(now):
                self._end(given, "expired", Status.EXPIRED)
                asked = self._requests.get(given.grant.request)
                if asked is not None:
                    self._say(asked, Step.EXPIRED, now, given)
        self._forget(now)

    def _asked(self, row: Mapping[str, Any], known: Request | None) -> None:
        bound = Bound(
            row["agent"],
            row["cluster"],
            row["database"],
            row["user_name"],
            row["identity"],
            row["digest"],
        )
        if bound.code != row["request"]:
            return  # names that had to be escaped on their way, or an agent that lies
        if known is not None and known.step == row["id"]:
            return
        at_us = row["occurred_at"]
        waits = known is not None and known.status in (Status.GRANTED, Status.DENIED)
        names = (*(known.names if known else ()), *row["names"])
        self._keep(
            Request(
                bound=bound,
                status=known.status if known is not None and waits else Status.PENDING,
                first_us=known.first_us if known else at_us,
                last_us=at_us,
                times=known.times + 1 if known else 1,
                identity_kind=row["identity_kind"],
                identity_name=row["identity_name"],
                pid=row["pid"],
                backend_started_at_us=row["backend_started_at"],
                statement_id=row["statement_id"],
                rule=row["rule_id"],
                text=row["text"],
                relations=tuple(row["relations"]),
                functions=tuple(row["functions"]),
                flags=tuple(row["flags"]),
                names=tuple(dict.fromkeys(names)),
                step=row["id"],
            )
        )

    def _used(self, given: Given, step: str) -> None:
        if step in given.uses_known:
            return
        given = replace(given, uses_known=(*given.uses_known, step))
        self._keep_grant(given)
        if len(given.uses_known) >= given.grant.uses and not given.over:
            self._end(given, "used up", Status.USED)

    def _end(self, given: Given, why: str, status: Status) -> None:
        self._keep_grant(replace(given, over=why))
        asked = self._requests.get(given.grant.request)
        if asked is not None and asked.status is Status.GRANTED:
            self._keep(replace(asked, status=status))

    def _decidable(self, request: str, reason: str) -> Request:
        asked = self._requests.get(request)
        if asked is None:
            raise DecisionError(f"no request {request}")
        if not reason or len(reason) > LONGEST_REASON:
            raise DecisionError(f"say why, in at most {LONGEST_REASON} characters")
        return asked

    def _own(self, asked: Request, who: Who) -> str:
        """The name under which the approver sent it; empty for somebody else's."""
        theirs = {name.casefold() for name in who.names if name}
        sent = (asked.bound.user, asked.bound.identity, asked.identity_name, *asked.names)
        return next((name for name in sent if name and name.casefold() in theirs), "")

    def _say(
        self,
        asked: Request,
        step: Step,
        now: Moment,
        given: Given | None = None,
        *,
        actor: str = "",
        reason: str = "",
    ) -> None:
        bound = asked.bound
        self._changes.rows.append(
            {
                "occurred_at": now.wall_us,
                "id": f"{asked.id}-{step.value}-{given.grant.id if given else now.wall_us}",
                "step": step.value,
                "request": asked.id,
                "agent": bound.agent,
                "cluster": bound.cluster,
                "database": bound.database,
                "user_name": bound.user,
                "identity": bound.identity,
                "identity_kind": asked.identity_kind,
                "identity_name": asked.identity_name,
                "statement_id": 0,
                "rule_id": asked.rule,
                "digest": bound.digest,
                "text": asked.text,
                "relations": list(asked.relations),
                "functions": list(asked.functions),
                "flags": list(asked.flags),
                "names": list(asked.names),
                "grant_id": given.grant.id if given else "",
                "uses": given.grant.uses if given else None,
                "expires_at": given.grant.term.expires_at_us if given else None,
                "actor": actor,
                "reason": reason or (given.over if given else ""),
            }
        )

    def _keep(self, asked: Request) -> None:
        self._requests[asked.id] = self._changes.requests[asked.id] = asked

    def _keep_grant(self, given: Given) -> None:
        self._grants[given.grant.id] = self._changes.grants[given.grant.id] = given

    def _forget(self, now: Moment) -> None:
        ended = [each for each in self._requests.values() if each.status is not Status.GRANTED]
        for asked in ended:
            if now.wall_us - asked.last_us > KEPT_US:
                self._drop(asked)
        for asked in surplus(self._requests.values()):
            self._drop(asked)
            if asked.status is Status.PENDING:
                self._changes.pushed_out[asked.bound.agent] += 1
        for given in list(self._grants.values()):
            if given.over and given.grant.request not in self._requests:
                del self._grants[given.grant.id]
                self._changes.grants[given.grant.id] = None

    def _drop(self, asked: Request) -> None:
        del self._requests[asked.id]
        self._changes.requests[asked.id] = None
