"""SQL as programs and people write it, from relations and dice."""

from __future__ import annotations

from random import Random

from bench.world.relations import Relation, link, of

_AGGREGATES = ("count(*)", "sum({})", "avg({})", "max({})", "min({})", "count(DISTINCT {})")
_NUMBERS = ("total", "amount", "price", "revenue", "quantity", "value", "margin", "score", "id")
_TIMES = ("placed_at", "at", "updated_at", "created_at", "day", "paid_at", "issued_at", "loaded_at")


def some_columns(rng: Random, relation: Relation, least: int = 1) -> list[str]:
    most = len(relation.columns)
    return sorted(rng.sample(relation.columns, rng.randint(min(least, most), most)))


def key_of(rng: Random, relation: Relation) -> str:
    keys = [c for c in relation.columns if c.endswith("id")]
    return rng.choice(keys)


def time_of(relation: Relation) -> str:
    return next((c for c in _TIMES if c in relation.columns), relation.columns[-1])


def number_of(rng: Random, relation: Relation) -> str:
    return rng.choice([c for c in _NUMBERS if c in relation.columns])


def point(rng: Random, relation: Relation, value: str = "$1") -> str:
    columns = ", ".join(some_columns(rng, relation, 2))
    return f"SELECT {columns} FROM {relation.said} WHERE {key_of(rng, relation)} = {value}"


def page(rng: Random, relation: Relation, value: str = "$1", limit: str = "20") -> str:
    order = rng.choice(relation.columns)
    return f"{point(rng, relation, value)} ORDER BY {order} DESC LIMIT {limit}"


def join(rng: Random, relation: Relation, value: str = "$1") -> str:
    other, on = partner(rng, relation)
    mine = ", ".join(f"a.{c}" for c in some_columns(rng, relation))
    theirs = ", ".join(f"b.{c}" for c in some_columns(rng, other))
    return (
        f"SELECT {mine}, {theirs} FROM {relation.said} a JOIN {other.said} b ON {on}"
        f" WHERE a.{key_of(rng, relation)} = {value}"
    )


def partner(rng: Random, relation: Relation) -> tuple[Relation, str]:
    """Another relation of the same schema, and how they join as ``a`` and ``b``."""
    others = [r for r in of(relation.place.database, relation.schema) if r != relation]
    linked = [(r, f"a.{c} = b.id") for r in others if (c := link(relation, r))]
    linked += [(r, f"b.{c} = a.id") for r in others if (c := link(r, relation))]
    shared = [
        (r, f"a.{c} = b.{c}")
        for r in others
        for c in relation.columns
        if c.endswith("_id") and c in r.columns
    ]
    return rng.choice(linked or shared or [(r, "a.id = b.id") for r in others])


def count(rng: Random, relation: Relation, value: str = "$1") -> str:
    column = rng.choice(relation.columns)
    return f"SELECT count(*) FROM {relation.said} WHERE {column} = {value}"


def insert(rng: Random, relation: Relation) -> str:
    columns = some_columns(rng, relation, max(2, len(relation.columns) - 2))
    values = ", ".join(f"${n + 1}" for n in range(len(columns)))
    tail = rng.choice(("", " RETURNING id", " ON CONFLICT DO NOTHING"))
    return f"INSERT INTO {relation.said} ({', '.join(columns)}) VALUES ({values}){tail}"


def update(rng: Random, relation: Relation) -> str:
    changed = rng.sample(relation.columns[1:], min(len(relation.columns) - 1, rng.randint(1, 3)))
    sets = ", ".join(f"{c} = ${n + 2}" for n, c in enumerate(sorted(changed)))
    return f"UPDATE {relation.said} SET {sets} WHERE {key_of(rng, relation)} = $1"


def delete(rng: Random, relation: Relation) -> str:
    return f"DELETE FROM {relation.said} WHERE {key_of(rng, relation)} = $1"


def report(rng: Random, relation: Relation) -> str:
    """Grouped figures, as dashboards and analysts ask for."""
    group = rng.sample(relation.columns, rng.randint(1, min(2, len(relation.columns))))
    figures = rng.sample(_AGGREGATES, rng.randint(1, 3))
    said = ", ".join(f.format(f"a.{number_of(rng, relation)}") for f in figures)
    source = f"{relation.said} a"
    if rng.random() < 0.5:
        other, on = partner(rng, relation)
        source += f" JOIN {other.said} b ON {on}"
        group.append(f"b.{rng.choice(other.columns)}")
    by = ", ".join(g if "." in g else f"a.{g}" for g in group)
    condition = f"a.{time_of(relation)} >= '2026-01-01'"
    if rng.random() < 0.4:
        condition += f" AND a.{rng.choice(relation.columns)} IS NOT NULL"
    tail = rng.choice(("", " ORDER BY 1", " ORDER BY 2 DESC LIMIT 100", " HAVING count(*) > 10"))
    order = "" if "HAVING" in tail else tail
    having = tail if "HAVING" in tail else ""
    return f"SELECT {by}, {said} FROM {source} WHERE {condition} GROUP BY {by}{having}{order}"


def look(rng: Random, relation: Relation) -> str:
    """A first look at a relation."""
    limit = rng.choice((1, 5, 10, 50, 100, 1000))
    if rng.random() < 0.5:
        return f"SELECT * FROM {relation.said} LIMIT {limit}"
    column = rng.choice(relation.columns)
    return f"SELECT * FROM {relation.said} WHERE {column} IS NOT NULL LIMIT {limit}"


def export(rng: Random, relation: Relation) -> str:
    """Many rows of a relation, to a file or notebook."""
    if rng.random() < 0.15:
        return f"COPY {relation.said} TO STDOUT (FORMAT csv)"
    columns = "*" if rng.random() < 0.4 else ", ".join(some_columns(rng, relation, 3))
    return f"SELECT {columns} FROM {relation.said} WHERE {time_of(relation)} >= '2026-01-01'"


def misspelt(rng: Random, text: str) -> tuple[str, str]:
    """The text with a slip, and the SQLSTATE that it earns."""
    kind = rng.random()
    if kind < 0.4:
        return text.replace(" FROM ", " FORM ", 1), "42601"
    words = text.split()
    at = next((n for n, word in enumerate(words) if word == "FROM"), len(words) - 1)
    if kind < 0.7 and at + 1 < len(words):
        name = words[at + 1]
        words[at + 1] = name[:-2] + name[-1:] if len(name) > 3 else name + "s"
        return " ".join(words), "42P01"
    words[1] = words[1].rstrip(",*") + "x" + ("," if words[1].endswith(",") else "")
    return " ".join(words), "42703"
