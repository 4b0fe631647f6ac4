"""Calls by the protocol's FunctionCall message: a function's number, and no text.

``builtin_functions.txt`` holds the functions whose numbers never change (below 10,000), of
PostgreSQL 12 to 18; ``python -m tests.conformance.functions`` writes it anew from real servers.
"""

from __future__ import annotations

import hashlib
from functools import cache, lru_cache
from pathlib import Path

from model.statement import ParseStatus, Shape

NAMES = Path(__file__).with_name("builtin_functions.txt")
PREFIX = b"function call "


def text_of_call(number: int) -> bytes:
    return PREFIX + str(number).encode()


def name_of(number: int) -> str:
    """``nextval``, or ``oid:16401`` for one that is not built in; ``one|other`` where it depends on
    the server's version."""
    return _names().get(number) or f"oid:{number}"


@lru_cache(maxsize=1_000)
def shape_of_call(text: bytes) -> Shape:
    """Of what ``text_of_call`` made."""
    number = text.removeprefix(PREFIX)
    name = name_of(int(number))
    return Shape(
        ParseStatus.PARSED,
        hashlib.sha256(text).hexdigest(),
        f"function call {name}",
        operation="fastpath",
        summary=f"FASTPATH {name}",
        verbs=("fastpath",),
        functions=tuple(name.split("|")),
        statements=1,
    )


@cache
def _names() -> dict[int, str]:
    lines = NAMES.read_text().splitlines()
    return {int(number): name for number, _, name in (line.partition(" ") for line in lines)}
