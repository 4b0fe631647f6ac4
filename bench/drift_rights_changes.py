"""Changes of rights and settings for a made-up history, as ``bench/drift_schema_changes.py``."""

from __future__ import annotations

from collections.abc import Callable

from bench.drift_town import DATABASE, Made, Town, in_database


def _grant_on(h: Town, kind: str, name: str, privilege: str, word: str) -> Made:
    role = h.some_role()
    target = f"{kind}:{name}"
    key = (target, role, privilege)
    if any(t == target and r == role for t, r, _ in h.granted - {key}):
        return None
    item = {("privilege", DATABASE, f"{target}<-{role}")}
    if key in h.granted:
        h.granted.remove(key)
        return f"REVOKE {privilege} ON {word} FROM {role}", item
    h.granted.add(key)
    return f"GRANT {privilege} ON {word} TO {role}", item


def _grant_table(h: Town) -> Made:
    name = h.table()
    if h.was_set.get(f"owner {name}"):
        return None  # a grant to the owner is none
    privilege = h.dice.choice(("SELECT", "INSERT", "UPDATE"))
    return _grant_on(h, "table", name, privilege, name)


def _grant_column(h: Town) -> Made:
    name = h.table()
    if h.was_set.get(f"owner {name}"):
        return None
    role, key = h.some_role(), f"{name}.note"
    if any(target == f"table:{name}" for target, _, _ in h.granted):
        return None
    item = {in_database("privilege", f"column:{key}<-{role}")}
    known = (f"column:{key}", role, "SELECT")
    word = "REVOKE" if known in h.granted else "GRANT"
    h.granted ^= {known}
    of = "FROM" if word == "REVOKE" else "TO"
    return f"{word} SELECT (note) ON {name} {of} {role}", item


def _grant_schema(h: Town) -> Made:
    name = h.dice.choice(("sales", "hr", "stock"))
    return _grant_on(h, "schema", name, "USAGE", f"SCHEMA {name}")


def _grant_function(h: Town) -> Made:
    name = h.dice.choice(h.functions)
    return _grant_on(h, "function", f"{name}(i integer)", "EXECUTE", f"FUNCTION {name}(int)")


def _membership(h: Town) -> Made:
    group, member = h.some_role(), h.some_role()
    if int(group[1:]) >= int(member[1:]):
        return None  # no circles
    item = {("membership", "", f"{group}<-{member}")}
    if (group, member) in h.members:
        h.members.remove((group, member))
        return f"REVOKE {group} FROM {member}", item
    h.members.add((group, member))
    return f"GRANT {group} TO {member}", item


def _attribute(h: Town) -> Made:
    role = h.some_role()
    limit = h.new("")
    return f"ALTER ROLE {role} CONNECTION LIMIT {limit}", {("role", "", role)}


def _create_role(h: Town) -> Made:
    name = h.new("nr")
    return f"CREATE ROLE {name}", {("role", "", name)}


GRANTS: tuple[Callable[[Town], Made], ...] = (
    _grant_table, _grant_table, _grant_table, _grant_column, _grant_schema, _grant_function,
    _membership, _membership, _attribute, _create_role,
)  # fmt: skip
SERVER_SETTINGS = (
    "work_mem", "maintenance_work_mem", "temp_buffers", "effective_cache_size",
    "autovacuum_work_mem", "gin_pending_list_limit", "min_parallel_table_scan_size",
)  # fmt: skip
FILE_SETTINGS = ("commit_siblings", "geqo_threshold", "join_collapse_limit", "vacuum_cost_limit")


def _alter_system(h: Town) -> Made:
    name = h.dice.choice(SERVER_SETTINGS)
    return (
        f"ALTER SYSTEM SET {name} = '{2048 + int(h.new(''))}kB'",
        {("setting", "", name)},
    )


def _role_setting(h: Town) -> Made:
    role = h.some_role()
    return (
        f"ALTER ROLE {role} SET work_mem = '{1024 + int(h.new(''))}kB'",
        {("setting", "", f"work_mem@{role}")},
    )


def _database_setting(h: Town) -> Made:
    name = h.dice.choice(("statement_timeout", "lock_timeout"))
    return (
        f"ALTER DATABASE {DATABASE} SET {name} = '{1_000_000 + int(h.new(''))}ms'",
        {("setting", "", f"{name}@{DATABASE}")},
    )


def _file(h: Town) -> Made:
    name = h.dice.choice(FILE_SETTINGS)
    return f"FILE {name} = {20 + int(h.new('')) % 900}", {("setting", "", name)}


SETTINGS: tuple[Callable[[Town], Made], ...] = (
    _alter_system, _role_setting, _role_setting, _role_setting, _database_setting, _file,
)  # fmt: skip
