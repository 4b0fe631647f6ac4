"""Ways in: stolen passwords, borrowed logins, rights that grow, odd hours, accounts of nobody."""

from __future__ import annotations

import dataclasses

from bench.world import people, texts
from bench.world.act import Act, Recipe
from bench.world.calendar import HOUR_US
from bench.world.cast import outside_address, vpn_address
from bench.world.dice import zipf_pick
from bench.world.identity import Identity
from bench.world.relations import of, place

GUESSES = (
    "postgres",
    "admin",
    "root",
    "backup",
    "test",
    "app",
    "readonly",
    "grafana",
    "etl",
    "dev",
)


def credential_stuffing(act: Act) -> str:
    """One address tries many logins, gets into one, looks around and takes some."""
    address = act.stranger_address()
    target = act.as_guest()
    logins = sorted({who.user_name for who in act.scene.cast})
    tried = act.rng.sample(logins, min(len(logins), round(act.between(26, 6))))
    tried += act.rng.sample(GUESSES, round(act.between(9, 2)))
    tried += [act.who.user_name]
    pause = act.between(3, 60)
    attempts = 0
    for _ in range(max(1, round(act.between(4, 1)))):
        act.rng.shuffle(tried)
        for login in tried:
            unknown = nobody(login)
            seat = act.seat(target.home, who=unknown, application_name="", client_address=address)
            act.page.fail_login(seat, act.now)
            attempts += 1
            act.wait(pause * 0.4, pause * 1.6)
    tool = act.rng.choice(("", "psql", act.who.application_name))
    seat = act.seat(who=target, application_name=tool, client_address=address)
    act.wait(5, 300)
    act.look_around(seat, round(act.between(8, 2)))
    for relation in act.prey(target.home.database, round(act.between(6, 3))):
        act.read(seat, relation, act.rng.lognormvariate(act.between(8, 5), 1.0))
        act.wait(5, 90)
    return (
        f"{attempts} attempts on {len(set(tried))} logins from {address}, then {target.user_name}"
    )


def person_as_service(act: Act) -> str:
    """Somebody works under a service's login: another address, other tools, other statements."""
    known = act.rng.random() < 0.5
    guest = dataclasses.replace(
        act.who, name=f"person as {act.who.name}", unrecognised=True,
        kind="human" if known else "service",
    )  # fmt: skip
    # From a shell in the service's own container nothing but the tool and the statements differ.
    inside = act.rng.random() < 0.25 + 0.35 * act.stealth
    address = act.rng.choice(act.who.addresses) if inside else vpn_address(act.rng)
    tool = act.rng.choice(("psql", "DBeaver 25.2", "psql", "pgAdmin 4", act.who.application_name))
    seat = act.seat(who=guest, application_name=tool, client_address=address)
    act.look_around(seat, round(act.between(8, 1)))
    count = round(act.between(45, 12))
    for _ in range(count):
        near = act.rng.random() < 0.35 + 0.5 * act.stealth
        tables = act.who.relations if near else of(act.who.home.database)
        relation = act.rng.choice(tables)
        maker = act.rng.choice((texts.look, texts.report, texts.join, texts.count))
        text = maker(act.rng, relation).replace("$1", "'x'")
        if act.rng.random() < 0.05:
            text, state = texts.misspelt(act.rng, text)
            act.say(seat, text, sqlstate=state)
        else:
            act.say(seat, text, people.rows_of(act.rng, text, relation), relation)
        act.wait(8, 150)
    return f"{count} statements with {tool} from {address}"


def privilege_creep(act: Act) -> str:
    """Refused first, then granted step by step, then read: a little every day."""
    stages = act.rng.randint(2, 6)
    home = act.who.home.database
    targets = sorted(act.unknown(home), key=lambda r: not r.sensitive)
    got = []
    first = act.day
    for stage in range(stages):
        day = first + stage
        if stage and act.who.kind == "human" and not people.at_work(act.calendar, act.who, day):
            continue
        if stage:
            hour = act.who.start_hour if act.who.kind == "human" else 9
            act.now = act.calendar.at(day, hour + act.rng.uniform(0.5, 7))
        seat = act.seat()
        for relation in targets[: max(1, round(act.between(4, 1)))]:
            if stage == 0 or act.rng.random() < 0.3:
                act.say(seat, texts.look(act.rng, relation), sqlstate="42501")
                act.wait(5, 60)
        if stage == 0:
            act.look_around(seat, round(act.between(5, 1)))
            continue
        for relation in targets[: act.rng.randint(1, 2)]:
            act.say(seat, _grant(act, relation.said, relation.schema))
            act.wait(10, 200)
            for _ in range(act.rng.randint(1, 4)):
                act.read(seat, relation, act.rng.lognormvariate(5, 1.2))
                act.wait(10, 300)
            got.append(relation.said)
            targets = targets[1:] + targets[:1]
    return f"{', '.join(dict.fromkeys(got)) or 'nothing yet'} in {stages} days"


def _grant(act: Act, relation: str, schema: str) -> str:
    login = act.who.user_name
    return act.rng.choice(
        (
            f"GRANT SELECT ON {relation} TO {login}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {login}",
            f"GRANT pg_read_all_data TO {login}",
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO {login}",
            "SET ROLE owner_of_all",
        )
    )


def off_hours(act: Act) -> str:
    """Ordinary work in the night or on a free day, with an export of ordinary size."""
    guest = act.rng.random() < 0.4
    address = act.stranger_address() if guest else vpn_address(act.rng)
    seat = act.seat(client_address=address)
    saved = people.library(act.scene.seed, act.who) if act.who.role == "analyst" else []
    end = act.now + act.rng.uniform(25, 120) * 60e6
    exports = 0
    while act.now < end:
        if act.rng.random() < 0.08 or not exports:
            target = act.rng.choice(act.prey(act.who.home.database, 3, habits=True))
            rows = act.who.usual_most_rows * act.rng.uniform(0.3, 1.5)
            act.say(seat, texts.export(act.rng, target), rows, target)
            exports += 1
        elif saved and act.rng.random() < 0.7:
            text, relation = zipf_pick(act.rng, saved)
            act.say(seat, text, people.rows_of(act.rng, text, relation), relation)
        else:
            relation = zipf_pick(act.rng, act.who.relations)
            act.read(seat, relation, act.rng.lognormvariate(4, 1))
        act.wait(20, 240)
    return f"from {address}, {exports} exports"


def ghost_account(act: Act) -> str:
    """A login that everybody forgot comes to life."""
    name = act.rng.choice(
        ("old_reporting", "intern_2023", "legacy_sync", "trial_bi", "contractor4")
    )
    ghost = dataclasses.replace(
        nobody(f"{name}_{act.rng.randint(1, 9)}"), home=act.who.home, relations=act.who.relations
    )
    seat = act.seat(
        who=ghost,
        application_name=act.rng.choice(("", "psql", "python")),
        client_address=outside_address(act.rng) if act.rng.random() < 0.5 else vpn_address(act.rng),
    )
    act.look_around(seat, round(act.between(8, 1)))
    for relation in act.prey(act.who.home.database, round(act.between(9, 4))):
        for _ in range(act.rng.randint(1, 4)):
            act.read(seat, relation, act.rng.lognormvariate(act.between(8, 5), 1.2))
            act.wait(5, act.between(60, 300))
    return f"login {ghost.user_name}"


def backdoor_role(act: Act) -> str:
    """A new login with great rights is made, and used some hours later from elsewhere."""
    login = act.rng.choice(
        ("svc_metrics", "pg_monitor2", "replica_user", "svc_cache", "healthcheck")
    )
    login += str(act.rng.randint(1, 99))
    seat = act.seat()
    power = act.rng.choice(("SUPERUSER", "BYPASSRLS", "CREATEROLE", "REPLICATION"))
    say = [f"CREATE ROLE {login} LOGIN PASSWORD 'x'"]
    say += act.rng.sample(
        [
            f"ALTER ROLE {login} {power}",
            f"GRANT pg_read_all_data TO {login}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {login}",
            f"ALTER ROLE {login} SET log_statement = 'none'",
        ],
        max(1, round(act.between(3, 1))),
    )
    for text in say:
        act.say(seat, text)
        act.wait(5, 90)
    act.now += act.rng.uniform(0.2, 5) * HOUR_US
    ghost = dataclasses.replace(nobody(login), home=act.who.home, relations=act.who.relations)
    seat = act.seat(who=ghost, application_name="", client_address=act.stranger_address())
    act.look_around(seat, round(act.between(6, 1)))
    for relation in act.prey(act.who.home.database, round(act.between(8, 3))):
        act.read(seat, relation, act.rng.lognormvariate(act.between(9, 6), 1.0))
        act.wait(10, 120)
    return f"{login} with {power if len(say) > 2 else 'rights to read'}"


def nobody(login: str) -> Identity:
    """A login behind which nobody is recognised."""
    shop = place("shop")
    return Identity(
        name=f"nobody as {login}", role="stranger", kind="unknown", user_name=login,
        application_name="", home=shop, relations=(), addresses=("192.0.2.1",), unrecognised=True,
    )  # fmt: skip


RECIPES = (
    Recipe(
        "credential_stuffing", ("analyst", "partner", "dba", "support", "ai_agent"),
        credential_stuffing, when="any",
    ),
    Recipe("person_as_service", ("service", "etl", "bi"), person_as_service, when="any"),
    Recipe("privilege_creep", ("analyst", "support", "etl"), privilege_creep, speed="slow", days=7),
    Recipe("off_hours", ("analyst", "support", "dba"), off_hours, when="night"),
    Recipe("ghost_account", ("service", "analyst", "partner"), ghost_account, when="any"),
    Recipe("backdoor_role", ("dba",), backdoor_role),
)  # fmt: skip
