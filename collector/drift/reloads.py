"""When the server read its files again: an ALTER SYSTEM of before then has had its effect."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import NamedTuple

import polars as pl

from collector.drift.baseline import Difference, Scope
from collector.drift.changes import SUCCEEDED, Change
from model.catalog import CatalogKind

MOST_SERVERS = 1_000
MOST_OF_A_SERVER = 200
MOST_SETTINGS = 10_000
TAKES_US = 1_000_000
"""So long the server may take to read them."""
PENDING = "restart pending"
_READ_AT_RELOAD = ("configuration file", "command line")


class _Reload(NamedTuple):
    """One that began not before ``first_us`` and was over by ``last_us``."""

    first_us: int
    last_us: int


class Reloads:
    """Fed with statements, and with differences of settings, which tell of a reload or a start."""

    def __init__(self) -> None:
        self._reloads: OrderedDict[tuple[str, str], deque[_Reload]] = OrderedDict()
        self._explained: OrderedDict[tuple[Scope, str], int] = OrderedDict()
        """Settings, and the moment of the last ALTER SYSTEM that explained a difference of each."""

    def observe(self, statements: pl.DataFrame) -> None:
        if "functions" not in statements.columns:
            return
        calls = pl.col("functions").list.eval(pl.element().str.split(".").list.last())
        called = statements.filter(
            calls.list.contains("pg_reload_conf").fill_null(False)
            & pl.col("sqlstate").fill_null("").is_in(SUCCEEDED)
        ).with_columns(pl.col("started_at").dt.epoch("us"))
        for row in called.iter_rows(named=True):
            at_us = row["started_at"] or 0
            self._note((row["agent"], row["cluster"]), _Reload(at_us, at_us + TAKES_US))

    def saw(self, scope: Scope, step: Difference, since_us: int, at_us: int) -> None:
        """A difference that came between these two looks."""
        if of_server(scope, step) and any(d.startswith(_READ_AT_RELOAD) for d in step.details):
            self._note((scope.agent, scope.cluster), _Reload(since_us, at_us))

    def took(self, scope: Scope, name: str, change: Change) -> None:
        """This one explained a difference; those before it were overwritten by it."""
        moment = max(_moment(change), self._explained.pop((scope, name), 0))
        self._explained[scope, name] = moment
        while len(self._explained) > MOST_SETTINGS:
            self._explained.popitem(last=False)

    def over(self, scope: Scope, step: Difference, change: Change, since_us: int) -> bool:
        """Whether all that the ALTER SYSTEM could do was there at ``since_us`` already."""
        moment = _moment(change)
        if not of_server(scope, step) or moment >= since_us:
            return False
        if PENDING in step.desired:
            return False  # its reload was long ago, and it waited for a restart
        if moment <= self._explained.get((scope, step.name), 0):
            return True
        known = self._reloads.get((scope.agent, scope.cluster), ())
        return any(moment < r.first_us and r.last_us <= since_us for r in known)

    def _note(self, server: tuple[str, str], reload: _Reload) -> None:
        known = self._reloads.setdefault(server, deque(maxlen=MOST_OF_A_SERVER))
        if not known or known[-1] != reload:
            known.append(reload)
        while len(self._reloads) > MOST_SERVERS:
            self._reloads.popitem(last=False)


def of_server(scope: Scope, step: Difference) -> bool:
    """A setting of the server, not one that is stored for a role or database."""
    return scope.kind is CatalogKind.SETTING and "@" not in step.name


def _moment(change: Change) -> int:
    return change.effect.committed_us or change.at_us
