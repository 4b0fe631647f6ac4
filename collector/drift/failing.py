"""What our own code failed to compare: all else of the message is told, and that it failed."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

import structlog

from analytics.findings import finding_id
from collector.drift.baseline import Scope
from model.catalog import Snapshot
from model.finding import Finding, FindingKind
from model.verdict import Severity

log = structlog.get_logger(__name__)


class Failing:
    """Only in memory: after a start all is compared again."""

    def __init__(self) -> None:
        self._failed: dict[Scope, dict[str, str]] = {}
        """Names with the error's."""
        self._looks: dict[tuple[str, str, str], str] = {}
        """Agent, cluster and database with the error's name."""
        self._unread: Counter[str] = Counter()
        """Batches of statements, by the error's name."""

    def heard(self, observe: Callable[[], bool]) -> bool:
        """What ``observe`` says; where it fails, nothing was approved, and what these statements
        and sessions did may have no cause."""
        said: list[bool] = []
        if why := _error_of(lambda: said.append(observe())):
            self._unread[why] += 1
        return any(said)

    def look(self, agent: str, snapshot: Snapshot, take: Callable[[], None]) -> Finding | None:
        """``take`` it in; an event where that fails: half of it may be known."""
        place = (agent, snapshot.cluster, snapshot.database)
        self._looks.pop(place, None)
        if not (why := _error_of(take)):
            return None
        self._looks[place] = why
        return _event(
            Scope(agent, snapshot.cluster, min(snapshot.kinds), snapshot.database),
            snapshot.at_us,
            f"A look at {snapshot.database} could not be taken in",
            "An error in pgwarden: what it showed is asked for once more as a whole, and until that"
            " came differences may be missing",
        )

    def names(self, scope: Scope) -> Iterable[str]:
        """To be compared with what comes next."""
        return self._failed.get(scope, {})

    def compare(
        self, scope: Scope, whole: Callable[[], None], names: Callable[[], Iterable[str]],
        one: Callable[[str], None],
    ) -> bool:  # fmt: skip
        """``whole``, and where that fails each of ``names`` by itself. False: it failed."""
        self._failed.pop(scope, None)
        if not _error_of(whole):
            return True
        failed = {name: why for name in [*names()] if (why := _error_of(partial(one, name)))}
        if failed:
            self._failed[scope] = failed
        return False

    def problems(self, agent: str = "") -> list[str]:
        """Of one agent, or of all."""
        compared = [
            f"{scope.kind} {name}{f' of {scope.database}' if scope.database else ''} on "
            f"{scope.agent} could not be compared: {error} in pgwarden; its differences may be "
            "missing here. It is tried again at each look and start"
            for scope, failed in [*self._failed.items()]
            if agent in ("", scope.agent)
            for name, error in failed.items()
        ]
        taken = [
            f"a look at {database} of {cluster} on {where} could not be taken in: {error} in "
            "pgwarden; its differences may be missing here. The agent is asked for all of it again"
            for (where, cluster, database), error in [*self._looks.items()]
            if agent in ("", where)
        ]
        unread = [
            f"{count} batches of statements since the start could not be read: {error} in pgwarden;"
            " who did what they did may be missing in drift"
            for error, count in [*self._unread.items()]
        ]
        return [*compared, *taken, *unread]


def finding(scope: Scope, at_us: int) -> Finding:
    """An event: what could be told is told beside it."""
    return _event(
        scope,
        at_us,
        f"A look at {scope.kind} could not be compared as a whole",
        "An error in pgwarden: its items were compared one by one, and who did what may be "
        "wrong where something was renamed; drift status names what failed all the same",
    )


def _event(scope: Scope, at_us: int, title: str, sentence: str) -> Finding:
    return Finding(
        id=finding_id(0, "drift", "failing", *map(str, scope), f"at {at_us}"),
        kind=FindingKind.DRIFT,
        detector="drift.failing",
        severity=Severity.HIGH,
        title=title,
        sentence=sentence,
        at_us=at_us,
        resolved_at_us=at_us,
        agent=scope.agent,
        cluster=scope.cluster,
        database=scope.database,
        object=scope.kind.value,
    )


def _error_of(work: Callable[[], None]) -> str:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - logged, and said in the status
        # Not the error's own text: it may quote a value.
        where = "".join(traceback.format_tb(error.__traceback__)[-3:])
        log.error("drift.not_compared", error=type(error).__name__, where=where)
        return type(error).__name__
    return ""
