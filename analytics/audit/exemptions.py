"""Which statements pgaudit by design writes no record of, each with its reason.

Everything that is known of pgaudit's silence stands in ``EXEMPTIONS`` and in ``classes.py``. A
statement that eBPF saw, that no record tells of and that no line here excuses is a gap.
"""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from analytics.audit import classes

SUCCESS = "00000"
INTEGRITY = "23"
"""SQLSTATE class of constraints: PostgreSQL checks them only while a change is executed."""


class Exemption(NamedTuple):
    reason: str
    applies: pl.Expr
    """Over the columns of view ``statements``, ``audit_mask`` and ``wanted``."""
    why: str


_MASK = pl.col("audit_mask")
_PARSED = pl.col("parse_status") == "parsed"
_SUCCEEDED = pl.col("sqlstate") == SUCCESS
_FAILED_CHANGE = pl.col("sqlstate").str.starts_with(INTEGRITY) & pl.col("operation").is_in(
    list(classes.FAILED_CHANGE)
)
_NAMED = pl.col("reads").list.concat("writes")
_ONLY_CATALOG = (_NAMED.list.len() > 0) & _NAMED.list.eval(
    pl.element().str.contains(r"^(pg_catalog\.|pg_)")
).list.all()

EXEMPTIONS = (
    Exemption(
        "not_applicable",
        _MASK.is_null(),
        "pgaudit was not loaded, or its records could not reach the log, when the server's "
        "settings were accepted (or nobody has read them yet).",
    ),
    Exemption(
        "replication_command",
        (pl.col("protocol") == "replication") & (~_PARSED | (pl.col("operation") == "show")),
        "Commands of the replication protocol do not pass the hooks that pgaudit uses; SQL of a "
        "replication connection does.",
    ),
    Exemption(
        "fastpath",
        pl.col("protocol") == "fastpath",
        "A function called through the fastpath message is no statement to pgaudit.",
    ),
    Exemption(
        "nested",
        (pl.col("parent_id") != 0) & (pl.col("operation") != "prepare"),
        "Part of another statement, which is judged itself; only what EXECUTE runs has a record "
        "that is its own.",
    ),
    Exemption(
        "failed",
        ~_SUCCEEDED & ~_FAILED_CHANGE,
        "pgaudit writes when a statement executes: nothing for one that fails in the parser, in "
        "the lookup of names, in the permission check, in the planner or in the transaction's "
        "state, or that our guard refuses; and utility commands are written after they succeeded. "
        "Where a failure happened cannot be told from outside, so no record is demanded of any.",
    ),
    Exemption(
        "aborted_transaction",
        pl.col("tag") == "ROLLBACK",
        "What ends a failed transaction is not logged; from outside it looks like any ROLLBACK.",
    ),
    Exemption(
        "catalog_only",
        (_MASK & classes.CATALOG == 0) & (_ONLY_CATALOG | ~_PARSED),
        "pgaudit.log_catalog is off: relations of pg_catalog are passed over.",
    ),
    Exemption(
        "class_off",
        pl.col("wanted") & ~_MASK != 0,
        "pgaudit.log does not switch on every class that this statement may belong to.",
    ),
)

PROBE_EXEMPTIONS = (
    Exemption(
        "no_client",
        pl.col("client_address") == "",
        "No client: background workers (pg_cron, logical replication) run statements that pgaudit "
        "logs and the probes leave out. Where log_line_prefix has no %h and the probes never saw "
        "the session, a client looks the same.",
    ),
)
"""Of what only pgaudit told: why eBPF by design lacks it."""

NOT_HEARD = {
    "ebpf": "ebpf_not_heard",
    "pgaudit": "pgaudit_not_heard",
}
"""Reasons for a source that has not told of this server before the minute began: pgwarden runs on
one source alone there, or has just begun.
"""


def wanted() -> pl.Expr:
    """Bits of the classes that this statement's record may have."""
    tag, operation = pl.col("tag"), pl.col("operation")
    by_tag = tag.replace_strict(classes.TAGS, default=None, return_dtype=pl.Int64)
    defines = pl.any_horizontal(tag.str.starts_with(word) for word in classes.DEFINITIONS)
    several = pl.col("flags").list.contains("multi")
    executes = pl.col("verbs").list.contains("execute")
    return (
        pl.when(~_PARSED)
        .then(pl.lit(classes.ALL))
        .when(_FAILED_CHANGE)
        .then(operation.replace_strict(classes.FAILED_CHANGE, default=classes.ALL))
        .when((operation == "execute") & ~several)
        .then(pl.lit(classes.EXECUTE))
        .when(several & executes)
        .then(pl.lit(classes.ALL))
        .when((tag == "SELECT") & (pl.col("writes").list.len() > 0))
        .then(pl.lit(classes.SELECT_THAT_WRITES))
        .when(by_tag.is_not_null())
        .then(by_tag)
        .when(defines)
        .then(pl.lit(classes.DDL))
        .otherwise(pl.lit(classes.ALL))
        .cast(pl.Int64)
    )


def exemption(table: tuple[Exemption, ...]) -> pl.Expr:
    """The reason of the first line that applies, empty where none does."""
    chosen = [pl.when(line.applies).then(pl.lit(line.reason)) for line in table]
    return pl.coalesce(*chosen, pl.lit(""))
