"""Publications, subscriptions and replication slots."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from collector.drift.baseline import Difference
from collector.drift.lines import Part, lines_of, parts
from collector.drift.plan.objects import NOT_KEPT, owner_or_by_hand
from collector.drift.plan.quoting import ident, literal, name, role
from collector.drift.plan.steps import Phase, Step, World, by_hand
from model.catalog import CatalogKind, DriftChange

_PUBLISHED_HOW = frozenset(("operations", "via root", "generated columns"))


def publication(difference: Difference, _world: World, _database: str) -> Iterator[Step]:
    who, wanted = name(difference.name), lines_of(difference.desired)
    if difference.change is DriftChange.ADDED:
        yield Step(Phase.DROP_PART, f"DROP PUBLICATION {who}")
        return
    changed = {part.key for part in parts(CatalogKind.PUBLICATION, difference)}
    every = "FOR ALL TABLES" if "all tables" in wanted else ""
    tables = _published(wanted)
    options = _publication_options(wanted, changed)
    if difference.change is DriftChange.REMOVED or "all tables" in changed:
        if difference.change is DriftChange.CHANGED:
            yield Step(Phase.PART, f"DROP PUBLICATION {who}")
        what = every or (f"FOR {tables}" if tables else "")
        yield Step(Phase.PART, f"CREATE PUBLICATION {who} {what} WITH ({options})")
    else:
        if any(key.startswith(("table ", "schema ")) for key in changed):
            if tables:
                yield Step(Phase.PART, f"ALTER PUBLICATION {who} SET {tables}")
            else:
                for text in _unpublished(lines_of(difference.observed)):
                    yield Step(Phase.PART, f"ALTER PUBLICATION {who} DROP {text}")
        if changed & _PUBLISHED_HOW:
            yield Step(Phase.PART, f"ALTER PUBLICATION {who} SET ({options})")
    if "owner" in changed and wanted.get("owner"):
        yield Step(Phase.PART, f"ALTER PUBLICATION {who} OWNER TO {role(wanted['owner'])}")


def _published(lines: dict[str, str]) -> str:
    tables = [
        f"{name(key.removeprefix('table '))}{_columns_and_filter(text)}"
        for key, text in lines.items()
        if key.startswith("table ")
    ]
    schemas = [name(key.removeprefix("schema ")) for key in lines if key.startswith("schema ")]
    said = [f"TABLE {', '.join(tables)}"] if tables else []
    said += [f"TABLES IN SCHEMA {', '.join(schemas)}"] if schemas else []
    return ", ".join(said)


def _columns_and_filter(text: str) -> str:
    """``(a, b) where (a > 1)`` or ``all columns``."""
    columns, where, condition = text.partition(" where ")
    said = "" if columns == "all columns" else f" {columns}"
    return said + (f" WHERE ({condition})" if where else "")


def _unpublished(lines: dict[str, str]) -> Iterator[str]:
    for key in lines:
        if key.startswith("table "):
            yield f"TABLE {name(key.removeprefix('table '))}"
        elif key.startswith("schema "):
            yield f"TABLES IN SCHEMA {name(key.removeprefix('schema '))}"


def _publication_options(lines: dict[str, str], changed: Collection[str]) -> str:
    operations = literal(lines.get("operations", "insert, update, delete, truncate"))
    said = f"publish = {operations}"
    # Where it was never asked for it may be older than the option.
    if "via root" in lines or "via root" in changed:
        root = "true" if lines.get("via root") == "yes" else "false"
        said += f", publish_via_partition_root = {root}"
    if "generated columns" in lines or "generated columns" in changed:
        said += f", publish_generated_columns = {name(lines.get('generated columns', 'none'))}"
    return said


_PLAIN_NAMES = re.compile(r"[\w$]+(?:, [\w$]+)*")
ASKS_NOBODY = "the publisher is not asked: what is new is copied after REFRESH PUBLICATION"


def subscription(difference: Difference, _world: World, _database: str) -> Iterator[Step]:
    who, wanted = name(difference.name), lines_of(difference.desired)
    if difference.change is DriftChange.ADDED:
        yield from _drop_subscription(who, lines_of(difference.observed))
    elif difference.change is DriftChange.REMOVED:
        yield by_hand(Phase.PART, f"create subscription {difference.name} again; {NOT_KEPT}")
    else:
        done = set()
        for part in parts(CatalogKind.SUBSCRIPTION, difference):
            if part.key == "enabled" and wanted.get("enabled"):
                state = "ENABLE" if wanted["enabled"] == "yes" else "DISABLE"
                yield Step(Phase.PART, f"ALTER SUBSCRIPTION {who} {state}")
                done.add(part.key)
            elif part.key == "publications" and _PLAIN_NAMES.fullmatch(part.before or ""):
                yield _subscribed(who, part)
                done.add(part.key)
        yield from owner_or_by_hand(
            "SUBSCRIPTION", CatalogKind.SUBSCRIPTION, difference, frozenset(done)
        )


def _subscribed(who: str, part: Part) -> Step:
    names = ", ".join(ident(each) for each in (part.before or "").split(", "))
    text = f"ALTER SUBSCRIPTION {who} SET PUBLICATION {names} WITH (refresh = false)"
    return Step(Phase.PART, text, note=ASKS_NOBODY)


def _drop_subscription(who: str, lines: dict[str, str]) -> Iterator[Step]:
    """Without its publisher, which may not be reached: the server would refuse it."""
    slot = lines.get("slot")
    if slot:
        text = f"at the publisher of {who}: SELECT pg_drop_replication_slot({literal(slot)});"
        yield by_hand(Phase.DROP_PART, f"{text} until then it keeps what was written")
        yield Step(Phase.DROP_PART, f"ALTER SUBSCRIPTION {who} DISABLE", loses=True)
        yield Step(Phase.DROP_PART, f"ALTER SUBSCRIPTION {who} SET (slot_name = NONE)", loses=True)
    yield Step(Phase.DROP_PART, f"DROP SUBSCRIPTION {who}", loses=True, note=NOT_KEPT)


def slot(difference: Difference, _world: World, _database: str) -> Iterator[Step]:
    own = literal(difference.name.strip('"'))
    if difference.change is DriftChange.ADDED:
        text = f"SELECT pg_drop_replication_slot({own})"
        note = "whoever reads it must begin anew"
        yield Step(Phase.SETTING, text, loses=True, note=note, alone=True)
    elif difference.change is DriftChange.REMOVED:
        lines = lines_of(difference.desired)
        make = f"SELECT pg_create_physical_replication_slot({own});"
        if plugin := lines.get("plugin"):
            make = f"SELECT pg_create_logical_replication_slot({own}, {literal(plugin)});"
            make = f"in database {lines.get('database', '')}: {make}"
        sentence = "it keeps what is written from then on until somebody reads it"
        yield by_hand(Phase.PART, f"replication slot {difference.name} is gone: {make} {sentence}")
    else:
        yield by_hand(Phase.PART, f"replication slot {difference.name} is another one")
