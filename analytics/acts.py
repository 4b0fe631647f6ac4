"""What a statement does beside reading and writing rows: DDL, rights, guarded settings, the server.

Each act is an item ``KIND NAME`` that an identity can do for the first time, as it can meet a
relation. Relations and shapes do not cover them: utility statements read no relations, and those
with names of settings or roles in them have no fingerprint.
"""

from __future__ import annotations

import polars as pl

from analytics.findings import literal

DDL_OPERATIONS = (
    "create", "alter", "drop", "grant", "revoke", "comment", "security", "import", "reassign", "do",
    "load",
)  # fmt: skip
GUARDED_SETTING = (
    r"^(role$|session_authorization$|session_replication_role$|row_security$|log_|logging_|pgaudit"
    r"|track_|pg_stat_statements|auto_explain|password|ssl|krb|hba_file|ident_file|archive_"
    r"|.*preload_libraries$|allow_system_table_mods$|(default_)?transaction_read_only$"
    r"|zero_damaged_pages$|fsync$|check_function_bodies$|superuser|listen_addresses$)"
)
"""Who one is, what is logged, what is protected: drivers and people at work leave these alone."""
PRIVILEGED_FUNCTION = (
    r"^(pg_catalog\.)?(lo_(import|export|put|from_bytea|get)|loread|lowrite"
    r"|pg_(read|ls|stat)_.*(file|dir).*|pg_ls_.*|pg_file_.*|pg_logfile.*|pg_rotate_logfile"
    r"|pg_stat.*_reset.*|pg_reload_conf|pg_terminate_backend|pg_sleep.*|set_config|dblink.*"
    r"|pg_logical_.*|pg_create_.*_slot|pg_switch_wal|pg_promote|pg_execute_.*|query_to_xml.*"
    r"|database_to_xml.*|table_to_xml.*|schema_to_xml.*|txid_.*|pg_backup_.*|pg_import_.*)$"
)
"""They reach the server's files, logs, sessions, or other servers."""
SETS = "set_config"
"""As SET does, which setting is known: no act of its own where a guarded one would be told of."""
TELLING_FLAGS = {
    "program": "used COPY with a program",
    "server_file": "used COPY with a file of the server",
    "credential_file": "read a file with credentials",
    "superuser": "made a role superuser",
    "missing_where": "changed whole relations",
    "public": "gave rights to everybody",
    "code": "ran code in the server",
}
CATALOG = r"^(pg_catalog\.|information_schema\.|pg_[a-z_]+$)"
LOOKS = {
    "rights": r"^(pg_(roles|user|group|auth_members|polic(y|ies)|default_acl)"
    r"|.*(grants|privileges))$",
    "structure": r"^(pg_(class|attribute|namespace|tables|views|database|proc|constraint)"
    r"|tables|columns|schemata|views|routines|.*constraint.*)$",
}
"""Why somebody reads the catalog; which relation of it depends on the client's version."""
WRITES = ("insert", "update", "delete", "truncate", "merge")
"""Whoever only ever read and now writes does another thing, whatever the relation."""
KINDS = ("ddl", "object", "set", "call", "flag", "look", "write")
_COLUMNS = {"set": "settings", "call": "functions", "flag": "flags", "object": "objects"}


def items(statements: pl.DataFrame) -> pl.DataFrame:
    """``row`` and ``item`` of each act, in no order; most statements have none."""
    ddl = statements.filter(pl.col("operation").is_in(DDL_OPERATIONS))
    return pl.concat(
        [
            _ddl(ddl),
            _named(ddl.filter(pl.col("operation") == "drop"), "object", pl.lit(value=True)),
            _named(statements, "set", pl.col("name").str.contains(GUARDED_SETTING)),
            _calls(statements),
            _named(statements, "flag", pl.col("name").is_in(list(TELLING_FLAGS))),
            *_looks(statements),
            statements.filter(pl.col("operation").is_in(WRITES)).select(
                "row", item=pl.concat_str(pl.lit("write "), "operation")
            ),
        ]
    )


def _calls(statements: pl.DataFrame) -> pl.DataFrame:
    calls = _named(statements, "call", pl.col("name").str.contains(PRIVILEGED_FUNCTION))
    only_at_run_time = statements.filter(pl.col("settings").list.contains("?")).select("row")
    sets = pl.col("item").str.contains(rf" (pg_catalog\.)?{SETS}$")
    unknown = calls.filter(sets).join(only_at_run_time, on="row", how="semi")
    return pl.concat([calls.filter(~sets), unknown])


def _looks(statements: pl.DataFrame) -> list[pl.DataFrame]:
    read = statements.select("row", name="reads").explode("name", empty_as_null=True)
    catalog = read.filter(pl.col("name").str.contains(CATALOG)).with_columns(
        pl.col("name").str.replace(r"^(pg_catalog|information_schema)\.", "")
    )
    return [
        catalog.filter(pl.col("name").str.contains(pattern)).select(
            "row", item=pl.lit(f"look {what}")
        )
        for what, pattern in LOOKS.items()
    ]


def _ddl(statements: pl.DataFrame) -> pl.DataFrame:
    """The verb and the kind of object: ``drop table``, ``alter system``, ``create role``."""
    kind = pl.coalesce(
        pl.col("objects").list.first().str.extract(r"^([a-z_ ]+):"),
        pl.col("summary").str.to_lowercase().str.extract(r"^\S+ ([a-z]+)$"),
        pl.lit(""),
    )
    item = pl.concat_str(pl.lit("ddl "), "operation", pl.lit(" "), kind).str.strip_chars_end()
    return statements.select("row", item=item)


def _named(statements: pl.DataFrame, kind: str, telling: pl.Expr) -> pl.DataFrame:
    some = statements.filter(pl.col(_COLUMNS[kind]).list.len() > 0)
    return (
        some.select("row", name=_COLUMNS[kind])
        .explode("name", empty_as_null=True)
        .filter(pl.col("name").is_not_null() & telling)
        .select("row", item=pl.concat_str(pl.lit(f"{kind} "), "name"))
    )


def said(kind: str, name: str) -> str:
    """
    >>> said("ddl", "alter system"), said("set", "log_statement"), said("object", "table:a.b")
    ('ran alter system', 'changed log_statement', 'dropped table a.b')
    """
    if kind == "look":
        return f"looked at the catalog's {name}"
    if kind == "write":
        return f"ran {name}"
    if kind == "flag":
        return TELLING_FLAGS.get(name, name)
    word = {"ddl": "ran", "set": "changed", "call": "called", "object": "dropped"}[kind]
    return f"{word} {name.replace(':', ' ', 1) if kind == 'object' else name}"


def condition(kind: str, name: str) -> str:
    """Of the statements, for an evidence query."""
    if kind == "look":
        return f"len(list_filter(reads, x -> regexp_matches(x, {literal(CATALOG)}))) > 0"
    if kind == "write":
        return f"operation = {literal(name)}"
    if kind == "ddl":
        return f"operation = {literal(name.partition(' ')[0])}"
    return f"list_contains({_COLUMNS[kind]}, {literal(name)})"
