"""The judge: rules and one statement in, matches out. No clock, no I/O, no state."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.verdict import RuleAction, Severity
from rules.calendar import NO_MOMENT, Calendar, Moment
from rules.data_classes import DataClasses
from rules.language.cel import EvaluationError, Values
from rules.language.condition import Condition
from rules.language.loader import CompiledLimit, CompiledRule, load_rules
from rules.language.schema import Exemption, Limit, Rule, Unknown, VarValue
from rules.language.tuning import Tuning
from rules.silence import Group, groups_of
from rules.view import Reading, View, readings, variables

DEFAULT_PACKS = Path(__file__).parent / "packs"
NO_TUNING = Tuning()
FORCE = {action: rank for rank, action in enumerate(RuleAction)}
WEIGHT = {severity: rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that speaks about a statement."""

    rule: Rule
    reason: str
    """The rule's message, or why the statement counts as unknown."""
    unknown: bool = False
    """The condition could not be decided; the rule says ``unknown: deny``."""

    @property
    def action(self) -> RuleAction:
        return self.rule.action


@dataclass(frozen=True, slots=True)
class Undecided:
    """A condition that could not be decided, whatever follows from that."""

    rule_id: str
    reason: str
    failed: bool
    """The evaluation raised an error; else the statement was not understood."""


@dataclass(frozen=True, slots=True)
class Judgement:
    matches: tuple[Match, ...] = ()
    undecided: tuple[Undecided, ...] = ()
    limits: tuple[Limit, ...] = ()
    """Those that count this statement."""


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Immutable; safe to share between threads."""

    compiled: tuple[CompiledRule, ...]
    limited: tuple[CompiledLimit, ...]
    variables: Mapping[str, VarValue]
    calendar: Calendar
    classes: DataClasses
    fields: frozenset[str]
    """The view's fields that some rule looks at."""
    timed: frozenset[str]
    """Fields of a Moment that some rule looks at; empty: the time makes no difference."""
    limits: Mapping[str, Limit]
    _readings: tuple[Reading, ...]
    _groups: tuple[Group, ...]

    @classmethod
    def load(
        cls,
        paths: Iterable[Path] = (DEFAULT_PACKS,),
        variables: Mapping[str, object] | None = None,
        tuning: Tuning = NO_TUNING,
    ) -> RuleSet:
        """Files or folders; ``variables`` override the files' ``vars``.

        Raises RuleError, which holds every problem of every file.
        """
        loaded = load_rules(paths, variables or {}, tuning)
        return cls._of(
            loaded.rules, loaded.limits, loaded.variables, loaded.calendar, loaded.classes
        )

    @classmethod
    def _of(
        cls,
        compiled: tuple[CompiledRule, ...],
        limited: tuple[CompiledLimit, ...],
        values: Mapping[str, VarValue],
        calendar: Calendar,
        classes: DataClasses,
    ) -> RuleSet:
        everything = (*compiled, *(each.counts for each in limited))
        fields = frozenset[str]().union(*(each.fields for each in everything))
        timed = {field.partition(".")[2] for field in fields if field.startswith("time.")}
        if any(one.exemption.until for each in everything for one in each.unless):
            timed.add("today")
        return cls(
            compiled=compiled,
            limited=limited,
            variables=values,
            calendar=calendar,
            classes=classes,
            fields=fields,
            timed=frozenset(timed),
            limits={each.limit.rule.id: each.limit for each in limited},
            _readings=readings(fields),
            _groups=groups_of(compiled),
        )

    def only(self, ids: Container[str]) -> RuleSet:
        """Those of its rules, in the same order; no limits."""
        compiled = tuple(each for each in self.compiled if each.rule.id in ids)
        return RuleSet._of(compiled, (), self.variables, self.calendar, self.classes)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Without limits."""
        return tuple(each.rule for each in self.compiled)

    def rule(self, rule_id: str) -> Rule | None:
        """That of a limit as well."""
        for each in self.compiled:
            if each.rule.id == rule_id:
                return each.rule
        limit = self.limits.get(rule_id)
        return limit.rule if limit else None

    def moment(self, at_us: int) -> Moment:
        """What rules can see of that time: answers differ only where this does."""
        return self.calendar.moment(at_us, self.timed) if self.timed else NO_MOMENT

    def judge(self, view: View) -> tuple[Match, ...]:
        """The rules that match, in the order of their files."""
        return self.consider(view).matches

    def consider(self, view: View) -> Judgement:
        """As ``judge``, with the rules that could not be decided and the limits that count.

        Of a string of several statements each is asked about by itself: a rule speaks about the
        string if it does about one of them.
        """
        if self.timed and view.moment is None:
            view = view._replace(moment=self.moment(view.at_us))
        if not view.shape.parts:
            return self._consider_one(view)
        return self._joined([self._consider_one(part) for part in parts_of(view)])

    def _consider_one(self, view: View) -> Judgement:
        view = self._completed(view)
        values = Values(variables(view, self._readings))
        complete = view.complete
        matches: list[Match] = []
        undecided: list[Undecided] = []
        for group in self._groups:
            if complete and group.is_silent(values):
                continue
            for each in group.rules:
                match = _consider(each, view, values, undecided)
                if match is not None:
                    matches.append(match)
        limits = tuple(
            each.limit
            for each in self.limited
            if _consider(each.counts, view, values, undecided) is not None
        )
        return Judgement(tuple(matches), tuple(undecided), limits)

    def _joined(self, judgements: Sequence[Judgement]) -> Judgement:
        """In the order of the rules; a match that is certain before one that is not."""
        matches: dict[str, Match] = {}
        for match in (match for each in judgements for match in each.matches):
            known = matches.get(match.rule.id)
            if known is None or (known.unknown and not match.unknown):
                matches[match.rule.id] = match
        limits = {limit.rule.id for each in judgements for limit in each.limits}
        return Judgement(
            tuple(matches[each.rule.id] for each in self.compiled if each.rule.id in matches),
            tuple(dict.fromkeys(one for each in judgements for one in each.undecided)),
            tuple(each.limit for each in self.limited if each.limit.rule.id in limits),
        )

    def _completed(self, view: View) -> View:
        if view.data_classes is None and "statement.data_classes" in self.fields:
            view = view._replace(data_classes=self.classes.of(view.shape))
        return view


def parts_of(view: View) -> tuple[View, ...]:
    """Each statement of its text by itself, those that look the same once."""
    apart = {part.judged: part for part in view.shape.parts}
    return tuple(view._replace(shape=part) for part in apart.values()) or (view,)


def decide(matches: Sequence[Match]) -> Match | None:
    """The match that decides: strongest action, then one that is certain before one that counts
    as unknown, then the higher severity, then the earlier rule."""
    if not matches:
        return None
    return max(matches, key=lambda m: (FORCE[m.action], not m.unknown, WEIGHT[m.rule.severity]))


def _consider(
    each: CompiledRule, view: View, values: Values, undecided: list[Undecided]
) -> Match | None:
    outcome = _decide_one(each.rule.id, each.condition, view, values)
    if outcome is False:
        return None
    unknown = isinstance(outcome, Undecided)
    if isinstance(outcome, Undecided):
        undecided.append(outcome)
        if each.rule.unknown is not Unknown.DENY:
            return None
    for exemption in each.unless:
        if _is_over(exemption.exemption, view):
            continue
        # What cannot be decided excuses nothing. An exception that says what is *not* in the
        # statement would hold for every text that was not understood.
        condition = exemption.condition
        exempt = _decide_one(each.rule.id, condition, view, values)
        if isinstance(exempt, Undecided):
            undecided.append(exempt)
        elif exempt and (view.complete or not condition.needs_parse):
            return None
    reason = outcome.reason if isinstance(outcome, Undecided) else each.rule.message
    return Match(each.rule, reason, unknown)


def _is_over(exemption: Exemption, view: View) -> bool:
    """Also where nobody says which day it is."""
    if exemption.until is None:
        return False
    today = view.moment.today if view.moment else None
    return today is None or today > exemption.until


def _decide_one(rule_id: str, condition: Condition, view: View, values: Values) -> bool | Undecided:
    try:
        result = condition.program.evaluate(values)
    except EvaluationError as error:
        return Undecided(rule_id, f"the rule could not be evaluated: {error}", failed=True)
    if result is True:
        return True
    if not isinstance(result, bool):
        reason = f"the rule gave a {type(result).__name__}, not true or false"
        return Undecided(rule_id, reason, failed=True)
    if not view.complete and condition.needs_parse:
        why = "it names too much" if view.parsed else view.shape.status.value
        reason = f"the statement could not be understood ({why})"
        return Undecided(rule_id, reason, failed=False)
    return False
