"""Rows that are read, changed and dumped are amounts of three kinds, each with days of its own.

What somebody took with ``pg_dump`` says nothing of what they take at work. Mixed, the weekly dump
of an administrator would hide whatever else they carry off. And rows that a DELETE removed or an
INSERT brought were taken by nobody: a night of cleaning would hide an export as large.

A client names its program itself. Who calls another one ``pg_dump`` is compared with dumps: a rule
tells of those by anybody else (``bulk-reads``), and ``origin`` of a program that is new for them.
"""

from __future__ import annotations

import polars as pl

PROGRAMS = ("pg_dump", "pg_dumpall")
WAY = "way"
"""A column: READ, DUMP or CHANGE."""
READ, DUMP, CHANGE = "", "dump", "change"
SUFFIX = {READ: "", DUMP: " with a dump", CHANGE: " by changes"}
DETAIL = "way"
"""Among the details of a finding on dumps or changes."""


def way() -> pl.Expr:
    """Of a statement, from its program and what it writes."""
    changes = pl.col("writes").list.len() > 0
    named = pl.when(is_dump()).then(pl.lit(DUMP)).when(changes).then(pl.lit(CHANGE))
    return named.otherwise(pl.lit(READ)).alias(WAY)


def dump_or_not() -> pl.Expr:
    """Where all that is counted was read."""
    return pl.when(is_dump()).then(pl.lit(DUMP)).otherwise(pl.lit(READ)).alias(WAY)


def is_dump() -> pl.Expr:
    return pl.col("application_name").is_in(PROGRAMS)


def owner() -> pl.Expr:
    """Whose days an identity's statements are compared with: of each way they are another's."""
    return pl.concat_str(pl.lit("="), "identity", suffix())


def group() -> pl.Expr:
    return pl.concat_str(pl.lit("~"), "identity_kind", suffix())


def suffix() -> pl.Expr:
    return pl.col(WAY).replace_strict(SUFFIX, return_dtype=pl.String)


def detail(of: str) -> tuple[tuple[str, str], ...]:
    return ((DETAIL, of),) if of != READ else ()


def condition(of: str, *, changes_apart: bool = False) -> str:
    """Of the statements that were counted together, for an evidence query."""
    names = ", ".join(f"'{name}'" for name in PROGRAMS)
    if of == DUMP:
        return f"application_name IN ({names})"
    others = f"application_name NOT IN ({names})"
    return f"{others} AND len(writes) {'>' if of == CHANGE else '='} 0" if changes_apart else others
