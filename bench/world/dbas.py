"""DBAs: looks at the server, care of tables, rights that somebody asked for, a weekly dump."""

from __future__ import annotations

from random import Random

from bench.world import texts
from bench.world.calendar import HOUR_US, SECOND_US, Calendar
from bench.world.dice import poisson, zipf_pick
from bench.world.drafts import Page, Seat
from bench.world.identity import Identity
from bench.world.people import address_of, at_work, moments, rows_of
from bench.world.relations import of, place

LOOKS = (
    "SELECT pid, usename, state, query FROM pg_stat_activity WHERE state <> 'idle'",
    "SELECT * FROM pg_stat_activity",
    "SELECT relname, n_dead_tup FROM pg_stat_user_tables ORDER BY n_dead_tup DESC LIMIT 20",
    "SELECT * FROM pg_locks WHERE NOT granted",
    "SELECT indexrelname, idx_scan FROM pg_stat_user_indexes WHERE idx_scan = 0",
    "SELECT pg_size_pretty(pg_database_size(current_database()))",
    "SELECT * FROM pg_stat_replication",
    "SHOW max_connections",
    "SELECT name, setting FROM pg_settings WHERE name LIKE 'work%'",
    "SELECT rolname, rolsuper FROM pg_roles ORDER BY 1",
    "SELECT slot_name, active FROM pg_replication_slots",
    "SELECT query, calls, mean_exec_time FROM pg_stat_statements ORDER BY 3 DESC LIMIT 30",
    "SELECT * FROM pg_indexes WHERE tablename = 'orders'",
    "SELECT relname, last_autovacuum FROM pg_stat_all_tables",
)
DATABASES = ("shop", "billing", "hr", "dw", "ml")


def dba_day(page: Page, calendar: Calendar, who: Identity, day: int) -> None:
    rng = page.rng
    if day % 7 == 6 and who.home.database in ("shop", "dw"):
        dump(page, who, calendar.at(day, rng.uniform(1.8, 2.2)), who.home.database)
    if not at_work(calendar, who, day):
        return
    address = address_of(calendar, who, day)
    wanted = poisson(rng, who.per_day * rng.lognormvariate(0, 0.3))
    for begin in moments(rng, calendar, who, day, max(2, wanted // 6)):
        at = begin
        database = who.home.database if rng.random() < 0.8 else rng.choice(DATABASES)
        seat = page.seat(who, at, place(database), client_address=address)
        for _ in range(rng.randint(2, 10)):
            _act(page, who, seat, at)
            at += int(rng.lognormvariate(2.8, 0.9) * SECOND_US)


def _act(page: Page, who: Identity, seat: Seat, at: int) -> None:
    rng = page.rng
    kind = rng.random()
    if kind < 0.66:
        page.say(seat, at, zipf_pick(rng, LOOKS, 0.8), rng.lognormvariate(2.4, 0.9), 150)
    elif kind < 0.84:
        relation = zipf_pick(rng, of(seat.place.database), 0.4)
        text = rng.choice((texts.look, texts.count))(rng, relation).replace("$1", "'x'")
        page.say(seat, at, text, rows_of(rng, text, relation), relation.row_bytes)
    elif kind < 0.93:
        relation = rng.choice(of(seat.place.database))
        text = rng.choice(("VACUUM (ANALYZE) {}", "ANALYZE {}")).format(relation.said)
        page.say(seat, at, text, duration_us=relation.rows * rng.uniform(0.5, 3) + 1000)
    elif kind < 0.95:
        page.say(seat, at, _right(rng, seat))
    elif kind < 0.975:
        text, state = texts.misspelt(rng, rng.choice(LOOKS))
        page.say(seat, at, text, sqlstate=state)
    else:
        page.say(seat, at, "SELECT pg_cancel_backend(4711)", 1)


def _right(rng: Random, seat: Seat) -> str:
    """What a ticket asked for."""
    relation = rng.choice(of(seat.place.database))
    role = rng.choice(("analyst", "finance", "backoffice", "assistant_ro", "chartdeck"))
    return rng.choice(
        (
            f"GRANT SELECT ON {relation.said} TO {role}",
            f"REVOKE INSERT ON {relation.said} FROM {role}",
            f"GRANT USAGE ON SCHEMA {relation.schema} TO {role}",
            f"ALTER ROLE {role} SET statement_timeout = '60s'",
        )
    )


def dump(page: Page, who: Identity, at: int, database: str) -> int:
    """pg_dump: every relation of a database, whole; gives the moment of its end."""
    rng = page.rng
    seat = page.seat(who, at, place(database), application_name="pg_dump")
    now = float(at)
    for text in ("SET search_path = ''", "SELECT pg_catalog.set_config('search_path', '', false)"):
        page.say(seat, now, text, 1)
        now += 30_000
    for catalog in ("pg_class", "pg_attribute", "pg_index", "pg_constraint", "pg_proc", "pg_type"):
        text = f"SELECT c.oid, c.* FROM pg_catalog.{catalog} c ORDER BY c.oid"
        page.say(seat, now, text, rng.randint(200, 4000), 120)
        now += 200_000
    for relation in of(database):
        columns = ", ".join(relation.columns)
        took = relation.rows * rng.uniform(1.0, 1.6) + 2_000
        text = f"COPY {relation.full} ({columns}) TO stdout"
        page.say(seat, now, text, relation.rows, relation.row_bytes, duration_us=took)
        now += took + 40_000
    return min(int(now), at + 4 * HOUR_US)
