"""What a held statement really touches: its plan's relations by name, laid over what its text says.

``Planned`` asks the backend's memory and the catalog; the rest is pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from agent.catalog.doubts import ties
from agent.catalog.relations import FUNCTION, IN_C, Place, Relation, Relations
from agent.guard.plans import Plan, PlanError, read_plan
from agent.probes.plan_layouts import PlanLayout
from agent.sql.native import far_reaching
from agent.sql.outside import connects
from model.event import StatementStarted
from model.session import BackendKey, Session
from model.statement import MAX_NAMES, Shape

MANY_NAMES = 400
"""From so many relations on, partitions go by the names of their parents: a list that is full tells
rules that something may be missing."""

CATALOG = "pg_catalog."
VIEW = "v"

TEXT_ALONE = "rules see the names in the text alone, not what is behind views and search_path"
"""Said wherever that is so."""

MISSING_WHERE, TRIVIAL_WHERE = "missing_where", "trivial_where"
CHANGING = ("update", "delete")
MERGE = "merge"
FOLDABLE = "foldable"
"""Among a Shape's changes: the same text may come with a plan that has nothing of its WHERE."""

LayoutOf = Callable[[str], PlanLayout | None]
"""By the name of the cluster."""


@dataclass(frozen=True, slots=True)
class Touched:
    """A plan with names."""

    commands: tuple[str, ...]
    reads: tuple[str, ...]
    """``schema.name``, and what these are partitions or children of."""
    writes: tuple[str, ...]
    unnamed_reads: tuple[int, ...]
    """Oids that nobody outside the backend's transaction knows."""
    unnamed_writes: tuple[int, ...]
    rows: float
    complete: bool
    readable: bool = True
    """False: there is a plan, and nothing is known of it."""
    answered: bool = True
    """False: the server was asked for names in vain; what has none here may have one."""
    whole: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """``update`` or ``delete``, and what it changes without a condition: its name and those of what
    it is a partition or child of; none if nobody knows it."""
    unclear: tuple[str, ...] = ()
    """``update`` or ``delete``, where nobody can say whether it has a condition."""
    changed: tuple[tuple[str, ...], ...] = ()
    """Names, as in ``whole``, of each relation that an UPDATE or DELETE writes."""
    bare: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Of ``whole`` what is read from end to end."""
    plain: bool = True
    """The kernel's ``touched`` tells apart whether an UPDATE or DELETE has a condition."""
    nodes: tuple[tuple[str, tuple[str, ...], bool], ...] = ()
    """Each UPDATE and DELETE by itself: command, names as in ``whole``, whether it may have no
    condition."""
    functions: tuple[str, ...] = ()
    """In C, of extensions and others that did not come with the server: ``schema.name``, and what
    it is called in its library where rules know that."""
    unnamed_functions: bool = False
    """It calls some that nobody outside the backend's transaction knows."""
    doubtful: bool = False
    """A statement that is under way gives some of these relations other parents."""

    @property
    def lasting(self) -> bool:
        """The same relations will have the same names: what is said of them may be kept."""
        unnamed = self.unnamed_reads or self.unnamed_writes or self.unnamed_functions
        return self.readable and self.complete and not unnamed and not self.doubtful


UNREADABLE = Touched((), (), (), (), (), -1.0, complete=True, readable=False)


class NotKnownError(Exception):
    """Somebody must be asked, and that takes a while."""


class Planned:
    """For the capture thread and the judge's: what one has read the other need not."""

    def __init__(
        self,
        relations: Relations,
        layout_of: LayoutOf,
        on_doubt: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_doubt``: what the kernel was told to let pass may touch what is doubtful now."""
        self._relations = relations
        self._on_doubt = on_doubt
        self._layout_of = layout_of
        self._last: tuple[tuple[BackendKey, int], Plan | None] | None = None
        self.unreadable = 0
        """Plans that could not be read so far."""

    def touched(self, event: StatementStarted, session: Session, *, wait: bool) -> Touched | None:
        """None where there is no plan: a plain command, or nobody told where it lies.

        Raises NotKnownError, unless it may ``wait``, when the server must be asked for names.
        """
        if not event.held or not event.planned:
            return None
        plan = self._plan(event, session)
        if plan is None:
            return UNREADABLE
        if plan.commands == ("utility",):
            return None
        place = Place(session.cluster, session.database)
        oids = (*plan.reads, *plan.writes, *(FUNCTION + each for each in plan.functions))
        asker = (event.backend, event.round) if event.number else None
        if not wait:
            names = self._relations.known(place, oids, asker)
            if names is None:
                raise NotKnownError
        else:
            names = self._relations.find(place, oids, asker)
        answered = names is not None
        if names is None:
            names = self._relations.remembered(place, oids)
        doubtful = self._relations.doubts(place, names.values())
        return replace(named(plan, names), answered=answered, doubtful=doubtful)

    def passes(self, event: StatementStarted, session: Session) -> bool:
        """Rules let this statement pass. Whether it gives relations other parents: then these are
        asked for from now on, and what was let pass before is judged anew."""
        if not ties(event.text) and event.text_bytes == len(event.text):
            return False
        self._relations.doubt(Place(session.cluster, session.database), event.text)
        self._on_doubt()
        return True

    def place(self, event: StatementStarted, session: Session) -> int:
        """Where in its text the statement begins that is about to run, as ``Plan.place``."""
        if not event.held or not event.planned:
            return -1
        plan = self._plan(event, session)
        return -1 if plan is None else plan.place

    def _plan(self, event: StatementStarted, session: Session) -> Plan | None:
        key = event.backend, event.hold_id
        last = self._last
        if last is not None and last[0] == key:
            return last[1]
        layout = self._layout_of(session.cluster)
        plan = None
        if layout is not None:
            try:
                plan = read_plan(
                    event.backend.pid, layout, event.planned, is_list=event.planned_list
                )
            except PlanError:
                self.unreadable += 1
        self._last = key, plan
        return plan


def named(plan: Plan, names: dict[int, Relation]) -> Touched:
    reads = [names[oid] for oid in plan.reads if oid in names]
    if len(reads) == len(plan.reads):
        reads = _without_what_system_views_hide(reads)
    return Touched(
        plan.commands,
        _names(reads),
        _names([names[oid] for oid in plan.writes if oid in names]),
        tuple(oid for oid in plan.reads if oid not in names),
        tuple(oid for oid in plan.writes if oid not in names),
        plan.rows,
        plan.complete,
        whole=tuple((command, _all_names(oid, names)) for command, oid in plan.whole),
        unclear=plan.unclear,
        changed=tuple(_all_names(oid, names) for oid in plan.changed),
        bare=tuple((command, _all_names(oid, names)) for command, oid in plan.bare),
        plain=plan.plain,
        nodes=tuple((verb, _all_names(oid, names), whole) for verb, oid, whole in plan.nodes),
        functions=tuple(_called(plan.functions, names)),
        unnamed_functions=any(FUNCTION + oid not in names for oid in plan.functions),
    )


def _called(functions: Iterable[int], names: dict[int, Relation]) -> Iterator[str]:
    """What is in SQL or PL/pgSQL is judged by what it runs."""
    for oid in functions:
        function = names.get(FUNCTION + oid)
        if function is None or function.kind != IN_C:
            continue
        yield function.name
        for symbol in function.ancestors:
            known = far_reaching(symbol, function.name.rpartition(".")[2])
            if known:
                yield known


def _all_names(oid: int, names: dict[int, Relation]) -> tuple[str, ...]:
    return _names([names[oid]]) if oid in names else ()


def _without_what_system_views_hide(reads: list[Relation]) -> list[Relation]:
    """pg_roles and pg_stat_activity read pg_authid, and show nobody a hash. Where nothing but the
    catalog is read, what lies behind its own views is not what the statement asks for; a table of
    the catalog that the text itself names stands in the text."""
    own = all(each.name.startswith(CATALOG) for each in reads)
    views = [each for each in reads if each.kind == VIEW]
    return views if own and views else reads


def _names(relations: Sequence[Relation]) -> tuple[str, ...]:
    if len(relations) > MANY_NAMES:
        there = {each.name for each in relations}
        relations = [each for each in relations if there.isdisjoint(each.ancestors)]
    found: dict[str, None] = {}
    for each in relations:
        found[each.name] = None
        found.update(dict.fromkeys(each.ancestors))
    return tuple(found)


def overlaid(shape: Shape, touched: Touched) -> Shape:
    """``shape`` with what the plan touches and does beside what the text names."""
    reads = _overlaid(shape.reads, touched.reads, touched.unnamed_reads)
    writes = _overlaid(shape.writes, touched.writes, touched.unnamed_writes)
    commands = [each for each in touched.commands if each != "utility"]
    verbs = _union(shape.verbs, commands)
    flags = shape.flags
    if changes_all(shape, touched):
        flags = _union(flags, [MISSING_WHERE])
    if MISSING_WHERE not in flags and chooses_nothing(shape, touched):
        flags = _union(flags, [TRIVIAL_WHERE])
    functions = _with_functions(shape.functions, touched.functions)
    if any(map(connects, touched.functions)):
        flags = _union(flags, ["connection"])
    now = (reads, writes, verbs, flags, functions)
    if now == (shape.reads, shape.writes, shape.verbs, shape.flags, shape.functions):
        return shape
    return replace(shape, reads=reads, writes=writes, verbs=verbs, flags=flags, functions=functions)


def changes_all(shape: Shape, touched: Touched) -> bool:
    """Whether a DELETE or UPDATE that the text does not have has no WHERE, or may have none: one of
    a rewrite rule, or of a function whose body is SQL. Of those in the text, the text says it."""
    if any(command not in shape.verbs for command in touched.unclear):
        return True
    if any(_more_than_said(shape, touched)):
        return True
    return any(
        command not in shape.verbs or (names and not _times_said(shape, command, names, touched))
        for command, names in touched.whole
    )


def _more_than_said(shape: Shape, touched: Touched) -> Iterator[bool]:
    """For each relation that the plan changes more often than the text says, but says, whether one
    of these changes may have no condition: nobody can tell which of them are the text's."""
    found: dict[tuple[str, tuple[str, ...]], list[bool]] = {}
    for command, names, may_be_whole in touched.nodes:
        if names:
            found.setdefault((command, names), []).append(may_be_whole)
    for (command, names), each in found.items():
        if 0 < _times_said(shape, command, names, touched) < len(each):
            yield any(each)


def _times_said(shape: Shape, command: str, names: Sequence[str], touched: Touched) -> int:
    """How often the text has this command on one of these, as far as it was counted."""
    if len(shape.changes) >= MAX_NAMES:
        return MAX_NAMES * _is_named(shape, names, touched)
    said = [each.partition(" ") for each in shape.changes]
    return sum(verb == command and _is_one_of(name, names, touched) for verb, _, name in said)


def chooses_nothing(shape: Shape, touched: Touched) -> bool:
    """Whether the server has found the WHERE of a DELETE or UPDATE in the text true for every row,
    whatever the text looks like: nothing of it is left in the plan. Or the ON of a MERGE whose
    clauses choose nothing either."""
    return any(
        command in shape.verbs
        and names
        and (command != MERGE or _times_said(shape, command, names, touched))
        and _is_named(shape, names, touched)
        for command, names in touched.bare
    )


def _is_named(shape: Shape, names: Sequence[str], touched: Touched) -> bool:
    """Whether the text says that it writes one of these. A name without a schema says so if nothing
    else of that name is written."""
    return any(_is_one_of(said, names, touched) for said in shape.writes)


def _is_one_of(said: str, names: Sequence[str], touched: Touched) -> bool:
    for name in names:
        tail = name.rpartition(".")[2]
        same = [each for each in touched.writes if each.rpartition(".")[2] == tail]
        if said == name or said.endswith(f".{name}") or (said == tail and len(same) == 1):
            return True
    return False


def goes_beyond(shape: Shape, touched: Touched) -> bool:
    """Whether the plan has an UPDATE or DELETE of which neither the text nor ``touched`` tells
    whether it has a WHERE: the next time the same of both may come without."""
    if touched.plain:
        return False
    if FOLDABLE in shape.changes or len(shape.changes) >= MAX_NAMES:
        return True
    if any(each in CHANGING and each not in shape.verbs for each in touched.commands):
        return True
    if "multi" in shape.flags:
        return True  # of several statements one may name what a rewrite rule of another changes
    if next(_more_than_said(shape, touched), None) is not None:
        return True
    return not all(_is_named(shape, names, touched) for names in touched.changed)


def is_resolved(shape: Shape, touched: Touched) -> bool:
    """Whether every name without a schema in the text is known with one: ``t`` is ``scratch.t``.

    False as well where the text names what this plan does not touch: another statement of the same
    string, or a relation that the open transaction has renamed.
    """
    if not touched.lasting:
        return False
    tails = {name.rpartition(".")[2] for name in (*touched.reads, *touched.writes)}
    return all("." in name or name in tails for name in (*shape.reads, *shape.writes))


def _overlaid(
    text: tuple[str, ...], names: Sequence[str], unnamed: Sequence[int]
) -> tuple[str, ...]:
    """A relation without a name is one that the text names and nobody else does: a table that the
    same transaction has made. If there are more of them, they stand there by number."""
    found = _union(text, names)
    if not unnamed:
        return found
    known, tails = set(names), {name.rpartition(".")[2] for name in names}
    open_names = [name for name in text if name not in known and name not in tails]
    if len(unnamed) <= len(open_names):
        return found
    return _union(found, (f"oid:{each}" for each in unnamed))


def _with_functions(text: tuple[str, ...], called: Sequence[str]) -> tuple[str, ...]:
    """Those that the text does not name, with their schema or without."""
    said = set(text)
    return _union(text, (each for each in called if each.rpartition(".")[2] not in said))


def _union(first: tuple[str, ...], more: Iterable[str]) -> tuple[str, ...]:
    found = dict.fromkeys(first)
    found.update(dict.fromkeys(more))
    return first if len(found) == len(first) else tuple(found)[:MAX_NAMES]
