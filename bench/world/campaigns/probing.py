"""Probing: injection through a service, a look at all schemas, an AI agent gone astray."""

from __future__ import annotations

from bench.world import texts
from bench.world.act import Act, Recipe
from bench.world.people import rows_of
from bench.world.relations import of


def sql_injection(act: Act) -> str:
    """Through a service: broken texts first, then texts that say more than they should."""
    seat = act.seat()
    entry = act.rng.choice(act.who.relations)
    base = texts.point(act.rng, entry, "'a'")
    columns = base.split(" FROM ")[0].removeprefix("SELECT ").split(", ")
    nulls = ", ".join(["NULL"] * (len(columns) - 1))
    broken = round(act.between(120, 8))
    for _ in range(broken):
        text, state = act.rng.choice(
            (
                (f"{base}'", "42601"),
                (f"{base} OR", "42601"),
                (f"{base} UNION SELECT NULL", "42601"),
                (f"{base} ORDER BY 99", "42P01"),
                (f"{base} AND id = 'abc'", "22P02"),
                (f"{base} AND secret = 1", "42703"),
                (f"{base} OR 1 = 1 LIMIT 1", "00000"),
                (f"{base} AND 1 = (SELECT 1 FROM pg_sleep(3))", "00000"),
            )
        )
        act.say(seat, text, act.rng.randint(0, 2), sqlstate=state)
        act.wait(0.2, act.between(6, 40))
    targets = act.prey(act.who.home.database, max(1, round(act.between(4, 1))))
    tail = f", {nulls}" if nulls else ""
    for source in ("table_name::text", "column_name::text"):
        where = "tables" if source.startswith("table") else "columns"
        act.say(seat, f"{base} UNION SELECT {source}{tail} FROM information_schema.{where}", 140)
        act.wait(2, 60)
    for target in targets:
        column = act.rng.choice(target.columns[1:])
        text = f"{base} UNION SELECT {column}::text{tail} FROM {target.said}"
        act.say(seat, text, act.rng.lognormvariate(act.between(9, 5), 0.8), target)
        act.wait(2, 60)
    return f"{broken} broken texts through {entry.said}, then {', '.join(r.said for r in targets)}"


def schema_reconnaissance(act: Act) -> str:
    """What is there? Catalogs, counts, a row of each relation."""
    seat = act.seat()
    act.look_around(seat, round(act.between(30, 6)))
    tables = list(of(act.who.home.database))
    act.rng.shuffle(tables)
    seen = tables[: max(4, round(act.between(30, 6)))]
    for target in seen:
        if act.rng.random() < 0.2:
            act.say(seat, f"SELECT * FROM {target.said} LIMIT 1", sqlstate="42501")
        elif act.rng.random() < 0.5:
            act.say(seat, f"SELECT count(*) FROM {target.said}", 1, target)
        else:
            act.say(seat, f"SELECT * FROM {target.said} LIMIT 1", 1, target)
        act.wait(1, act.between(15, 90))
    return f"{len(seen)} relations of {act.who.home.database}"


def agent_astray(act: Act) -> str:
    """An AI agent leaves its task: other relations and databases, refusals, attempts to write."""
    seat = act.seat()
    count = round(act.between(260, 45))
    home = act.who.home.database
    roams = act.rng.random() < 0.4
    tables = act.unknown(home)[: max(4, round(act.between(18, 4)))]
    if roams:
        other = act.rng.choice([n for n in ("shop", "billing", "hr", "ml") if n != home])
        tables = tables[:4] + act.rng.sample(of(other), 5)
    for n in range(count):
        relation = tables[(n * len(tables)) // count]
        if relation.place != seat.place:
            seat = act.seat(relation.place)
        kind = act.rng.random()
        if kind < 0.1 + 0.15 * (1 - act.stealth):
            act.say(seat, texts.look(act.rng, relation), sqlstate="42501")
        elif kind < 0.3:
            text, state = texts.misspelt(act.rng, texts.report(act.rng, relation))
            act.say(seat, text, sqlstate=state)
        elif kind < 0.36:
            text = act.rng.choice((texts.update, texts.delete))(act.rng, relation)
            text = text.replace("$1", "'a'").replace("$2", "'b'").replace("$3", "'c'")
            fine = act.rng.random() < 0.4
            act.say(seat, text.replace("$4", "'d'"), 3, relation, "00000" if fine else "42501")
        else:
            maker = act.rng.choice((texts.look, texts.report, texts.join, texts.export))
            text = maker(act.rng, relation).replace("$1", "'42'")
            rows = act.rng.lognormvariate(act.between(8, 5), 1.0)
            rows = rows if maker is texts.export else rows_of(act.rng, text, relation)
            act.say(seat, text, rows, relation)
        act.wait(0.5, act.between(8, 40))
    return f"{count} statements on {len(tables)} relations"


RECIPES = (
    Recipe("sql_injection", ("service",), sql_injection, when="any"),
    Recipe(
        "schema_reconnaissance", ("analyst", "partner", "support", "ai_agent", "service", "bi"),
        schema_reconnaissance,
    ),
    Recipe("agent_astray", ("ai_agent",), agent_astray),
)  # fmt: skip
