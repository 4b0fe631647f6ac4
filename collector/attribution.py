"""Which captured statement caused a difference in the catalog."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import polars as pl

from collector.baseline import Difference, Scope
from model.catalog import CatalogKind

CHANGING = frozenset(["grant", "revoke", "alter", "create", "drop", "reassign"])
SUCCEEDED = ("", "00000")
# A statement's start and a snapshot's moment come from the same host, but not the same clock call.
SLACK_US = 1_000_000
# A statement so shortly before the difference is its cause; an older one may have been without
# effect while the real cause is still on its way to us, so it is taken only when nothing came.
FRESH_US = 30_000_000
# A transaction may have been open for a while when it granted something.
TRANSACTION_US = 600_000_000
OWN_FILE = "postgresql.auto.conf"
_FILE = re.compile(r"^configuration file .+:\d+$")
RECENT_CHANGES = 10_000


@dataclass(frozen=True, slots=True)
class Change:
    """A statement that may have changed the catalog."""

    agent: str
    cluster: str
    database: str
    id: int
    at_us: int
    verbs: frozenset[str]
    objects: frozenset[str]
    """Names without their type, in lower case: ``hr.salaries``."""
    typed: frozenset[str]
    """Types of the objects: ``schema``, ``role``."""
    settings: frozenset[str]
    roles: frozenset[str]
    flags: frozenset[str]
    summary: str
    actor: str
    user: str


class Changes:
    """The latest changing statements, oldest first; bounded."""

    def __init__(self, limit: int = RECENT_CHANGES) -> None:
        self._recent: deque[Change] = deque(maxlen=limit)

    def observe(self, statements: pl.DataFrame) -> None:
        self._recent.extend(changes_of(statements))

    def cause(
        self, scope: Scope, difference: Difference, at_us: int, since_us: int, *, settled: bool
    ) -> Change | None:
        """The statement that made ``difference``, seen first in a snapshot of ``at_us``.

        ``since_us``: the snapshot before, without it. ``settled``: nothing more will come, so
        older statements are considered too.
        """
        return cause(self._recent, scope, difference, at_us, since_us, settled=settled)


Lookup = Callable[[str, str, int, int], pl.DataFrame]
"""(agent, cluster, from_us, to_us) -> rows of view ``statements`` with a changing verb."""


def changes_of(statements: pl.DataFrame) -> list[Change]:
    changing = statements.filter(
        pl.col("sqlstate").fill_null("").is_in(SUCCEEDED)
        & (
            pl.col("operation").fill_null("").is_in(list(CHANGING))
            | (pl.col("verbs").list.set_intersection(list(CHANGING)).list.len() > 0).fill_null(
                False
            )
        )
    ).with_columns(at_us=pl.col("started_at").dt.epoch("us"))
    return [
        Change(
            agent=row["agent"],
            cluster=row["cluster"],
            database=row["database"],
            id=row["id"],
            at_us=row["at_us"] or 0,
            verbs=frozenset([*(row["verbs"] or []), row["operation"]]),
            objects=frozenset(_plain(o.partition(":")[2]) for o in row["objects"] or []),
            typed=frozenset(o.partition(":")[0] for o in row["objects"] or []),
            settings=frozenset(s.lower() for s in row["settings"] or []),
            roles=frozenset(row["roles"] or []),
            flags=frozenset(row["flags"] or []),
            summary=row["summary"] or row["operation"] or "",
            actor=row["identity_name"] or row["user_name"] or "",
            user=row["user_name"] or "",
        )
        for row in changing.iter_rows(named=True)
    ]


def cause(
    changes: Iterable[Change],
    scope: Scope,
    difference: Difference,
    at_us: int,
    since_us: int,
    *,
    settled: bool,
) -> Change | None:
    """The best match, then the latest one; None when no statement explains the difference."""
    match = MATCHES.get(scope.kind)
    if match is None or not _could_be_sql(scope, difference):
        return None
    of_server = scope.kind is CatalogKind.SETTING and "@" not in difference.name
    # ALTER SYSTEM takes effect at a later reload or restart: it may be as old as it likes.
    oldest = 0 if of_server else since_us - TRANSACTION_US
    if not settled:
        oldest = max(oldest, at_us - FRESH_US)
    found = [
        (strength, change.at_us, change)
        for change in changes
        if (change.agent, change.cluster) == (scope.agent, scope.cluster)
        and oldest <= change.at_us <= at_us + SLACK_US
        and (strength := match(change, scope, difference)) > 0
    ]
    return max(found, key=lambda entry: entry[:2])[2] if found else None


def _could_be_sql(scope: Scope, difference: Difference) -> bool:
    """SQL cannot write postgresql.conf: a value that came from there and still does was edited."""
    if scope.kind is not CatalogKind.SETTING or "@" in difference.name:
        return True
    if "restart pending" in difference.observed:
        return True  # the file that is shown is still that of the old value
    before, after = difference.details
    if OWN_FILE in before or OWN_FILE in after:
        return True
    # Without the right to see file names nothing can be excluded.
    return not (_FILE.match(before) or _FILE.match(after))


def _setting(change: Change, scope: Scope, difference: Difference) -> int:
    name, _, about = difference.name.lower().partition("@")
    if not about:
        ours = "alter" in change.verbs and not {"role", "database"} & change.typed
        return 2 if ours and {name, "all"} & change.settings else 0
    targets = {*about.split("/")} - {"all"}
    named = {role.lower() for role in change.roles} | change.objects
    if targets and not targets & named:
        return 0
    if {name, "all"} & change.settings:
        return 2
    return 1 if "drop" in change.verbs else 0


def _role(change: Change, scope: Scope, difference: Difference) -> int:
    named = difference.name in change.roles or difference.name.lower() in change.objects
    return 2 if named and change.verbs & {"create", "alter", "drop"} else 0


def _membership(change: Change, scope: Scope, difference: Difference) -> int:
    group, _, member = difference.name.partition("<-")
    named = {group, member} & change.roles
    if len(named) == 2 or (group == member and named):
        return 2
    return 1 if named and change.verbs & {"create", "drop", "alter"} else 0


def _privilege(change: Change, scope: Scope, difference: Difference) -> int:
    target, _, grantee = difference.name.rpartition("<-")
    kind, _, name = target.partition(":")
    if scope.database and change.database != scope.database:
        return 0
    to_grantee = grantee in change.roles or (grantee == "PUBLIC" and "public" in change.flags)
    if kind == "default":
        ours = change.summary.upper().startswith("ALTER DEFAULT PRIVILEGES")
        return 2 if ours and to_grantee else 0
    about = bool(_names_of(kind, name) & change.objects)
    if about and change.verbs & CHANGING:
        return 3 if to_grantee else 2
    # DROP ROLE, DROP OWNED BY and REASSIGN OWNED name no object.
    return 1 if to_grantee and change.verbs & {"drop", "reassign"} else 0


def _names_of(kind: str, name: str) -> set[str]:
    """What a statement may call the object: qualified or not; its schema (ALL TABLES IN SCHEMA)."""
    plain = _plain(name.partition("(")[0])
    parts = plain.split(".")
    if kind == "column":
        parts = parts[:-1]
    return {".".join(parts), parts[-1], parts[0]} if parts else set()


def _plain(name: str) -> str:
    return name.replace('"', "").lower()


MATCHES: dict[CatalogKind, Callable[[Change, Scope, Difference], int]] = {
    # pg_hba.conf is a file: nothing on the wire writes it.
    CatalogKind.SETTING: _setting,
    CatalogKind.ROLE: _role,
    CatalogKind.MEMBERSHIP: _membership,
    CatalogKind.PRIVILEGE: _privilege,
}
