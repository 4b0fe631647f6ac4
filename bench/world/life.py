"""What happens to programs in ordinary life: releases, more hosts, peaks, incidents."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from bench.world.calendar import BLOCK_DAYS, DAY_US, HOUR_US, MINUTE_US, Calendar
from bench.world.cast import pod_address
from bench.world.dice import dice
from bench.world.identity import Identity
from bench.world.labels import Distractor
from bench.world.machines import Disturbance, Era, Host, Machine, Template, template, templates
from bench.world.relations import Relation, of
from bench.world.scene import Scene

RESTING_US = 2 * HOUR_US
"""Least time between two releases of a program."""
_SHAPES = {"service": (18, 45), "bi": (60, 130), "partner": (5, 12)}
_RELEASES = {"service": (1, 4), "bi": (1, 3), "partner": (0, 1)}
_NEW = {"service": (3, 12), "bi": (5, 20), "partner": (1, 2)}
_RELEASE_MAKERS = {
    "service": ("point", "page", "join", "count", "insert", "update"),
    "bi": ("report", "report", "page"),
    "partner": ("page", "join"),
}


@dataclass
class _Growing:
    """A machine while its life is being planned."""

    who: Identity
    eras: list[Era]
    hosts: list[Host]
    disturbances: list[Disturbance] = field(default_factory=list)

    def done(self) -> Machine:
        return Machine(self.who, tuple(self.eras), tuple(self.hosts), tuple(self.disturbances))


def machines_of(scene: Scene, blocks: int) -> tuple[tuple[Machine, ...], list[Distractor]]:
    """Every machine with all that happens to it, and what of that is loud."""
    told: list[Distractor] = []
    growing = [_begun(scene, who) for who in scene.role("service", "bi", "partner")]
    for block in range(blocks):
        for machine in growing:
            told += _releases(scene, machine, block)
        services = [m for m in growing if m.who.role == "service"]
        told += _scale_outs(scene, services, block)
        told += _peaks(scene, services, block)
        told += _incidents(scene, services, block)
        told += _bots(scene, services, block)
        told += _broken_reports(scene, [m for m in growing if m.who.role == "bi"], block)
    return tuple(machine.done() for machine in growing), told


def _begun(scene: Scene, who: Identity) -> _Growing:
    rng = dice(scene.seed, "machine", who.name)
    before = scene.calendar.start_us - DAY_US
    first = Era(before, templates(rng, who, rng.randint(*_SHAPES[who.role])))
    return _Growing(who, [first], [Host(address, before) for address in who.addresses])


def _weekday(rng: Random, calendar: Calendar, block: int) -> int:
    days = [block * BLOCK_DAYS + d for d in range(BLOCK_DAYS)]
    return rng.choice([day for day in days if not calendar.free(day)])


def _releases(scene: Scene, machine: _Growing, block: int) -> list[Distractor]:
    rng = dice(scene.seed, "releases", machine.who.name, block)
    count = rng.randint(*_RELEASES[machine.who.role])
    moments = sorted(
        scene.calendar.at(
            _weekday(rng, scene.calendar, block),
            rng.uniform(9.3, 16.5) if rng.random() < 0.85 else rng.uniform(18, 23),
        )
        for _ in range(count)
    )
    told = []
    for at in moments:
        before = machine.eras[-1]
        if at < before.from_us + RESTING_US:
            continue
        fresh = _fresh(rng, machine.who)
        machine.eras.append(Era(at, _replaced(rng, before.templates, fresh)))
        reason = f"{len(fresh)} new shapes"
        until = at + HOUR_US
        if rng.random() < 0.2:
            broken = at + int(rng.uniform(4, 20) * MINUTE_US)
            trouble = Disturbance(at, broken, 1, rng.uniform(0.01, 0.1), "42703")
            machine.disturbances.append(trouble)
            reason += ", with a mistake"
        if rng.random() < 0.08:
            until = at + int(rng.uniform(0.5, 3) * HOUR_US)
            machine.eras.append(Era(until, before.templates))
            reason += ", taken back"
        # Containers come back under other addresses, on hosts of its own a program does not.
        if machine.who.role == "service" and _in_containers(machine.who):
            _move(rng, machine, at)
            reason += ", other addresses"
        told.append(Distractor("deploy", (machine.who.called,), at, until, reason))
    return told


def _in_containers(who: Identity) -> bool:
    return len(who.addresses) != 2


def _fresh(rng: Random, who: Identity) -> list[Template]:
    """Of a release; a third of them bring a relation that the program did not use."""
    tables: list[Relation] = list(who.relations)
    if rng.random() < 0.33:
        new = rng.choice(of(who.home.database, *{r.schema for r in tables}))
        tables = [new, new, *tables]
    makers = _RELEASE_MAKERS[who.role]
    return [
        template(rng, rng.choice(makers), rng.choice(tables), 1 / rng.randint(3, 40) ** 1.3)
        for _ in range(rng.randint(*_NEW[who.role]))
    ]


def _replaced(
    rng: Random, old: tuple[Template, ...], fresh: list[Template]
) -> tuple[Template, ...]:
    dropped = set(rng.sample(range(len(old)), min(len(old) - 1, rng.randint(0, 6))))
    return (*(t for n, t in enumerate(old) if n not in dropped), *fresh)


def _move(rng: Random, machine: _Growing, at: int) -> None:
    living = [host for host in machine.hosts if host.since_us < at < host.until_us]
    gone = [Host(h.address, h.since_us, at) for h in living]
    machine.hosts = [h for h in machine.hosts if h not in living] + gone
    machine.hosts += [Host(pod_address(rng), at, h.until_us) for h in living]


def _scale_outs(scene: Scene, services: list[_Growing], block: int) -> list[Distractor]:
    rng = dice(scene.seed, "scale out", block)
    told = []
    for machine in rng.sample(services, 3):
        at = scene.calendar.at(
            block * BLOCK_DAYS + rng.randrange(2, BLOCK_DAYS), rng.uniform(6, 22)
        )
        until = at + int(rng.choice((rng.uniform(2, 12), rng.uniform(48, 900))) * HOUR_US)
        count = rng.randint(1, 4)
        machine.hosts += [Host(pod_address(rng), at, until) for _ in range(count)]
        told.append(
            Distractor("scale_out", (machine.who.called,), at, until, f"{count} hosts more")
        )
    return told


def _peaks(scene: Scene, services: list[_Growing], block: int) -> list[Distractor]:
    """A sale: twice or three times as much of everything that customers do."""
    rng = dice(scene.seed, "peaks", block)
    told = []
    for _ in range(2):
        at = scene.calendar.at(block * BLOCK_DAYS + rng.randrange(BLOCK_DAYS), rng.uniform(9, 20))
        until = at + int(rng.uniform(0.7, 2.5) * HOUR_US)
        factor = rng.choice((2, 3))
        hit = [m for m in services if m.who.home.database == "shop" and m.who.per_day > 8000]
        for machine in hit:
            machine.disturbances.append(Disturbance(at, until, factor, slower=1.5))
        names = tuple(m.who.called for m in hit)
        told.append(Distractor("traffic_peak", names, at, until, f"sale, {factor} x the load"))
    return told


def _incidents(scene: Scene, services: list[_Growing], block: int) -> list[Distractor]:
    """The program's side; who is on call comes in ``distractors``."""
    told = []
    for number in range(INCIDENTS):
        name, at, until = incident(scene, block, number)
        rng = dice(scene.seed, "incident effects", block, number)
        machine = next(m for m in services if m.who.name == name)
        state = rng.choice(("57014", "53300", "40P01", "55P03"))
        share, slower = rng.uniform(0.05, 0.4), rng.uniform(4, 15)
        trouble = Disturbance(at, until, 1, share, state, slower)
        machine.disturbances.append(trouble)
        reason = f"{share:.0%} of its statements end in {state}"
        told.append(Distractor("incident", (machine.who.called,), at, until, reason))
    return told


def _bots(scene: Scene, services: list[_Growing], block: int) -> list[Distractor]:
    """Nonsense in parameters: the service's own shapes, refused as what they should hold."""
    rng = dice(scene.seed, "bots", block)
    told = []
    for machine in rng.sample(services, 3):
        day = block * BLOCK_DAYS + rng.randrange(BLOCK_DAYS)
        at = scene.calendar.at(day, rng.uniform(0, 23))
        until = at + int(rng.uniform(4, 40) * MINUTE_US)
        share = rng.uniform(0.03, 0.3)
        machine.disturbances.append(Disturbance(at, until, 1, share, "22P02"))
        reason = f"{share:.0%} of its statements end in 22P02"
        told.append(Distractor("bot_traffic", (machine.who.called,), at, until, reason))
    return told


def _broken_reports(scene: Scene, boards: list[_Growing], block: int) -> list[Distractor]:
    """A report that divides by zero, until somebody is back at work."""
    rng = dice(scene.seed, "broken reports", block)
    machine = rng.choice(boards)
    at = scene.calendar.at(_weekday(rng, scene.calendar, block), rng.uniform(8, 15))
    until = at + int(rng.uniform(2, 20) * HOUR_US)
    machine.disturbances.append(Disturbance(at, until, 1, rng.uniform(0.01, 0.08), "22012"))
    who = (machine.who.called,)
    return [Distractor("broken_report", who, at, until, "some of its reports end in 22012")]


INCIDENTS = 3


def incident(scene: Scene, block: int, number: int) -> tuple[str, int, int]:
    """Service, begin and end; the first of a block is at night."""
    rng = dice(scene.seed, "incident", block, number)
    hour = rng.uniform(0.5, 4.5) if number == 0 else rng.uniform(7, 23)
    at = scene.calendar.at(block * BLOCK_DAYS + rng.randrange(3, BLOCK_DAYS), hour)
    until = at + int(rng.uniform(12, 50) * MINUTE_US)
    return rng.choice(scene.role("service")).name, at, until
