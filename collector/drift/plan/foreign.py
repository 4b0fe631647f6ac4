"""Foreign servers and wrappers, user mappings, and the options of these and of foreign tables."""

from __future__ import annotations

import re
from collections.abc import Iterator

from collector.drift.baseline import Difference
from collector.drift.lines import Part, parts
from collector.drift.plan.objects import NOT_KEPT, owner_or_by_hand, should
from collector.drift.plan.quoting import ident, literal, name, role
from collector.drift.plan.steps import Phase, Step, World, by_hand
from model.catalog import CatalogKind, DriftChange

OPTIONS = "foreign options"
_OPTION = re.compile(r"(?P<name>[\w.]+)=(?P<value>[^=]*)")


def options_steps(what: str, about: str, part: Part) -> Iterator[Step]:
    """``what``: as ALTER says it. Options are shown side by side: where a value holds a comma or a
    sign of equality nobody can say which is which."""
    wanted, now = _options(part.before), _options(part.after)
    if wanted is None or now is None:
        yield by_hand(Phase.PART, should(what.partition(" ")[0].lower(), about, part))
        return
    words = [f"DROP {ident(key)}" for key in now if key not in wanted]
    words += [
        f"{'SET' if key in now else 'ADD'} {ident(key)} {literal(value)}"
        for key, value in wanted.items()
        if now.get(key) != value
    ]
    yield Step(Phase.PART, f"ALTER {what} OPTIONS ({', '.join(words)})")


def _options(text: str | None) -> dict[str, str] | None:
    found = [_OPTION.fullmatch(each) for each in text.split(", ")] if text else []
    read = {each["name"]: each["value"] for each in found if each}
    return read if len(read) == len(found) else None


def foreign_server(difference: Difference, _world: World, _database: str) -> Iterator[Step]:
    wrapper = difference.name.startswith("wrapper ")
    word = "FOREIGN DATA WRAPPER" if wrapper else "SERVER"
    plain = difference._replace(name=difference.name.removeprefix("wrapper "))
    if difference.change is DriftChange.ADDED:
        # An extension's wrapper is no item: the extension goes after all servers, too.
        phase = Phase.DROP_EXTENSION if wrapper else Phase.DROP_TYPE
        yield Step(phase, f"DROP {word} {name(plain.name)}")
    elif difference.change is DriftChange.REMOVED:
        yield by_hand(Phase.PART, f"create {word.lower()} {plain.name} again, with its options")
    else:
        for part in parts(CatalogKind.FOREIGN_SERVER, plain):
            if part.key == OPTIONS:
                yield from options_steps(f"{word} {name(plain.name)}", plain.name, part)
            elif part.key == "version" and part.before:
                text = f"ALTER SERVER {name(plain.name)} VERSION {literal(part.before)}"
                yield Step(Phase.PART, text)
        done = frozenset((OPTIONS, "version"))
        yield from owner_or_by_hand(word, CatalogKind.FOREIGN_SERVER, plain, done)


def user_mapping(difference: Difference, _world: World, _database: str) -> Iterator[Step]:
    server, _, who = difference.name.rpartition("<-")
    if difference.change is DriftChange.ADDED:
        text = f"DROP USER MAPPING FOR {role(who)} SERVER {name(server)}"
        yield Step(Phase.DROP_PART, text, loses=True, note=NOT_KEPT)
    elif difference.change is DriftChange.REMOVED:
        yield by_hand(Phase.PART, f"create user mapping {difference.name} again; {NOT_KEPT}")
    else:
        for part in parts(CatalogKind.USER_MAPPING, difference):
            what = f"USER MAPPING FOR {role(who)} SERVER {name(server)}"
            yield from options_steps(what, difference.name, part)
