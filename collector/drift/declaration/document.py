"""A declaration read with its places: a mistake names file, line, column and remedy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from collector.drift.baseline import HBA_ORDER, ORDER_SEPARATOR, Fact, Facts
from collector.drift.declaration.addresses import as_shown, order_as_shown
from collector.drift.declaration.keys import key_mistakes
from collector.drift.declaration.words import mistakes
from collector.drift.lines import LINE_KINDS, lines_of, text_of
from model.catalog import CLUSTER_KINDS, DATABASE_KINDS, CatalogKind
from rules.language.document import Document
from rules.language.problems import Problem

VERSION = "1"
MAX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 8
ORDERED = frozenset([CatalogKind.HBA, CatalogKind.IDENT])
"""Rules, of which the first that matches decides: they may be a list."""
ARROWS = frozenset([CatalogKind.MEMBERSHIP, CatalogKind.PRIVILEGE, CatalogKind.USER_MAPPING])


class DeclarationError(Exception):
    """The file cannot be used; ``problems`` say where and why, a line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Declaration:
    """Desired facts by kind and database (empty: of the whole cluster).

    A kind that is not there is not declared; one that is there with nothing shall be empty.
    """

    path: str
    parts: dict[tuple[CatalogKind, str], Facts] = field(default_factory=dict)
    lines: dict[tuple[CatalogKind, str, str], int] = field(default_factory=dict)
    """Where each item stands in the file."""

    def databases(self) -> list[str]:
        return sorted({database for _, database in self.parts} - {""})


def read_declaration(path: Path) -> Declaration:
    """Raises DeclarationError with all mistakes at once."""
    document = _Document(str(path))
    root = document.read()
    declaration = Declaration(str(path))
    if root is not None:
        _read_root(document, root, declaration)
    if document.problems:
        raise DeclarationError([str(problem) for problem in document.problems])
    return declaration


class _Document(Document):
    """As rules are read; by the C parser, because a declaration of 5,000 tables is large."""

    def parse(self, data: bytes) -> yaml.Node | None:
        if len(data) > MAX_BYTES:
            self.problems.append(Problem(self.path, 0, 0, f"more than {MAX_BYTES} bytes"))
            return None
        try:
            events = yaml.parse(data.decode("utf-8"), Loader=yaml.CSafeLoader)
            root = _root(iter(events))
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            self.problems.append(Problem(self.path, line, 0, "not UTF-8"))
            return None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
            self.problems.append(Problem(self.path, line, column, f"not YAML: {error.problem}"))
            return None
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            first = (str(error) or type(error).__name__).splitlines()[0]
            self.problems.append(Problem(self.path, 0, 0, f"not YAML: {first}"))
            return None
        if root is None:
            self.problems.append(Problem(self.path, 1, 0, "the file is empty"))
        return root


def _root(events: Iterator[yaml.Event]) -> yaml.Node | None:
    root = None
    for event in events:
        if isinstance(event, yaml.NodeEvent):
            if root is not None:
                raise _refusal("only one document is allowed", event)
            root = _node(event, events, 0)
    return root


def _node(event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> yaml.Node:
    if isinstance(event, yaml.AliasEvent):
        raise _refusal("aliases are not allowed; write it out", event)
    if depth > MAX_DEPTH:
        raise _refusal("nested too deeply", event)
    start: Any = event.start_mark  # the C parser's marks are as good
    end: Any = event.end_mark
    if isinstance(event, yaml.ScalarEvent):
        return yaml.ScalarNode("", event.value, start, end)
    children = []
    for child in events:
        if isinstance(child, yaml.CollectionEndEvent):
            break
        children.append(_node(child, events, depth + 1))
    if isinstance(event, yaml.SequenceStartEvent):
        return yaml.SequenceNode("", children, start, end)
    pairs = list(zip(children[::2], children[1::2], strict=True))
    return yaml.MappingNode("", pairs, start, end)


def _refusal(message: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    mark: Any = event.start_mark
    return yaml.MarkedYAMLError(problem=message, problem_mark=mark)


def _read_root(document: Document, root: yaml.Node, declaration: Declaration) -> None:
    fields = document.mapping(root, "a declaration", ("version", "cluster", "databases"))
    version = fields.get("version")
    if version is None:
        document.problem(root, f"version is missing; begin with: version: {VERSION}")
    elif document.text(version, "version") != VERSION:
        document.problem(version, f"this release reads version {VERSION} only")
    if "cluster" in fields:
        _read_part(document, fields["cluster"], "", declaration)
    if "databases" in fields:
        databases = _mapping(document, fields["databases"], "databases")
        for name, node in databases.items():
            if name:
                _read_part(document, node, name, declaration)
            else:
                document.problem(node, "a database needs a name; what has none stands in cluster")


def _read_part(
    document: Document, node: yaml.Node, database: str, declaration: Declaration
) -> None:
    what = f"database {database}" if database else "cluster"
    known = DATABASE_KINDS if database else CLUSTER_KINDS
    other = CLUSTER_KINDS if database else DATABASE_KINDS
    for name, items in _mapping(document, node, what).items():
        if name in map(str, other - known):
            where = "cluster" if database else "databases, below the name of one"
            document.problem(items, f"{name} does not belong to {what}; move it to {where}")
        elif name not in map(str, known):
            kinds = ", ".join(sorted(map(str, known)))
            document.problem(items, f"unknown kind {name!r} in {what}; there are {kinds}")
        else:
            kind = CatalogKind(name)
            declaration.parts[kind, database] = dict(
                _facts(document, items, kind, database, declaration)
            )


def _facts(
    document: Document,
    node: yaml.Node,
    kind: CatalogKind,
    database: str,
    declaration: Declaration,
) -> Iterator[tuple[str, Fact]]:
    if kind in ORDERED and isinstance(node, yaml.SequenceNode):
        pairs = list(_listed(document, node, kind))
        if kind is CatalogKind.HBA:
            yield HBA_ORDER, Fact(ORDER_SEPARATOR.join(name for name, _ in pairs), "")
    else:
        pairs = list(_mapping(document, node, kind.value).items())
        if kind is CatalogKind.HBA:
            pairs = list(_shown(document, pairs))
    for name, value in pairs:
        declaration.lines[kind, database, name] = value.start_mark.line + 1
        if not name:
            document.problem(value, f"a {kind} needs a name")
        if kind in ARROWS and "<-" not in name:
            document.problem(value, f"{kind} {name!r} must say who: NAME<-ROLE")
        declared = _value(document, value, kind, name)
        if kind is CatalogKind.HBA:
            declared = order_as_shown(name, declared)
        for mistake in mistakes(kind, name, declared):
            document.problem(value, f"{kind} {name}: {mistake}")
        yield name, Fact(declared, "")


def _listed(
    document: Document, node: yaml.Node, kind: CatalogKind
) -> Iterator[tuple[str, yaml.Node]]:
    """Rules in order; equal ones are told apart as in a snapshot."""
    seen: dict[str, int] = {}
    for entry in document.sequence(node, kind.value):
        rule = document.mapping(entry, f"a rule of {kind}")
        if len(rule) != 1:
            document.problem(entry, f"write each rule of {kind} as '- RULE: METHOD'")
            continue
        [(said, value)] = rule.items()
        name = as_shown(said) if kind is CatalogKind.HBA else said
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name} #{seen[name]}"), value


def _shown(
    document: Document, pairs: list[tuple[str, yaml.Node]]
) -> Iterator[tuple[str, yaml.Node]]:
    """Rules by the names that the server gives them: two of the file may be one."""
    seen: dict[str, str] = {}
    for said, value in pairs:
        name = as_shown(said)
        if name in seen:
            document.problem(value, f"hba {said!r} is the same rule as {seen[name]!r}; remove one")
        seen[name] = said
        yield name, value


def _value(document: Document, node: yaml.Node, kind: CatalogKind, name: str) -> str:
    what = f"{kind} {name}"
    if isinstance(node, yaml.MappingNode) and kind in LINE_KINDS:
        lines = document.mapping(node, what)
        for key, each in lines.items():
            for mistake in key_mistakes(kind, key):
                document.problem(each, f"{what}: {mistake}")
        return text_of(
            {key: document.text(each, f"{key} of {what}") for key, each in lines.items()}
        )
    if isinstance(node, yaml.SequenceNode) and kind is CatalogKind.PRIVILEGE:
        return ", ".join(sorted(document.texts(node, what)))
    if not isinstance(node, yaml.ScalarNode):
        shape = "text, or a mapping of lines" if kind in LINE_KINDS else "text"
        document.problem(node, f"{what} must be {shape}")
        return ""
    text = document.text(node, what)
    for key in lines_of(text) if kind in LINE_KINDS else ():
        for mistake in key_mistakes(kind, key):
            document.problem(node, f"{what}: {mistake}")
    return text


def _mapping(document: Document, node: yaml.Node, what: str) -> dict[str, yaml.Node]:
    """``key:`` with nothing behind it is an empty mapping."""
    if isinstance(node, yaml.ScalarNode) and node.value == "":
        return {}
    return document.mapping(node, what)
