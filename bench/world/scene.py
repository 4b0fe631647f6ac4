"""What every part of a world is given: seed, calendar, cast, and the book of texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from bench.world.book import Book
from bench.world.calendar import Calendar
from bench.world.cast import cast
from bench.world.identity import Identity


@dataclass
class Scene:
    seed: int
    book: Book = field(default_factory=Book)

    @cached_property
    def calendar(self) -> Calendar:
        return Calendar(self.seed)

    @cached_property
    def cast(self) -> tuple[Identity, ...]:
        return cast(self.seed)

    def role(self, *roles: str) -> list[Identity]:
        return [who for who in self.cast if who.role in roles]

    def named(self, name: str) -> Identity:
        return next(who for who in self.cast if who.name == name)
