"""Catalog items to the facts of one database, and facts with a few items changed."""

from __future__ import annotations

from collections.abc import Iterable

from analytics.drift.access import (
    DATABASE_OWNER,
    FOR_EVERYBODY,
    INHERIT_BY_MEMBERSHIP,
    NOT_IN_A_SCHEMA,
    OBJECTS,
    PEOPLE,
    PRIVILEGES,
    PUBLIC,
    REVOKED,
    Access,
    Bits,
    DefaultGrant,
    Numbering,
    Role,
    add,
    schema_of,
    table_of,
    type_of,
)
from model.catalog import CatalogItem, CatalogKind


def access_of(
    items: Iterable[CatalogItem], database: str, major: int, numbering: Numbering | None = None
) -> Access:
    """``items``: cluster-wide ones and those of ``database``; others are passed over.

    ``numbering``: of the facts that these will be compared with.
    """
    access = Access(numbering or Numbering())
    access.database, access.major = database, major
    mine = [item for item in items if item.database in ("", database)]
    revoked = {item.name for item in mine if item.value == REVOKED}
    for item in mine:
        if item.kind in PEOPLE:
            access.people[item.kind, item.name] = item
        elif item.kind is CatalogKind.PRIVILEGE:
            _privilege(access, item, revoked)
        elif item.kind in OBJECTS or item.kind is CatalogKind.FUNCTION:
            _object(access, item, revoked)
    _meet(access)
    return access


def revised(facts: Access, gone: Iterable[CatalogItem], come: Iterable[CatalogItem]) -> Access:
    """The facts with these roles, memberships and privileges instead of those, and of objects with
    these owners; the rest is shared, so it costs what differs."""
    access = Access(facts.numbering)
    access.database, access.major = facts.database, facts.major
    access.people, access.grants = {**facts.people}, {**facts.grants}
    access.owned, access.types, access.schemas = {**facts.owned}, {**facts.types}, {**facts.schemas}
    access.columns, access.defaults = {**facts.columns}, facts.defaults
    revoked: set[str] = set()
    for item in gone:
        if item.kind in PEOPLE:
            access.people.pop((item.kind, item.name), None)
        elif item.kind is CatalogKind.PRIVILEGE:
            _take_back(access, item)
        else:
            name, owner = _owned(item)
            _remove(access.owned, (owner,), access.numbering.find(name))
    for item in come:
        if item.kind in PEOPLE:
            access.people[item.kind, item.name] = item
        elif item.kind is not CatalogKind.PRIVILEGE:
            name, owner = _owned(item)
            add(access.owned, (owner,), access.numbering.find(name))
        elif not item.name.startswith("default:"):
            target, _, grantee = item.name.rpartition("<-")
            for who in (grantee, PUBLIC):
                access.grants[who] = {**access.grants.get(who, {})}
            bit = _place(access, target, "", revoked)
            if item.value == REVOKED:
                _remove(
                    access.grants[PUBLIC], (FOR_EVERYBODY.get(type_of(target), "EXECUTE"),), bit
                )
            else:
                add(access.grants[grantee], _words(item.value), bit)
    _meet(access)
    return access


def _take_back(access: Access, item: CatalogItem) -> None:
    target, _, grantee = item.name.rpartition("<-")
    bit = access.numbering.find(target)
    granted = access.grants[grantee] = {**access.grants.get(grantee, {})}
    if item.value == REVOKED:
        add(granted, (FOR_EVERYBODY.get(type_of(target), "EXECUTE"),), bit)
    else:
        _remove(granted, _words(item.value), bit)


def _remove(found: dict[str, Bits], privileges: Iterable[str], bits: Bits) -> None:
    for privilege in privileges:
        found[privilege] = found.get(privilege, 0) & ~bits


def _words(value: str) -> tuple[str, ...]:
    return tuple(word.strip().rstrip("*") for word in value.split(","))


def _meet(access: Access) -> None:
    """Roles first, for who they are decides what their memberships pass on."""
    for (kind, name), item in access.people.items():
        if kind is CatalogKind.ROLE:
            words = item.value.split()
            access.roles[name] = Role(
                superuser="superuser=true" in words, inherit="inherit=false" not in words
            )
    for (kind, _), item in access.people.items():
        if kind is CatalogKind.MEMBERSHIP:
            _member(access, item, access.major)
    _owner_of_database(access, access.database, access.major)


def _member(access: Access, item: CatalogItem, major: int) -> None:
    group, _, member = item.name.partition("<-")
    role = access.roles.setdefault(member, Role())
    words = item.value.split()
    role.member_of.append(group)
    passes = "noinherit" not in words if major >= INHERIT_BY_MEMBERSHIP else role.inherit
    if passes:
        role.inherits.append(group)
    if "noset" not in words:
        role.may_set.append(group)
    if "admin" in words:
        role.administers.append(group)


def _owner_of_database(access: Access, database: str, major: int) -> None:
    """Whoever owns the database is a member of pg_database_owner, from 14 on."""
    quoted = '"' + database.replace('"', '""') + '"'
    bit = access.numbering.find(f"database:{database}")
    bit |= access.numbering.find(f"database:{quoted}")
    for owner, bits in access.owned.items():
        role = access.roles.get(owner)
        if bit and bits & bit and role is not None and DATABASE_OWNER in access.roles:
            role.member_of.append(DATABASE_OWNER)
            role.may_set.append(DATABASE_OWNER)
            if major >= INHERIT_BY_MEMBERSHIP or role.inherit:
                role.inherits.append(DATABASE_OWNER)


def _object(access: Access, item: CatalogItem, revoked: Iterable[str]) -> None:
    name, owner = _owned(item)
    _place(access, name, owner, revoked)


def _owned(item: CatalogItem) -> tuple[str, str]:
    """``table:hr.salary``, and whose it is."""
    lines = dict(_line(line) for line in item.value.splitlines())
    kind = OBJECTS.get(item.kind) or lines.get("kind", "function")
    kind = kind if kind in PRIVILEGES else "function"
    name = item.name
    if kind == "foreign_server" and name.startswith("wrapper "):
        kind, name = "foreign_data_wrapper", name.removeprefix("wrapper ")
    return f"{kind}:{name}", lines.get("owner", "")


def _line(line: str) -> tuple[str, str]:
    key, _, text = line.partition(": ")
    return key, text


def _privilege(access: Access, item: CatalogItem, revoked: Iterable[str]) -> None:
    target, _, grantee = item.name.rpartition("<-")
    privileges = _words(item.value)
    if target.startswith("default:"):
        if item.value != REVOKED:
            access.defaults.append(_default(target.partition(":")[2], grantee, privileges))
        return
    owner = item.detail.removeprefix("owned by ") if item.detail.startswith("owned by ") else ""
    bit = _place(access, target, owner, revoked)
    if item.value == REVOKED:
        return
    granted = access.grants.setdefault(grantee, {})
    add(granted, privileges, bit)


def _default(said: str, grantee: str, privileges: tuple[str, ...]) -> DefaultGrant:
    """``tables of bob in hr``"""
    objects, _, rest = said.partition(" of ")
    maker, _, schema = rest.partition(" in ")
    return DefaultGrant(maker, schema, objects, grantee, privileges)


def _place(access: Access, name: str, owner: str, revoked: Iterable[str]) -> Bits:
    """The object's bit; notes its type, schema and owner when it is met."""
    bit, kind = access.numbering.bit(name), type_of(name)
    if not access.types.get(kind, 0) & bit:
        access.types[kind] = access.types.get(kind, 0) | bit
        schema = "" if kind in NOT_IN_A_SCHEMA else schema_of(name)
        access.schemas[schema] = access.schemas.get(schema, 0) | bit
        if kind == "column":
            table = f"table:{table_of(name.partition(':')[2])}"
            access.columns[table] = access.columns.get(table, 0) | bit
        default = FOR_EVERYBODY.get(kind)
        if default and f"{name}<-{PUBLIC}" not in revoked:
            add(access.grants.setdefault(PUBLIC, {}), (default,), bit)
    if owner:
        access.owned[owner] = access.owned.get(owner, 0) | bit
    return bit
