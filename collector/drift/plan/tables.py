"""Tables and views: columns, constraints, indexes, row level security."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from collector.drift.baseline import Difference
from collector.drift.foreign_keys import REFERENCES
from collector.drift.lines import Part, lines_of, parts
from collector.drift.plan import constraints
from collector.drift.plan.code import stands_on_dropped
from collector.drift.plan.columns import REFUSES, column, column_text, default_of, with_schema
from collector.drift.plan.foreign import OPTIONS as FOREIGN_OPTIONS
from collector.drift.plan.foreign import options_steps
from collector.drift.plan.inherited import (
    COLUMN,
    CONSTRAINT,
    INDEX,
    INHERITS,
    PARTITION,
    ancestors,
    copied_keys,
    inherited,
    own_parts,
    parents,
)
from collector.drift.plan.quoting import NotSqlError, name, role
from collector.drift.plan.renames import alike_columns, perhaps, rules_out
from collector.drift.plan.steps import Phase, Step, World, by_hand
from model.catalog import CatalogKind, DriftChange

RULE = "rule "
RULE_STATES = {"(disabled)": "DISABLE", "(always)": "ENABLE ALWAYS", "(replica)": "ENABLE REPLICA"}
QUERY = ("definition", "view text", "text")
KINDS = {"table": "TABLE", "partitioned table": "TABLE", "foreign table": "FOREIGN TABLE",
         "view": "VIEW", "materialized view": "MATERIALIZED VIEW"}  # fmt: skip
HOLDS_DATA = frozenset(["table", "partitioned table"])
NOT_PLAIN = "what is no plain word is left to a person"
_OPTION = re.compile(r"[\w.]+=[\w.+-]+")
ROW_SECURITY = {
    "": ("DISABLE ROW LEVEL SECURITY", "NO FORCE ROW LEVEL SECURITY"),
    "on": ("ENABLE ROW LEVEL SECURITY", "NO FORCE ROW LEVEL SECURITY"),
    "forced": ("ENABLE ROW LEVEL SECURITY", "FORCE ROW LEVEL SECURITY"),
}


def table(difference: Difference, world: World, database: str) -> Iterator[Step]:
    who = name(difference.name)
    if difference.change is DriftChange.ADDED:
        yield from _drop(who, difference, world, database)
    elif difference.change is DriftChange.REMOVED:
        yield from _create(who, difference, world, database)
    else:
        yield from _alter(who, difference, world, database)


def _drop(who: str, difference: Difference, world: World, database: str) -> Iterator[Step]:
    lines = lines_of(difference.observed)
    kind = lines.get("kind", "table")
    loses = kind in HOLDS_DATA
    copies = copied_keys(lines, world, database)
    for key, text in lines.items():
        if key.startswith(CONSTRAINT) and text.startswith("FOREIGN KEY") and loses:
            own = name(key.removeprefix(CONSTRAINT))
            if "partition of" not in lines and key not in copies:
                text = f"ALTER TABLE {who} DROP CONSTRAINT {own}"
                yield Step(Phase.DROP_FOREIGN_KEY, text, loses=True)
    if "partition of" in lines:
        yield from _detach(who, lines, world, database)
    dropped = world.dropped.get(database, frozenset())
    for key, text in lines.items():
        if key.startswith(RULE) and stands_on_dropped(text, who, dropped):
            own = name(key.removeprefix(RULE))
            yield Step(Phase.DROP_VIEW, f"DROP RULE {own} ON {who}", loses=loses)
    phase = Phase.DROP_VIEW if kind.endswith("view") else Phase.DROP
    phase = Phase.DROP_CHILD if "partition of" in lines or "inherits" in lines else phase
    note = world.perhaps.get((database, difference.name), "") if loses else ""
    yield Step(phase, f"DROP {KINDS[kind]} {who}", loses=loses, note=note)


def _detach(who: str, lines: dict[str, str], world: World, database: str) -> Iterator[Step]:
    """Foreign keys to its table hold a partition; they let it go if none of its rows is needed."""
    wanted = world.desired.get((CatalogKind.TABLE, database), {})
    seen = world.facts(CatalogKind.TABLE, database)
    whole = {who, *ancestors(lines, seen)}
    held = any(f"{REFERENCES}{each}(" in fact.value for fact in seen.values() for each in whole)
    for parent in parents(lines):
        if held and parent in wanted:
            text = f"ALTER TABLE {name(parent)} DETACH PARTITION {who}"
            yield Step(Phase.DROP_PART, text, loses=True)


def _create(who: str, difference: Difference, world: World, database: str) -> Iterator[Step]:
    lines, about = lines_of(difference.desired), difference.name
    kind = lines.get("kind", "table")
    if kind in ("view", "materialized view"):
        yield from _create_view(who, kind, lines, about)
        return
    if kind == "foreign table":
        yield by_hand(Phase.TABLE, f"create {kind} {about} again, with its columns and options")
        return
    above = _of_parents(lines, world, database)
    persistence = "UNLOGGED " if lines.get("persistence") == "unlogged" else ""
    by = f" PARTITION BY {lines['partition by']}" if "partition by" in lines else ""
    options = _options(lines.get("options", ""))
    tail = by + (f" WITH ({', '.join(options)})" if options else "")
    if "partition of" in lines:
        body = f" PARTITION OF {lines['partition of']}"
    else:
        columns = [
            f"{name(key.removeprefix(COLUMN))} {column_text(with_schema(text, world, database))}"
            for key, text in lines.items()
            if key.startswith(COLUMN) and (key, text) not in above
        ]
        body = f" ({', '.join(columns)})"
        body += f" INHERITS ({', '.join(map(name, parents(lines)))})" if INHERITS in lines else ""
    yield Step(
        Phase.CHILD if parents(lines) else Phase.TABLE,
        f"CREATE {persistence}TABLE {who}{body}{tail}",
        note="empty: its rows are gone; restore them from a backup",
    )
    if "owner" in lines:
        yield Step(Phase.OWNER, f"ALTER TABLE {who} OWNER TO {role(lines['owner'])}")
    copies, partition = copied_keys(lines, world, database), "partition of" in lines
    for key, text in lines.items():
        own = key not in copies and not partition and (key, text) not in above
        if key.startswith((CONSTRAINT, INDEX)) and own:
            write = constraints.index if key.startswith(INDEX) else constraints.constraint
            yield from write(who, Part(key, text, None), world, database)
    if "row security" in lines:
        yield from _row_security(who, lines["row security"], Phase.PART)
    if "replica identity" in lines:
        yield from _identity(who, lines["replica identity"])
    yield from _rules(who, lines)


def _of_parents(lines: dict[str, str], world: World, database: str) -> set[tuple[str, str]]:
    """Lines that a child has by INHERITS."""
    wanted = world.desired.get((CatalogKind.TABLE, database), {})
    return {
        (key, text)
        for parent in parents(lines)
        if INHERITS in lines and parent in wanted
        for key, text in lines_of(wanted[parent].value).items()
        if key.startswith(COLUMN)
        or (key.startswith(CONSTRAINT) and text.startswith("CHECK") and "NO INHERIT" not in text)
    }


def _rules(who: str, lines: dict[str, str]) -> Iterator[Step]:
    """Last: a rule's text may name views and tables that are made anew, too."""
    for key, text in lines.items():
        if key.startswith(RULE):
            yield from _rule(who, Part(key, text, None))


def _rule(who: str, part: Part) -> Iterator[Step]:
    own = _own(part, RULE)
    if part.after is not None:
        yield Step(Phase.DROP_PART, f"DROP RULE {own} ON {who}")
    if part.before is None:
        return
    text, _, state = part.before.rpartition("; ")
    words = RULE_STATES.get(state)
    yield Step(Phase.PART, (text if words else part.before).rstrip("; "))
    if words:
        yield Step(Phase.PART, f"ALTER TABLE {who} {words} RULE {own}")


def _create_view(who: str, kind: str, lines: dict[str, str], about: str) -> Iterator[Step]:
    text = lines.get("view text", lines.get("text", lines.get("definition", "")))
    if not text or text.startswith("sha256:"):
        yield by_hand(Phase.VIEW, f"create {kind} {about} again; its text is not kept here")
        return
    options = _options(lines.get("options", ""))
    tail = f" WITH ({', '.join(options)})" if options else ""
    yield Step(Phase.VIEW, f"CREATE {KINDS[kind]} {who}{tail} AS {text.rstrip('; ')}")
    if "owner" in lines:
        yield Step(Phase.OWNER, f"ALTER {KINDS[kind]} {who} OWNER TO {role(lines['owner'])}")
    for key, text in lines.items():
        if key.startswith(INDEX):
            yield Step(Phase.VIEW, text)
        elif key.startswith(COLUMN):
            yield from _view_default(who, Part(key, text, None))
    yield from _rules(who, lines)


class _Altered(NamedTuple):
    who: str
    """As SQL names it."""
    about: str
    word: str
    world: World
    database: str


def _alter(who: str, difference: Difference, world: World, database: str) -> Iterator[Step]:
    changed = list(parts(CatalogKind.TABLE, difference))
    before, after = lines_of(difference.desired), lines_of(difference.observed)
    if before.get("kind") != after.get("kind"):
        yield by_hand(
            Phase.TABLE,
            f"{difference.name} is a {after.get('kind')}, should be a {before.get('kind')}",
        )
        return
    word = KINDS.get(before.get("kind", "table"), "TABLE")
    it = _Altered(who, difference.name, word, world, database)
    if word.endswith("VIEW"):
        yield from _alter_view(it, changed, before, after)
        return
    alike = [
        pair
        for pair in alike_columns(difference.name, before, after)
        if word == "TABLE"
        and not rules_out(world.past, database, pair, world.facts(CatalogKind.TABLE, database))
    ]
    changed = own_parts(changed, before, after, world, database)
    renamed, changed = constraints.renamed_indexes(who, changed)
    yield from renamed
    for part in changed:
        note = perhaps(each for each in alike if part.key == f"{COLUMN}{each.new}")
        for step in _altered(it, part):
            yield replace(step, note=note or step.note)


def _alter_view(
    it: _Altered, changed: list[Part], before: dict[str, str], after: dict[str, str]
) -> Iterator[Step]:
    # What a column of a view holds, its query says: nothing is lost with a name.
    renamed = _renamed_column(changed) if it.word == "VIEW" else None
    if renamed:
        old, new = renamed
        text = f"RENAME COLUMN {_own(new, COLUMN)} TO {_own(old, COLUMN)}"
        yield Step(Phase.RENAME, f"ALTER VIEW {it.who} {text}")
    replaced = any(part.key in QUERY for part in changed)
    if replaced:
        present, wanted = _columns(after), _columns(before)
        grows = renamed is not None or wanted[: len(present)] == present
        yield from _other_view(it.who, it.about, before, grows)
        if it.word == "VIEW" and grows:
            changed = [part for part in changed if part.key != "options"]
    for part in changed:
        if part.key.startswith(COLUMN) and part not in (renamed or ()):
            yield from _view_default(it.who, part)
        elif part.key.startswith(RULE):
            yield from _rule(it.who, part)
        elif part.key not in QUERY and not part.key.startswith((COLUMN, CONSTRAINT)):
            yield from _altered(it, part)


def _view_default(who: str, part: Part) -> Iterator[Step]:
    """What an INSERT into the view puts where nothing is said; all else its query says."""
    wanted, now = (default_of(text or "") for text in (part.before, part.after))
    if part.before is not None and wanted != now:
        words = f"SET DEFAULT {wanted}" if wanted else "DROP DEFAULT"
        yield Step(Phase.PART, f"ALTER VIEW {who} ALTER COLUMN {_own(part, COLUMN)} {words}")


def _altered(it: _Altered, part: Part) -> Iterator[Step]:
    who, word = it.who, it.word
    if part.key == "row security":
        phase = Phase.GUARD if part.before else Phase.PART
        yield from _row_security(who, part.before or "", phase)
    elif part.key == "owner":
        yield Step(Phase.OWNER, f"ALTER {word} {who} OWNER TO {role(part.before or '')}")
    elif part.key == "persistence":
        logged = "UNLOGGED" if part.before == "unlogged" else "LOGGED"
        yield Step(Phase.COLUMN, f"ALTER TABLE {who} SET {logged}")
    elif part.key == "options":
        yield from _set_options(who, word, part)
    elif part.key == "replica identity":
        yield from _identity(who, part.before)
    elif part.key == PARTITION and word == "TABLE" and None in (part.before, part.after):
        yield _attached(who, part)
    elif part.key == INHERITS and word.endswith("TABLE"):
        yield from inherited(f"ALTER {word} {who}", part)
    elif part.key == FOREIGN_OPTIONS and word == "FOREIGN TABLE":
        yield from options_steps(f"FOREIGN TABLE {who}", it.about, part)
    elif part.key.startswith(INDEX):
        yield from constraints.index(who, part, it.world, it.database)
    elif part.key.startswith((COLUMN, CONSTRAINT, RULE)) and (
        word == "TABLE" or (word == "FOREIGN TABLE" and _without_options(part))
    ):
        yield from _part(it, part)
    else:
        yield by_hand(
            Phase.TABLE,
            f"{it.about}: {part.key} is {part.after or 'not set'}, should be "
            f"{part.before or 'not set'}",
        )


def _attached(who: str, part: Part) -> Step:
    """After its own columns and keys: a partition has those of its parent."""
    text = part.before or part.after or ""
    [parent] = parents({PARTITION: text})
    alter = f"ALTER TABLE {name(parent)}"
    if part.before is None:
        return Step(Phase.DROP_PART, f"{alter} DETACH PARTITION {who}")
    note = f"reads the table; {REFUSES}"
    bounds = text.removeprefix(parent).strip()
    return Step(Phase.FOREIGN_KEY, f"{alter} ATTACH PARTITION {who} {bounds}", note=note)


def _without_options(part: Part) -> bool:
    """Of a foreign table a column has options, which are not kept."""
    return part.before is None or not part.key.startswith(COLUMN)


def _own(part: Part, prefix: str) -> str:
    return name(part.key.removeprefix(prefix))


def _renamed_column(changed: list[Part]) -> tuple[Part, Part] | None:
    """One column gone, one new, and alike: a new name keeps the rows, a new column does not."""
    columns = [part for part in changed if part.key.startswith(COLUMN)]
    gone = [part for part in columns if part.after is None]
    new = [part for part in columns if part.before is None]
    if len(gone) == len(new) == 1 and gone[0].before == new[0].after:
        return gone[0], new[0]
    return None


def _columns(lines: dict[str, str]) -> list[tuple[str, str]]:
    return [(key, text) for key, text in lines.items() if key.startswith(COLUMN)]


def _other_view(who: str, about: str, lines: dict[str, str], grows: bool) -> Iterator[Step]:
    """Replaced, a view may get columns at its end and lose none."""
    text = lines.get("view text", lines.get("text", ""))
    if not grows:
        yield by_hand(Phase.VIEW, f"{about}: drop it and make it again, it should lose columns")
    elif lines.get("kind") == "view" and text:
        # Options that are not said again are gone, and with them what guards rows.
        options = _options(lines.get("options", ""))
        tail = f" WITH ({', '.join(options)})" if options else ""
        yield Step(Phase.VIEW, f"CREATE OR REPLACE VIEW {who}{tail} AS {text.rstrip('; ')}")
    else:
        yield by_hand(Phase.VIEW, f"{about}: its query differs; its text is not kept here")


def _row_security(who: str, wanted: str, phase: Phase) -> Iterator[Step]:
    if wanted not in ROW_SECURITY:
        raise NotSqlError(f"row security is on or forced, and not {wanted!r}")
    for words in ROW_SECURITY[wanted]:
        yield Step(phase, f"ALTER TABLE {who} {words}")


def _identity(who: str, wanted: str | None) -> Iterator[Step]:
    if wanted is None or wanted in ("full", "nothing"):
        yield Step(
            Phase.PART, f"ALTER TABLE {who} REPLICA IDENTITY {(wanted or 'default').upper()}"
        )
    else:
        index = name(wanted.removeprefix("index "))
        yield Step(Phase.PART, f"ALTER TABLE {who} REPLICA IDENTITY USING INDEX {index}")


def _options(text: str) -> list[str]:
    """``fillfactor=70, autovacuum_enabled=off``; others than plain words are left to a person."""
    return [each for each in text.split(", ") if _OPTION.fullmatch(each)]


def _set_options(who: str, word: str, part: Part) -> Iterator[Step]:
    said = [*(part.after or "").split(", "), *(part.before or "").split(", ")]
    if odd := [each for each in said if each and not _OPTION.fullmatch(each)]:
        yield by_hand(Phase.COLUMN, f"{who}: option {odd[0]}; {NOT_PLAIN}")
    old, new = _options(part.after or ""), _options(part.before or "")
    phase = Phase.GUARD if word == "VIEW" else Phase.COLUMN
    gone = [each.partition("=")[0] for each in old]
    gone = [each for each in gone if each not in {word.partition("=")[0] for word in new}]
    if gone:
        yield Step(phase, f"ALTER {word} {who} RESET ({', '.join(gone)})")
    given = [each for each in new if each not in old]
    if given:
        yield Step(phase, f"ALTER {word} {who} SET ({', '.join(given)})")


def _part(it: _Altered, part: Part) -> Iterator[Step]:
    if part.key.startswith(COLUMN):
        wanted, now = (
            text and with_schema(text, it.world, it.database) for text in (part.before, part.after)
        )
        yield from column(it.who, part._replace(before=wanted, after=now), it.world)
    elif part.key.startswith(CONSTRAINT):
        yield from constraints.constraint(it.who, part, it.world, it.database)
    else:
        yield from _rule(it.who, part)
