"""Every text of the world once, read by pgwarden's own parser as a captured one would be."""

from __future__ import annotations

from functools import lru_cache

import orjson
import polars as pl

from agent.sql.answers import shape_of
from agent.sql.shape import answer

SHAPE_SCHEMA = {
    "text_bytes": pl.UInt64,
    "operation": pl.String,
    "summary": pl.String,
    "verbs": pl.List(pl.String),
    "objects": pl.List(pl.String),
    "reads": pl.List(pl.String),
    "writes": pl.List(pl.String),
    "columns_used": pl.List(pl.String),
    "functions": pl.List(pl.String),
    "settings": pl.List(pl.String),
    "roles": pl.List(pl.String),
    "flags": pl.List(pl.String),
    "fingerprint": pl.String,
    "text": pl.String,
    "protocol": pl.String,
    "tag": pl.String,
    "parse_status": pl.String,
    "digest": pl.String,
}
LOGIN = ""
"""Stands for a login that failed: there is no statement yet."""


class Book:
    """Texts by number, in the order in which they were first met."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._new: list[dict[str, object]] = []
        self._frame = pl.DataFrame(schema=SHAPE_SCHEMA)

    def number(self, text: str) -> int:
        known = self._numbers.get(text)
        if known is None:
            known = self._numbers[text] = len(self._numbers)
            self._new.append(parsed(text))
        return known

    def frame(self) -> pl.DataFrame:
        """A row a text, at its number."""
        if self._new:
            fresh = pl.DataFrame(self._new, schema=SHAPE_SCHEMA)
            self._frame = pl.concat([self._frame, fresh], rechunk=True)
            self._new = []
        return self._frame


@lru_cache(maxsize=1 << 15)
def parsed(text: str) -> dict[str, object]:
    if text == LOGIN:
        return _login()
    shape = shape_of(text.encode(), orjson.loads(orjson.dumps(answer(text))))
    return {
        "text_bytes": len(text.encode()),
        "operation": shape.operation,
        "summary": shape.summary,
        "verbs": shape.verbs,
        "objects": shape.objects,
        "reads": shape.reads,
        "writes": shape.writes,
        "columns_used": shape.columns,
        "functions": shape.functions,
        "settings": shape.settings,
        "roles": shape.roles,
        "flags": shape.flags,
        "fingerprint": shape.fingerprint,
        "text": shape.redacted_text,
        "protocol": "query",
        "tag": shape.operation.upper(),
        "parse_status": shape.status.value,
        "digest": shape.digest,
    }


def _login() -> dict[str, object]:
    lists = {name: () for name, kind in SHAPE_SCHEMA.items() if kind == pl.List(pl.String)}
    texts = {name: "" for name, kind in SHAPE_SCHEMA.items() if kind == pl.String}
    startup = {"text_bytes": 0, "operation": "login", "protocol": "startup"}
    return texts | lists | startup
