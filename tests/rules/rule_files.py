"""Rule files for tests: a good rule, and changes to it."""

import re
from pathlib import Path

from model.session import BackendKey, Identity, IdentityKind, Session
from model.statement import ParseStatus, Shape
from rules import RuleError, RuleSet, View

GOOD = """\
vars:
  secret_tables: [hr.salaries]
rules:
  - id: reads-salaries
    title: Salaries are read
    severity: high
    action: deny
    when: statement.reads.exists(r, r in vars.secret_tables)
"""


def load(folder: Path, text: str | bytes, **options: object) -> RuleSet:
    file = folder / "rules.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return RuleSet.load([file], **options)


def problems(folder: Path, text: str | bytes, **options: object) -> list[str]:
    """Without the folder's name and the column: ``rules.yaml:3: ...``."""
    try:
        load(folder, text, **options)
    except RuleError as error:
        texts = [str(problem).replace(f"{folder}/", "") for problem in error.problems]
        return [re.sub(r"^(rules\.yaml:\d+):\d+: ", r"\1: ", text) for text in texts]
    return []


def rule(when: str = "statement.parsed", **fields: str) -> str:
    values = {"id": "r", "title": "T", "severity": "low", "action": "alert"} | fields
    lines = "".join(f"  {name}: {value}\n" for name, value in values.items())
    return f"- when: |-\n    {when}\n{lines}"


def shape(status: ParseStatus = ParseStatus.PARSED, digest: str = "d", **facts: object) -> Shape:
    return Shape(status=status, digest=digest, redacted_text="", **facts)


def view(shape_: Shape, kind: IdentityKind = IdentityKind.HUMAN, **facts: object) -> View:
    session = Session(BackendKey(1, 1), identity=Identity(kind, "n", 0.5), **facts)
    return View(shape_, session, 10)
