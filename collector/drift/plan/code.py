"""Functions, policies, triggers and event triggers."""

from __future__ import annotations

from collections.abc import Iterator

from collector.drift.baseline import Difference
from collector.drift.lines import lines_of, parts
from collector.drift.mentions import mentioned
from collector.drift.plan.quoting import (
    NotSqlError,
    listed,
    literal,
    name,
    role,
    signature,
    split_last,
)
from collector.drift.plan.settings import value
from collector.drift.plan.steps import Phase, Step, World, by_hand
from collector.drift.ranges import is_constructor
from model.catalog import CatalogKind, DriftChange

ENABLE = {"origin": "ENABLE", "always": "ENABLE ALWAYS", "replica": "ENABLE REPLICA",
          "disabled": "DISABLE"}  # fmt: skip
SET = "set "
NO_BODY = "only a hash of its body is kept"
BY_HAND = "its text is not kept here; take it from your migrations"


def function(difference: Difference, world: World, database: str) -> Iterator[Step]:
    if difference.change is not DriftChange.CHANGED and _of_a_range(difference, world, database):
        return
    who = signature(difference.name)
    if difference.change is DriftChange.REMOVED:
        yield by_hand(Phase.CODE, f"create function {difference.name} again; {BY_HAND}")
        return
    if difference.change is DriftChange.ADDED:
        lines = lines_of(difference.observed)
        word = "AGGREGATE" if lines.get("kind") == "aggregate" else "ROUTINE"
        queries = lines.get("language") == "sql" or word == "AGGREGATE"
        first = queries and not _of_operator_classes(world, database)
        phase = Phase.DROP_QUERY_CODE if first else Phase.DROP_CODE
        yield Step(phase, f"DROP {word} {who}", loses=True, note=NO_BODY)
        return
    unknown = []
    for part in parts(CatalogKind.FUNCTION, difference):
        if part.key == "owner":
            yield Step(Phase.OWNER, f"ALTER ROUTINE {who} OWNER TO {role(part.before or '')}")
        elif part.key.startswith(SET):
            setting = part.key.removeprefix(SET)
            change = (
                f"RESET {_setting(setting)}"
                if part.before is None
                else f"SET {_setting(setting)} TO {value(setting, part.before)}"
            )
            yield Step(Phase.GUARD, f"ALTER ROUTINE {who} {change}")
        elif words := _property(part.key, part.before):
            yield Step(Phase.GUARD, f"ALTER ROUTINE {who} {words}")
        else:
            unknown.append(part.key)
    if unknown:
        keys = ", ".join(unknown)
        yield by_hand(Phase.CODE, f"function {difference.name}: {keys} differs; {BY_HAND}")


def _of_a_range(difference: Difference, world: World, database: str) -> bool:
    """It comes and goes with the type. Multirange types are no items."""
    own = difference.name.partition("(")[0]
    kinds = {
        name: lines_of(fact.value).get("kind")
        for side in (world.desired, world.observed)
        for name, fact in side.get((CatalogKind.TYPE, database), {}).items()
    }
    is_type = "range" in kinds.values() and kinds.get(own, "range") == "range"
    return is_type and is_constructor(
        difference.name, lines_of(difference.desired or difference.observed)
    )


def _of_operator_classes(world: World, database: str) -> bool:
    """Which functions these run is not known; they go after the indexes that use them."""
    schemas = world.facts(CatalogKind.SCHEMA, database).values()
    return any("operator family " in fact.value for fact in schemas)


def _setting(text: str) -> str:
    return ".".join(name(part) for part in text.lower().split("."))


def _property(key: str, wanted: str | None) -> str:
    """``wanted`` None: the line is not desired, so its opposite is."""
    match key:
        case "security":
            return "SECURITY DEFINER" if wanted == "definer" else "SECURITY INVOKER"
        case "leakproof":
            return "LEAKPROOF" if wanted == "yes" else "NOT LEAKPROOF"
        case "strict":
            return "STRICT" if wanted == "yes" else "CALLED ON NULL INPUT"
        case "volatility" if wanted in ("immutable", "stable", "volatile"):
            return wanted.upper()
        case "parallel":
            return f"PARALLEL {(wanted or 'unsafe').upper()}"
    return ""


def policy(difference: Difference, world: World, database: str) -> Iterator[Step]:
    table, own = split_last(difference.name)
    dropped = world.dropped.get(database, frozenset())
    if f"table:{table}" in dropped:
        if stands_on_dropped(difference.observed, table, dropped):
            yield Step(Phase.DROP_VIEW, f"DROP POLICY {own} ON {table}", loses=True)
        return
    if difference.change is DriftChange.ADDED:
        yield Step(Phase.DROP_PART, f"DROP POLICY {own} ON {table}")
        return
    create = _create_policy(own, table, lines_of(difference.desired))
    if difference.change is DriftChange.REMOVED:
        yield Step(Phase.PART, create)
        return
    changed = {part.key: part.before for part in parts(CatalogKind.POLICY, difference)}
    if {*changed} <= {"roles", "using", "check"} and None not in changed.values():
        words = "".join(_policy_words(changed))
        yield Step(Phase.GUARD, f"ALTER POLICY {own} ON {table}{words}")
    else:
        # In one transaction: nobody sees the table without it.
        yield Step(Phase.PART, f"DROP POLICY {own} ON {table}")
        yield Step(Phase.PART, create)


def stands_on_dropped(text: str, table: str, dropped: frozenset[str]) -> bool:
    """Whether a part of a table that is dropped holds another thing that is: it goes before both,
    since tables may hold each other."""
    named = mentioned(text) - {table}
    return any(each.partition(":")[2].partition("(")[0] in named for each in dropped)


def _create_policy(own: str, table: str, lines: dict[str, str]) -> str:
    kind = " AS RESTRICTIVE" if "restrictive" in (lines.get("kind"), *lines) else ""
    command = f" FOR {lines['command'].upper()}" if lines.get("command") else ""
    return f"CREATE POLICY {own} ON {table}{kind}{command}{''.join(_policy_words(lines))}"


def _policy_words(lines: dict[str, str] | dict[str, str | None]) -> Iterator[str]:
    if lines.get("roles"):
        yield f" TO {', '.join(role(each) for each in listed(lines['roles'] or ''))}"
    if lines.get("using"):
        yield f" USING ({lines['using']})"
    if lines.get("check"):
        yield f" WITH CHECK ({lines['check']})"


def _enable(wanted: dict[str, str]) -> str:
    state = wanted.get("enabled", "origin")
    if state not in ENABLE:
        raise NotSqlError(f"enabled is {', '.join(ENABLE)}, and not {state!r}")
    return ENABLE[state]


def trigger(difference: Difference, world: World, database: str) -> Iterator[Step]:
    table, own = split_last(difference.name)
    if f"table:{table}" in world.dropped.get(database, ()):
        return
    if "from" in lines_of(difference.observed or difference.desired):
        # A parent's or a constraint's: there whatever we say, but on or off.
        words = _enable(lines_of(difference.desired))
        yield Step(Phase.GUARD, f"ALTER TABLE {table} {words} TRIGGER {own}")
        return
    if difference.change is DriftChange.ADDED:
        yield Step(Phase.DROP_PART, f"DROP TRIGGER {own} ON {table}")
        return
    wanted = lines_of(difference.desired)
    changed = {part.key for part in parts(CatalogKind.TRIGGER, difference)}
    remade = bool(changed - {"enabled"})
    if remade:
        if difference.change is DriftChange.CHANGED:
            yield Step(Phase.PART, f"DROP TRIGGER {own} ON {table}")
        yield Step(Phase.PART, wanted.get("definition", ""))
    state = wanted.get("enabled", "origin")
    if "enabled" in changed and not (remade and state == "origin"):
        phase = Phase.PART if remade else Phase.GUARD
        yield Step(phase, f"ALTER TABLE {table} {_enable(wanted)} TRIGGER {own}")


def event_trigger(difference: Difference, _world: World, _database: str) -> Iterator[Step]:
    who = name(difference.name)
    if difference.change is DriftChange.ADDED:
        yield Step(Phase.DROP_PART, f"DROP EVENT TRIGGER {who}")
        return
    wanted = lines_of(difference.desired)
    changed = {part.key for part in parts(CatalogKind.EVENT_TRIGGER, difference)}
    remade = bool(changed - {"enabled", "owner"})
    if remade:
        if difference.change is DriftChange.CHANGED:
            yield Step(Phase.PART, f"DROP EVENT TRIGGER {who}")
        tags = listed(wanted["tags"]) if wanted.get("tags") else []
        when = f" WHEN TAG IN ({', '.join(literal(tag) for tag in tags)})" if tags else ""
        event, code = name(wanted.get("event", "")), name(wanted.get("function", ""))
        yield Step(
            Phase.PART, f"CREATE EVENT TRIGGER {who} ON {event}{when} EXECUTE FUNCTION {code}()"
        )
    if "owner" in changed and wanted.get("owner"):
        owner = role(wanted["owner"])
        yield Step(Phase.PART, f"ALTER EVENT TRIGGER {who} OWNER TO {owner}")
    state = wanted.get("enabled", "origin")
    if "enabled" in changed and not (remade and state == "origin"):
        phase = Phase.PART if remade else Phase.GUARD
        yield Step(phase, f"ALTER EVENT TRIGGER {who} {_enable(wanted)}")
