"""Checks held against facts: pass, fail, or unknown with the reason why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from collector.drift.baseline import Fact
from collector.drift.lines import read_value
from collector.drift.matching.cluster import NO_FILE_NAME
from collector.drift.observed import Whole
from collector.drift.patterns import matches
from collector.drift.profiles.reading import Absent, Check, Quantifier
from model.catalog import CatalogKind
from rules.language.cel import EvaluationError, Program, Values

_OF_INITDB = ("template0", "template1")
_USUAL_SUPERUSER = "postgres"


class Outcome(StrEnum):
    PASS = "pass"  # noqa: S105 # a verdict, not a password
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Result:
    check: Check
    outcome: Outcome
    offenders: tuple[str, ...] = ()
    """Facts that fail it: ``fsync is off (/etc/postgresql.conf:12)``, ``shop: hr.f()``."""
    reason: str = ""
    """Why it is unknown."""


@dataclass(frozen=True)
class _Seen:
    database: str
    name: str
    fact: Fact
    values: Values


def check(checks: Iterable[Check], parts: Whole) -> list[Result]:
    """``parts``: the facts of one server, or of one database with those of its server."""
    return [_result(each, parts) for each in checks]


def _result(check: Check, parts: Whole) -> Result:
    read = [database for kind, database in parts if kind is check.kind]
    if not read:
        reason = f"{check.kind} was not read; grant what `pgwarden doctor` names"
        return Result(check, Outcome.UNKNOWN, reason=reason)
    try:
        looked_at = list(_looked_at(check, parts))
        holds = [(seen, _true(check.expression, seen)) for seen in looked_at]
    except EvaluationError as error:
        return Result(check, Outcome.UNKNOWN, reason=f"it cannot be evaluated: {error}")
    if not looked_at:
        return _nothing(check)
    return _judged(check, holds)


def _judged(check: Check, holds: list[tuple[_Seen, bool]]) -> Result:
    match check.quantifier:
        case Quantifier.MUST:
            bad = [seen for seen, held in holds if not held]
        case Quantifier.MUST_NOT:
            bad = [seen for seen, held in holds if held]
        case Quantifier.SOME:
            bad = [] if any(held for _, held in holds) else [seen for seen, _ in holds]
    hidden = [seen for seen in bad if seen.fact.value.startswith("hidden ")]
    if hidden and len(hidden) == len(bad):
        reason = f"{hidden[0].name} may hold a secret: its value never leaves the host"
        return Result(check, Outcome.UNKNOWN, reason=reason)
    if not bad:
        return Result(check, Outcome.PASS)
    return Result(check, Outcome.FAIL, tuple(_said(seen, check.kind) for seen in bad))


def _nothing(check: Check) -> Result:
    names = ", ".join(check.names)
    if check.absent is Absent.PASS:
        return Result(check, Outcome.PASS)
    if check.absent is Absent.FAIL:
        return Result(check, Outcome.FAIL, (f"no {check.kind} {names}",))
    return Result(check, Outcome.UNKNOWN, reason=f"this server has no {check.kind} {names}")


def _looked_at(check: Check, parts: Whole) -> Iterator[_Seen]:
    superusers = _superusers(parts)
    for (kind, database), facts in sorted(parts.items()):
        if kind is not check.kind:
            continue
        for name, fact in sorted(facts.items()):
            if any(matches(name, pattern) for pattern in check.names):
                variables = _variables(kind, database, name, fact) | superusers
                # Rules know only variables with fields.
                seen = _Seen(database, name, fact, Values(variables))  # type: ignore[arg-type]
                if check.where is None or _true(check.where, seen):
                    yield seen


def _variables(kind: CatalogKind, database: str, name: str, fact: Fact) -> dict[str, object]:
    return {
        "name": name,
        "value": fact.value,
        "detail": fact.detail,
        "database": database,
        "line": read_value(kind, fact.value),
    }


def _superusers(parts: Whole) -> dict[str, object]:
    """Who made the cluster owns what came with it."""
    databases = parts.get((CatalogKind.DATABASE, ""), {})
    templates = (databases[name] for name in _OF_INITDB if name in databases)
    owners = (read_value(CatalogKind.DATABASE, fact.value).get("owner") for fact in templates)
    own = next(filter(None, owners), _USUAL_SUPERUSER)
    roles = parts.get((CatalogKind.ROLE, ""), {})
    superusers = [
        name
        for name, fact in roles.items()
        if read_value(CatalogKind.ROLE, fact.value).get("superuser") == "true"
    ]
    return {"own_superuser": own, "superusers": superusers or [own]}


def _true(program: Program, seen: _Seen) -> bool:
    return program.evaluate(seen.values) is True


def _said(seen: _Seen, kind: CatalogKind) -> str:
    where = f"{seen.database}: " if seen.database else ""
    first = seen.fact.value.partition("\n")[0] or "empty"
    plain = kind in (CatalogKind.SETTING, CatalogKind.HBA, CatalogKind.PRIVILEGE)
    return (
        f"{where}{seen.name} is {first}{_written(seen, kind)}" if plain else f"{where}{seen.name}"
    )


def _written(seen: _Seen, kind: CatalogKind) -> str:
    """ALTER SYSTEM RESET does nothing to a line of postgresql.conf: it is to be changed there."""
    source = seen.fact.detail.partition(";")[0]
    is_line = kind is CatalogKind.SETTING and source.startswith(f"{NO_FILE_NAME} ")
    return f" ({source.removeprefix(NO_FILE_NAME).strip()})" if is_line else ""
