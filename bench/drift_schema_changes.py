"""Changes of schema for a made-up history: each maker gives one with all its differences."""

from __future__ import annotations

from collections.abc import Callable

from bench.drift_town import Key, Made, Town, in_database


def _create_table(h: Town) -> Made:
    name = f"{h.dice.choice(('sales', 'hr', 'stock'))}.{h.new('n')}"
    h.columns[name] = ["id", "note"]
    return f"CREATE TABLE {name} (id int, note text)", {in_database("table", name)}


def _drop_table(h: Town) -> Made:
    name = h.idle_table()
    if name is None or len(h.columns) < 50 or h.views_on(name):
        return None
    del h.columns[name]
    return f"DROP TABLE {name}", {in_database("table", name), *_hanging(h, name)}


def _rename_table(h: Town) -> Made:
    """Without views: their names here hold the table's."""
    old = h.idle_table()
    if old is None or h.views_on(old):
        return None
    new = f"{old.partition('.')[0]}.{h.new('n')}"
    h.columns[new] = h.columns.pop(old)
    for word in ("owner", "rls"):
        if was := h.was_set.pop(f"{word} {old}", ""):
            h.was_set[f"{word} {new}"] = was
    return (
        f"ALTER TABLE {old} RENAME TO {new.partition('.')[2]}",
        {in_database("table", old), in_database("table", new), *_hanging(h, old, new)},
    )


def _drop_with_views(h: Town) -> Made:
    """A cascade: the views go with the table."""
    name = next((t for t in h.columns if h.views_on(t) and t not in h.busy), None)
    if name is None:
        return None
    views = h.views_on(name)
    if not h.busy.isdisjoint(views):
        return None
    del h.columns[name]
    h.views = [view for view in h.views if view not in views]
    tables = {in_database("table", each) for each in (name, *views)}
    return f"DROP TABLE {name} CASCADE", tables | _hanging(h, name)


def _hanging(h: Town, table: str, new: str = "") -> set[Key]:
    """Policies, triggers and grants of a table that is gone, or is ``new`` from now on."""
    names = [table, new] if new else [table]
    found: set[Key] = set()
    for policy in [each for each in h.policies if each[0] == table]:
        h.policies.remove(policy)
        h.policies += [(new, policy[1])] if new else []
        found |= {in_database("policy", f"{name}.{policy[1]}") for name in names}
    for trigger in [each for each in h.triggers if each[0] == table]:
        was = h.triggers.pop(trigger)
        h.triggers |= {(new, trigger[1]): was} if new else {}
        found |= {in_database("trigger", f"{name}.{trigger[1]}") for name in names}
    for target, role, privilege in sorted(h.granted):
        kind, _, what = target.partition(":")
        if what != table and not (kind == "column" and what.startswith(f"{table}.")):
            continue
        h.granted.remove((target, role, privilege))
        moved = f"{kind}:{new}{what.removeprefix(table)}"
        h.granted |= {(moved, role, privilege)} if new else set()
        targets = [target, moved] if new else [target]
        found |= {in_database("privilege", f"{each}<-{role}") for each in targets}
    return found


def _add_column(h: Town) -> Made:
    name, column = h.table(), h.new("c")
    h.columns[name].append(column)
    return f"ALTER TABLE {name} ADD COLUMN {column} text", {in_database("table", name)}


def _drop_column(h: Town) -> Made:
    name = h.idle_table()
    extra = [c for c in h.columns.get(name or "", []) if c.startswith("c")]
    if name is None or not extra:
        return None
    column = h.dice.choice(extra)
    h.columns[name].remove(column)
    return f"ALTER TABLE {name} DROP COLUMN {column}", {in_database("table", name)}


def _rename_column(h: Town) -> Made:
    name = h.idle_table()
    extra = [c for c in h.columns.get(name or "", []) if c.startswith("c")]
    if name is None or not extra:
        return None
    old, new = h.dice.choice(extra), h.new("c")
    h.columns[name].remove(old)
    h.columns[name].append(new)
    return f"ALTER TABLE {name} RENAME COLUMN {old} TO {new}", {in_database("table", name)}


def _default(h: Town) -> Made:
    name = h.table()
    return (
        f"ALTER TABLE {name} ALTER COLUMN note SET DEFAULT '{h.new('d')}'",
        {in_database("table", name)},
    )


def _index(h: Town) -> Made:
    name = h.table()
    return f"CREATE INDEX {h.new('i')} ON {name} (note)", {in_database("table", name)}


def _owner(h: Town) -> Made:
    """The owner's own rights are no grants: a table on which nothing was granted changes alone."""
    name, owner = h.table(), h.some_role()
    if any(target in (f"table:{name}", f"column:{name}.note") for target, _, _ in h.granted):
        return None
    if h.was_set.get(f"owner {name}") == owner:
        return None
    h.was_set[f"owner {name}"] = owner
    return f"ALTER TABLE {name} OWNER TO {owner}", {in_database("table", name)}


def _view(h: Town) -> Made:
    table = h.table()
    name = f"sales.{h.new('v')}_{table.replace('.', '_')}"
    h.views.append(name)
    return f"CREATE VIEW {name} AS SELECT id, note FROM {table}", {in_database("table", name)}


def _drop_view(h: Town) -> Made:
    if not h.views:
        return None
    name = h.dice.choice(h.views)
    if name in h.busy:
        return None
    h.views.remove(name)
    return f"DROP VIEW {name}", {in_database("table", name)}


def _function(h: Town) -> Made:
    name = f"sales.{h.new('fn')}"
    h.functions.append(name)
    return (
        f"CREATE FUNCTION {name}(i int) RETURNS int LANGUAGE sql AS 'SELECT i * {h.number}'",
        {in_database("function", f"{name}(i integer)")},
    )


def _new_body(h: Town) -> Made:
    name = h.dice.choice(h.functions)
    return (
        f"CREATE OR REPLACE FUNCTION {name}(i int) RETURNS int LANGUAGE sql"
        f" AS 'SELECT i - {h.new('')}'",
        {in_database("function", f"{name}(i integer)")},
    )


def _definer(h: Town) -> Made:
    name = h.dice.choice(h.functions)
    setting = h.new("")
    return (
        f"ALTER FUNCTION {name}(int) SECURITY DEFINER SET work_mem = '{100 + int(setting)}kB'",
        {in_database("function", f"{name}(i integer)")},
    )


def _policy(h: Town) -> Made:
    table, name = h.table(), h.new("p")
    h.policies.append((table, name))
    return (
        f"CREATE POLICY {name} ON {table} USING (amount > {h.number})"
        if "amount" in h.columns[table]
        else f"CREATE POLICY {name} ON {table} USING (id > {h.number})",
        {in_database("policy", f"{table}.{name}")},
    )


def _drop_policy(h: Town) -> Made:
    if not h.policies:
        return None
    table, name = h.dice.choice(h.policies)
    if f"{table}.{name}" in h.busy:
        return None
    h.policies.remove((table, name))
    return f"DROP POLICY {name} ON {table}", {in_database("policy", f"{table}.{name}")}


def _row_security(h: Town) -> Made:
    name = h.idle_table()
    if name is None:
        return None
    on = f"rls {name}" not in h.was_set
    if on:
        h.was_set[f"rls {name}"] = "on"
    else:
        del h.was_set[f"rls {name}"]
    word = "ENABLE" if on else "DISABLE"
    return f"ALTER TABLE {name} {word} ROW LEVEL SECURITY", {in_database("table", name)}


def _trigger(h: Town) -> Made:
    table, name = h.table(), h.new("tr")
    h.triggers[table, name] = True
    return (
        f"CREATE TRIGGER {name} BEFORE UPDATE ON {table} FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        {in_database("trigger", f"{table}.{name}")},
    )


def _switch_trigger(h: Town) -> Made:
    if not h.triggers:
        return None
    table, name = h.dice.choice(sorted(h.triggers))
    if f"{table}.{name}" in h.busy:
        return None
    h.triggers[table, name] = not h.triggers[table, name]
    word = "ENABLE" if h.triggers[table, name] else "DISABLE"
    return f"ALTER TABLE {table} {word} TRIGGER {name}", {in_database("trigger", f"{table}.{name}")}


def _type(h: Town) -> Made:
    name = f"sales.{h.new('ty')}"
    return f"CREATE TYPE {name} AS ENUM ('a', 'b')", {in_database("type", name)}


def _sequence(h: Town) -> Made:
    name = f"sales.{h.new('s')}"
    return f"CREATE SEQUENCE {name}", {in_database("sequence", name)}


def _odd_table(h: Town) -> Made:
    name = h.new('odd "name\nof ')
    quoted = '"' + name.replace('"', '""') + '"'
    told = quoted.replace("\n", "\\x0a")  # as every name of the record that has a control character
    return f"CREATE TABLE sales.{quoted} (id int)", {in_database("table", f"sales.{told}")}


SCHEMA: tuple[Callable[[Town], Made], ...] = (
    _create_table, _create_table, _drop_table, _rename_table, _drop_with_views, _add_column,
    _add_column, _add_column, _drop_column, _rename_column, _default, _index, _owner, _view,
    _drop_view, _function, _new_body, _definer, _policy, _drop_policy, _row_security, _trigger,
    _switch_trigger, _type, _sequence, _odd_table,
)  # fmt: skip
