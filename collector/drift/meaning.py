"""What a session means by a name without a schema: a temporary table of its own, else what is in
its search_path.

A session that made ``pg_temp.t`` means that by ``t``, and one that set its search_path to ``hr``
means ``hr.t``. Where that is not known, because it was set in a way that no text shows, a name
without a schema may be of any.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from collector.drift import wording
from collector.drift.changes import SUCCEEDED, Backend, Change, Effect, backend_of, in_microseconds
from collector.drift.matching.target import RELATIONS, ROUTINES
from collector.drift.wording import Rename, Words

PATH, LOCAL_PATH = "search path", "search path of the transaction"
"""So an agent tells what ``SET [LOCAL] search_path`` set it to; see agent/search_path.py."""
MOST_SESSIONS = 10_000
MOST_PATHS, MOST_TEMPORARY = 20, 1_000
"""Of a session, the latest."""
TEMPORARY, SYSTEM = "pg_temp", "pg_catalog"
_TEMP = frozenset(("temp", "temporary"))
_KINDS = RELATIONS | ROUTINES | {"type", "domain"}
_IN_SYSTEM = ROUTINES | {"type", "domain"}
"""Of these the system has some by everyday names, which are found first."""
_ENDS = frozenset(("commit", "end", "rollback", "abort", "prepare transaction"))
_BACK = frozenset(("rollback", "abort"))
_SEARCH_PATH = "search_path"

Path = tuple[str, ...]
Row = Mapping[str, Any]
UNKNOWN: Path = ("?",)
"""It was set, and nothing says to what."""
UNSET: Path = ()


@dataclass(frozen=True, slots=True)
class _Temporary:
    at_us: int
    effect: Effect
    until_commit: bool

    def is_there(self, change: Change) -> bool:
        if self.effect.undone or change.at_us < self.at_us:
            return False
        same = 0 != self.effect.transaction == change.effect.transaction
        return same or not self.until_commit


@dataclass(slots=True)
class _Session:
    paths: list[tuple[int, Path]] = field(default_factory=list)
    """From when on, the oldest first."""
    before: Path | None = None
    """What it was before the transaction that is open changed it."""
    is_local: bool = False
    temporary: dict[str, _Temporary] = field(default_factory=dict)
    discarded_us: list[int] = field(default_factory=list)
    """When it let go of all of them."""

    def own_at(self, change: Change) -> set[str]:
        """Names of its temporary tables then."""
        found = {name: each for name, each in self.temporary.items() if each.is_there(change)}
        gone = [at_us for at_us in self.discarded_us if at_us <= change.at_us]
        return {name for name, each in found.items() if not gone or each.at_us > gone[-1]}

    def path_at(self, at_us: int) -> Path:
        return next((path for since, path in reversed(self.paths) if since <= at_us), UNSET)

    def set(self, at_us: int, path: Path) -> None:
        self.paths.append((at_us, path))
        del self.paths[:-MOST_PATHS]


class Meaning:
    """Fed with statements and the changes among them, the oldest first."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[Backend, _Session] = OrderedDict()

    def meant(self, statements: pl.DataFrame, changes: Sequence[Change]) -> Iterator[Change]:
        """``changes``, with the schemas that they do not say, as far as it is known which."""
        for row in self._of_interest(statements, {change.backend.pid for change in changes}):
            self._observe(row)
        for change in changes:
            session = self._sessions.get(change.backend)
            yield _meant(change, session) if session is not None or change.text else change
            self._note_temporary(change)

    def _of_interest(self, statements: pl.DataFrame, pids: set[int]) -> Iterator[Row]:
        sets = pl.col("settings").list.contains(_SEARCH_PATH).fill_null(False)
        pids |= {backend.pid for backend in self._sessions} | {*statements.filter(sets)["pid"]}
        control = pl.col("operation").fill_null("").is_in(["reset", "discard", *_ENDS])
        if "transaction" in statements.columns:
            control = control | pl.col("transaction").fill_null("").is_in(["TI", "EI"])
        rows = statements.filter(sets | (control & pl.col("pid").is_in([*pids])))
        return in_microseconds(rows).sort("started_at", "id").iter_rows(named=True)

    def _observe(self, row: Row) -> None:
        session, at_us = self._session(backend_of(row)), row["started_at"] or 0
        succeeded = (row["sqlstate"] or "") in SUCCEEDED
        status, verb = row.get("transaction") or "", row["operation"] or ""
        if verb == "discard" and succeeded:
            session.discarded_us.append(at_us)
            del session.discarded_us[:-MOST_PATHS]
        if verb in ("reset", "discard") and succeeded:
            names = row["settings"] or ()
            if verb == "discard" or {"all", _SEARCH_PATH} & {*names}:
                session.set(at_us, UNKNOWN)
        elif _SEARCH_PATH in (row["settings"] or ()):
            self._set(session, row, at_us, succeeded=succeeded)
        if verb in _ENDS or status in ("TI", "EI"):
            self._end(session, row, at_us)

    def _set(self, session: _Session, row: Row, at_us: int, *, succeeded: bool) -> None:
        several = "multi" in (row["flags"] or ())
        if not several and (not succeeded or row["operation"] in ("alter", "create")):
            return  # of a role, a database or a function
        told = dict(each.partition(":")[::2] for each in row["objects"] or ())
        status = row.get("transaction") or ""
        said = told.get(LOCAL_PATH, told.get(PATH))
        unsure = said is None or not succeeded or row.get("parent_id")
        path = UNKNOWN if unsure else tuple((said or "").split(", "))
        if LOCAL_PATH in told and status[1:2] == "I":
            return  # it is over with its statement
        if status[1:2] != "I" and session.before is None:
            session.before = session.path_at(at_us) if status[1:2] == "T" else UNKNOWN
        session.is_local = LOCAL_PATH in told
        session.set(at_us, path)

    def _end(self, session: _Session, row: Row, at_us: int) -> None:
        if session.before is None:
            return
        verb, tag = row["operation"] or "", row.get("tag") or ""
        if verb in _BACK and "to" in wording.tokens(row["text"] or ""):
            session.set(at_us, UNKNOWN)
            return
        if session.is_local or verb in _BACK or tag == "ROLLBACK":
            session.set(at_us, session.before)
        session.before, session.is_local = None, False

    def _session(self, backend: Backend) -> _Session:
        session = self._sessions.setdefault(backend, _Session())
        self._sessions.move_to_end(backend)
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return session

    def _note_temporary(self, change: Change) -> None:
        known = self._sessions.get(change.backend)
        made = [*_made_temporary(change)]
        if made:
            known = known or self._session(change.backend)
        if known is None:
            return
        if "drop" in change.verbs or change.renames:
            for name in {*known.temporary} & {name for _, name in _bare_of(change)}:
                there = known.temporary.pop(name)
                for rename in change.renames:
                    if rename.old == name and rename.new:
                        known.temporary[rename.new] = there
        for name, until_commit in made:
            known.temporary[name] = _Temporary(change.at_us, change.effect, until_commit)
        while len(known.temporary) > MOST_TEMPORARY:
            del known.temporary[next(iter(known.temporary))]


def _bare_of(change: Change) -> Iterator[tuple[str, str]]:
    """Objects in schemas, by names without one or with ``pg_temp``."""
    for kind, name in change.objects:
        own = name.removeprefix(f"{TEMPORARY}.")
        if kind in _KINDS and "." not in own:
            yield kind, own


def _made_temporary(change: Change) -> Iterator[tuple[str, bool]]:
    """Names, and whether they end with the transaction. Of what ends with a string: none."""
    names = {name for kind, name in _bare_of(change) if kind in RELATIONS}
    for words in wording.parted(change.text) if names else ():
        name = _temporary(words, names)
        if name and _is_its_own(change, name):
            yield name, ("on", "commit", "drop") in zip(words, words[1:], words[2:], strict=False)


def _temporary(words: Words, names: Iterable[str]) -> str:
    """``CREATE TEMP TABLE t``, ``SELECT ... INTO TEMP t``, ``CREATE TABLE pg_temp.t``."""
    into = words.index("into") if words[0] == "select" and "into" in words else 0
    if words[0] != "create" and not into:
        return ""
    begin = [*words[into + 1 : into + 12]]
    is_temporary = bool(_TEMP & {*begin[:4]}) or TEMPORARY in begin[:8]
    return next((word for word in begin if word in names), "") if is_temporary else ""


def _is_its_own(change: Change, name: str) -> bool:
    """In a string: it made it before it said its name otherwise, and nothing drops it."""
    saying = [words for words in wording.parted(change.text) if name in words]
    drops = any(words[0] in ("drop", "discard", "do") for words in saying)
    return bool(saying) and not drops and bool(_temporary(saying[0], [name]))


def _meant(change: Change, session: _Session | None) -> Change:
    known = session or _Session()
    path, made = _path_of(change, known), {name for name, _ in _made_temporary(change)}
    others_first = path == UNKNOWN or TEMPORARY in path[1:]
    own = made if others_first else made | known.own_at(change)
    schemas = () if path == UNKNOWN or change.parent_id or {"$user", TEMPORARY} & {*path} else path
    if not own and not schemas:
        return change
    return _with_schemas(change, own, schemas)


def _path_of(change: Change, session: _Session) -> Path:
    """Of a string the one that it sets before anything else, if it sets one."""
    told = next((name for kind, name in change.objects if kind in (PATH, LOCAL_PATH)), "")
    if told:
        return tuple(told.split(", "))
    return UNKNOWN if _SEARCH_PATH in change.settings else session.path_at(change.at_us)


def _with_schemas(change: Change, own: set[str], schemas: Path) -> Change:
    def all_of(kind: str, name: str) -> Sequence[str]:
        if "." in name or kind not in _KINDS:
            return (name,)
        if kind in RELATIONS and name in own:
            return (f"{TEMPORARY}.{name}",)
        found = [f"{schema}.{name}" for schema in schemas if schema != SYSTEM]
        may_be_built_in = kind in _IN_SYSTEM and "create" not in change.verbs
        return [*found, f"{SYSTEM}.{name}"] if found and may_be_built_in else found or (name,)

    def renamed(rename: Rename) -> Iterator[Rename]:
        kinds = [kind for kind, name in change.objects if name == rename.old]
        for old in all_of(kinds[0], rename.old) if kinds else (rename.old,):
            yield rename._replace(old=old)

    def written(name: str) -> Sequence[str]:
        return (name,) if name.startswith("pg_") else all_of("table", name)

    objects = ((kind, each) for kind, name in change.objects for each in all_of(kind, name))
    return replace(
        change,
        objects=frozenset(objects),
        writes=frozenset(each for name in change.writes for each in written(name)),
        renames=tuple(each for rename in change.renames for each in renamed(rename)),
        several=tuple(_with_schemas(each, own, schemas) for each in change.several),
    )
