"""Synthetic statement streams with the columns of view ``statements``."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import polars as pl

START_US = 1_760_000_000_000_000
SECOND_US = 1_000_000

SCHEMA: dict[str, Any] = {
    "agent": pl.String,
    "id": pl.UInt64,
    "parent_id": pl.UInt64,
    "started_at": pl.Datetime("us"),
    "duration_us": pl.Int64,
    "rows": pl.Int64,
    "bytes_sent": pl.Int64,
    "text_bytes": pl.UInt64,
    "cluster": pl.String,
    "database": pl.String,
    "user_name": pl.String,
    "application_name": pl.String,
    "client_address": pl.String,
    "identity_kind": pl.String,
    "identity_name": pl.String,
    "sqlstate": pl.String,
    "error_message": pl.String,
    "operation": pl.String,
    "summary": pl.String,
    "verbs": pl.List(pl.String),
    "objects": pl.List(pl.String),
    "reads": pl.List(pl.String),
    "writes": pl.List(pl.String),
    "columns_used": pl.List(pl.String),
    "settings": pl.List(pl.String),
    "roles": pl.List(pl.String),
    "functions": pl.List(pl.String),
    "flags": pl.List(pl.String),
    "fingerprint": pl.String,
    "text": pl.String,
    "pid": pl.UInt32,
    "backend_started_at": pl.Datetime("us"),
    "source": pl.String,
    "protocol": pl.String,
    "tag": pl.String,
    "parse_status": pl.String,
    "digest": pl.String,
}
DEFAULTS: dict[str, Any] = {
    "agent": "host-a", "parent_id": 0, "duration_us": 900, "rows": 10, "bytes_sent": 900,
    "text_bytes": 60, "cluster": "5432", "database": "shop", "user_name": "orders_api",
    "application_name": "app", "client_address": "10.0.0.4", "identity_kind": "service",
    "identity_name": "", "sqlstate": "00000", "error_message": "", "operation": "select",
    "summary": "", "verbs": [], "objects": [], "reads": [], "writes": [], "columns_used": [],
    "settings": [], "roles": [], "functions": [], "flags": [], "fingerprint": "", "text": "",
    "pid": 4711, "backend_started_at": START_US, "source": "both", "protocol": "query",
    "tag": "SELECT", "parse_status": "parsed", "digest": "",
}  # fmt: skip

ROLES = {
    "orders_api": ("service", ["shop.orders", "shop.customers", "shop.products"]),
    "web": ("service", ["shop.products", "shop.customers", "shop.sessions"]),
    "etl_ro": ("service", ["shop.orders", "shop.products", "dw.facts"]),
    "assistant": ("ai_agent", ["shop.products", "shop.orders"]),
    "payroll": ("service", ["hr.salaries", "hr.people"]),
    "alice": ("human", ["shop.orders", "shop.customers", "dw.facts", "shop.products"]),
    "bob": ("human", ["shop.orders", "dw.facts"]),
}


def statement(second: float, **words: Any) -> dict[str, Any]:
    """One row; ``second`` counts from the start of the stream."""
    unknown = set(words) - set(SCHEMA)
    assert not unknown, unknown
    return DEFAULTS | {"started_at": START_US + int(second * SECOND_US)} | words


def frame(rows: Iterable[dict[str, Any]], first_id: int = 1) -> pl.DataFrame:
    """Rows in the order given, with ids that count up."""
    numbered = [{"id": first_id + n} | row for n, row in enumerate(rows)]
    times = ("started_at", "backend_started_at")
    raw = SCHEMA | dict.fromkeys(times, pl.Int64)
    return (
        pl.DataFrame(numbered, schema=raw)
        .with_columns(pl.col(times).cast(pl.Datetime("us")))
    )  # fmt: skip


def clean(count: int = 20_000, per_second: float = 5.0, seed: int = 7) -> list[dict[str, Any]]:
    """An ordinary day: seven roles, each with its relations, a few errors, no surprise."""
    dice = random.Random(seed)
    names = list(ROLES)
    rows = []
    for n in range(count):
        name = dice.choices(names, weights=[30, 30, 12, 10, 6, 6, 6])[0]
        kind, relations = ROLES[name]
        relation = dice.choice(relations)
        writing = kind == "service" and dice.random() < 0.2
        failed = dice.random() < 0.01
        rows.append(
            statement(
                n / per_second,
                user_name=name,
                identity_kind=kind,
                identity_name=name if kind != "service" else "",
                operation="update" if writing else "select",
                reads=[] if writing else [relation],
                writes=[relation] if writing else [],
                fingerprint=f"{relation}:{'w' if writing else 'r'}",
                summary=f"{'UPDATE' if writing else 'SELECT'} {relation}",
                rows=int(dice.lognormvariate(3, 1)),
                bytes_sent=int(dice.lognormvariate(7, 1)),
                sqlstate=dice.choice(["23505", "40001", "42703"]) if failed else "00000",
            )
        )
    return rows


def batches(whole: pl.DataFrame, size: int) -> list[pl.DataFrame]:
    return [whole.slice(at, size) for at in range(0, whole.height, size)]
