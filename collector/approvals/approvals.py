"""The book of requests, made durable, told to the record and brought to the agents."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import structlog

from collector.approvals import blast, clock
from collector.approvals.book import Book, Changes, DecisionError, Given, Request, Who
from collector.approvals.pushed_out import PushedOut
from collector.approvals.state import ApprovalState, ApprovalStateError
from collector.commands import Agents
from collector.ledger_reading import entries_since
from collector.segments import Committed
from collector.store import Store
from model.approval import Moment
from protos.pgwarden.v1 import uplink_pb2 as pb

log = structlog.get_logger(__name__)

TABLE = "approvals"
DELIVERY_SECONDS = 8.0
INSPECT_SECONDS = 5.0


class Approvals:
    """``observe`` on the commit thread, ``tick`` now and then, the rest from anywhere.

    A decision is durable, and its event in the record, before it is answered.
    """

    def __init__(
        self,
        state: ApprovalState,
        store: Store,
        agents: Agents,
        count: Callable[[str, int], None] = lambda step, times: None,
        now: Callable[[], Moment] = clock.now,
    ) -> None:
        self._state = state
        self._store = store
        self._agents = agents
        self._count = count
        self._now = now
        self._book = Book(state.requests(), state.grants())
        self._lock = threading.Lock()
        self._deciding = threading.Lock()
        """One decision at a time, so that agents get the sets of grants in their order."""
        self._unsaid = state.unsaid()
        self.pushed_out = PushedOut()
        self.problem = ""
        """Why nothing can be decided; empty while all is well."""

    def catch_up(self) -> None:
        """What was durable but not in the book when the last collector ended."""
        for entry in entries_since(self._store.data_dir, self._state.seq + 1):
            if entry.removed:
                continue
            for file in entry.files:
                rows = self._store.sealed_rows(file) if file.table == TABLE else None
                if rows is not None:
                    self._take(rows, entry.seq)
        # Said again: a crash may have come between deciding and recording.
        self._store.append(TABLE, self._unsaid)

    def observe(self, committed: Committed) -> None:
        frame = committed.frames.get(TABLE)
        if frame is not None:
            for step, times in frame.group_by("step").len().iter_rows():
                self._count(step, times)
            self._take(frame, committed.seq)

    def tick(self) -> None:
        try:
            with self._lock:
                now = self._now()
                self._book.tick(now)
                rows = self._save()
            self.pushed_out.tell(now)
        except ApprovalStateError as error:
            self.problem = str(error)
            return
        self.problem = ""
        self._store.append(TABLE, rows)

    def pending(self) -> int:
        with self._lock:
            return sum(each.status == "pending" for each in self._book.requests())

    def problems_of(self, agent: str) -> list[str]:
        return self.pushed_out.sentences(agent, self._now())

    def commands(self, agent: str) -> list[pb.Command]:
        """What an agent that has just connected must know."""
        return [self._grants_of(agent)]

    def requests(self, *, decided: bool) -> list[dict[str, Any]]:
        now = self._now()
        with self._lock:
            return [
                self._shown(each, now)
                for each in self._book.requests()
                if decided or each.status in ("pending", "granted")
            ]

    def request(self, request: str) -> dict[str, Any] | None:
        now = self._now()
        with self._lock:
            asked = self._book.request(request)
            return self._shown(asked, now) if asked is not None else None

    def readers(self, request: str) -> list[dict[str, Any]]:
        asked = self._book.request(request)
        if asked is None or not asked.relations:
            return []
        return blast.readers(self._store.data_dir, asked, self._now().wall_us)

    def ran_before(self, request: str) -> dict[str, Any]:
        asked = self._book.request(request)
        return blast.ran_before(self._store.data_dir, asked) if asked is not None else {}

    def catalog(self, request: str) -> tuple[str, str]:
        """What the server says of the relations now, as JSON, or why it does not."""
        asked = self._book.request(request)
        if asked is None or not asked.relations:
            return "", ""
        command = pb.Command(
            kind="inspect",
            cluster=asked.bound.cluster,
            inspect=pb.Inspect(database=asked.bound.database, relations=asked.relations),
        )
        result = self._agents.order(asked.bound.agent, command, INSPECT_SECONDS)
        if result.outcome != "done":
            return "", result.message or result.outcome
        try:
            json.loads(result.message)
        except ValueError:
            return "", "the agent's answer cannot be read"
        return result.message, ""

    def grant(
        self, request: str, who: Who, *, uses: int, lasts_us: int, reason: str
    ) -> tuple[Given, str]:
        """The grant, which the agent has, and what the approver should know.

        Raises DecisionError; then there is none.
        """
        with self._deciding:
            self._learn_names(request)
            try:
                with self._lock:
                    given = self._book.give(
                        request,
                        who,
                        uuid.uuid4().hex,
                        uses=uses,
                        lasts_us=lasts_us,
                        reason=reason,
                        now=self._now(),
                    )
            except DecisionError:
                self._record()
                raise
            try:
                self._record()
            except ApprovalStateError as error:
                with self._lock:
                    self._book.void(given.grant.id, str(error), self._now())
                raise DecisionError(f"it cannot be made durable: {error}") from error
            agent = given.grant.bound.agent
            result = self._agents.order(agent, self._grants_of(agent), DELIVERY_SECONDS)
            if result.outcome == "done":
                return given, result.message
            with self._lock:
                why = f"the agent did not take it: {result.message or result.outcome}"
                self._book.void(given.grant.id, why, self._now())
            self._record()
            raise DecisionError(why)

    def deny(self, request: str, who: Who, reason: str) -> tuple[bool, str]:
        """Whether the agent knows (or need not), and what the approver should know.

        Raises DecisionError.
        """
        with self._deciding:
            with self._lock:
                asked = self._book.request(request)
                took_back = self._book.refuse(request, who, reason=reason, now=self._now())
            self._record()
            if not took_back or asked is None:
                return True, ""
            agent = asked.bound.agent
            result = self._agents.order(agent, self._grants_of(agent), DELIVERY_SECONDS)
            if result.outcome == "done":
                return True, "the grant is taken back"
            return False, f"the agent has not heard of it yet: {result.message or result.outcome}"

    def close(self) -> None:
        self._state.close()

    def _learn_names(self, request: str) -> None:
        asked = self._book.request(request)
        names = blast.later_names(self._store.data_dir, asked) if asked is not None else ()
        if names:
            with self._lock:
                self._book.learn(request, names)

    def _take(self, frame: pl.DataFrame, seq: int) -> None:
        times = frame.with_columns(pl.col("occurred_at", "backend_started_at").dt.epoch("us"))
        # A date to come would make a request the newest of all, and keep it from ageing.
        not_ahead = pl.min_horizontal("occurred_at", pl.lit(self._now().wall_us))
        times = times.with_columns(occurred_at=not_ahead)
        with self._lock:
            for row in times.iter_rows(named=True):
                self._book.observe(row)
            rows = self._save(seq)
            self._state.said(frame["id"].to_list())
        self._store.append(TABLE, rows)

    def _record(self) -> None:
        """Durable here, then in the record."""
        with self._lock:
            rows = self._save()
        self._store.append(TABLE, rows)
        if rows and not self._store.segments.flush():
            log.error("approvals.not_recorded", reason="the record takes nothing; it will be told")

    def _save(self, seq: int | None = None) -> list[dict[str, Any]]:
        changes: Changes = self._book.take()
        if changes.requests or changes.grants or changes.rows or seq is not None:
            self._state.save(changes, seq)
        self.pushed_out.count(changes.pushed_out, self._now())
        return changes.rows

    def _grants_of(self, agent: str) -> pb.Command:
        now = self._now()
        with self._lock:
            living = self._book.living(agent)
        grants = [_to_wire(each, now) for each in living]
        return pb.Command(
            id=uuid.uuid4().hex, kind="grants", grants=pb.Grants(grants=grants), reason="approvals"
        )

    def _shown(self, asked: Request, now: Moment) -> dict[str, Any]:
        bound = asked.bound
        given = self._book.grant_of(asked.id)
        return {
            "request": asked.id,
            "status": asked.status.value,
            "agent": bound.agent,
            "cluster": bound.cluster,
            "database": bound.database,
            "user_name": bound.user,
            "identity": bound.identity,
            "identity_kind": asked.identity_kind,
            "identity_name": asked.identity_name,
            "names": list(asked.names),
            "first_us": asked.first_us,
            "last_us": asked.last_us,
            "times": asked.times,
            "rule_id": asked.rule,
            "text": asked.text,
            "digest": bound.digest,
            "relations": list(asked.relations),
            "functions": list(asked.functions),
            "flags": list(asked.flags),
            "statement_id": asked.statement_id,
            "grant": _grant_shown(given, now) if given is not None else None,
        }


def _grant_shown(given: Given, now: Moment) -> Mapping[str, Any]:
    return {
        "id": given.grant.id,
        "by": given.by,
        "reason": given.reason,
        "uses": given.grant.uses,
        "used": len(given.uses_known),
        "expires_us": given.grant.term.expires_at_us,
        "left_us": 0 if given.over else given.grant.term.left_us(now),
        "over": given.over,
    }


def _to_wire(given: Given, now: Moment) -> pb.Grant:
    grant, bound = given.grant, given.grant.bound
    return pb.Grant(
        id=grant.id,
        request=grant.request,
        cluster=bound.cluster,
        database=bound.database,
        user=bound.user,
        identity=bound.identity,
        digest=bytes.fromhex(bound.digest),
        uses=grant.uses,
        used=len(given.uses_known),
        left_us=grant.term.left_us(now),
        relations=grant.relations,
        functions=grant.functions,
    )


def open_approvals(
    folder: Path, store: Store, agents: Agents, count: Callable[[str, int], None]
) -> Approvals:
    """Raises ApprovalStateError."""
    return Approvals(ApprovalState(folder), store, agents, count)
