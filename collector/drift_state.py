"""Baseline and open differences on disk: one JSON file, replaced as a whole."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from collector.baseline import Difference, Fact, Known, Scope
from model.catalog import Attribution, CatalogKind, DriftChange
from model.finding import Finding, FindingKind
from model.verdict import Severity

VERSION = 1
NAME = "drift.json"


class DriftStateError(Exception):
    """The state cannot be read or written; the message says where and what to do."""


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


Key = tuple[Scope, str]


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


def load(folder: Path) -> State:
    """An empty state when there is no file yet. Raises DriftStateError for a damaged one."""
    path = folder / NAME
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        return _from_json(tree)
    except FileNotFoundError:
        return State()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DriftStateError(
            f"{path} cannot be read ({error}); restore it from a backup, or move it away to accept "
            "what is there now as a new baseline"
        ) from error


def save(folder: Path, state: State) -> None:
    """Durable before it returns. Raises DriftStateError when the disk refuses."""
    path, new = folder / NAME, folder / f"{NAME}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with new.open("w", encoding="utf-8", errors="backslashreplace") as file:
            json.dump(_to_json(state), file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DriftStateError(f"{path} cannot be written: {error}") from error


def _to_json(state: State) -> dict[str, Any]:
    return {
        "version": VERSION,
        "seq": state.seq,
        "accepted_by": state.accepted_by,
        "accepted_at_us": state.accepted_at_us,
        "reason": state.reason,
        "known": [
            [list(scope), known.at_us, known.accepted, known.observed]
            for scope, known in state.known.items()
        ],
        "open": [asdict(drift) for drift in state.open.values()],
        "findings": [asdict(finding) for finding in state.findings.values()],
    }


def _from_json(tree: dict[str, Any]) -> State:
    if tree["version"] != VERSION:
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
        open={(drift.scope, drift.difference.name): drift for drift in drifts},
        findings={finding.id: finding for finding in findings},
        accepted_by=tree["accepted_by"],
        accepted_at_us=tree["accepted_at_us"],
        reason=tree["reason"],
        seq=tree["seq"],
    )


def _scope(entry: list[str]) -> Scope:
    agent, cluster, kind, database = entry
    return Scope(agent, cluster, CatalogKind(kind), database)


def _facts(tree: dict[str, list[str]]) -> dict[str, Fact]:
    return {name: Fact(*fact) for name, fact in tree.items()}


def _open(entry: dict[str, Any]) -> OpenDrift:
    name, change, desired, observed, details = entry["difference"]
    difference = Difference(name, DriftChange(change), desired, observed, tuple(details))
    drift = OpenDrift(**{field.name: entry[field.name] for field in fields(OpenDrift)})
    return replace(
        drift,
        scope=_scope(entry["scope"]),
        difference=difference,
        attribution=Attribution(entry["attribution"]),
        severity=Severity(entry["severity"]),
    )


def _finding(entry: dict[str, Any]) -> Finding:
    return replace(
        Finding(**entry),
        kind=FindingKind(entry["kind"]),
        severity=Severity(entry["severity"]),
        details=tuple((name, value) for name, value in entry["details"]),
    )
