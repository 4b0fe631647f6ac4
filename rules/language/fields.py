"""A rule, a limit or an exception as it is written, to its type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date

import yaml

from model.verdict import RuleAction, Severity
from rules.language.document import Document
from rules.language.examples import read_examples
from rules.language.schema import (
    MESSAGE_LIMIT_BYTES,
    Approval,
    Exemption,
    Per,
    Rule,
    Status,
    Unknown,
    VarValue,
)

SHARED_FIELDS = (
    "id", "title", "description", "severity", "tags", "status", "references", "falsepositives",
    "action", "message", "unknown", "unless", "approval", "examples",
)  # fmt: skip
RULE_FIELDS = (*SHARED_FIELDS, "when")
LIMIT_FIELDS = (*SHARED_FIELDS, "for", "per", "rows_per_hour", "statements_per_hour")
EXEMPTION_FIELDS = ("when", "because", "until")
FIGURES = ("rows_per_hour", "statements_per_hour")
FIGURES_BYTES = 120
"""What a limit's message needs beside its own words."""
RULE_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def read_rule(document: Document, node: yaml.Node, unknown: Unknown) -> Rule | None:
    """``unknown`` is the file's."""
    fields = document.mapping(node, "a rule", RULE_FIELDS)
    return _rule(document, node, fields, "when", unknown) if fields else None


def read_limit(
    document: Document, node: yaml.Node, unknown: Unknown
) -> tuple[Rule, Per, dict[str, yaml.Node]] | None:
    """The limit's rule, and its figures as they are written."""
    fields = document.mapping(node, "a limit", LIMIT_FIELDS)
    if not fields:
        return None
    rule = _rule(document, node, fields, "for", unknown)
    figures = {name: fields[name] for name in FIGURES if name in fields}
    if not figures:
        document.problem(node, f"a limit needs a figure: {' or '.join(FIGURES)}")
    if len(rule.message.encode()) > MESSAGE_LIMIT_BYTES - FIGURES_BYTES:
        room = MESSAGE_LIMIT_BYTES - FIGURES_BYTES
        document.problem(node, f"a limit's message is at most {room} bytes: figures follow it")
    return rule, document.choice(fields.get("per"), Per, "per", Per.IDENTITY), figures


def read_figure(
    document: Document, name: str, node: yaml.Node, variables: Mapping[str, VarValue]
) -> int | None:
    """A number above 0, or ``vars.name`` for one."""
    text = document.text(node, name)
    value: object
    if text.startswith("vars."):
        variable = text.removeprefix("vars.")
        if variable not in variables:
            document.problem(node, f"{name}: unknown variable {text!r}")
            return None
        value = variables[variable]
    else:
        value = document.scalar(node, name)
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        document.problem(node, f"{name} must be a whole number above 0, or vars.<name> for one")
        return None
    return value


def _rule(
    document: Document,
    node: yaml.Node,
    fields: dict[str, yaml.Node],
    condition: str,
    unknown: Unknown,
) -> Rule:
    for name in ("id", "title", "severity", condition, "action"):
        if name not in fields:
            document.problem(node, f"the field {name!r} is missing")
    get = fields.get
    title = document.text(get("title"), "title")
    return Rule(
        id=_id(document, get("id")),
        title=title,
        when=document.text(get(condition), condition),
        action=document.choice(get("action"), RuleAction, "action", RuleAction.OBSERVE),
        severity=document.choice(get("severity"), Severity, "severity", Severity.MEDIUM),
        message=_message(document, get("message")) or title,
        unknown=document.choice(get("unknown"), Unknown, "unknown", unknown),
        approval=document.choice(get("approval"), Approval, "approval", Approval.ALLOWED),
        unless=_unless(document, get("unless")),
        description=document.text(get("description"), "description").strip(),
        status=document.choice(get("status"), Status, "status", Status.STABLE),
        tags=document.texts(get("tags"), "tags"),
        references=document.texts(get("references"), "references"),
        falsepositives=document.texts(get("falsepositives"), "falsepositives"),
        examples=read_examples(document, get("examples")),
        path=document.path,
        line=node.start_mark.line + 1,
    )


def _unless(document: Document, node: yaml.Node | None) -> tuple[Exemption, ...]:
    """One expression, or a list of expressions and mappings."""
    if node is None:
        return ()
    items = [node] if not isinstance(node, yaml.SequenceNode) else node.value
    return tuple(exemption for each in items if (exemption := _exemption(document, each)))


def _exemption(document: Document, node: yaml.Node) -> Exemption | None:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        when = document.text(node, "unless")
        if not when.strip():
            document.problem(node, "unless is empty")
        return Exemption(when, path=document.path, line=line) if when.strip() else None
    fields = document.mapping(node, "an exception", EXEMPTION_FIELDS)
    if not fields:
        return None
    if "when" not in fields:
        document.problem(node, "the field 'when' is missing")
        return None
    return Exemption(
        when=document.text(fields["when"], "when"),
        because=document.text(fields.get("because"), "because"),
        until=_until(document, fields.get("until")),
        path=document.path,
        line=fields["when"].start_mark.line + 1,
    )


def _until(document: Document, node: yaml.Node | None) -> date | None:
    if node is None:
        return None
    try:
        return date.fromisoformat(document.text(node, "until"))
    except ValueError:
        document.problem(node, "until must be a day like 2026-12-31")
        return None


def _id(document: Document, node: yaml.Node | None) -> str:
    text = document.text(node, "id")
    if node is not None and not RULE_ID.fullmatch(text):
        document.problem(
            node, f"the id {text!r} must be lower-case letters, digits, '.', '_', '-', at most 64"
        )
    return text


def _message(document: Document, node: yaml.Node | None) -> str:
    text = document.text(node, "message").strip()
    if node is not None and len(text.encode()) > MESSAGE_LIMIT_BYTES:
        document.problem(node, f"message is longer than {MESSAGE_LIMIT_BYTES} bytes")
    if node is not None and not text.isprintable():
        document.problem(node, "message must be one line without control characters")
    return text
