"""Roles, memberships, and who is granted what."""

from __future__ import annotations

import re
from collections.abc import Iterator

from collector.drift.baseline import Difference
from collector.drift.declaration.implicit import implicit
from collector.drift.lines import REVOKED, granted_to, parts, privileges, usual
from collector.drift.plan.quoting import (
    NotSqlError,
    literal,
    name,
    role,
    signature,
    split_last,
)
from collector.drift.plan.steps import Phase, Step, World, by_hand
from model.catalog import CatalogKind, DriftChange

FLAGS = ("superuser", "login", "createrole", "createdb", "replication", "bypassrls", "inherit")
NEVER = "infinity"
_PRIVILEGE = re.compile(r"[A-Z]+( [A-Z]+)*")
_DEFAULT = re.compile(r"(tables|sequences|functions|types|schemas) of (.+)", re.DOTALL)
WHAT = {
    "database": "DATABASE", "schema": "SCHEMA", "table": "TABLE", "sequence": "SEQUENCE",
    "function": "ROUTINE", "procedure": "ROUTINE", "aggregate": "ROUTINE", "type": "TYPE",
    "language": "LANGUAGE", "large_object": "LARGE OBJECT", "tablespace": "TABLESPACE",
    "parameter": "PARAMETER",
    "foreign_server": "FOREIGN SERVER", "foreign server": "FOREIGN SERVER",
    "foreign_data_wrapper": "FOREIGN DATA WRAPPER", "foreign data wrapper": "FOREIGN DATA WRAPPER",
}  # fmt: skip
RAW = frozenset(["database"])
"""Types whose objects facts may name without quotes."""


GONE_WITH_IT = "its password goes with it, and what it owns must have gone before"


def role_steps(difference: Difference, _world: World, _database: str) -> Iterator[Step]:
    who = role(difference.name)
    if difference.change is DriftChange.ADDED:
        yield Step(Phase.DROP_ROLE, f"DROP ROLE {who}", loses=True, note=GONE_WITH_IT)
        return
    words = [
        word
        for part in parts(CatalogKind.ROLE, difference)
        for word in _attribute(part.key, part.after if part.before is None else part.before,
                               gone=part.before is None)
    ]  # fmt: skip
    if difference.change is DriftChange.REMOVED:
        yield Step(
            Phase.ROLE,
            f"CREATE ROLE {who} {' '.join(words)}".strip(),
            note="its password is not known here: set it" if "LOGIN" in words else "",
        )
    elif words:
        yield Step(Phase.ROLE, f"ALTER ROLE {who} {' '.join(words)}")
    for key in _unknown(difference):
        yield by_hand(
            Phase.ROLE, f"role {difference.name}: {key} differs, and no statement sets it"
        )


def _attribute(key: str, text: str | None, *, gone: bool) -> Iterator[str]:
    """The words that give a role ``key`` as it is desired; ``gone``: it is desired without."""
    if key in FLAGS:
        yield key.upper() if text == "true" and not gone else f"NO{key.upper()}"
    elif key == "connection_limit":
        yield f"CONNECTION LIMIT {-1 if gone else int(text or -1)}"
    elif key == "valid_until":
        # Once it was set, no statement unsets it: infinity means the same.
        until = NEVER if gone or text == NEVER else f"{text}+00"
        yield f"VALID UNTIL {literal(until)}"


def _unknown(difference: Difference) -> list[str]:
    known = {*FLAGS, "connection_limit", "valid_until"}
    return [p.key for p in parts(CatalogKind.ROLE, difference) if p.key not in known]


def membership(difference: Difference, world: World, _database: str) -> Iterator[Step]:
    group, _, member = difference.name.partition("<-")
    hanging = _granted_on(world, group, member)
    if _goes(world, group) or (_goes(world, member) and not hanging):
        return  # With the role.
    by = _grantors(difference.details[1])
    old, new = {*difference.observed.split()}, {*difference.desired.split()}
    if "admin" in old and "admin" not in new:
        # From 16 on what was granted on hangs on it.
        what = "" if difference.change is DriftChange.ADDED else "ADMIN OPTION FOR "
        for words in by:
            text = f"REVOKE {what}{role(group)} FROM {role(member)}{words} CASCADE"
            yield Step(Phase.MEMBER_OUT, text)
        yield from _granted_again(world, group, hanging)
    elif difference.change is DriftChange.ADDED:
        for words in by:
            yield Step(Phase.MEMBER_OUT, f"REVOKE {role(group)} FROM {role(member)}{words}")
    options = _options(old, new)
    if difference.change is DriftChange.REMOVED or (new and options):
        yield _grant(group, member, options)


def _grant(group: str, member: str, options: list[str]) -> Step:
    given = f" WITH {', '.join(options)}" if options else ""
    return Step(Phase.MEMBER_IN, f"GRANT {role(group)} TO {role(member)}{given}")


def _granted_on(world: World, group: str, member: str) -> list[str]:
    """Who has the role from ``member``, or from one of those."""
    given = {
        name.removeprefix(f"{group}<-"): _grantor_names(fact.detail)
        for name, fact in world.facts(CatalogKind.MEMBERSHIP).items()
        if name.startswith(f"{group}<-")
    }
    found, look = [], [member]
    while look:
        by = look.pop()
        new = [who for who, grantors in given.items() if by in grantors and who not in found]
        found += new
        look += new
    return [who for who in found if who != member]


def _granted_again(world: World, group: str, members: list[str]) -> Iterator[Step]:
    wanted = world.desired.get((CatalogKind.MEMBERSHIP, ""), {})
    for member in members:
        if (fact := wanted.get(f"{group}<-{member}")) is not None:
            yield _grant(group, member, _options(set(), {*fact.value.split()}))


def _options(old: set[str], new: set[str]) -> list[str]:
    options = ["ADMIN OPTION"] if "admin" in new and "admin" not in old else []
    if ("noinherit" in old) != ("noinherit" in new):
        options.append(f"INHERIT {'FALSE' if 'noinherit' in new else 'TRUE'}")
    if ("noset" in old) != ("noset" in new):
        options.append(f"SET {'FALSE' if 'noset' in new else 'TRUE'}")
    if len(options) > 1 and options[0] == "ADMIN OPTION":
        options[0] = "ADMIN TRUE"  # The older word stands alone.
    return options


def _grantors(detail: str) -> list[str]:
    """Each grantor's membership is a grant of its own."""
    return [f" GRANTED BY {role(each)}" for each in _grantor_names(detail)] or [""]


def _grantor_names(detail: str) -> list[str]:
    names = detail.removeprefix("granted by ") if detail.startswith("granted by ") else ""
    return names.split(", ") if names else []


def privilege(difference: Difference, world: World, database: str) -> Iterator[Step]:
    target, _, grantee = difference.name.rpartition("<-")
    kind, _, thing = target.partition(":")
    if target in world.dropped.get(database, ()):
        return  # With the object.
    if kind == "large_object" and not _is_there(target, world, database):
        told = f"{difference.desired} on large object {thing} to {grantee}"
        yield by_hand(Phase.GRANT, f"grant {told}, if it is there: {NOT_ITEMS}")
        return
    say = _default(thing, world) if kind == "default" else _object(kind, thing)
    old, new = privileges(difference.observed), privileges(difference.desired)
    if REVOKED in old or REVOKED in new:
        yield from _usual(say, usual(target), grantee, revoke=REVOKED in new)
        old.pop(REVOKED, None)
        new.pop(REVOKED, None)
    gone = [word for word in old if word not in new]
    narrower = [w for w in new if new[w] == "granted" and old.get(w) == "with grant option"]
    plain = [w for w in new if new[w] == "granted" and w not in old]
    wider = [w for w in new if new[w] != "granted" and new[w] != old.get(w)]
    # What was granted further from here must go with it, or the server refuses.
    if gone:
        cascade = " CASCADE" if any(old[w] != "granted" for w in gone) else ""
        yield Step(Phase.REVOKE, say.revoke(_words(gone), role(grantee)) + cascade)
    if narrower:
        text = say.revoke(f"GRANT OPTION FOR {_words(narrower)}", role(grantee))
        yield Step(Phase.REVOKE, text + " CASCADE")
    if plain:
        yield Step(Phase.GRANT, say.grant(_words(plain), role(grantee)))
    if wider:
        yield Step(Phase.GRANT, say.grant(_words(wider), role(grantee)) + " WITH GRANT OPTION")


NOT_ITEMS = "of these only rights are observed"


def _is_there(target: str, world: World, database: str) -> bool:
    seen = world.facts(CatalogKind.PRIVILEGE, database)
    return any(granted_to(name)[0] == target for name in seen)


class _Say:
    """How GRANT and REVOKE name one target."""

    def __init__(self, target: str, *, before: str = "", columns: str = "") -> None:
        self._target, self._before, self._columns = target, before, columns

    def grant(self, words: str, grantee: str) -> str:
        return f"{self._before}GRANT {self._with_columns(words)} ON {self._target} TO {grantee}"

    def revoke(self, words: str, grantee: str) -> str:
        return f"{self._before}REVOKE {self._with_columns(words)} ON {self._target} FROM {grantee}"

    def _with_columns(self, words: str) -> str:
        if not self._columns:
            return words
        head, option, rest = words.rpartition("GRANT OPTION FOR ")
        return head + option + ", ".join(f"{word} ({self._columns})" for word in rest.split(", "))


def _object(kind: str, thing: str) -> _Say:
    if kind == "column":
        table, column = split_last(thing)
        return _Say(f"TABLE {table}", columns=column)
    word = WHAT.get(kind)
    if word is None or (kind == "large_object" and not thing.isdigit()):
        raise NotSqlError(f"privileges on a {kind} are not known here")
    if kind == "large_object":
        return _Say(f"LARGE OBJECT {thing}")
    if word == "ROUTINE":
        return _Say(f"ROUTINE {signature(thing)}")
    return _Say(f"{word} {role(thing) if kind in RAW else name(thing)}")


def _default(thing: str, world: World) -> _Say:
    """``tables of alice in hr``: names may hold the word in, so the roles tell."""
    match = _DEFAULT.fullmatch(thing)
    if match is None:
        raise NotSqlError(f"{thing!r} are no default privileges")
    kind, owner = match.groups()
    schema = ""
    if not world.is_role(owner):
        owner, _, schema = owner.rpartition(" in ")
    where = f" IN SCHEMA {name(schema)}" if schema else ""
    before = f"ALTER DEFAULT PRIVILEGES FOR ROLE {role(owner)}{where} "
    return _Say(kind.upper(), before=before)


def _usual(say: _Say, right: str, grantee: str, *, revoke: bool) -> Iterator[Step]:
    if revoke:
        yield Step(Phase.REVOKE, say.revoke(right, role(grantee)))
    else:
        yield Step(Phase.GRANT, say.grant(right, role(grantee)))


def _words(names: list[str]) -> str:
    for each in names:
        if not _PRIVILEGE.fullmatch(each):
            raise NotSqlError(f"{each!r} is not a privilege")
    return ", ".join(names)


def _goes(world: World, who: str) -> bool:
    """Predefined roles are never declared, and never dropped."""
    roles = world.desired.get((CatalogKind.ROLE, ""))
    seen = world.facts(CatalogKind.ROLE).get(who)
    if roles is None or who in roles or seen is None:
        return False
    return not implicit(CatalogKind.ROLE, who, seen)
