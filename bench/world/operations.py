"""Loud work on the servers: migrations, backfills, dumps, indexes, reviews, incidents."""

from __future__ import annotations

import dataclasses

from bench.world import texts
from bench.world.act import CATALOG, Act
from bench.world.calendar import BLOCK_DAYS, HOUR_US
from bench.world.campaigns.access import nobody
from bench.world.cast import pod_address
from bench.world.dbas import DATABASES, LOOKS, dump
from bench.world.identity import Identity
from bench.world.jobs import run
from bench.world.machines import template
from bench.world.relations import Relation, of, place


def migration(act: Act) -> str:
    """DDL of a release, and a column filled in batches."""
    database = act.rng.choice(DATABASES)
    seat = act.seat(place(database))
    touched = act.rng.sample(of(database), act.rng.randint(1, 4))
    for relation in touched:
        column = act.rng.choice(("origin", "region_code", "archived_at", "tier", "locale"))
        for text in act.rng.sample(_ddl(relation, column), act.rng.randint(1, 4)):
            act.say(seat, text, duration_us=act.rng.lognormvariate(11, 2))
            act.wait(0.5, 8)
        if act.rng.random() < 0.5:
            step = f"UPDATE {relation.said} SET {column} = 'eu' WHERE id > 1000 AND id <= 6000"
            for _ in range(act.rng.randint(10, 80)):
                act.say(seat, step, act.rng.randint(1000, 5000), relation)
                act.wait(0.5, 3)
    return f"DDL on {', '.join(r.said for r in touched)}"


def _ddl(relation: Relation, column: str) -> list[str]:
    name = f"{relation.name}_{column}"
    return [
        f"ALTER TABLE {relation.said} ADD COLUMN {column} text",
        f"CREATE INDEX CONCURRENTLY {name}_idx ON {relation.said} ({relation.columns[-1]})",
        f"ALTER TABLE {relation.said} ALTER COLUMN {column} SET DEFAULT 'eu'",
        f"CREATE TABLE {relation.said}_history (LIKE {relation.said})",
        f"DROP TABLE IF EXISTS {relation.said}_old",
        f"GRANT SELECT ON {relation.said} TO analyst",
    ]


def backfill(act: Act) -> str:
    """Days loaded again, one after the other."""
    count, scale = act.rng.randint(5, 25), act.rng.uniform(3, 12)
    for _ in range(count):
        act.now = run(act.page, act.calendar, act.who, int(act.now), scale, full=True)
        act.wait(2, 30)
    return f"{count} days loaded again"


def one_dump(act: Act) -> str:
    database = act.rng.choice(DATABASES)
    dump(act.page, act.who, int(act.now), database)
    return f"a copy of {database} for a test"


def index_build(act: Act) -> str:
    seat = act.seat()
    count = act.rng.randint(1, 6)
    for relation in act.rng.sample(of(act.who.home.database), count):
        column = act.rng.choice(relation.columns)
        text = act.rng.choice(
            (
                f"CREATE INDEX CONCURRENTLY ON {relation.said} ({column})",
                f"REINDEX TABLE CONCURRENTLY {relation.said}",
                f"CLUSTER {relation.said}",
                f"VACUUM (FULL) {relation.said}",
            )
        )
        act.say(seat, text, duration_us=relation.rows * act.rng.uniform(3, 15) + 5000)
        act.now += relation.rows * 8
        act.wait(5, 120)
    return f"{count} relations"


def tuning(act: Act) -> str:
    """Settings, also of logging."""
    seat = act.seat()
    said = act.rng.sample(
        (
            "ALTER SYSTEM SET work_mem = '64MB'",
            "ALTER SYSTEM SET log_min_duration_statement = 250",
            "ALTER SYSTEM SET autovacuum_vacuum_cost_limit = 2000",
            "ALTER SYSTEM SET max_wal_size = '8GB'",
            "SET log_statement = 'all'",
            "SET statement_timeout = 0",
            "ALTER DATABASE shop SET random_page_cost = 1.1",
        ),
        act.rng.randint(1, 4),
    )
    for text in said:
        act.say(seat, text)
        act.wait(5, 120)
    act.say(seat, "SELECT pg_reload_conf()", 1)
    return f"{len(said)} settings"


def cleanup(act: Act) -> str:
    """Old rows deleted, staging emptied."""
    seat = act.seat()
    count = act.rng.randint(1, 4)
    for relation in act.rng.sample(act.who.relations, min(count, len(act.who.relations))):
        old = f"{texts.time_of(relation)} < '2024-01-01'"
        text = f"DELETE FROM {relation.said} WHERE {old}"
        rows = relation.rows * act.rng.uniform(0.005, 0.15)
        if act.who.role == "etl" and act.rng.random() < 0.6:
            text, rows = f"TRUNCATE {relation.said}", 0
        act.say(seat, text, rows, relation, duration_us=3000 + rows * 4)
        act.now += rows * 4
        act.wait(2, 60)
    return f"old rows of {count} relations"


def access_review(act: Act) -> str:
    """Who may do what, in every database."""
    count = 0
    for database in DATABASES:
        seat = act.seat(place(database))
        for _ in range(act.rng.randint(8, 24)):
            relation = act.rng.choice(of(database))
            text = act.rng.choice(CATALOG).format(name=relation.name, schema=relation.schema)
            act.say(seat, text, act.rng.lognormvariate(3, 1))
            act.wait(2, 40)
            count += 1
    return f"{count} looks at rights"


def password_rotation(act: Act) -> str:
    """One host was forgotten and tries the old password until somebody sees it."""
    seat = act.seat()
    count, pause = act.rng.randint(30, 250), act.rng.uniform(1, 5)
    for _ in range(count):
        act.page.fail_login(seat, act.now)
        act.wait(pause * 0.5, pause * 1.5)
    return f"{count} refused logins of one host"


def resync(act: Act) -> str:
    """A partner or an index reads a whole relation again, page by page."""
    target = max(act.who.relations, key=lambda r: r.rows if r.rows < 3e6 else 0)
    columns = ", ".join(texts.some_columns(act.rng, target, 3))
    size = max(50, round(target.rows * act.rng.uniform(0.001, 0.01)))
    text = f"SELECT {columns} FROM {target.said} WHERE id > 100 ORDER BY id LIMIT {size}"
    pages, pause = target.rows // size, act.rng.uniform(5, 120)
    seat = act.seat()
    for _ in range(pages):
        act.say(seat, text, size, target)
        act.wait(pause * 0.5, pause * 1.5)
    return f"{target.said} in {pages} pages"


BASTION = "10.20.0.5"


def break_glass(act: Act) -> str:
    """A developer looks at a fault with the service's login, as the handbook allows."""
    address = act.rng.choice((BASTION, act.rng.choice(act.who.addresses)))
    seat = act.seat(application_name="psql", client_address=address)
    count = act.rng.randint(4, 14)
    for _ in range(count):
        act.read(seat, act.rng.choice(act.who.relations), act.rng.lognormvariate(2, 1))
        act.wait(10, 200)
    return f"{count} statements with psql from {address}"


def password_expiry(act: Act) -> str:
    """One morning half of the people have a password that is too old."""
    everybody = [w for w in act.scene.cast if w.kind == "human"]
    people_hit = act.rng.sample(everybody, act.rng.randint(7, 13))
    for person in people_hit:
        seat = act.seat(person.home, who=person)
        for _ in range(act.rng.randint(1, 4)):
            act.page.fail_login(seat, act.now)
            act.wait(3, 30)
        act.wait(10, 900)
    return f"{len(people_hit)} people"


def new_service(act: Act) -> str:
    """A DBA makes a login, and a program begins to use it."""
    names = ("gift_cards", "pickup_points", "vat_check", "price_alerts", "stock_forecast")
    login = f"{act.rng.choice(names)}_{act.rng.randint(1, 9)}"
    seat = act.seat()
    act.say(seat, f"CREATE ROLE {login} LOGIN PASSWORD 'x'")
    tables = act.rng.sample(of(act.who.home.database), 5)
    for relation in tables:
        act.wait(4, 60)
        act.say(seat, f"GRANT SELECT, INSERT, UPDATE ON {relation.said} TO {login}")
    program = _program(act, login, tables)
    shapes = [
        template(act.rng, act.rng.choice(("point", "page", "join", "insert")), relation, 1.0)
        for relation in tables
        for _ in range(2)
    ]
    act.now += act.rng.uniform(0.5, 30) * HOUR_US
    end = act.calendar.at((act.day // BLOCK_DAYS + 1) * BLOCK_DAYS)
    pause = act.rng.uniform(120, 600)
    seat = act.seat(who=program)
    while act.now < end:
        shape = act.rng.choice(shapes)
        rows = min(shape.cap, act.rng.lognormvariate(shape.mu, shape.sigma))
        act.say(seat, shape.text, rows, tables[0])
        act.wait(pause * 0.1, pause * 1.9)
    return f"{login} begins"


def _program(act: Act, login: str, tables: list[Relation]) -> Identity:
    return dataclasses.replace(
        nobody(login), kind="service", role="service", home=act.who.home,
        application_name=login.replace("_", "-"), relations=tuple(tables),
        addresses=(pod_address(act.rng),),
    )  # fmt: skip


def on_call(act: Act, service: Identity, until_us: int) -> str:
    """A DBA, perhaps woken, looks at everything that the service uses."""
    act.wait(120, 600)
    seat = act.seat(service.home)
    count = 0
    end = until_us + act.rng.uniform(5, 40) * 60e6
    while act.now < end and count < 90:
        kind = act.rng.random()
        relation = act.rng.choice(service.relations if kind < 0.8 else of(service.home.database))
        if kind < 0.45:
            act.say(seat, act.rng.choice(LOOKS), act.rng.lognormvariate(3, 1))
        elif kind < 0.75:
            act.read(seat, relation, act.rng.lognormvariate(3.5, 1.3))
        elif kind < 0.9:
            act.say(seat, f"SELECT count(*) FROM {relation.said} WHERE id > 100", 1)
        elif kind < 0.95:
            text, state = texts.misspelt(act.rng, act.rng.choice(LOOKS))
            act.say(seat, text, sqlstate=state)
        else:
            act.say(seat, "SELECT pg_terminate_backend(4711)", 1)
        act.wait(8, 60)
        count += 1
    return f"on call for {service.called}, {count} statements"
