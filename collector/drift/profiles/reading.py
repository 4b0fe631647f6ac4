"""A profile: checks in YAML, each an expression (CEL) over the facts of one kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import yaml

from model.catalog import CatalogKind
from model.verdict import Severity
from rules.language.cel import CelError, Program
from rules.language.document import Document

FOLDER = Path(__file__).parent
SUFFIX = ".yaml"
ROOT = ("profile", "title", "checks")
FIELDS = (
    "id", "title", "why", "remedy", "severity", "kind", "name", "where", "must", "must_not", "some",
    "absent",
)  # fmt: skip
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class Quantifier(StrEnum):
    MUST = "must"
    """Holds for every fact that is looked at."""
    MUST_NOT = "must_not"
    """Holds for none."""
    SOME = "some"
    """Holds for at least one."""


class Absent(StrEnum):
    """What it means that there is no such fact."""

    PASS = "pass"  # noqa: S105 # a verdict, not a password
    FAIL = "fail"
    UNKNOWN = "unknown"


USUALLY = {
    Quantifier.MUST: Absent.UNKNOWN,
    Quantifier.MUST_NOT: Absent.PASS,
    Quantifier.SOME: Absent.FAIL,
}


class ProfileError(Exception):
    """The profile cannot be used; ``problems`` say where and why, a line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Check:
    id: str
    title: str
    why: str
    remedy: str
    severity: Severity
    kind: CatalogKind
    names: tuple[str, ...]
    """Shell patterns; a fact is looked at when one of them fits."""
    where: Program | None
    quantifier: Quantifier
    expression: Program
    absent: Absent


@dataclass(frozen=True)
class Profile:
    name: str
    title: str
    checks: tuple[Check, ...]


def profile_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))


def read_profile(name: str) -> Profile:
    """One of ``profile_names``, or a file. Raises ProfileError with all mistakes at once."""
    path = FOLDER / f"{name}{SUFFIX}" if name in profile_names() else Path(name)
    document = Document(str(path))
    root = document.read()
    fields = document.mapping(root, "a profile", ROOT) if root is not None else {}
    checks = tuple(_checks(document, fields.get("checks")))
    if root is not None and not checks and not document.problems:
        document.problem(root, "a profile needs checks")
    seen: set[str] = set()
    for check in checks:
        if check.id in seen and root is not None:
            document.problem(root, f"the id {check.id!r} is given twice")
        seen.add(check.id)
    if document.problems:
        raise ProfileError([str(problem) for problem in document.problems])
    return Profile(
        document.text(fields.get("profile"), "profile"),
        document.text(fields.get("title"), "title"),
        checks,
    )


def _checks(document: Document, node: yaml.Node | None) -> Iterator[Check]:
    if node is None:
        return
    for each in document.sequence(node, "checks"):
        before = len(document.problems)
        check = _check(document, each)
        if check is not None and len(document.problems) == before:
            yield check


def _check(document: Document, node: yaml.Node) -> Check | None:
    fields = document.mapping(node, "a check", FIELDS)
    for name in ("id", "title", "why", "remedy", "kind"):
        if not document.text(fields.get(name), name):
            document.problem(node, f"a check needs {name}")
    own = document.text(fields.get("id"), "id")
    if own and not _ID.fullmatch(own):
        document.problem(node, f"the id {own!r} must be small words with hyphens")
    given = [each for each in Quantifier if each in fields]
    if len(given) != 1:
        document.problem(node, f"check {own} needs one of must, must_not and some")
        return None
    [quantifier] = given
    expression = _program(document, fields[quantifier], quantifier)
    where = _program(document, fields["where"], "where") if "where" in fields else None
    kind = document.choice(fields.get("kind"), CatalogKind, "kind", CatalogKind.SETTING)
    severity = document.choice(fields.get("severity"), Severity, "severity", Severity.MEDIUM)
    absent = document.choice(fields.get("absent"), Absent, "absent", USUALLY[quantifier])
    if expression is None:
        return None
    return Check(
        id=own,
        title=document.text(fields.get("title"), "title"),
        why=document.text(fields.get("why"), "why"),
        remedy=document.text(fields.get("remedy"), "remedy"),
        severity=severity,
        kind=kind,
        names=_names(document, fields.get("name")),
        where=where,
        quantifier=quantifier,
        expression=expression,
        absent=absent,
    )


def _names(document: Document, node: yaml.Node | None) -> tuple[str, ...]:
    if node is None:
        return ("*",)
    if isinstance(node, yaml.SequenceNode):
        return document.texts(node, "name")
    return (document.text(node, "name"),)


def _program(document: Document, node: yaml.Node, what: str) -> Program | None:
    try:
        return Program(document.text(node, what))
    except CelError as error:
        document.problem(node, f"{what}: {error.message} at character {error.offset + 1}")
        return None
