"""The grants that live on this host: taken in, used, watched, and ended.

Four threads meet here. The capture thread never waits: it reads snapshots and leaves notes. The
judge's thread counts a use on the disk before the statement goes. The uplink brings grants. A
thread of our own writes down what the notes say, asks the catalog, and tells the record.
"""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from agent.approvals import clock
from agent.approvals.changing import may_change
from agent.approvals.eyes import Eyes
from agent.approvals.known import Known, Request
from agent.approvals.requests import names_of
from agent.approvals.store import ApprovalStore, ApprovalStoreError
from agent.approvals.suspects import EVERYBODY, Suspect, Suspects
from model.approval import ApprovalStep, Bound, Grant, Moment, Step
from model.session import BackendKey, Session

log = structlog.get_logger(__name__)

CHECK_SECONDS = 1.0
FRESH_SECONDS = 5.0
"""How old the last look at the catalog may be when a grant is used."""
TOLD_SECONDS = 3.0
"""From handing a step to the recorder until it is surely in the spool."""
KEPT_US = 40 * 86_400_000_000
REMEMBERED = 4096
UNWATCHED = "the agent was stopped for a while, and nobody saw whether it has changed"
BLIND = (
    "the agent cannot ask the catalog of that database: it knows of changes only from statements"
    " that it captures, and a restart of the agent ends the grant"
)
CHANGED = "what it is about has changed since"
OPEN = (
    "what it is about may have changed: transactions that wrote when it was granted have not ended"
)
SOON = (
    "it lets nothing pass before the transactions that write in that database just now have ended:"
    " they may have changed what it is about"
)
SETTLE_SECONDS = 0.2
"""How often is looked whether a statement that may change something has ended."""
SETTLE_FOR_SECONDS = 5.0
"""So long: a transaction may stay open for hours, and the server is then asked as ever."""


class Desk:
    def __init__(
        self,
        store: ApprovalStore,
        eyes: Eyes,
        session: Callable[[BackendKey], Session],
        hand: Callable[[ApprovalStep], None],
        forget: Callable[[str], None] = lambda request: None,
        now: Callable[[], Moment] = clock.now,
    ) -> None:
        """``hand`` takes a step towards the record; ``forget`` hears that a request is to be told
        anew. Raises ApprovalStoreError."""
        self._store = store
        self._eyes = eyes
        self._session = session
        self._hand = hand
        self._forget = forget
        self._now = now
        self._lock = threading.Lock()
        loaded = store.load()
        self._known = {known.grant.id: known for known, _ in loaded}
        self._present = frozenset(known.grant.id for known, listed in loaded if listed)
        """Those that the collector listed last."""
        self._checked_at: dict[str, float] = {}
        self._notes: dict[str, str] = {
            each.grant.id: UNWATCHED
            for each, listed in loaded
            if listed and not each.fingerprint and not each.void
        }
        """Why a grant is void, before it stands on the disk."""
        self._suspects = Suspects()
        self._settling_since: float | None = None
        for known in self._known.values():
            self._suspect_everybody(known.grant.id)
        self._requests: OrderedDict[str, Bound] = OrderedDict()
        self._handed: list[tuple[float, int]] = []
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="approvals", daemon=True)
        self._codes: dict[str, tuple[str, ...]] = {}
        self._living: tuple[Grant, ...] = ()
        self.problem = ""
        self._publish()

    def start(self) -> None:
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Never waits."""
        self._stop.set()
        self._wake.set()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Before the recorder ends: what can be told is handed over."""
        self.ask_to_stop()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def close(self) -> None:
        self._store.close()

    def bound(self, request: str) -> Bound | None:
        """What a request that this process refused is bound to."""
        return self._requests.get(request)

    def remember(self, bound: Bound) -> None:
        self._requests[bound.code] = bound
        while len(self._requests) > REMEMBERED:
            self._requests.popitem(last=False)

    def asked(self, request: str) -> bool:
        """Whether a grant may answer this; never waits."""
        return request in self._codes

    def use(self, bound: Bound, request: Request, session: Session, rule: str) -> str:
        """Id of the grant by which the statement may pass, counted and durable; else empty."""
        with self._lock:
            for grant_id in self._codes.get(bound.code, ()):
                known = self._known[grant_id]
                if known.grant.bound != bound:
                    continue  # two bindings of one code: as good as impossible, and not trusted
                counted = known.continues(request)
                if why := self._refusal(known, counted=counted):
                    log.info("approval.not_used", request=bound.code, reason=why)
                elif counted:
                    self._known[grant_id] = known.continued(request)
                    return grant_id
                elif self._count(known, request, session, rule):
                    return grant_id
        return ""

    def holds(self, grant_id: str) -> bool:
        """Whether what it has let pass may go on; never waits."""
        known = self._known.get(grant_id)
        if known is None or not (grant_id in self._present or known.is_used_up):
            return False
        return not self._refusal(known, counted=True)

    def passed(self, backend: BackendKey, text: bytes) -> None:
        """From the capture thread: a statement ran, or is about to. Never waits."""
        for grant in self._living:
            if grant.id in self._notes or not may_change(text, grant):
                continue
            where = self._session(backend)
            bound = grant.bound
            if where.user == bound.user and hashlib.sha256(text).hexdigest() == bound.digest:
                continue  # what was granted: its query may be yet to come
            same = (where.cluster, where.database) == (bound.cluster, bound.database)
            if same or not where.database:
                self._suspect(grant.id, backend, where.user or "somebody")
                self._wake.set()

    def _suspect(self, grant_id: str, backend: BackendKey, user: str) -> None:
        known = self._known.get(grant_id)
        if known is None or not known.fingerprint:
            self._notes[grant_id] = f"{CHANGED}: a statement of {user}"  # nobody could say better
            return
        why = f"what it is about may have changed: a statement of {user} has not ended"
        self._suspects.add(grant_id, Suspect(backend.pid, self._now().wall_us, why))

    def _suspect_everybody(self, grant_id: str) -> None:
        self._suspects.add(grant_id, Suspect(EVERYBODY, self._now().wall_us, OPEN))

    def accept(self, grants: Sequence[tuple[Grant, int]]) -> str:
        """All that live at the collector, with the uses that it knows of. Durable when it returns.

        Returns what an approver should know. Raises ApprovalStoreError; then nothing has changed.
        """
        new = [grant for grant, _ in grants if grant.id not in self._present]
        for grant in new:
            self._suspect_everybody(grant.id)
        looked = {grant.id: self._first_look(grant) for grant, _ in grants}
        with self._lock:
            taken = [self._taken(grant, used, looked[grant.id]) for grant, used in grants]
            present = frozenset(each.grant.id for each in taken)
            self._store.save(taken)
            ended = self._present - present
            now_us = self._now().wall_us
            self._store.end(ended, now_us, now_us - KEPT_US)
            self._known.update((each.grant.id, each) for each in taken)
            self._present = present
            self._publish()
        for grant_id in ended:
            self._forget(self._known[grant_id].grant.request)
        for grant in new:
            # Statements are watched from here on. Which transactions began before, is asked now.
            self._check_one(self._known[grant.id])
        if not all(looked.values()):
            return BLIND
        return SOON if any(self._suspects.why(grant.id) for grant in new) else ""

    def _first_look(self, grant: Grant) -> str:
        known = self._known.get(grant.id)
        if known is not None:
            return known.fingerprint
        try:
            found = self._eyes.look(grant)
        except OSError as error:
            log.warning("approval.catalog_not_asked", reason=str(error))
            return ""
        self._checked_at[grant.id] = time.monotonic()
        return found

    def _taken(self, grant: Grant, used: int, fingerprint: str) -> Known:
        known = self._known.get(grant.id)
        if known is None:
            return Known(grant, used, fingerprint=fingerprint)
        term = known.grant.term.shortened(grant.term)
        return replace(known, grant=replace(grant, term=term), used=max(used, known.used))

    def _refusal(self, known: Known, *, counted: bool) -> str:
        grant_id = known.grant.id
        if why := self._notes.get(grant_id) or known.refusal(self._now(), counted=counted):
            return why
        if known.fingerprint and (why := self._suspects.why(grant_id)):
            return why
        age = time.monotonic() - self._checked_at.get(grant_id, -FRESH_SECONDS)
        if known.fingerprint and age >= FRESH_SECONDS:
            return "the catalog has not said whether what it is about has changed"
        return ""

    def _count(self, known: Known, request: Request, session: Session, rule: str) -> bool:
        used = replace(known, used=known.used + 1, last=request)
        step = self._step(used, Step.USED, f"use {used.used} of {used.grant.uses}")
        step = replace(
            step,
            backend=session.key,
            identity_kind=session.identity.kind,
            identity_name=session.identity.name,
            who=names_of(session),
            rule=rule,
        )
        try:
            self._store.save([used], [step])
        except ApprovalStoreError as error:
            self.problem = f"approvals cannot be used: {error}"
            return False
        self.problem = ""
        self._known[used.grant.id] = used
        self._publish()
        self._forget(used.grant.request)
        self._wake.set()
        return True

    def _step(self, known: Known, step: Step, reason: str) -> ApprovalStep:
        grant = known.grant
        return ApprovalStep(
            id=uuid.uuid4().hex,
            at_us=self._now().wall_us,
            step=step,
            request=grant.request,
            bound=grant.bound,
            grant=grant.id,
            reason=reason,
        )

    def _publish(self) -> None:
        """New snapshots for who must not wait."""
        codes: dict[str, tuple[str, ...]] = {}
        living = []
        for grant_id, known in sorted(self._known.items()):
            running = self._may_run(known)
            if grant_id in self._present or running:
                code = known.grant.request
                codes[code] = (*codes.get(code, ()), grant_id)
                if not known.void and (running or not known.is_used_up):
                    living.append(known.grant)
        self._codes, self._living = codes, tuple(living)

    def _may_run(self, known: Known) -> bool:
        """What its last use let pass may not be over, and parts of it may be yet to come."""
        if not known.is_used_up or known.last is None or not known.grant.term.left_us(self._now()):
            return False
        return bool(self._session(known.last.backend).user)

    def _run(self) -> None:
        while True:
            stopping = self._stop.is_set()
            self._wake.clear()
            try:
                self._write_notes()
                if not stopping:
                    self._check()
                self._tell()
            except ApprovalStoreError as error:
                self.problem = f"approvals cannot be used: {error}"
            except Exception as error:  # noqa: BLE001 - the supervising loop: grants grow stale
                log.error("approvals.failed", error=type(error).__name__)
            if stopping:
                return
            self._wake.wait(pause_seconds(self._settling_since, time.monotonic()))

    def _write_notes(self) -> None:
        for grant_id, reason in list(self._notes.items()):
            with self._lock:
                known = self._known[grant_id]
                if not known.void:
                    void = replace(known, void=reason)
                    over = known.used >= known.grant.uses or grant_id not in self._present
                    steps = [] if over else [self._step(void, Step.VOIDED, reason)]
                    self._store.save([void], steps)
                    self._known[grant_id] = void
                    self._publish()
            self._notes.pop(grant_id, None)
            self._suspects.drop(grant_id)
            self._forget(known.grant.request)

    def _check(self) -> None:
        checked = [self._known[grant.id] for grant in self._living]
        checked = [known for known in checked if self._check_one(known)]
        if not any(self._suspects.why(known.grant.id) for known in checked):
            self._settling_since = None
        elif self._settling_since is None:
            self._settling_since = time.monotonic()
        if self._notes:
            self._write_notes()

    def _check_one(self, known: Known) -> bool:
        """Whether it is of use to anybody."""
        grant = known.grant
        if not known.fingerprint or not grant.term.left_us(self._now()):
            return False
        if known.is_used_up and not self._may_run(known):
            return False
        began = time.monotonic()
        try:
            over = self._eyes.review(grant, self._suspects)
            found = self._eyes.look(grant)
        except OSError as error:
            log.warning("approval.catalog_not_asked", reason=str(error))
            return True
        if found == known.fingerprint:
            self._checked_at[grant.id] = began
            for each in over:
                self._suspects.replace(grant.id, each, None)
        else:
            self._notes[grant.id] = CHANGED if found else "the catalog can no longer be asked"
        return True

    def _tell(self) -> None:
        """At least once: a step stays here until it is surely in the spool."""
        now = time.monotonic()
        last = self._handed[-1][1] if self._handed else 0
        for number, step in self._store.steps(after=last):
            self._hand(step)
            self._handed.append((now, number))
        done = [number for at, number in self._handed if now - at > TOLD_SECONDS]
        if done:
            self._store.told(done[-1])
            # The last one stays as the mark from which on steps are new.
            self._handed = [each for each in self._handed if each[1] >= done[-1]]


def pause_seconds(settling_since: float | None, now: float) -> float:
    """Until the next look; both on the monotonic clock.

    >>> pause_seconds(None, 10.0), pause_seconds(9.0, 10.0), pause_seconds(1.0, 10.0)
    (1.0, 0.2, 1.0)
    """
    is_young = settling_since is not None and now - settling_since < SETTLE_FOR_SECONDS
    return SETTLE_SECONDS if is_young else CHECK_SECONDS
