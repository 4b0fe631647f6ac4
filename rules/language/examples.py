"""A rule's examples as they are written: a statement, who sends it, and when."""

from __future__ import annotations

from datetime import UTC, datetime

import yaml

from model.event import Protocol
from model.session import BackendKey, Identity, IdentityKind, Session
from rules.language.document import Document
from rules.language.schema import Example

EXAMPLE_FIELDS = (
    "sql", "session", "identity", "at", "windows", "data_classes", "protocol", "usual_rows",
)  # fmt: skip
SESSION_FIELDS = (
    "user", "database", "application_name", "client_address", "superuser", "cluster",
)  # fmt: skip
IDENTITY_FIELDS = ("kind", "name", "confidence", "proven")
EXAMPLE_SESSION = Session(
    key=BackendKey(1, 1),
    cluster="5432",
    user="alice",
    database="shop",
    application_name="psql",
    client_address="10.0.0.5",
    superuser=False,
)
"""Who sends an example that does not say: a plain login from another host."""


def read_examples(document: Document, node: yaml.Node | None) -> tuple[Example, ...]:
    if node is None:
        return ()
    fields = document.mapping(node, "examples", ("match", "no_match"))
    return tuple(
        _example(document, each, matches)
        for name, matches in (("match", True), ("no_match", False))
        if name in fields
        for each in document.sequence(fields[name], name)
    )


def _example(document: Document, node: yaml.Node, matches: bool) -> Example:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        return Example(document.text(node, "an example"), EXAMPLE_SESSION, matches, line)
    fields = document.mapping(node, "an example", EXAMPLE_FIELDS)
    if fields and "sql" not in fields:
        document.problem(node, "the field 'sql' is missing")
    session = _session(document, fields.get("session"), _identity(document, fields.get("identity")))
    get = fields.get
    return Example(
        sql=document.text(get("sql"), "sql"),
        session=session,
        matches=matches,
        line=line,
        protocol=document.choice(get("protocol"), Protocol, "protocol", Protocol.QUERY),
        usual_rows=_rows(document, get("usual_rows")),
        at_us=_moment(document, get("at")),
        windows=document.texts(get("windows"), "windows") if "windows" in fields else None,
        data_classes=(
            document.texts(get("data_classes"), "data_classes")
            if "data_classes" in fields
            else None
        ),
    )


def _rows(document: Document, node: yaml.Node | None) -> int:
    value = document.scalar(node, "usual_rows") if node is not None else 0
    if node is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        document.problem(node, "usual_rows must be a whole number")
    return value if isinstance(value, int) else 0


def _moment(document: Document, node: yaml.Node | None) -> int:
    """``2026-01-04T02:30+01:00``; without an offset it is UTC."""
    if node is None:
        return 0
    try:
        at = datetime.fromisoformat(document.text(node, "at"))
    except ValueError:
        document.problem(node, "at must be a moment like 2026-01-04T02:30+01:00")
        return 0
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()) * 1_000_000


def _session(document: Document, node: yaml.Node | None, identity: Identity) -> Session:
    fields = document.mapping(node, "session", SESSION_FIELDS) if node is not None else {}
    given = {
        name: document.text(each, name) for name, each in fields.items() if name != "superuser"
    }
    known = {name: getattr(EXAMPLE_SESSION, name) for name in SESSION_FIELDS}
    superuser = _yes(document, fields, "superuser", False)
    values = known | given | {"superuser": superuser}
    return Session(key=EXAMPLE_SESSION.key, identity=identity, **values)


def _identity(document: Document, node: yaml.Node | None) -> Identity:
    if node is None:
        return Identity()
    fields = document.mapping(node, "identity", IDENTITY_FIELDS)
    confidence = 1.0
    if "confidence" in fields:
        value = document.scalar(fields["confidence"], "confidence")
        if isinstance(value, str | bool) or not 0 <= value <= 1:
            document.problem(fields["confidence"], "confidence must be a number from 0 to 1")
        else:
            confidence = float(value)
    return Identity(
        kind=document.choice(fields.get("kind"), IdentityKind, "kind", IdentityKind.UNKNOWN),
        name=document.text(fields.get("name"), "name"),
        confidence=confidence,
        proven=_yes(document, fields, "proven", True),
    )


def _yes(document: Document, fields: dict[str, yaml.Node], name: str, default: bool) -> bool:
    if name not in fields:
        return default
    value = document.scalar(fields[name], name)
    if not isinstance(value, bool):
        document.problem(fields[name], f"{name} must be true or false")
    return value is True
