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
_SEVERAL = pl.col("flags").list.contains("multi")
_OF_CATALOG = _NAMED.list.eval(pl.element().str.starts_with("pg_"))
# Of several statements in one text, nobody knows which one reads the catalog.
_ONLY_CATALOG = (_NAMED.list.len() > 0) & pl.when(_SEVERAL).then(_OF_CATALOG.list.any()).otherwise(
    _OF_CATALOG.list.all()
)

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

_OTHERS = tuple(line for line in EXEMPTIONS if line.reason != "catalog_only")


def of_pgaudit(masks: pl.Series) -> tuple[Exemption, ...]:
    """Those of EXEMPTIONS that may apply under these masks: to look for catalogs is dear."""
    off = masks.drop_nulls() & classes.CATALOG == 0
    return EXEMPTIONS if off.any() else _OTHERS


MAY_BE_SWAPPED = ("failed", "aborted_transaction", "catalog_only", "class_off")
"""Log times are cut to milliseconds: where a text ran twice at once and only one run has a record,
the agent may have given it to the other. A record of a statement that is exempt for such a reason
can stand for one of the same text that lacks its own.
"""

PROBE_EXEMPTIONS = (
    Exemption(
        "nested",
        pl.col("parent_id") != 0,
        "Ran inside a statement that eBPF saw: what DO, CALL, a trigger or a function runs where "
        "pgaudit did not log that (pgaudit.log without function or misc), functions that the "
        "planner calls, triggers at COMMIT.",
    ),
    Exemption(
        "no_client",
        pl.col("client_address") == "",
        "No client: background workers (pg_cron, logical replication) run statements that pgaudit "
        "logs and the probes leave out. Where log_line_prefix has no %h and the probes never saw "
        "the session, a client looks the same.",
    ),
    Exemption(
        "refused_login",
        pl.col("protocol") == "startup",
        "A login that the server refused: only its log tells, and there was no statement to see.",
    ),
)
"""Of what only pgaudit told: why eBPF by design lacks it."""

NOT_HEARD = {
    "pgaudit_not_heard": (
        "pgaudit",
        "Its log had told nothing of this server before the minute began: pgwarden has just begun, "
        "or runs on eBPF alone there.",
    ),
    "ebpf_not_heard": (
        "eBPF",
        "No probe had told of this server before the minute began: pgwarden has just begun, or "
        "runs on pgaudit alone there.",
    ),
}
"""Reasons that follow from time, not from the statement (``minutes.py``)."""


def wanted() -> pl.Expr:
    """Bits of the classes that this statement's record may have."""
    tag, operation = pl.col("tag"), pl.col("operation")
    by_tag = tag.replace_strict(classes.TAGS, default=None, return_dtype=pl.Int64)
    defines = pl.any_horizontal(tag.str.starts_with(word) for word in classes.DEFINITIONS)
    return (
        # Records of several statements in one text carry that text alike: the agent cannot tell
        # which of them a record is about, so they are judged only where all are logged.
        pl.when(~_PARSED | _SEVERAL)
        .then(pl.lit(classes.ALL))
        .when(_FAILED_CHANGE)
        .then(operation.replace_strict(classes.FAILED_CHANGE, default=classes.ALL))
        .when(operation == "execute")
        .then(pl.lit(classes.EXECUTE))
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
