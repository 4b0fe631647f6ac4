"""Campaigns of a seed: in 30 days one of each kind and some more, one at a time an actor."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import polars as pl

from bench.world import people
from bench.world.act import Act, Recipe
from bench.world.calendar import BLOCK_DAYS, QUIET_DAYS
from bench.world.campaigns import access, probing, tampering, theft
from bench.world.dice import dice
from bench.world.drafts import DRAFT_SCHEMA, Page
from bench.world.identity import Identity
from bench.world.labels import Campaign
from bench.world.relations import place
from bench.world.scene import Scene
from bench.world.stream import ordered

RECIPES = theft.RECIPES + access.RECIPES + probing.RECIPES + tampering.RECIPES
KINDS = tuple(recipe.kind for recipe in RECIPES)
MORE = 6
"""Campaigns in 30 days beside one of each kind."""
KNOWN_FOR_DAYS = 4
"""Nobody is an actor before."""


@dataclass(frozen=True)
class Played:
    labels: tuple[Campaign, ...]
    drafts: pl.DataFrame
    met: dict[str, Identity]

    @classmethod
    def nothing(cls) -> Played:
        return cls((), pl.DataFrame(schema=DRAFT_SCHEMA), {})


def campaigns_of(scene: Scene, blocks: int, end_us: int) -> Played:
    """All that begin before ``end_us``, cut there."""
    labels: list[Campaign] = []
    parts = [pl.DataFrame(schema=DRAFT_SCHEMA)]
    met: dict[str, Identity] = {}
    for block in range(blocks):
        taken: list[tuple[str, int, int]] = []
        rng = dice(scene.seed, "campaigns", block)
        wanted = [*RECIPES, *rng.choices(RECIPES, k=MORE)]
        # Long ones first: they need most room.
        for number, recipe in enumerate(sorted(wanted, key=lambda r: (-r.days, r.kind))):
            act, speech = _cast_for(scene, recipe, block, number, taken)
            story = recipe.play(act)
            drafts = speech.frame().filter(pl.col("at_us") < end_us)
            if not drafts.is_empty():
                labels.append(_label(recipe, act.who, drafts, speech, story))
                parts.append(drafts)
                met |= speech.met
    labels.sort(key=lambda label: (label.from_us, label.kind))
    return Played(tuple(labels), pl.concat(parts), met)


def _cast_for(
    scene: Scene, recipe: Recipe, block: int, number: int, taken: list[tuple[str, int, int]]
) -> tuple[Act, Page]:
    """An actor and a moment; ``taken`` has (name, first day, last day) and grows."""
    rng = dice(scene.seed, "campaign", block, number, recipe.kind)
    candidates = [who for role in recipe.roles for who in scene.role(role)]
    roles = sorted({who.role for who in candidates})
    for _ in range(500):
        role = rng.choice(roles)
        who = rng.choice([c for c in candidates if c.role == role])
        first = QUIET_DAYS if block == 0 else 0
        day = block * BLOCK_DAYS + rng.randint(first, BLOCK_DAYS - max(1, recipe.days))
        last = day + recipe.days
        busy = any(n == who.name and not (last < a or day > b) for n, a, b in taken)
        if busy or day < who.first_day + KNOWN_FOR_DAYS or not _can(scene, recipe, who, day):
            continue
        taken.append((who.name, day, last))
        begin = scene.calendar.at(day, _hour(rng, scene, recipe, who, day))
        page = Page(scene.book, rng, campaign=number)
        return Act(scene, page, who, begin, rng.random()), page
    raise AssertionError(f"no room for {recipe.kind}: widen its roles")


def _can(scene: Scene, recipe: Recipe, who: Identity, day: int) -> bool:
    if recipe.when != "work" or who.kind != "human":
        return True
    return people.at_work(scene.calendar, who, day) and not scene.calendar.free(day)


def _hour(rng: Random, scene: Scene, recipe: Recipe, who: Identity, day: int) -> float:
    if recipe.when == "night":
        return rng.uniform(9, 20) if scene.calendar.free(day) else rng.uniform(0.3, 4.2)
    if recipe.when == "any":
        return rng.uniform(0.5, 21.5)
    if who.kind == "human":
        return who.start_hour + rng.uniform(0.3, 7.0)
    return rng.uniform(7, 20)


def _label(recipe: Recipe, who: Identity, drafts: pl.DataFrame, page: Page, story: str) -> Campaign:
    said = [page.met[name].called for name in drafts["who"].unique(maintain_order=True)]
    first = [who.called] if who.called in said else said[-1:]
    where = [place(name) for name in sorted(drafts["place"].unique().to_list())]
    times = drafts["at_us"]
    return Campaign(
        kind=recipe.kind,
        speed=recipe.speed,
        identities=tuple(dict.fromkeys(first + said)),
        places=tuple((p.agent, p.cluster, p.database) for p in where),
        from_us=int(times.min()),  # type: ignore[arg-type]
        to_us=int(times.max()),  # type: ignore[arg-type]
        statement_ids=frozenset(ordered(drafts)["id"].to_list()),
        story=story,
    )
