"""Which names are others than at the last look though they are of the same.

Objects are followed by their numbers; grants, memberships, mappings and settings of roles by the
objects, columns and roles that stand in their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from typing import NamedTuple

from collector.drift import numbers
from collector.drift.baseline import Difference, Facts, Known, Part, Scope
from collector.drift.lines import ARROW, granted_to
from model.catalog import CatalogKind, DriftChange

Server = tuple[str, str]
Others = Mapping[str, str]
"""Names now by names before."""
ROLES_US = 60_000_000
"""So much later another database may tell what it grants to a role that has another name."""
_DATABASE, _DEFAULT = "database", "default"
_KINDS = {
    "procedure": CatalogKind.FUNCTION, "aggregate": CatalogKind.FUNCTION,
    "domain": CatalogKind.TYPE,
}  # fmt: skip
"""Of words in names of privileges that are no kinds themselves."""
_OF_ROLES = frozenset(
    (
        CatalogKind.PRIVILEGE, CatalogKind.MEMBERSHIP, CatalogKind.SETTING,
        CatalogKind.USER_MAPPING,
    )
)  # fmt: skip
"""Have no number, and somebody's name in their own."""


class Renames(NamedTuple):
    """Roles and databases of a server that got other names, as the look at that moment found."""

    roles: Others
    databases: Others
    at_us: int


class NewNames:
    """Of what one message tells; ``known``: before it."""

    def __init__(
        self, known: Mapping[Scope, Known], parts: Mapping[Scope, Part], earlier: Sequence[Renames]
    ) -> None:
        """``earlier``: as other messages told them, in their order. They are news to what was
        looked at before only: a role may have taken the name that another one gave up."""
        before = {scope: known[scope].observed for scope in parts if scope in known}
        self._of = {
            (scope.kind, scope.database): names
            for scope, facts in before.items()
            if (names := numbers.other_names(facts, parts[scope]))
        }
        self._columns = {
            scope.database: dict(_columns(facts, parts[scope], self._named(*scope[2:])))
            for scope, facts in before.items()
            if scope.kind is CatalogKind.TABLE
        }
        self.roles = self._named(CatalogKind.ROLE, "")
        self.databases = self._named(CatalogKind.DATABASE, "")
        since = {
            scope: _since(earlier, known[scope]) for scope in before if scope.kind in _OF_ROLES
        }
        self._roles = {
            scope: _in_turn([*(each.roles for each in renames), self.roles])
            for scope, renames in since.items()
        }
        self._databases = {
            scope: _in_turn([*(each.databases for each in renames), self.databases])
            for scope, renames in since.items()
        }
        self._before: NewNames | None = None

    def of(self, scope: Scope, names: Iterable[str], observed: Facts) -> dict[str, str]:
        """Of ``names``, those that are other ones now."""
        if scope.kind not in _OF_ROLES:
            direct = self._named(scope.kind, scope.database)
            return {name: direct[name] for name in names if name in direct}
        return {
            name: new
            for name in names
            if (new := self._derived(scope, name)) != name and new in observed
        }

    def former(self, scope: Scope, name: str) -> str:
        """What a grant, a membership or a setting was called before, if it was there; its own name
        where all in it is called as it was."""
        if scope.kind not in _OF_ROLES:
            return name
        if self._before is None:
            self._before = self._turned()
        return self._before._derived(scope, name)

    def went_along(self, scope: Scope, difference: Difference, known: Known) -> tuple[str, str]:
        """Of a grant, a membership or a setting that has another name, and is as it was: ``renamed
        from table:hr.a<-etl`` and what it is by that name. Else two empty texts."""
        name, accepted = difference.name, known.accepted or {}
        if scope.kind not in _OF_ROLES or difference.change is DriftChange.CHANGED:
            return "", ""
        if difference.change is DriftChange.ADDED:
            other, here, there = self.former(scope, name), known.observed, accepted
        else:
            other, here, there = self._derived(scope, name), accepted, known.observed
        fact = there.get(other)
        if other == name or other in here or fact is None or fact.value != here[name].value:
            return "", ""
        is_new = difference.change is DriftChange.ADDED
        return f"{numbers.RENAMED_FROM if is_new else numbers.RENAMED_TO}{other}", fact.value

    def _turned(self) -> NewNames:
        """Former names by new ones."""
        turned = copy(self)
        turned._of = {place: _turn(names) for place, names in self._of.items()}
        turned._columns = {place: _turn(names) for place, names in self._columns.items()}
        turned._roles = {scope: _turn(names) for scope, names in self._roles.items()}
        turned._databases = {scope: _turn(names) for scope, names in self._databases.items()}
        turned.roles, turned.databases = _turn(self.roles), _turn(self.databases)
        return turned

    def _named(self, kind: CatalogKind, database: str) -> Others:
        return self._of.get((kind, database), {})

    def _derived(self, scope: Scope, name: str) -> str:
        roles = self._roles.get(scope, self.roles)
        databases = self._databases.get(scope, self.databases)
        if scope.kind is CatalogKind.SETTING:
            return _setting(name, roles, databases)
        if scope.kind is CatalogKind.PRIVILEGE:
            what, who = granted_to(name)
            object_now = self._object(scope.database, what, roles, databases)
            return f"{object_now}{ARROW}{roles.get(who, who)}"
        what, arrow, who = name.rpartition(ARROW)
        who = roles.get(who, who)
        if scope.kind is CatalogKind.MEMBERSHIP:
            return f"{roles.get(what, what)}{arrow}{who}"
        servers = self._named(CatalogKind.FOREIGN_SERVER, scope.database)
        return f"{servers.get(what, what)}{arrow}{who}"

    def _object(self, database: str, what: str, roles: Others, databases: Others) -> str:
        """``table:hr.salary``, ``column:hr.salary.pay``, ``default:tables of bob in hr``"""
        word, colon, name = what.partition(":")
        if word == _DEFAULT:
            of, whose, place = default_of(name)
            schemas = self._named(CatalogKind.SCHEMA, database)
            now = default_name(of, roles.get(whose, whose), schemas.get(place, place))
            return f"{word}{colon}{now}"
        if word == _DATABASE:
            return f"{word}{colon}{databases.get(name, name)}"
        if word == "column":
            return f"{word}{colon}{self._columns.get(database, {}).get(name, name)}"
        kind = _KINDS.get(word) or (word if word in frozenset(CatalogKind) else None)
        names = self._named(CatalogKind(kind), database) if kind else {}
        return f"{word}{colon}{names.get(name, name)}"


def default_of(name: str) -> tuple[str, str, str]:
    """
    >>> default_of("tables of bob in hr"), default_of("types of bob")
    (('tables', 'bob', 'hr'), ('types', 'bob', ''))
    """
    what, _, rest = name.partition(" of ")
    role, found, schema = rest.rpartition(" in ")
    return (what, role, schema) if found else (what, rest, "")


def default_name(what: str, role: str, schema: str) -> str:
    return f"{what} of {role}{f' in {schema}' if schema else ''}"


def _turn(names: Others) -> dict[str, str]:
    return {new: old for old, new in names.items()}


def still_told(renames: Iterable[Renames], at_us: int) -> list[Renames]:
    """What of it another database, or another message of the server, may still have to hear."""
    return [each for each in renames if at_us - each.at_us <= ROLES_US]


def _since(renames: Iterable[Renames], known: Known) -> list[Renames]:
    return [each for each in renames if each.at_us > known.at_us]


def _setting(name: str, roles: Others, databases: Others) -> str:
    """``work_mem@alice/shop``; of ``work_mem@shop`` the name does not tell whose it is."""
    setting, at, whose = name.partition("@")
    role, slash, database = whose.partition("/")
    role = roles.get(role) or ("" if slash else databases.get(role)) or role
    return f"{setting}{at}{role}{slash}{databases.get(database, database)}"


def _in_turn(renames: Iterable[Others]) -> Others:
    """One after the other."""
    found: Others = {}
    for names in renames:
        found = {**names, **{old: names.get(new, new) for old, new in found.items()}}
    return found


def _columns(before: Facts, part: Part, renamed: Others) -> Iterator[tuple[str, str]]:
    former = {new: old for old, new in renamed.items()}
    for name, fact in part.items.items():
        was = former.get(name, name)
        if (old := before.get(was)) is None or (was == name and old.value == fact.value):
            continue
        if not numbers.same_object(old.detail, fact.detail):
            continue
        names, now = numbers.numbers_of("column", old), numbers.numbers_of("column", fact)
        for number, column in names.items():
            if number in now and (was, column) != (name, now[number]):
                yield f"{was}.{column}", f"{name}.{now[number]}"
