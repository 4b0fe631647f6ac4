"""Rule files to rules: each checked on its own and against the others, all problems at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path

import yaml

from rules.calendar import Calendar
from rules.data_classes import PATTERN, DataClasses
from rules.language.condition import Condition, compile_condition
from rules.language.document import Document
from rules.language.expression import Known
from rules.language.fields import read_figure, read_limit, read_rule
from rules.language.problems import Problem, RuleError
from rules.language.schedule import (
    NAME,
    WrittenOpening,
    read_openings,
    read_zone,
    written_opening,
    zone_of,
)
from rules.language.schema import Exemption, Limit, Per, Rule, Unknown, VarValue
from rules.language.tuning import CONFIGURATION, Tuning, tuned, unknown_rules

FILE_FIELDS = ("vars", "timezone", "windows", "data_classes", "unknown", "rules", "limits")
VAR_NAME = re.compile(r"[a-z_][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class CompiledExemption:
    exemption: Exemption
    condition: Condition


@dataclass(frozen=True, slots=True)
class CompiledRule:
    rule: Rule
    condition: Condition
    unless: tuple[CompiledExemption, ...] = ()

    @property
    def fields(self) -> frozenset[str]:
        """All that the rule and its exceptions look at."""
        return self.condition.fields.union(*(each.condition.fields for each in self.unless))


@dataclass(frozen=True, slots=True)
class CompiledLimit:
    limit: Limit
    counts: CompiledRule


@dataclass(frozen=True, slots=True)
class Loaded:
    rules: tuple[CompiledRule, ...]
    limits: tuple[CompiledLimit, ...]
    variables: Mapping[str, VarValue]
    calendar: Calendar
    classes: DataClasses


@dataclass(slots=True)
class _Draft:
    document: Document
    rules: list[tuple[Rule, yaml.Node]] = field(default_factory=list)
    limits: list[tuple[Rule, Per, dict[str, yaml.Node], yaml.Node]] = field(default_factory=list)
    variables: dict[str, tuple[VarValue, yaml.Node]] = field(default_factory=dict)
    zone: tuple[tzinfo, yaml.Node] | None = None
    windows: dict[str, tuple[tuple[WrittenOpening, ...], yaml.Node]] = field(default_factory=dict)
    data_classes: dict[str, tuple[str, ...]] = field(default_factory=dict)


def load_rules(paths: Iterable[Path], overrides: Mapping[str, object], tuning: Tuning) -> Loaded:
    """Files, or folders of ``*.yaml`` and ``*.yml``. Raises RuleError with everything wrong."""
    problems: list[Problem] = []
    drafts = [_draft(Document(str(file))) for file in _files(paths, problems)]
    variables = _variables(drafts, overrides, problems)
    calendar = _calendar(drafts, tuning, problems)
    classes = _data_classes(drafts, tuning, problems)
    known = Known(variables, tuple(calendar.windows), classes.names)
    rules = [
        compiled
        for draft in drafts
        for rule, node in draft.rules
        if (compiled := _compiled(draft.document, tuned(rule, tuning), node, "when", known))
    ]
    limits = [each for draft in drafts for each in _limits(draft, tuning, known)]
    _refuse_duplicates(drafts)
    problems += unknown_rules(tuning, [rule.id for draft in drafts for rule, _ in _ids(draft)])
    problems += [problem for draft in drafts for problem in draft.document.problems]
    if problems:
        raise RuleError(sorted(problems, key=lambda p: (p.path, p.line, p.column)))
    return Loaded(tuple(rules), tuple(limits), variables, calendar, classes)


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
    fields: dict[str, yaml.Node] = {"rules": root}
    if isinstance(root, yaml.MappingNode):
        fields = document.mapping(root, "a rule file", FILE_FIELDS)
    if (variables := fields.get("vars")) is not None:
        for name, node in document.mapping(variables, "vars").items():
            draft.variables[name] = (_var_value(document, name, node), node)
    if (zone := read_zone(document, fields.get("timezone"))) is not None:
        draft.zone = zone, fields["timezone"]
    for name, node in _named(document, fields.get("windows"), "windows"):
        draft.windows[name] = read_openings(document, name, node), node
    for name, node in _named(document, fields.get("data_classes"), "data_classes"):
        draft.data_classes[name] = document.texts(node, f"data_classes.{name}")
        for each in node.value if isinstance(node, yaml.SequenceNode) else ():
            if isinstance(each, yaml.ScalarNode) and not PATTERN.fullmatch(each.value):
                document.problem(each, f"data_classes.{name}: {_bad_pattern(each.value)}")
    unknown = document.choice(fields.get("unknown"), Unknown, "unknown", Unknown.ALLOW)
    for node in document.sequence(fields["rules"], "rules") if "rules" in fields else ():
        if (rule := read_rule(document, node, unknown)) is not None:
            draft.rules.append((rule, node))
    for node in document.sequence(fields["limits"], "limits") if "limits" in fields else ():
        if (limit := read_limit(document, node, unknown)) is not None:
            draft.limits.append((*limit, node))
    return draft


def _named(
    document: Document, node: yaml.Node | None, what: str
) -> Iterator[tuple[str, yaml.Node]]:
    for name, each in document.mapping(node, what).items() if node is not None else ():
        if not NAME.fullmatch(name):
            document.problem(
                each, f"{what}: the name {name!r} must be lower-case letters, digits, _"
            )
        else:
            yield name, each


def _bad_pattern(text: str) -> str:
    return f"{text!r} is no relation, schema.relation or schema.relation.column"


def _var_value(document: Document, name: str, node: yaml.Node) -> VarValue:
    if not VAR_NAME.fullmatch(name):
        document.problem(node, f"the name {name!r} must be lower-case letters, digits and _")
    if isinstance(node, yaml.SequenceNode):
        return document.texts(node, f"vars.{name}")
    return document.scalar(node, f"vars.{name}")


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


def _calendar(drafts: list[_Draft], tuning: Tuning, problems: list[Problem]) -> Calendar:
    """One calendar for all files of a rule set; the configuration has the last word."""
    zone: tzinfo = UTC
    first = next((draft.zone for draft in drafts if draft.zone), None)
    for draft in drafts:
        if first and draft.zone and str(draft.zone[0]) != str(first[0]):
            draft.document.problem(draft.zone[1], f"timezone is {first[0]} in another file")
    if first:
        zone = first[0]
    if tuning.timezone:
        try:
            zone = zone_of(tuning.timezone)
        except ValueError as error:
            problems.append(Problem(CONFIGURATION, 0, 0, f"rules.timezone: {error}"))
    windows: dict[str, tuple[WrittenOpening, ...]] = {}
    for draft in drafts:
        for name, (openings, node) in draft.windows.items():
            if name in windows:
                draft.document.problem(node, f"windows.{name} stands in another file too")
            windows[name] = openings
    for name, given in tuning.windows.items():
        try:
            windows[name] = tuple(written_opening(each) for each in given)
        except ValueError as error:
            problems.append(Problem(CONFIGURATION, 0, 0, f"rules.windows.{name}: {error}"))
            windows[name] = ()
    return Calendar(
        zone, {name: tuple(w.opening(zone) for w in written) for name, written in windows.items()}
    )


def _data_classes(drafts: list[_Draft], tuning: Tuning, problems: list[Problem]) -> DataClasses:
    """What several files and the configuration say of one class is taken together."""
    patterns: dict[str, list[str]] = {}
    for draft in drafts:
        for name, given in draft.data_classes.items():
            patterns.setdefault(name, []).extend(given)
    for name, configured in tuning.data_classes.items():
        patterns.setdefault(name, []).extend(configured)
        bad = [each for each in configured if not PATTERN.fullmatch(each)]
        if not NAME.fullmatch(name):
            bad.append(name)
        problems += [
            Problem(CONFIGURATION, 0, 0, f"rules.data_classes.{name}: {_bad_pattern(each)}")
            for each in bad
        ]
    return DataClasses(patterns)


def _limits(draft: _Draft, tuning: Tuning, known: Known) -> Iterator[CompiledLimit]:
    for rule, per, nodes, node in draft.limits:
        figures = {
            name: read_figure(draft.document, name, each, known.variables)
            for name, each in nodes.items()
        }
        counts = _compiled(draft.document, tuned(rule, tuning), node, "for", known)
        if counts is not None:
            limit = Limit(
                counts.rule, figures.get("rows_per_hour"), figures.get("statements_per_hour"), per
            )
            yield CompiledLimit(limit, counts)


def _compiled(
    document: Document, rule: Rule, node: yaml.Node, field: str, known: Known
) -> CompiledRule | None:
    if not rule.when:
        return None  # missing or no text: reported already
    line = _line_of(node, field) or rule.line
    condition = _condition(document, rule.id, field, rule.when, rule.path, line, known)
    unless = []
    for each in rule.unless:
        compiled = _condition(document, rule.id, "unless", each.when, each.path, each.line, known)
        if compiled is not None:
            unless.append(CompiledExemption(each, compiled))
    return CompiledRule(rule, condition, tuple(unless)) if condition is not None else None


def _condition(
    document: Document,
    rule_id: str,
    field: str,
    expression: str,
    path: str,
    line: int,
    known: Known,
) -> Condition | None:
    condition, mistakes = compile_condition(expression, known)
    for each in mistakes:
        message = f"rule {rule_id}: {field}: {each.message}"
        place = document.place(line, expression, each.offset) if path == document.path else None
        if place is None:
            document.problems.append(Problem(path, line, each.offset, message, expression))
        else:
            document.problems.append(
                Problem(path, place.line, place.column, message, shown=place.shown)
            )
    return condition


def _line_of(node: yaml.Node, name: str) -> int:
    for key, value in node.value:
        if key.value == name:
            return int(value.start_mark.line) + 1
    return 0


def _ids(draft: _Draft) -> Iterator[tuple[Rule, yaml.Node]]:
    """Rules and limits share one name space: a verdict names either."""
    yield from draft.rules
    yield from ((rule, node) for rule, _, _, node in draft.limits)


def _refuse_duplicates(drafts: list[_Draft]) -> None:
    first: dict[str, Rule] = {}
    for draft in drafts:
        for rule, node in _ids(draft):
            if rule.id and rule.id in first:
                where = first[rule.id]
                draft.document.problem(
                    node, f"the id {rule.id!r} is taken by {where.path}:{where.line}"
                )
            first.setdefault(rule.id, rule)
