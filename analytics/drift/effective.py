"""Who may do what in a database: the closure of grants over everything that passes them on.

A role may do what it was granted, what everybody may, what the roles whose privileges it inherits
may, and all with what these own; superusers may everything; ``pg_read_all_data`` and its like come
by membership. To reach an object a role needs USAGE on its schema.

Left out, because the catalog's facts do not say it or it is no privilege: what an owner took from
itself, rows that policies hide, and what views and security definer functions do for who may use
them. Logging in (LOGIN, CONNECT, pg_hba.conf) is another question.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from analytics.drift.access import (
    PUBLIC,
    Access,
    Bits,
    DefaultGrant,
    Numbering,
    schema_of,
    table_of,
    type_of,
)
from analytics.drift.facts import access_of, revised


@dataclass(frozen=True, slots=True)
class Reach:
    """These roles may do this with each of these objects."""

    roles: tuple[str, ...]
    privileges: tuple[str, ...]
    bits: Bits
    numbering: Numbering = field(repr=False, compare=False)

    @property
    def objects(self) -> tuple[str, ...]:
        """As in privilege items: ``table:hr.salary``; sorted. Made anew each time."""
        return self.numbering.named(self.bits)

    @property
    def count(self) -> int:
        """Of the objects."""
        return self.bits.bit_count()


def inherits(facts: Access, role: str, group: str) -> bool:
    """``pg_has_role(role, group, 'USAGE')``"""
    return facts.roles[role].superuser or group in facts.inherited(role)


def may_set(facts: Access, role: str, group: str) -> bool:
    """Whether SET ROLE works: ``pg_has_role(role, group, 'SET')``, before 16 ``'MEMBER'``."""
    return facts.roles[role].superuser or group in facts.closure(role, "may_set")


def is_member(facts: Access, role: str, group: str) -> bool:
    """``pg_has_role(role, group, 'MEMBER')``"""
    return facts.roles[role].superuser or group in facts.closure(role, "member_of")


def who_can(facts: Access, name: str, privilege: str, *, reaching: bool = True) -> frozenset[str]:
    """Roles that may; ``name`` as in privilege items: ``table:hr.salary``,
    ``column:hr.salary.amount``.

    ``reaching``: only with USAGE on the schema; without it this is what ``has_table_privilege``
    and ``has_column_privilege`` say.
    """
    bit = facts.numbering.find(name)
    table = f"table:{table_of(name.partition(':')[2])}" if type_of(name) == "column" else ""
    of_table = facts.numbering.find(table) if table else 0
    schema = facts.numbering.find(f"schema:{schema_of(name)}") if reaching else 0
    found = set()
    for role in facts.roles:
        effective = facts.effective(role)
        reached = not schema or effective.get("USAGE", 0) & schema
        if reached and effective.get(privilege, 0) & (bit | of_table):
            found.add(role)
    return frozenset(found)


def what_can(facts: Access, role: str) -> dict[str, frozenset[str]]:
    """By privilege, the objects that the role may reach. A column is named only where its table
    is not."""
    reachable = facts.reachable(role)
    effective = facts.effective(role)
    return {
        privilege: frozenset(facts.numbering.named(left))
        for privilege, bits in sorted(effective.items())
        if (left := _plain(facts, bits & reachable, bits))
    }


def to_come(facts: Access, role: str) -> tuple[DefaultGrant, ...]:
    """Default privileges that the role will have a share in, on objects that are yet to be made."""
    mine = facts.inherited(role) | {PUBLIC}
    return tuple(grant for grant in facts.defaults if grant.grantee in mine)


def gained(before: Access, after: Access) -> tuple[Reach, ...]:
    """What roles may now and could not before; most objects first. Both share one numbering."""
    assert before.numbering is after.numbering, "facts that are compared share one numbering"
    groups: dict[str, dict[Bits, list[str]]] = {}
    for role in after.roles:
        for bits, privileges in _news(before, after, role).items():
            groups.setdefault("\0".join(privileges), {}).setdefault(bits, []).append(role)
    found = [
        Reach(tuple(sorted(roles)), tuple(privileges.split("\0")), bits, after.numbering)
        for privileges, by_bits in groups.items()
        for bits, roles in by_bits.items()
    ]
    return tuple(sorted(found, key=lambda r: (-len(r.roles) * r.count, r.privileges, r.roles)))


def lost(before: Access, after: Access) -> tuple[Reach, ...]:
    """What roles could before and may not now."""
    return gained(after, before)


def _news(before: Access, after: Access, role: str) -> dict[Bits, list[str]]:
    """By set of objects, what the role may do with them only now."""
    # Who is new has what everybody has: that says nothing of it.
    former = role if role in before.roles else PUBLIC
    now, then = after.effective(role), before.effective(former)
    same_schemas = now.get("USAGE", 0) == then.get("USAGE", 0)
    if now == then and same_schemas and after.schemas == before.schemas:
        return {}
    reach_now = after.reachable(role)
    reach_then = before.reachable(former)
    found: dict[Bits, list[str]] = {}
    for privilege, bits in now.items():
        had = then.get(privilege, 0) & reach_then
        new = _plain(after, bits & reach_now & ~had, bits | had)
        if new:
            found.setdefault(new, []).append(privilege)
    return found


def _plain(facts: Access, bits: Bits, held: Bits) -> Bits:
    """Without the columns of tables that are held as a whole."""
    for table, columns in facts.columns.items():
        if bits & columns and held & facts.numbering.find(table):
            bits &= ~columns
    return bits


__all__ = [
    "PUBLIC", "Access", "DefaultGrant", "Numbering", "Reach", "access_of", "gained", "inherits",
    "is_member", "lost", "may_set", "revised", "to_come", "what_can", "who_can",
]  # fmt: skip
