"""The facts of one database, as sets of objects by role and privilege."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from model.catalog import CatalogItem, CatalogKind

PUBLIC = "PUBLIC"
REVOKED = "(revoked)"
DATABASE_OWNER = "pg_database_owner"
_DATA = ("SELECT", "INSERT", "UPDATE", "DELETE")
_TABLE = (*_DATA, "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN")
PRIVILEGES: dict[str, tuple[str, ...]] = {
    "table": _TABLE,
    "column": ("SELECT", "INSERT", "UPDATE", "REFERENCES"),
    "sequence": ("USAGE", "SELECT", "UPDATE"),
    "function": ("EXECUTE",),
    "procedure": ("EXECUTE",),
    "schema": ("USAGE", "CREATE"),
    "database": ("CONNECT", "CREATE", "TEMPORARY"),
    "type": ("USAGE",),
    "language": ("USAGE",),
    "foreign_server": ("USAGE",),
    "foreign_data_wrapper": ("USAGE",),
    "tablespace": ("CREATE",),
    "parameter": ("SET", "ALTER SYSTEM"),
}
"""By type of object, all that there is."""
FOR_EVERYBODY = {
    "function": "EXECUTE",
    "procedure": "EXECUTE",
    "type": "USAGE",
    "language": "USAGE",
}
"""What PUBLIC has by default, so that only its absence is a fact."""
PREDEFINED: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "pg_read_all_data": (("table", ("SELECT",)), ("sequence", ("SELECT",)), ("schema", ("USAGE",))),
    "pg_write_all_data": (
        ("table", ("INSERT", "UPDATE", "DELETE")),
        ("sequence", ("UPDATE",)),
        ("schema", ("USAGE",)),
    ),
    "pg_maintain": (("table", ("MAINTAIN",)),),
}  # fmt: skip
OBJECTS = {
    CatalogKind.TABLE: "table",
    CatalogKind.SEQUENCE: "sequence",
    CatalogKind.SCHEMA: "schema",
    CatalogKind.TYPE: "type",
    CatalogKind.LANGUAGE: "language",
    CatalogKind.FOREIGN_SERVER: "foreign_server",
    CatalogKind.DATABASE: "database",
    CatalogKind.TABLESPACE: "tablespace",
}
NOT_IN_A_SCHEMA = frozenset(
    ("schema", "database", "language", "foreign_server", "foreign_data_wrapper", "tablespace",
     "parameter")
)  # fmt: skip
PEOPLE = frozenset((CatalogKind.ROLE, CatalogKind.MEMBERSHIP))
INHERIT_BY_MEMBERSHIP = 16
"""From this version on each membership says whether it is inherited; before, the member does."""

Bits = int
"""A set of objects: bit n is the n-th one. 5,000 tables are 625 bytes, and a union is one step."""


class Numbering:
    """Numbers of objects; two facts to be compared share one."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}

    def bit(self, name: str) -> Bits:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self.names)
            self.names.append(name)
        return 1 << number

    def find(self, name: str) -> Bits:
        number = self._numbers.get(name)
        return 0 if number is None else 1 << number

    def named(self, bits: Bits) -> tuple[str, ...]:
        """Sorted."""
        digits = bin(bits)[:1:-1]
        return tuple(sorted(self.names[n] for n, digit in enumerate(digits) if digit == "1"))


@dataclass(slots=True)
class Role:
    superuser: bool = False
    inherit: bool = True
    inherits: list[str] = field(default_factory=list)
    may_set: list[str] = field(default_factory=list)
    member_of: list[str] = field(default_factory=list)
    administers: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DefaultGrant:
    """What objects that ``maker`` creates from now on will grant."""

    maker: str
    schema: str
    """Empty: in every schema."""
    objects: str
    """``tables``, ``sequences``, ``functions``, ``types`` or ``schemas``."""
    grantee: str
    privileges: tuple[str, ...]


class Access:
    """The facts of one database and its cluster; built by ``access_of``."""

    def __init__(self, numbering: Numbering) -> None:
        self.numbering = numbering
        self.database, self.major = "", INHERIT_BY_MEMBERSHIP
        self.people: dict[tuple[CatalogKind, str], CatalogItem] = {}
        """Roles and memberships as they were read."""
        self.roles: dict[str, Role] = {}
        self.defaults: list[DefaultGrant] = []
        self.grants: dict[str, dict[str, Bits]] = {}
        self.owned: dict[str, Bits] = {}
        self.types: dict[str, Bits] = {}
        self.schemas: dict[str, Bits] = {}
        """What lies in each schema."""
        self.columns: dict[str, Bits] = {}
        """Columns with grants of their own, by table."""
        self._closures: dict[str, frozenset[str]] = {}
        self._effective: dict[str, dict[str, Bits]] = {}

    def inherited(self, role: str) -> frozenset[str]:
        """The role and all whose privileges it has without doing anything."""
        known = self._closures.get(role)
        if known is None:
            known = self._closures[role] = self.closure(role, "inherits")
        return known

    def effective(self, role: str) -> dict[str, Bits]:
        """By privilege, what the role may; USAGE on schemas is not asked for yet."""
        known = self._effective.get(role)
        if known is None:
            known = self._effective[role] = self._compute(role)
        return known

    def reachable(self, role: str) -> Bits:
        """All objects in no schema, or in one that the role has USAGE on."""
        known = self.roles.get(role)
        if known is not None and known.superuser:
            return -1  # every bit
        usage = self.effective(role).get("USAGE", 0)
        found = self.schemas.get("", 0)
        for schema, bits in self.schemas.items():
            if usage & self.numbering.find(f"schema:{schema}"):
                found |= bits
        return found

    def closure(self, role: str, edge: str) -> frozenset[str]:
        """The role and all groups on a way of ``inherits``, ``may_set`` or ``member_of``."""
        found, ahead = {role}, [role]
        while ahead:
            known = self.roles.get(ahead.pop())
            for group in getattr(known, edge) if known is not None else ():
                if group not in found:
                    found.add(group)
                    ahead.append(group)
        return frozenset(found)

    def _compute(self, role: str) -> dict[str, Bits]:
        found: dict[str, Bits] = {}
        known = self.roles.get(role)
        if known is not None and known.superuser:
            for kind, bits in self.types.items():
                add(found, PRIVILEGES.get(kind, ()), bits)
            return found
        groups = self.inherited(role)
        owned = 0
        for group in (*groups, PUBLIC):
            for privilege, bits in self.grants.get(group, {}).items():
                found[privilege] = found.get(privilege, 0) | bits
            owned |= self.owned.get(group, 0)
        for kind, bits in self.types.items():
            if owned & bits:
                add(found, PRIVILEGES.get(kind, ()), owned & bits)
        for group in groups & PREDEFINED.keys():
            for kind, privileges in PREDEFINED[group]:
                add(found, privileges, self.types.get(kind, 0))
        return found


def add(found: dict[str, Bits], privileges: Iterable[str], bits: Bits) -> None:
    for privilege in privileges:
        found[privilege] = found.get(privilege, 0) | bits


def type_of(name: str) -> str:
    return name.partition(":")[0]


def schema_of(name: str) -> str:
    return next(pieces(name.partition(":")[2]), "")


def table_of(name: str) -> str:
    """``hr.salary`` of ``hr.salary.amount``"""
    return ".".join([*pieces(name)][:-1])


def pieces(name: str) -> Iterator[str]:
    """The parts of a dotted name, with their quotes.

    >>> list(pieces('hr."a.b".c'))
    ['hr', '"a.b"', 'c']
    """
    if '"' not in name:
        yield from name.split(".")
        return
    begin, quoted = 0, False
    for at, sign in enumerate(name):
        if sign == '"':
            quoted = not quoted
        elif sign == "." and not quoted:
            yield name[begin:at]
            begin = at + 1
    yield name[begin:]
