"""What campaigns and distractors are played with: an actor, a clock, dice, a wish to be quiet."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from bench.world import cast, people, texts
from bench.world.calendar import SECOND_US, Calendar
from bench.world.drafts import Page, Seat
from bench.world.identity import Identity
from bench.world.relations import Place, Relation, of
from bench.world.scene import Scene


@dataclass(frozen=True)
class Recipe:
    """A kind of campaign. ``play`` writes its statements and tells what happened."""

    kind: str
    roles: tuple[str, ...]
    play: Callable[[Act], str]
    speed: str = "fast"
    when: str = "work"
    """``work``: while the actor is at work; ``any``; ``night``: or on a free day."""
    days: int = 1
    """Its actor does nothing else that is hostile for so long."""


@dataclass
class Act:
    scene: Scene
    page: Page
    who: Identity
    now: float
    """Microseconds; moves on with ``wait``."""
    stealth: float
    """0: does not care; 1: as quiet as its kind can be."""

    @property
    def rng(self) -> Random:
        return self.page.rng

    @property
    def calendar(self) -> Calendar:
        return self.scene.calendar

    @property
    def day(self) -> int:
        return self.calendar.day_of(int(self.now))

    def seat(
        self,
        database: Place | None = None,
        *,
        who: Identity | None = None,
        application_name: str | None = None,
        client_address: str | None = None,
    ) -> Seat:
        """By default exactly as the actor always comes."""
        person = who or self.who
        usual = (
            people.address_of(self.calendar, person, self.day)
            if person.kind == "human"
            else self.rng.choice(person.addresses)
        )
        return self.page.seat(
            person,
            int(self.now),
            database,
            application_name=self._tool(person) if application_name is None else application_name,
            client_address=client_address or usual,
        )

    def _tool(self, person: Identity) -> str:
        return people.tool_of(self.calendar, person, self.day)

    def stranger_address(self) -> str:
        """Of somebody else: outside, or for the careful the company's VPN."""
        inside = self.rng.random() < 0.3 + 0.5 * self.stealth
        return cast.vpn_address(self.rng) if inside else cast.outside_address(self.rng)

    def say(
        self, seat: Seat, text: str, rows: float = 0, relation: Relation | None = None,
        sqlstate: str = "00000", duration_us: float | None = None,
    ) -> None:  # fmt: skip
        row_bytes = relation.row_bytes if relation else 60
        most = relation.rows if relation else 1e9
        self.page.say(
            seat, self.now, text, min(rows, most), row_bytes,
            sqlstate=sqlstate, duration_us=duration_us,
        )  # fmt: skip

    def wait(self, least_seconds: float, most_seconds: float) -> None:
        self.now += self.rng.uniform(least_seconds, most_seconds) * SECOND_US

    def between(self, loud: float, quiet: float) -> float:
        """A figure between two by stealth, with some luck."""
        return (loud + (quiet - loud) * self.stealth) * self.rng.uniform(0.8, 1.25)

    def look_around(self, seat: Seat, count: int) -> None:
        for _ in range(count):
            relation = self.rng.choice(of(seat.place.database))
            text = self.rng.choice(CATALOG).format(name=relation.name, schema=relation.schema)
            self.say(seat, text, self.rng.lognormvariate(2.5, 0.9))
            self.wait(1, 25)

    def read(self, seat: Seat, relation: Relation, rows: float) -> None:
        text = texts.look(self.rng, relation) if rows <= 1000 else texts.export(self.rng, relation)
        if "LIMIT " in text:
            rows = min(rows, int(text.rsplit("LIMIT ", 1)[1]))
        self.say(seat, text, rows, relation)

    def prey(self, database: str, count: int, habits: bool = False) -> list[Relation]:
        """Relations worth taking; with ``habits`` only what the actor uses anyway."""
        mine = set(self.who.relations)
        found = [r for r in of(database) if r.schema not in ("staging",)]
        if habits:
            found = [r for r in found if r in mine] or list(self.who.relations)
        ranked = sorted(found, key=lambda r: (not r.sensitive, self.rng.random()))
        return ranked[:count]

    def unknown(self, database: str) -> list[Relation]:
        """Relations that the actor does not use, in random order."""
        found = [r for r in of(database) if r not in self.who.relations]
        self.rng.shuffle(found)
        return found

    def as_guest(self, who: Identity | None = None) -> Identity:
        """Somebody with the login of ``who``: only logins of one person tell a name."""
        person = who or self.who
        own = person.user_name.startswith("dba_") or person.kind == "service"
        if own:
            return person
        return dataclasses.replace(
            person, name=f"guest of {person.name}", unrecognised=True, kind="unknown"
        )


CATALOG = (
    "SELECT table_schema, table_name FROM information_schema.tables",
    "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = '{name}'",
    "SELECT nspname FROM pg_namespace",
    "SELECT relname, reltuples FROM pg_class WHERE relkind = 'r' ORDER BY 2 DESC",
    "SELECT rolname, rolsuper, rolcanlogin FROM pg_roles",
    "SELECT datname FROM pg_database",
    "SELECT table_name FROM information_schema.tables WHERE table_schema = '{schema}'",
    "SELECT grantee, privilege_type FROM information_schema.role_table_grants",
    "SELECT has_table_privilege('{schema}.{name}', 'SELECT')",
    "SELECT current_user, session_user, version()",
    "SELECT attname FROM pg_attribute WHERE attrelid = '{schema}.{name}'::regclass",
    "SELECT m.roleid::regrole, m.member::regrole FROM pg_auth_members m",
    "SELECT proname, prosecdef FROM pg_proc WHERE prosecdef",
    "SELECT name, setting FROM pg_settings",
    "SELECT extname FROM pg_extension",
)
