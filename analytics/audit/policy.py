"""What pgaudit is expected to log, from a server's settings as they were accepted.

From the accepted ones, not from those of the moment: a setting that was changed behind our back is
what this is to find. ``pgwarden drift accept`` says that a change was wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from analytics.audit import classes

Settings = Mapping[str, tuple[str, str]]
"""Name to (value, detail) as in view ``catalog``; ``pgaudit.log@alice/shop``: an ALTER ROLE."""
SCOPE = ("agent", "cluster", "database", "user_name")
LOG, LOG_CATALOG = "pgaudit.log", "pgaudit.log_catalog"
OF_DATABASE = "of a database"
"""Detail of what ALTER DATABASE ... SET (or ALTER ROLE ALL SET) stored."""
# How PostgreSQL orders levels for the server's log: LOG comes after ERROR.
LEVELS = (
    "debug5", "debug4", "debug3", "debug2", "debug1", "info", "notice", "warning", "error", "log",
    "fatal", "panic",
)  # fmt: skip


@dataclass(frozen=True)
class AuditPolicy:
    """Of one server. ``loaded`` False: pgaudit has nothing to say there."""

    loaded: bool
    settings: Settings = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> AuditPolicy:
        kept = {
            name: value
            for name, value in settings.items()
            if name.partition("@")[0] in (LOG, LOG_CATALOG)
        }
        return cls(_loaded(settings) and _reaches_the_log(settings), kept)

    def mask(self, user: str, database: str) -> int | None:
        """Bits of what a session of ``user`` in ``database`` logs; None: nothing is expected."""
        if not self.loaded:
            return None
        bits = classes.switched_on(self._setting(LOG, user, database, "none"))
        catalog = self._setting(LOG_CATALOG, user, database, "on") in ("on", "true", "yes", "1")
        return bits | (classes.CATALOG if catalog else 0)

    def _setting(self, name: str, user: str, database: str, default: str) -> str:
        """The most particular one decides, in PostgreSQL's own order."""
        for about, of_database in (
            (f"{user}/{database}", False), (user, False), (database, True), ("all", True)
        ):  # fmt: skip
            value, detail = self.settings.get(f"{name}@{about}", ("", ""))
            if value and (detail == OF_DATABASE) is of_database:
                return value.lower()
        return self.settings.get(name, (default, ""))[0].lower()


def with_mask(
    statements: pl.DataFrame, policies: Mapping[tuple[str, str], AuditPolicy]
) -> pl.DataFrame:
    """Column ``audit_mask`` for each statement; null where nothing is expected of pgaudit.

    ``policies`` by (agent, cluster).
    """
    scopes = statements.select(SCOPE).unique()
    masks = []
    for agent, cluster, database, user in scopes.iter_rows():
        policy = policies.get((agent, cluster))
        masks.append(policy.mask(user or "", database or "") if policy else None)
    known = scopes.with_columns(audit_mask=pl.Series(masks, dtype=pl.Int64))
    return statements.drop("audit_mask", strict=False).join(
        known, on=SCOPE, how="left", nulls_equal=True, maintain_order="left"
    )


def _loaded(settings: Settings) -> bool:
    libraries = settings.get("shared_preload_libraries", ("", ""))[0]
    names = (part.strip(' "').removeprefix("$libdir/") for part in libraries.split(","))
    return "pgaudit" in names


def _reaches_the_log(settings: Settings) -> bool:
    level = settings.get("pgaudit.log_level", ("log", ""))[0].lower()
    least = settings.get("log_min_messages", ("warning", ""))[0].lower()
    if level not in LEVELS or least not in LEVELS:
        return True
    return LEVELS.index(level) >= LEVELS.index(least)
