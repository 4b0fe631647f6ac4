"""Who works in the made-up company: 48 identities in 8 roles, other habits for each seed."""

from __future__ import annotations

from functools import cache
from random import Random

from bench.world.dice import dice
from bench.world.identity import Identity
from bench.world.relations import Relation, of, place

FIRST = (
    "mira", "tomas", "ines", "jonas", "leila", "oskar", "petra", "ravi", "sofia", "ulrik", "vera",
    "wim", "yara", "zeno", "alba", "bruno", "clio", "dario", "edda", "femi", "gita", "hugo", "ilka",
    "juno", "kaito", "lotte", "milo", "nadia", "otto", "pia", "quirin", "rosa", "silas", "thea",
)  # fmt: skip
LAST = (
    "adler", "brandt", "castell", "dorn", "elster", "falk", "gruber", "hallin", "iversen", "jansky",
    "kestrel", "lindqvist", "moreau", "novak", "okoro", "palmer", "quist", "rosen", "stern",
    "tanaka", "urban", "velde", "winter", "zander",
)  # fmt: skip
SERVICES = (
    # login, database, schemas, profile, statements a working day
    ("orders_api", "shop", "public", "shop", 22_000),
    ("catalog_api", "shop", "public", "shop", 20_000),
    ("cart_api", "shop", "public", "shop", 16_000),
    ("session_store", "shop", "public", "shop", 18_000),
    ("search_indexer", "shop", "public", "flat", 6_000),
    ("recommender", "shop", "public", "shop", 9_000),
    ("crm_sync", "shop", "crm", "office", 7_000),
    ("stock_keeper", "shop", "stock", "office", 10_000),
    ("shipping_api", "shop", "stock", "office", 9_000),
    ("payments_api", "billing", "public", "shop", 14_000),
    ("invoicing", "billing", "public", "office", 8_000),
    ("fraud_scorer", "billing", "public", "shop", 9_000),
    ("hr_portal", "hr", "public", "office", 4_000),
    ("feature_server", "ml", "public", "shop", 15_000),
)
JOBS = (
    ("etl_shop", "shop", "public"),
    ("etl_billing", "billing", "public"),
    ("etl_mart", "dw", "staging"),
    ("migrator", "shop", "public"),
)
BOARDS = (("chartdeck", "dw", "mart", 5_000), ("boardly", "shop", "crm", 2_500))
PARTNERS = (
    ("partner_parcel", "shop", "stock", 2_200),
    ("partner_bank", "billing", "public", 1_500),
    ("payroll_bureau", "hr", "payroll", 500),
)
AGENTS = (
    ("agent-pricing", "shop", "public", "assistant_ro"),
    ("agent-support", "shop", "crm", "assistant_ro"),
    ("agent-insights", "dw", "mart", "assistant_ro"),
    ("agent-ops", "billing", "public", "ops_agent"),
    ("agent-trainer", "ml", "public", "ml_agent"),
)
ANALYST_HOMES = (
    ("dw", "mart", "analyst"), ("dw", "mart", "analyst"), ("dw", "mart", "analyst"),
    ("dw", "sandbox", "analyst"), ("dw", "mart", "analyst"), ("shop", "public", "analyst"),
    ("shop", "crm", "analyst"), ("billing", "public", "finance"), ("billing", "public", "finance"),
    ("billing", "public", "finance"),
)  # fmt: skip
SUPPORT_PEOPLE = 6
DBAS = 4


@cache
def cast(seed: int) -> tuple[Identity, ...]:
    rng = dice(seed, "cast")
    names = [f"{a}.{b}" for a in FIRST for b in LAST]
    people = rng.sample(names, len(ANALYST_HOMES) + SUPPORT_PEOPLE + DBAS)
    hired = _hired(rng)
    analysts = [
        _analyst(rng, people.pop(), *home, first_day=hired if n == 2 else 0)
        for n, home in enumerate(ANALYST_HOMES)
    ]
    support = [
        _support(rng, people.pop(), first_day=hired + 2 if n == 3 else 0)
        for n in range(SUPPORT_PEOPLE)
    ]
    return (
        *(_service(rng, *words) for words in SERVICES),
        *analysts,
        *(_dba(rng, people.pop(), n) for n in range(DBAS)),
        *(_job(rng, *words) for words in JOBS),
        *(_agent(rng, *words) for words in AGENTS),
        *support,
        *(_board(rng, *words) for words in BOARDS),
        *(_partner(rng, *words) for words in PARTNERS),
    )


def _hired(rng: Random) -> int:
    """A Monday with at least a week before it."""
    return 7 * rng.randint(1, 2)


def chosen(rng: Random, candidates: tuple[Relation, ...], most: int) -> tuple[Relation, ...]:
    count = min(len(candidates), rng.randint(max(2, most - 3), most))
    return tuple(rng.sample(candidates, count))


def office_address(rng: Random) -> str:
    return f"10.20.{rng.randint(1, 6)}.{rng.randint(10, 250)}"


def vpn_address(rng: Random) -> str:
    return f"10.8.{rng.randint(0, 3)}.{rng.randint(2, 254)}"


def pod_address(rng: Random) -> str:
    return f"10.40.{rng.randint(0, 31)}.{rng.randint(2, 254)}"


def outside_address(rng: Random) -> str:
    """From the ranges that are kept for documents."""
    return f"{rng.choice(('203.0.113', '198.51.100', '192.0.2'))}.{rng.randint(2, 254)}"


def _service(
    rng: Random, login: str, database: str, schema: str, profile: str, per_day: int
) -> Identity:
    tables = list(chosen(rng, of(database, schema), 8))
    if rng.random() < 0.6 and of(database, "config"):
        tables.append(of(database, "config")[0])
    return Identity(
        name=login,
        role="service",
        kind="service",
        user_name=login,
        application_name=login.replace("_", "-"),
        home=place(database),
        relations=tuple(tables),
        addresses=tuple(pod_address(rng) for _ in range(rng.randint(2, 4))),
        per_day=per_day * rng.uniform(0.85, 1.15),
        usual_most_rows=500,
        traits={"profile": _PROFILES.index(profile), "growth": rng.uniform(0.001, 0.008)},
    )


_PROFILES = ("shop", "office", "flat", "night")


def profile_of(who: Identity) -> str:
    return _PROFILES[int(who.traits["profile"])]


def _person(
    rng: Random, name: str, role: str, login: str, application: str, tables: tuple[Relation, ...]
) -> dict[str, object]:
    abroad = rng.random() < 0.15
    return {
        "name": name,
        "role": role,
        "kind": "human",
        "user_name": login,
        "application_name": application,
        "home": tables[0].place,
        "relations": tables,
        "addresses": (office_address(rng),),
        "start_hour": rng.uniform(7.3, 9.8) + (rng.choice((-4.5, 5)) if abroad else 0),
    }


def _analyst(
    rng: Random, name: str, database: str, schema: str, login: str, first_day: int
) -> Identity:
    near = chosen(rng, of(database, schema), 9)
    far = chosen(rng, tuple(r for r in of(database) if r.schema in ("mart", "public")), 4)
    tables = tuple(dict.fromkeys(near + far))
    scale, spread = rng.uniform(4.5, 7.5), rng.uniform(1.4, 2.1)
    application = rng.choice(("DBeaver 25.2", "psql", "notebook", "DataGrip", "notebook"))
    return Identity(
        **_person(rng, name, "analyst", login, application, tables),
        first_day=first_day,
        per_day=rng.lognormvariate(4.4, 0.4),
        usual_most_rows=2.718 ** (scale + 2.6 * spread),
        traits={
            "scale": scale,
            "spread": spread,
            "new_shapes": rng.uniform(0.04, 0.18),
            "exports": rng.uniform(0.02, 0.1),
            "wander": rng.uniform(0.05, 0.3),
            "late": rng.uniform(0.01, 0.08),
        },
    )  # type: ignore[arg-type]


def _support(rng: Random, name: str, first_day: int) -> Identity:
    tables = of("shop", "crm")[:7] + of("shop", "public")[:4]
    return Identity(
        **_person(rng, name, "support", "backoffice", "backoffice", tables),
        first_day=first_day,
        per_day=rng.lognormvariate(5.5, 0.3),
        usual_most_rows=200,
        traits={"late": 0.01},
    )  # type: ignore[arg-type]


def _dba(rng: Random, name: str, number: int) -> Identity:
    homes = ("shop", "dw", "billing", "hr")
    tables = chosen(rng, of(homes[number]), 10)
    application = "psql" if rng.random() < 0.7 else "pgAdmin 4"
    return Identity(
        **_person(rng, name, "dba", f"dba_{name.replace('.', '_')}", application, tables),
        per_day=rng.lognormvariate(4.2, 0.3),
        usual_most_rows=3_000,
        traits={"late": rng.uniform(0.05, 0.15)},
    )  # type: ignore[arg-type]


def _job(rng: Random, login: str, database: str, schema: str) -> Identity:
    return Identity(
        name=login,
        role="etl",
        kind="service",
        user_name=login,
        application_name=f"pipeline {login}" if login != "migrator" else "migrate",
        home=place(database),
        relations=chosen(rng, of(database, schema), 8),
        addresses=(pod_address(rng),),
        per_day=600,
        usual_most_rows=60_000,
        traits={"minute": rng.randint(2, 50), "dump_hour": rng.uniform(0.5, 3.5)},
    )


def _agent(rng: Random, name: str, database: str, schema: str, login: str) -> Identity:
    return Identity(
        name=name,
        role="ai_agent",
        kind="ai_agent",
        user_name=login,
        application_name="mcp-postgres" if login == "assistant_ro" else name,
        home=place(database),
        relations=chosen(rng, of(database, schema), 9),
        addresses=(pod_address(rng), pod_address(rng)),
        per_day=rng.lognormvariate(6.3, 0.4),
        usual_most_rows=1_000,
        traits={"new_shapes": rng.uniform(0.01, 0.05), "errors": rng.uniform(0.02, 0.09)},
    )


def _board(rng: Random, login: str, database: str, schema: str, per_day: int) -> Identity:
    return Identity(
        name=login,
        role="bi",
        kind="service",
        user_name=login,
        application_name=login,
        home=place(database),
        relations=chosen(rng, of(database, schema), 14),
        addresses=(pod_address(rng),),
        per_day=per_day * rng.uniform(0.8, 1.2),
        usual_most_rows=50_000,
        traits={"profile": 1, "growth": rng.uniform(0.0, 0.01)},
    )


def _partner(rng: Random, login: str, database: str, schema: str, per_day: int) -> Identity:
    return Identity(
        name=login,
        role="partner",
        kind="service",
        user_name=login,
        application_name="",
        home=place(database),
        relations=chosen(rng, of(database, schema), 4),
        addresses=(outside_address(rng),),
        per_day=per_day * rng.uniform(0.8, 1.2),
        usual_most_rows=30_000,
        traits={"profile": rng.choice((1, 2, 3)), "growth": rng.uniform(0.0, 0.004)},
    )
