"""Rule files to rules: each checked on its own and against the others, all problems at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from model.session import BackendKey, Identity, IdentityKind, Session
from model.verdict import RuleAction, Severity
from rules.language.condition import Condition, compile_condition
from rules.language.document import Document
from rules.language.problems import Problem, RuleError
from rules.language.schema import MESSAGE_LIMIT_BYTES, Example, Rule, Status, Unknown, VarValue

FILE_FIELDS = ("vars", "rules")
RULE_FIELDS = (
    "id", "title", "description", "severity", "tags", "status", "references", "falsepositives",
    "when", "action", "message", "unknown", "examples",
)  # fmt: skip
REQUIRED = ("id", "title", "severity", "when", "action")
EXAMPLE_FIELDS = ("sql", "session", "identity")
SESSION_FIELDS = (
    "user", "database", "application_name", "client_address", "superuser", "cluster",
)  # fmt: skip
IDENTITY_FIELDS = ("kind", "name", "confidence")
RULE_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
VAR_NAME = re.compile(r"[a-z_][a-z0-9_]{0,63}")
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


@dataclass(frozen=True, slots=True)
class CompiledRule:
    rule: Rule
    condition: Condition


@dataclass(slots=True)
class _Draft:
    document: Document
    rules: list[tuple[Rule, yaml.Node]] = field(default_factory=list)
    variables: dict[str, tuple[VarValue, yaml.Node]] = field(default_factory=dict)


def load_rules(
    paths: Iterable[Path], overrides: Mapping[str, object]
) -> tuple[tuple[CompiledRule, ...], dict[str, VarValue]]:
    """Files, or folders of ``*.yaml`` and ``*.yml``. Raises RuleError with everything wrong."""
    problems: list[Problem] = []
    drafts = [_draft(Document(str(file))) for file in _files(paths, problems)]
    variables = _variables(drafts, overrides, problems)
    compiled = [each for draft in drafts for each in _compile(draft, variables)]
    _refuse_duplicates(drafts)
    problems += [problem for draft in drafts for problem in draft.document.problems]
    if problems:
        raise RuleError(sorted(problems, key=lambda p: (p.path, p.line, p.column)))
    return tuple(compiled), variables


def _files(paths: Iterable[Path], problems: list[Problem]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix in (".yaml", ".yml"))
            if not found:
                problems.append(Problem(str(path), 0, 0, "no *.yaml or *.yml file in this folder"))
            files += found
        else:
            files.append(path)
    if not files and not problems:
        problems.append(Problem("rules", 0, 0, "no rule file is named"))
    return list(dict.fromkeys(files))


def _draft(document: Document) -> _Draft:
    draft = _Draft(document)
    root = document.read()
    if root is None:
        return draft
    rules: yaml.Node | None = root
    if isinstance(root, yaml.MappingNode):
        fields = document.mapping(root, "a rule file", FILE_FIELDS)
        if (variables := fields.get("vars")) is not None:
            for name, node in document.mapping(variables, "vars").items():
                draft.variables[name] = (_var_value(document, name, node), node)
        rules = fields.get("rules")
    if rules is not None:
        for node in document.sequence(rules, "rules"):
            if (rule := _rule(document, node)) is not None:
                draft.rules.append((rule, node))
    return draft


def _var_value(document: Document, name: str, node: yaml.Node) -> VarValue:
    if not VAR_NAME.fullmatch(name):
        document.problem(node, f"the name {name!r} must be lower-case letters, digits and _")
    if isinstance(node, yaml.SequenceNode):
        return document.texts(node, f"vars.{name}")
    return document.scalar(node, f"vars.{name}")


def _rule(document: Document, node: yaml.Node) -> Rule | None:
    fields = document.mapping(node, "a rule", RULE_FIELDS)
    if not fields:
        return None
    for name in REQUIRED:
        if name not in fields:
            document.problem(node, f"the field {name!r} is missing")
    get = fields.get
    title = document.text(get("title"), "title")
    return Rule(
        id=_id(document, get("id")),
        title=title,
        when=document.text(get("when"), "when"),
        action=document.choice(get("action"), RuleAction, "action", RuleAction.OBSERVE),
        severity=document.choice(get("severity"), Severity, "severity", Severity.MEDIUM),
        message=_message(document, get("message")) or title,
        unknown=document.choice(get("unknown"), Unknown, "unknown", Unknown.ALLOW),
        description=document.text(get("description"), "description").strip(),
        status=document.choice(get("status"), Status, "status", Status.STABLE),
        tags=document.texts(get("tags"), "tags"),
        references=document.texts(get("references"), "references"),
        falsepositives=document.texts(get("falsepositives"), "falsepositives"),
        examples=_examples(document, get("examples")),
        path=document.path,
        line=node.start_mark.line + 1,
    )


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


def _examples(document: Document, node: yaml.Node | None) -> tuple[Example, ...]:
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
    return Example(document.text(fields.get("sql"), "sql"), session, matches, line)


def _session(document: Document, node: yaml.Node | None, identity: Identity) -> Session:
    fields = document.mapping(node, "session", SESSION_FIELDS) if node is not None else {}
    given = {
        name: document.text(each, name) for name, each in fields.items() if name != "superuser"
    }
    known = {name: getattr(EXAMPLE_SESSION, name) for name in SESSION_FIELDS}
    superuser = False
    if "superuser" in fields:
        value = document.scalar(fields["superuser"], "superuser")
        superuser = value is True
        if not isinstance(value, bool):
            document.problem(fields["superuser"], "superuser must be true or false")
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
    )


def _variables(
    drafts: list[_Draft], overrides: Mapping[str, object], problems: list[Problem]
) -> dict[str, VarValue]:
    """One name space for all files of a rule set, so that a rule may use a pack's constants."""
    values: dict[str, VarValue] = {}
    for draft in drafts:
        for name, (value, node) in draft.variables.items():
            if name in values and values[name] != value:
                draft.document.problem(node, f"vars.{name} has another value in another file")
            values[name] = value
    for name, given in overrides.items():
        if name not in values:
            message = f"rules.vars: no rule file has vars.{name}; known: {', '.join(values)}"
            problems.append(Problem("configuration", 0, 0, message))
        elif isinstance(given, str | int | float):
            values[name] = given
        elif isinstance(given, list | tuple) and all(isinstance(each, str) for each in given):
            values[name] = tuple(given)
        else:
            message = f"rules.vars: {name} must be text, a number, a boolean or a list of text"
            problems.append(Problem("configuration", 0, 0, message))
    return values


def _compile(draft: _Draft, variables: Mapping[str, VarValue]) -> Iterable[CompiledRule]:
    document = draft.document
    for rule, node in draft.rules:
        if not rule.when:
            continue  # missing or no text: reported already
        condition, mistakes = compile_condition(rule.when, variables)
        line = _line_of(node, "when") or rule.line
        document.problems += [
            Problem(
                document.path, line, each.offset, f"rule {rule.id}: when: {each.message}", rule.when
            )
            for each in mistakes
        ]
        if condition is not None:
            yield CompiledRule(rule, condition)


def _line_of(node: yaml.Node, name: str) -> int:
    for key, value in node.value:
        if key.value == name:
            return int(value.start_mark.line) + 1
    return 0


def _refuse_duplicates(drafts: list[_Draft]) -> None:
    first: dict[str, Rule] = {}
    for draft in drafts:
        for rule, node in draft.rules:
            if rule.id and rule.id in first:
                where = first[rule.id]
                draft.document.problem(
                    node, f"the id {rule.id!r} is taken by {where.path}:{where.line}"
                )
            first.setdefault(rule.id, rule)
