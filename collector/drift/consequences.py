"""What followed from a statement without being named in it: cascades, new names, parts of a parent.

A statement that is known to have made one difference is the cause of others in the same look that
PostgreSQL's dependencies make of it: grants, policies and triggers go with their table, functions
with the type of their arguments, views with what they read; a new name shows in all of them.
Pure: which of them hang on what is read from names and definitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from collector.drift.acts import OF_TABLE, Act, Acts, Rename
from collector.drift.baseline import Difference
from collector.drift.lines import ARROW, granted_to
from collector.drift.matching.target import Target
from collector.drift.mentions import HASH, base_of, mentioned, put, put_bare, same_lines, word
from collector.drift.state import OpenDrift
from model.catalog import OBJECT_KINDS, CatalogKind

OWN = 3
"""It cannot be without that: a table's policy, a grant on it; or the new name tells."""
SAID = 2
"""Its definition names it."""
SAME_VALUE = 1
"""An equal object went when it came, by a statement that hides the new name."""
SAME_MOMENT_US = 50_000
"""Of two removals closer than this nobody knows which was first."""
_LEFT = frozenset(("replica identity", "definition"))
"""Lines that a loss leaves, and that do not name it."""
_PARENTS = ("partition of", "inherits")
_WITH_PARTS = frozenset((CatalogKind.TABLE, CatalogKind.SEQUENCE))
_STAYS = frozenset(
    (
        CatalogKind.SCHEMA, CatalogKind.SEQUENCE, CatalogKind.PUBLICATION,
        CatalogKind.SUBSCRIPTION,
    )
)  # fmt: skip
"""Whatever they name may go without them."""


class Other(NamedTuple):
    """What else differs of the same kind and database in the same look."""

    target: Target
    statement_id: int
    """Of its cause, 0: not known."""


Beside = dict[tuple[str, bool], Other]
"""By name, and whether it came."""


def likeliest(acts: Acts, drift: OpenDrift, step: Difference, beside: Beside) -> list[OpenDrift]:
    """Of the statements that explain ``step`` best one difference each, for each actor one."""
    target = Target(drift.scope, step)
    about = _about(target)
    found = [
        (strength, act.sure)
        for act in acts.near((*about, target.object))
        if act.is_of_look(drift) and (strength := _follows(act, target, about, beside))
    ]
    best = max((strength for strength, _ in found), default=0)
    fitting = [sure for strength, sure in found if strength == best]
    fitting.sort(key=lambda sure: (sure.did_at_us, sure.statement_id))
    if target.removed and fitting:  # who came later found nothing to remove
        latest_us = fitting[0].did_at_us + SAME_MOMENT_US
        fitting = [sure for sure in fitting if sure.did_at_us < latest_us]
    return [*{sure.actor: sure for sure in fitting}.values()]


def _about(target: Target) -> frozenset[str]:
    """What its name and definition name."""
    step = target.step
    return mentioned(f"{_split(target)[0]}\n{step.desired}\n{step.observed}")


def _follows(act: Act, target: Target, about: frozenset[str], beside: Beside) -> int:
    if target.added:
        return max(_other_name(act, target, about, beside), _hidden_name(act, target, beside))
    if target.removed:
        return max(
            _other_name(act, target, about, beside),
            _gone_with(act, target, about),
            _hidden_name(act, target, beside),
        )
    return max(
        _new_name_in_it(act, target, about),
        _lost_with(act, target, about),
        _as_its_parent(act, target),
    )


def _other_name(act: Act, target: Target, about: frozenset[str], beside: Beside) -> int:
    """On the other side is one with its value, and its name with the new word in it."""
    for rename in act.renames_of(about, came=target.added):
        name, _, who = _split(target)
        if target.added:
            other = beside.get((_back(rename, target.step.name), False))
            pair = other and (other.target, target)
        else:
            new = _column(rename, name) if rename.within else put(rename.kind, *rename[1:3], name)
            other = beside.get((f"{new}<-{who}" if who else new, True))
            pair = other and (target, other.target)
        if other is None or pair is None or other.statement_id not in (0, act.sure.statement_id):
            continue
        old, now = pair
        if old.step.name == now.step.name:
            continue
        before, after = old.step.desired, now.step.observed
        # Lines that say the new name may be told as a difference of their own.
        if before == after or same_lines(rename.kind, *rename[1:3], before, after):
            return OWN
    return 0


def _back(rename: Rename, name: str) -> str:
    what, arrow, who = name.rpartition("<-")
    what, who = (what, who) if arrow else (who, "")
    turned = rename.turned()
    old = _column(turned, what) if rename.within else put(turned.kind, turned.old, turned.new, what)
    return f"{old}{arrow}{who}"


def _column(rename: Rename, name: str) -> str:
    """Only what is granted on a column has its name."""
    here = name == f"column:{rename.within}.{rename.old}"
    return f"column:{rename.within}.{rename.new}" if here else name


def _split(target: Target) -> tuple[str, str, str]:
    """A privilege's object and grantee: a role of the same name is another thing."""
    if target.scope.kind is CatalogKind.PRIVILEGE:
        what, who = granted_to(target.step.name)
        return what, ARROW, who
    return target.step.name, "", ""


def _hidden_name(act: Act, target: Target, beside: Beside) -> int:
    """Redaction hid the new name, or code made it up: exactly one object that this statement did
    is equal, in the same schema, and nothing else that has no cause is."""
    if target.scope.kind not in OBJECT_KINDS or not act.hides_names:
        return 0
    mine = [each for each in act.others_of(target) if _is_equal(each, target)]
    rivals = [
        other
        for (_, came), other in beside.items()
        if came is target.added and not other.statement_id and _is_equal(other.target, target)
    ]
    return SAME_VALUE if len(mine) == len(rivals) == 1 else 0


def _is_equal(one: Target, other: Target) -> bool:
    values = {each.step.observed or each.step.desired for each in (one, other)}
    alike = one.parts[:-1] == other.parts[:-1] or one.parts[-1:] == other.parts[-1:]
    return len(values) == 1 and alike


def _gone_with(act: Act, target: Target, about: frozenset[str]) -> int:
    """It was on, of, or made of something that went."""
    if target.scope.kind is CatalogKind.PRIVILEGE:
        return OWN if _its_object_went(act, target) else 0
    if target.scope.kind in OF_TABLE and act.took(CatalogKind.TABLE, target.parts[:-1]):
        return OWN
    is_part = target.scope.kind in _WITH_PARTS and bool(target.parent)
    if is_part and act.took(CatalogKind.TABLE, target.parent):
        return OWN
    if not act.cascades:
        return 0
    if not _may_go_along(target):
        return 0
    if (about - {base_of(target.scope.kind, target.step.name)}) & act.gone:
        return SAID
    of_columns = target.scope.kind is CatalogKind.TABLE or target.scope.kind in OF_TABLE
    return SAID if of_columns and _names_lost(act, target, about, target.step.desired) else 0


def _may_go_along(target: Target) -> bool:
    """A cascade takes views along, of a table only its foreign keys."""
    if target.scope.kind is CatalogKind.TABLE:
        return "view" in target.before.get("kind", "")
    return target.scope.kind not in _STAYS


def _its_object_went(act: Act, target: Target) -> bool:
    kind, _, name = _split(target)[0].partition(":")
    if kind == "column":
        lost = any(name == f"{each.within}.{each.old}" for each in act.lost)
        return lost or act.took(CatalogKind.TABLE, target.parts[:-1])
    if kind in ("function", "procedure"):
        return act.took_function(name)
    return kind in OBJECT_KINDS and act.took(CatalogKind(kind), target.parts)


def _names_lost(act: Act, target: Target, about: frozenset[str], text: str) -> bool:
    """It names a column that its table has no more."""
    for lost in act.lost:
        mine = target.scope.kind in OF_TABLE and target.step.name.startswith(f"{lost.within}.")
        if (mine or lost.within in about) and word(lost.old).search(text):
            return True
    return False


def _new_name_in_it(act: Act, target: Target, about: frozenset[str]) -> int:
    """Its lines have the new name where they had the old one."""
    before, after = _changed(target)
    if not before or len(before) != len(after):
        return 0
    for rename in act.renames_of(about, came=False):
        if rename.within:
            found = _new_column_in_it(rename, target, about, before, after)
        else:
            found = same_lines(
                rename.kind, rename.old, rename.new, "\n".join(before), "\n".join(after)
            )
        if found:
            return OWN
    return 0


def _new_column_in_it(
    rename: Rename,
    target: Target,
    about: frozenset[str],
    before: Sequence[str],
    after: Sequence[str],
) -> bool:
    old, new = word(rename.old), word(rename.new)
    if sorted(put_bare(rename.old, rename.new, line) for line in before) == sorted(after):
        return True
    # A view keeps the names of its own columns: ``t.jj AS j``.
    lines = zip(sorted(before), sorted(after), strict=True)
    return "view" in target.known.get("kind", "") and all(
        old.search(was) and new.search(now) for was, now in lines
    )


def _lost_with(act: Act, target: Target, about: frozenset[str]) -> int:
    """A foreign key, a column or a default that hung on what went; a publication's table."""
    if not act.cascades and target.scope.kind is not CatalogKind.PUBLICATION:
        return 0
    # What came besides, or is otherwise than before, is somebody's who did that.
    left = [key for key in target.after if key in target.changed and key not in _LEFT]
    if not all(_lost(act, target, key) for key in left):
        return 0
    return SAID if any(_lost(act, target, key) for key in target.changed) else 0


def _lost(act: Act, target: Target, key: str) -> bool:
    if key not in target.before:
        return False
    before, after = (f"{key}: {side.get(key, '')}" for side in (target.before, target.after))
    gone = mentioned(before) - (mentioned(after) if key in target.after else frozenset())
    return bool(gone & act.gone) or _names_lost(act, target, gone, before)


def _as_its_parent(act: Act, target: Target) -> int:
    """A partition gets its parent's indexes, a typed table the columns of its type."""
    if target.scope.kind is not CatalogKind.TABLE:
        return 0
    for above in act.changed if target.changed else ():
        of_table = above.scope.kind is CatalogKind.TABLE and target.parent == above.parts
        of_type = above.scope.kind is CatalogKind.TYPE and act.cascades
        if of_table and _ways(target) <= _ways(above):
            return SAID
        if of_type and _differing(target) == _differing(above):
            return SAID
    return 0


def _differing(target: Target) -> list[tuple[str, str | None, str | None]]:
    return [(key, target.before.get(key), target.after.get(key)) for key in target.changed]


def _ways(target: Target) -> set[tuple[str, bool, bool]]:
    """Sorts of lines that differ, and whether they are new or gone."""
    return {
        (key.partition(" ")[0], key in target.before, key in target.after) for key in target.changed
    }


def _changed(target: Target) -> tuple[list[str], list[str]]:
    """Lines that differ, as they were and as they are; a text's hash says no more than the text."""
    sides = (target.before, target.after)
    before, after = (
        [
            f"{key}: {side[key]}"
            for key in target.changed
            if key in side and not side[key].startswith(HASH)
        ]
        for side in sides
    )
    return before, after
