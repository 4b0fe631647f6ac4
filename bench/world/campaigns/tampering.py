"""Things changed that should not be: logs, data, prompts, models, prices, flags."""

from __future__ import annotations

from bench.world.act import Act, Recipe
from bench.world.relations import of, place, relation


def log_tampering(act: Act) -> str:
    """Logging off, or traces deleted."""
    login = act.who.user_name
    settings = (
        "ALTER SYSTEM SET log_statement = 'none'",
        "SET pgaudit.log = 'none'",
        "SET log_min_duration_statement = -1",
        f"ALTER ROLE {login} SET pgaudit.log = 'none'",
        "ALTER SYSTEM SET log_connections = off",
        "SELECT pg_rotate_logfile()",
        "SET session_replication_role = replica",
        "SELECT pg_stat_statements_reset()",
    )
    deletions = (
        f"DELETE FROM audit.entries WHERE actor = '{login}'",
        "DELETE FROM audit.logins WHERE at > '2026-01-01'",
        "TRUNCATE audit.logins",
        f"UPDATE audit.entries SET actor = 'batch' WHERE actor = '{login}'",
    )
    count = max(1, round(act.between(5, 1)))
    erases = act.rng.random() < 0.6
    seat = act.seat(place("billing") if erases else None)
    for text in act.rng.sample(settings, count):
        act.say(seat, text)
        act.wait(5, 120)
        if "SYSTEM" in text:
            act.say(seat, "SELECT pg_reload_conf()", 1)
            act.wait(3, 60)
    if erases:
        for text in act.rng.sample(deletions, max(1, round(act.between(3, 1)))):
            act.say(seat, text, act.rng.lognormvariate(act.between(9, 3), 1.0))
            act.wait(5, 100)
    return f"{count} settings" + (", and traces deleted" if erases else "")


def data_destruction(act: Act) -> str:
    """Rows or relations that are gone."""
    seat = act.seat()
    tables = list(act.who.relations if act.rng.random() < 0.7 else of(act.who.home.database))
    act.rng.shuffle(tables)
    count = max(1, round(act.between(14, 2)))
    way = act.rng.choice(("delete", "truncate", "drop", "overwrite", "wide delete"))
    hit = tables[:count]
    for target in hit:
        whole = float(target.rows)
        column = target.columns[-1]
        text, rows = {
            "delete": (f"DELETE FROM {target.said}", whole),
            "truncate": (f"TRUNCATE {target.said} CASCADE", 0),
            "drop": (f"DROP TABLE {target.said} CASCADE", 0),
            "overwrite": (f"UPDATE {target.said} SET {column} = NULL", whole),
            "wide delete": (
                f"DELETE FROM {target.said} WHERE id < 900000", whole * act.between(0.9, 0.15),
            ),
        }[way]  # fmt: skip
        act.say(seat, text, rows, target, duration_us=2_000 + rows * 3)
        act.now += rows * 3
        act.wait(2, act.between(30, 200))
    return f"{way} of {', '.join(r.said for r in hit)}"


CONFIGURATION = (
    ("ml", "prompts", "body = 'Ignore the rules'"),
    ("ml", "prompts", "active = false"),
    ("ml", "models", "path = 's3://elsewhere/model'"),
    ("ml", "models", "stage = 'production'"),
    ("ml", "guardrails", "action = 'allow'"),
    ("ml", "tool_grants", "allowed = true"),
    ("shop", "config.feature_flags", "enabled = false"),
    ("shop", "config.rate_limits", "per_minute = 100000"),
    ("billing", "config.pricing_rules", "expression = 'price * 0.1'"),
    ("billing", "config.gateway_keys", "api_key = 'x'"),
    ("billing", "config.limits", "amount = 99999999"),
)


def config_tampering(act: Act) -> str:
    """A look at a table that configures something, then one or some rows of it changed."""
    near = [c for c in CONFIGURATION if c[0] == act.who.home.database]
    database, name, change = act.rng.choice(near or CONFIGURATION)
    target = relation(database, name)
    seat = act.seat(target.place)
    for _ in range(act.rng.randint(1, 3)):
        act.say(seat, f"SELECT * FROM {target.said}", target.rows, target)
        act.wait(10, 200)
    count = max(1, round(act.between(8, 1)))
    for _ in range(count):
        act.say(seat, f"UPDATE {target.said} SET {change} WHERE id = 7", 1, target)
        act.wait(4, 90)
    return f"{count} x {target.said}: {change.split(' ')[0]}"


RECIPES = (
    Recipe("log_tampering", ("dba", "etl", "service"), log_tampering),
    Recipe("data_destruction", ("dba", "service", "etl", "ai_agent"), data_destruction),
    Recipe(
        "config_tampering", ("analyst", "dba", "support", "ai_agent", "partner"), config_tampering
    ),
)  # fmt: skip
