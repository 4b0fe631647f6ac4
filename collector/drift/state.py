"""Baseline and open differences: in memory, and what of them has changed in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from collector.drift import drift_file
from collector.drift.baseline import (
    EVERYTHING,
    Difference,
    Fact,
    Facts,
    Known,
    NameRange,
    Part,
    Scope,
)
from collector.drift.history import change_rows
from model.catalog import Attribution, CatalogKind, DriftChange
from model.finding import Finding, FindingKind
from model.verdict import Severity

NAME = "drift.sqlite"
OLDER = "drift.json"
OLDER_VERSION = 1
REPLAYED = "the server is a standby"
"""So begins the note of what nobody did here: it was replayed from its primary."""
ALREADY = "it was so already"
"""So begins the note of what nobody saw come: it was there when it was first held against what
should be."""
UNWATCHED = "nobody watched"
"""So stands in the note where no agent captured at that time: who did it is not known."""
ONE_OF = "it was one of "
"""So begins the note where several could have done it, and none is claimed."""


SHARED = "the same actor did other parts of it"
SHARED_BY = "part of it was done by"
MAY_BE = "it may also have been"
"""So begins what a note says of other statements, with ``(statement 7)`` or ``statement 7``."""


class DriftStateError(Exception):
    """The state cannot be read or written; the message says where and what to do."""


class DamagedStateError(DriftStateError):
    """What is in the file is no state: it can be set aside."""


@dataclass(frozen=True)
class OpenDrift:
    """A difference that lasts. Not reported while its cause may still arrive."""

    scope: Scope
    difference: Difference
    detected_at_us: int
    since_us: int
    """Moment of the last snapshot without it."""
    noticed_us: int
    """When the collector learnt of it, by the caller's clock."""
    reported: bool = False
    attribution: Attribution = Attribution.UNATTRIBUTED
    statement_id: int = 0
    actor: str = ""
    user: str = ""
    summary: str = ""
    severity: Severity = Severity.MEDIUM
    finding_id: str = ""
    did_at_us: int = 0
    """When the statement began."""
    application: str = ""
    group: str = ""
    """What makes one finding: a statement, a transaction, a session that restored a dump."""
    approval: str = ""
    """The request that somebody approved."""
    note: str = ""
    """Unattributed: what happened then. Else: who could have done it as well."""
    known_us: int = 0
    """When it was reported, by the caller's clock."""
    renamed: str = ""
    """What the numbers say; see ``numbers.Names.said``."""
    other_value: str = ""
    """Of a renamed object: what it is, or was, under its other name."""
    shared_with: tuple[int, ...] = ()
    """Other statements that did some of it."""
    part: int = 0
    """0: the first step away from what is accepted. Else the moment of a later one, whose lines
    these are; see ``divided``."""

    @property
    def key(self) -> Key:
        return (self.scope, self.difference.name, self.part)

    @property
    def undecided(self) -> bool:
        return self.note.startswith(ONE_OF)

    @property
    def was_so_already(self) -> bool:
        """Nothing came: a declaration, or an ignore rule that ended, made it a difference."""
        return self.note.startswith(ALREADY)

    @property
    def unwatched(self) -> bool:
        """Who did it was not seen: no agent captured then."""
        return self.attribution is Attribution.UNATTRIBUTED and UNWATCHED in self.note

    @property
    def replayed(self) -> bool:
        """Done on the primary of this standby."""
        return self.note.startswith(REPLAYED)


Key = tuple[Scope, str, int]
"""Of an open difference: its name, and which part of all that differs there."""


class Bodies:
    """Values as JSON; one that is the same object as at the last time is not encoded again."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[Any, Any, str]] = {}

    def of(self, values: Mapping[Any, Any]) -> dict[Any, str]:
        """By key: a finding's id, a row's number, or of an open difference its place as JSON."""
        self._known = {
            key: known
            if (known := self._known.get(key)) is not None and known[0] is value
            else (value, _plain_key(key), _body(value))
            for key, value in values.items()
        }
        return {plain: body for _, plain, body in self._known.values()}


def _plain_key(key: Any) -> Any:
    if not isinstance(key, tuple):
        return key
    scope, name, part = key
    # As releases without parts wrote it.
    return json.dumps([*scope, name, part] if part else [*scope, name])


def _body(value: Any) -> str:
    return json.dumps(value if isinstance(value, dict) else asdict(value))


@dataclass
class State:
    known: dict[Scope, Known] = field(default_factory=dict)
    open: dict[Key, OpenDrift] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)
    """Of open differences, to be sent again when they are resolved."""
    accepted_by: str = ""
    accepted_at_us: int = 0
    reason: str = ""
    seq: int = 0
    """The last ledger sequence that is contained."""
    outbox: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Rows of table catalog_changes that are not known to be durable there, by number."""
    outbox_number: int = 0
    """The last one given."""
    stored: drift_file.Stored = field(default_factory=drift_file.Stored, compare=False, repr=False)
    open_bodies: Bodies = field(default_factory=Bodies, compare=False, repr=False)
    finding_bodies: Bodies = field(default_factory=Bodies, compare=False, repr=False)
    outbox_bodies: Bodies = field(default_factory=Bodies, compare=False, repr=False)


def is_kept(folder: Path) -> bool:
    """There is a file of it, whatever it says."""
    return (folder / NAME).exists() or (folder / OLDER).exists()


def load(folder: Path) -> State:
    """An empty state when there is no file yet; that of ``drift.json``, as releases before 0.2
    wrote it, is taken over once. Raises DamagedStateError for a damaged one, and DriftStateError
    for one that cannot be read now or is of a later release."""
    path, older = folder / NAME, folder / OLDER
    if not is_kept(folder):
        return State()
    try:
        if path.exists():
            state = _read(path)
        else:
            state = _from_json(json.loads(older.read_text(encoding="utf-8")))
            _tell_all(state)
            save(folder, state)
        if older.exists():
            older.replace(folder / f"{OLDER}.migrated")
        return state
    except (
        OSError, ValueError, KeyError, TypeError, sqlite3.Error, drift_file.LaterReleaseError
    ) as error:  # fmt: skip
        raise _kind_of(error, drift_file.is_unreadable)(
            f"{path if path.exists() else older} cannot be read ({error}); restore it from a "
            "backup, or move it away: what was accepted is then taken from the record"
        ) from error


def _kind_of(error: Exception, is_damage: Callable[[sqlite3.Error], bool]) -> type[DriftStateError]:
    if isinstance(error, OSError | drift_file.LaterReleaseError):
        return DriftStateError
    if isinstance(error, sqlite3.Error) and not is_damage(error):
        return DriftStateError
    return DamagedStateError


def set_aside(folder: Path, at_us: int) -> str:
    """Gives a damaged file another name, which is returned, and with it the journal that belongs
    to it. Raises DriftStateError."""
    name = NAME if (folder / NAME).exists() else OLDER
    moment = datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = f"{name}.damaged-{moment}"
    try:
        for suffix in ("-journal", ""):
            if (folder / f"{name}{suffix}").exists():
                (folder / f"{name}{suffix}").replace(folder / f"{aside}{suffix}")
    except OSError as error:
        raise DriftStateError(f"{folder / name} is damaged and cannot be moved: {error}") from error
    return aside


def save(folder: Path, state: State) -> None:
    """What has changed since the last time, in one transaction that is durable before it returns.
    Raises DriftStateError when the disk refuses, DamagedStateError when the file is none of ours
    any more."""
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with closing(drift_file.connect(path)) as connection:
            drift_file.write(connection, _tables(state), state.stored)
    except (OSError, sqlite3.Error, drift_file.LaterReleaseError) as error:
        kind = _kind_of(error, drift_file.is_foreign)
        raise kind(f"{path} cannot be written: {error}") from error


def _read(path: Path) -> State:
    with closing(drift_file.connect(path)) as connection:
        tables = drift_file.read(connection)
    drifts = [_open(json.loads(body)) for body in tables.open.values()]
    findings = [_finding(json.loads(body)) for body in tables.findings.values()]
    about = tables.about
    state = State(
        known={
            _scope(list(key)): Known(
                None if accepted is None else _facts(accepted),
                _facts(observed),
                row.at_us,
                row.base_at_us,
                tuple(NameRange(*each) for each in json.loads(row.covered)),
                row.major,
                row.format,
            )
            for key, (row, accepted, observed) in tables.scopes.items()
        },
        open={drift.key: drift for drift in drifts},
        findings={finding.id: finding for finding in findings},
        accepted_by=about["accepted_by"],
        accepted_at_us=int(about["accepted_at_us"]),
        reason=about["reason"],
        seq=int(about["seq"]),
        outbox={number: json.loads(body) for number, body in tables.outbox.items()},
        outbox_number=int(about["outbox_number"]),
    )
    # What was read is what is stored: the next save writes only what differs from it.
    state.stored.take(_tables(state))
    return state


def _tables(state: State) -> drift_file.Tables:
    """``facts`` are handed over as they are: equal objects are known to be stored already."""
    return drift_file.Tables(
        about={
            "seq": str(state.seq),
            "accepted_by": state.accepted_by,
            "accepted_at_us": str(state.accepted_at_us),
            "reason": state.reason,
            "outbox_number": str(state.outbox_number),
        },
        scopes={
            (scope.agent, scope.cluster, scope.kind.value, scope.database): (
                drift_file.ScopeRow(
                    known.at_us,
                    known.base_at_us,
                    json.dumps(known.covered),
                    known.major,
                    known.format,
                ),
                known.accepted,
                known.observed,
            )
            for scope, known in state.known.items()
        },
        open=state.open_bodies.of(state.open),
        findings=state.finding_bodies.of(state.findings),
        outbox=state.outbox_bodies.of(state.outbox),
    )


def _from_json(tree: dict[str, Any]) -> State:
    if tree["version"] != OLDER_VERSION:
        raise ValueError(f"version {tree['version']} is not known to this release")
    drifts = [_open(entry) for entry in tree["open"]]
    findings = [_finding(entry) for entry in tree["findings"]]
    return State(
        known={
            _scope(scope): Known(
                None if accepted is None else _facts(accepted), _facts(observed), at_us
            )
            for scope, at_us, accepted, observed in tree["known"]
        },
        open={drift.key: drift for drift in drifts},
        findings={finding.id: finding for finding in findings},
        accepted_by=tree["accepted_by"],
        accepted_at_us=tree["accepted_at_us"],
        reason=tree["reason"],
        seq=tree["seq"],
    )


def _tell_all(state: State) -> None:
    """What was known before there was a table catalog_changes is new to it."""
    for scope, known in state.known.items():
        part = Part(known.at_us, 0, 0, EVERYTHING, known.observed, frozenset())
        rows = change_rows(scope, {}, known.observed, known.observed, part, known.at_us)
        for row in rows:
            state.outbox_number += 1
            state.outbox[state.outbox_number] = row


def _scope(entry: list[str]) -> Scope:
    agent, cluster, kind, database = entry
    return Scope(agent, cluster, CatalogKind(kind), database)


def _facts(tree: Mapping[str, Sequence[str]]) -> Facts:
    return {name: Fact(*fact) for name, fact in tree.items()}


def _open(entry: dict[str, Any]) -> OpenDrift:
    name, change, desired, observed, details = entry["difference"]
    difference = Difference(name, DriftChange(change), desired, observed, tuple(details))
    known = [field.name for field in fields(OpenDrift) if field.name in entry]
    drift = OpenDrift(**{name: entry[name] for name in known})
    return replace(
        drift,
        scope=_scope(entry["scope"]),
        difference=difference,
        attribution=Attribution(entry["attribution"]),
        severity=Severity(entry["severity"]),
        shared_with=tuple(drift.shared_with),
    )


def _finding(entry: dict[str, Any]) -> Finding:
    return replace(
        Finding(**entry),
        kind=FindingKind(entry["kind"]),
        severity=Severity(entry["severity"]),
        details=tuple((name, value) for name, value in entry["details"]),
    )
