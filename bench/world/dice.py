"""Random numbers that depend on what they are for, not on how many were drawn before.

``dice`` gives a generator for one named purpose, so that a day can be made without the days
before it. ``uniform`` and ``normal`` give a column: splitmix64 of a counter, in Polars alone, so
that the same seed gives the same bytes with any version of any library.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from typing import TypeVar

import polars as pl

T = TypeVar("T")

GAMMA = 0x9E3779B97F4A7C15
FIRST = 0xBF58476D1CE4E5B9
SECOND = 0x94D049BB133111EB


def stream(*words: object) -> int:
    """64 bits that name a purpose."""
    text = "/".join(map(str, words))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def dice(*words: object) -> random.Random:
    return random.Random(stream(*words))


def bits(counter: pl.Expr, purpose: int) -> pl.Expr:
    """64 random bits for each value of ``counter`` (UInt64); Polars wraps at 64 bits."""
    z = counter * _u64(GAMMA) + _u64(purpose)
    z = z.xor(z // _u64(1 << 30)) * _u64(FIRST)
    z = z.xor(z // _u64(1 << 27)) * _u64(SECOND)
    return z.xor(z // _u64(1 << 31))


def uniform(counter: pl.Expr, purpose: int) -> pl.Expr:
    """At least 0, below 1."""
    return (bits(counter, purpose) // _u64(1 << 11)).cast(pl.Float64) * 2.0**-53


def normal(counter: pl.Expr, purpose: int) -> pl.Expr:
    """Mean 0, standard deviation 1, by Box and Muller."""
    away = (1 - uniform(counter, purpose)).log(math.e) * -2
    turn = uniform(counter, purpose ^ GAMMA) * (2 * math.pi)
    return away.sqrt() * turn.cos()


def poisson(rng: random.Random, mean: float) -> int:
    """Exact below 30, rounded normal above."""
    if mean > 30:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    count, product, limit = 0, rng.random(), math.exp(-mean)
    while product > limit:
        count += 1
        product *= rng.random()
    return count


def zipf_pick(rng: random.Random, items: Sequence[T], bend: float = 1.0) -> T:
    """The first items much oftener than the last."""
    return rng.choices(items, [1 / (n + 1) ** bend for n in range(len(items))])[0]


def _u64(value: int) -> pl.Expr:
    return pl.lit(value % (1 << 64), dtype=pl.UInt64)
