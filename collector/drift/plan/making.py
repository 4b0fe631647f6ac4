"""Differences to steps: which writer for which kind, and what is left to a person."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pglast

from collector.drift.baseline import Difference
from collector.drift.declaration.implicit import gaps
from collector.drift.lines import lines_of, parts
from collector.drift.observed import Whole
from collector.drift.plan import (
    code,
    foreign,
    objects,
    operators,
    replication,
    roles,
    settings,
    tables,
    user_types,
)
from collector.drift.plan.names_back import names_back
from collector.drift.plan.ordering import STAYS, ordered, without_repeats
from collector.drift.plan.past import NO_PAST, Past
from collector.drift.plan.quoting import NotSqlError
from collector.drift.plan.renames import left_to_decide, perhaps_renamed
from collector.drift.plan.standing import Planned
from collector.drift.plan.steps import Phase, Step, World, Writer, by_hand
from model.catalog import CatalogKind, DriftChange

WRITERS: dict[CatalogKind, Writer] = {
    CatalogKind.SETTING: settings.setting,
    CatalogKind.HBA: settings.file_rule(CatalogKind.HBA),
    CatalogKind.IDENT: settings.file_rule(CatalogKind.IDENT),
    CatalogKind.ROLE: roles.role_steps,
    CatalogKind.MEMBERSHIP: roles.membership,
    CatalogKind.DATABASE: objects.database,
    CatalogKind.TABLESPACE: objects.plain("TABLESPACE", CatalogKind.TABLESPACE),
    CatalogKind.SLOT: replication.slot,
    CatalogKind.PRIVILEGE: roles.privilege,
    CatalogKind.SCHEMA: objects.schema,
    CatalogKind.TABLE: tables.table,
    CatalogKind.SEQUENCE: objects.sequence,
    CatalogKind.FUNCTION: code.function,
    CatalogKind.TYPE: user_types.type_,
    CatalogKind.CAST: operators.cast,
    CatalogKind.OPERATOR: operators.operator,
    CatalogKind.POLICY: code.policy,
    CatalogKind.TRIGGER: code.trigger,
    CatalogKind.EVENT_TRIGGER: code.event_trigger,
    CatalogKind.EXTENSION: objects.extension,
    CatalogKind.LANGUAGE: objects.plain("LANGUAGE", CatalogKind.LANGUAGE),
    CatalogKind.FOREIGN_SERVER: foreign.foreign_server,
    CatalogKind.USER_MAPPING: foreign.user_mapping,
    CatalogKind.PUBLICATION: replication.publication,
    CatalogKind.SUBSCRIPTION: replication.subscription,
    CatalogKind.WATCHED: objects.watched,
}
_FOLLOW = frozenset(
    (CatalogKind.TABLE, CatalogKind.SEQUENCE, CatalogKind.POLICY, CatalogKind.TRIGGER)
)
"""Kinds of which a difference may come from another one's, and go with it."""
_HIDDEN = re.compile(r"\bhidden (?:[0-9a-f]{4}-)?[0-9a-f]{12}\b")
_UNICODE_NAME = re.compile(r'U&"[^"]*"')
PRIVILEGE_TYPES = {
    CatalogKind.TABLE: ("table", "column"),
    CatalogKind.SEQUENCE: ("sequence",),
    CatalogKind.FUNCTION: ("function", "procedure", "aggregate"),
    CatalogKind.TYPE: ("type",),
    CatalogKind.SCHEMA: ("schema",),
    CatalogKind.FOREIGN_SERVER: ("foreign_server", "foreign server"),
    CatalogKind.LANGUAGE: ("language",),
}


@dataclass(frozen=True)
class Plan:
    steps: tuple[Step, ...]
    differences: int
    not_observed: tuple[tuple[CatalogKind, str], ...] = ()
    """Declared kinds (and their databases) that nobody has read: nothing is planned for them."""


def make(desired: Whole, observed: Whole, past: Past = NO_PAST) -> Plan:
    """The steps from ``observed`` to ``desired``, in a safe order. Both of one server, of which
    ``past`` knows the former names of what is there."""
    missing = tuple(key for key in desired if key not in observed)
    named = names_back(desired, observed, past)
    undecided = left_to_decide(desired, named.observed, past)
    first = [*named.steps, *undecided.steps]
    steps, undone = [_readable(CatalogKind.TABLE, step) for step in first], undecided.observed
    planned: list[Planned] = []
    found = {
        key: list(gaps(key[0], facts, undone[key]))
        for key, facts in desired.items()
        if key in undone
    }
    world = World(desired, undone, _dropped(found), perhaps_renamed(desired, undone, past), past)
    for (kind, database), differences in found.items():
        for difference in differences:
            waits = undecided.waits(kind, database, difference.name)
            its = [
                replace(step, database=database, by_hand=step.by_hand or waits)
                for step in _checked(kind, difference, world, database)
            ]
            last = len(its) - 1
            planned += [
                Planned(step, kind, difference, at == 0, at == last) for at, step in enumerate(its)
            ]
    steps += ordered(_lossy_together(planned))
    return Plan(
        without_repeats(steps),
        len(named.steps) + len(undecided.steps) + sum(map(len, found.values())),
        missing,
    )


def _dropped(
    found: dict[tuple[CatalogKind, str], list[Difference]],
) -> dict[str, frozenset[str]]:
    """What hangs on a dropped object needs no steps of its own."""
    gone: dict[str, set[str]] = {}
    for (kind, database), differences in found.items():
        for difference in differences:
            if difference.change is DriftChange.ADDED:
                for word in PRIVILEGE_TYPES.get(kind, ()):
                    gone.setdefault(database, set()).add(f"{word}:{difference.name}")
                if kind is CatalogKind.TABLE:
                    columns = (k for k in lines_of(difference.observed) if k.startswith("column "))
                    gone[database] |= {
                        f"column:{difference.name}.{each.removeprefix('column ')}"
                        for each in columns
                    }
    return {database: frozenset(names) for database, names in gone.items()}


def _checked(
    kind: CatalogKind, difference: Difference, world: World, database: str
) -> Iterator[Step]:
    try:
        steps = list(WRITERS[kind](difference, world, database))
    except NotSqlError as error:
        yield by_hand(Phase.PART, f"{kind} {difference.name}: {error}")
        return
    if not steps and kind not in _FOLLOW and difference.change is DriftChange.CHANGED:
        about = parts(kind, difference)
        steps = [by_hand(Phase.PART, objects.should(kind, difference.name, each)) for each in about]
    yield from (_readable(kind, step) for step in steps)


def _readable(kind: CatalogKind, step: Step) -> Step:
    problem = "" if step.by_hand else _problem(kind, step.text)
    return replace(step, text=f"{step.text} -- {problem}", by_hand=True) if problem else step


def _problem(kind: CatalogKind, text: str) -> str:
    """Facts are text that others wrote: what is more than one statement is not run."""
    if _HIDDEN.search(text):
        return "holds a secret that never left the host"
    if kind is not CatalogKind.SETTING and "\\" in _UNICODE_NAME.sub("", text):
        # In names and lines an end of a line is written as a backslash with a letter.
        return "holds a backslash or the end of a line; look at it first"
    try:
        count = len(pglast.parse_sql(text))
    except pglast.parser.ParseError:
        return "does not read as SQL; look at it first"
    return "" if count == 1 else "is more than one statement; look at it first"


def _lossy_together(planned: Sequence[Planned]) -> list[Planned]:
    """A type of a table or function that stays, because it would be lost, must stay as well."""
    kept = {
        each.step.database
        for each in planned
        if each.step.loses
        and (
            Phase.DROP_FOREIGN_KEY <= each.step.phase <= Phase.DROP_CODE
            or each.step.phase is Phase.DROP_QUERY_CODE
        )
    }
    return [
        replace(each, step=replace(each.step, loses=True, note=STAYS))
        if each.step.phase is Phase.DROP_TYPE and each.step.database in kept
        else each
        for each in planned
    ]
