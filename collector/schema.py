"""The tables of the store: each is a set of Parquet segments, and a view of the same name.

Times are Parquet timestamps in microseconds, UTC. A new column is added at the end with a new
``VERSION``; segments of older versions read as NULL there.
"""

from dataclasses import dataclass

import polars as pl

VERSION = 3

TEXT = pl.String()
TEXTS = pl.List(pl.String)
TIME = pl.Datetime("us")
U64 = pl.UInt64()
I64 = pl.Int64()
U32 = pl.UInt32()
F64 = pl.Float64()

_DUCKDB_TYPES = {
    TEXT: "VARCHAR",
    TEXTS: "VARCHAR[]",
    TIME: "TIMESTAMP",
    U64: "UBIGINT",
    I64: "BIGINT",
    U32: "UINTEGER",
    F64: "DOUBLE",
}


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    dtype: pl.DataType
    meaning: str
    """One sentence, with the unit where there is one."""

    @property
    def duckdb_type(self) -> str:
        return _DUCKDB_TYPES[self.dtype]


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    meaning: str
    time: str
    """The column that says when: a segment's time range is its range."""
    columns: tuple[Column, ...]
    latest_by: tuple[str, ...] = ()
    """Where rows repeat with newer knowledge, the view shows the last one of each such key."""

    @property
    def dtypes(self) -> dict[str, pl.DataType]:
        return {column.name: column.dtype for column in self.columns}


def _table(
    name: str,
    meaning: str,
    time: str,
    columns: str,
    meanings: dict[str, str],
    latest_by: str = "",
) -> Table:
    """``columns`` holds ``name:type`` words; a word without a type is text."""
    types = {"": TEXT, "t": TIME, "u": U64, "i": I64, "p": U32, "f": F64, "l": TEXTS}
    built = []
    for word in columns.split():
        column, _, kind = word.partition(":")
        meaning_of = meanings.get(column) or _SHARED[column]
        built.append(Column(column, types[kind], meaning_of))
    return Table(name, meaning, time, tuple(built), tuple(latest_by.split()))


_SHARED = {
    "agent": "The agent that saw it.",
    "cluster": "The PostgreSQL server on that host, by port or data directory.",
    "database": "Database name.",
    "user_name": "The login (PostgreSQL role of the session).",
    "application_name": "As the client set it.",
    "client_address": "Numeric address of the client; `local` for a unix socket.",
    "identity_kind": "`human`, `service`, `ai_agent` or `unknown`.",
    "identity_name": "Who is behind the login, if an identity rule knew.",
    "pid": "Process id of the backend.",
    "backend_started_at": "When that process started; with pid and agent it names a session.",
    "statement_id": "`id` in view statements; 0 where none was captured.",
    "severity": "`informational`, `low`, `medium`, `high` or `critical`.",
    "title": "One line for a person.",
    "digest": "SHA-256 of the captured text, hex: of a long one, of its first MiB.",
    "occurred_at": "When it happened.",
}

STATEMENTS = _table(
    "statements",
    "One row for each execution of a statement.",
    "started_at",
    "agent id:u parent_id:u started_at:t duration_us:i rows:i bytes_sent:i text_bytes:u pid:p"
    " backend_started_at:t cluster database user_name application_name client_address"
    " identity_kind identity_name source protocol tag sqlstate error_message audit_class"
    " audit_objects rule parse_status digest text operation summary verbs:l objects:l reads:l"
    " writes:l columns_used:l functions:l settings:l roles:l flags:l fingerprint preparation_us:i"
    " transaction executions:u durations trace_parent parameters",
    {
        "id": "Unique within the agent: seconds in the high 32 bits, a counter in the low 32.",
        "parent_id": "The statement that ran this one inside it; 0 for what a client sent.",
        "started_at": "When execution began.",
        "duration_us": "Microseconds until the end; NULL if unknown.",
        "rows": "Rows returned or changed; NULL if unknown.",
        "bytes_sent": "Bytes sent to the client; NULL if unknown.",
        "text_bytes": "Full length of the text as sent, in bytes.",
        "source": "`ebpf`, `pgaudit` or `both`: who saw it.",
        "protocol": "`query`, `fastpath` or `replication`.",
        "tag": "PostgreSQL's command tag, `SELECT 5`.",
        "sqlstate": "`00000` when it succeeded; empty if unknown.",
        "error_message": "The server's message, redacted.",
        "audit_class": "pgaudit's class: `READ`, `WRITE`, `DDL` ...",
        "audit_objects": "Relations as pgaudit resolved them, comma-separated `type:schema.name`.",
        "rule": "Id of the rule that decided, empty if none matched.",
        "parse_status": "`parsed`, `invalid`, `too_long`, `cut`, `nul` or `failed`.",
        "text": "The text, literals redacted.",
        "operation": "First verb in lower case: `select`, `drop`.",
        "summary": "Verb and relations: `SELECT orders customers`.",
        "verbs": "All verbs, nested ones included.",
        "objects": "What DDL and GRANT are about: `table:public.orders`, `role:etl`.",
        "reads": "Relations read; `schema.name` where the text says the schema.",
        "writes": "Relations written.",
        "columns_used": "Columns that the text names.",
        "functions": "Functions that the text calls.",
        "settings": "Settings that it changes.",
        "roles": "Roles that it names.",
        "flags": "`missing_where`, `limit`, `program`, `superuser`, `cascade` ...",
        "fingerprint": "Same for texts that differ in literals only; for grouping.",
        "preparation_us": "Of the duration: before execution began (parsing, planning, waiting).",
        "transaction": "Status before and after: `II` autocommit, `IT` begins one, `TI` ends it.",
        "executions": "More than 1: counted together under load; sums, and without preparation.",
        "durations": "Of those: how many took less than 1, 2, 4, 8 ... microseconds.",
        "trace_parent": "W3C `traceparent` from its comment; a prepared statement keeps its first.",
        "parameters": "What was bound, a JSON list; empty unless `capture.parameters` asks for it.",
    },
)

SESSIONS = _table(
    "sessions",
    "One row for each client connection: what is known of it last.",
    "seen_at",
    "agent pid:p backend_started_at:t cluster database user_name application_name client_address"
    " client_port:p identity_kind identity_name identity_confidence:f identity_evidence"
    " ended_at:t seen_at:t origin",
    {
        "client_port": "The client's port; 0 for a unix socket.",
        "identity_confidence": "How sure, 0 to 1.",
        "identity_evidence": "Why, semicolon-separated.",
        "ended_at": "When it ended; NULL while it lives.",
        "seen_at": "When the agent learned this.",
        "origin": "What connects: `pooler ...`, `container ...`, `process ...`, `address ...`.",
    },
    latest_by="agent pid backend_started_at",
)

VERDICTS = _table(
    "verdicts",
    "One row for each rule's word on one statement.",
    "occurred_at",
    "occurred_at:t agent pid:p backend_started_at:t statement_id:u rule_id title severity action"
    " mode outcome reason digest held_us:i cluster database user_name application_name"
    " identity_kind identity_name text",
    {
        "rule_id": "The rule.",
        "action": "What the rule asks: `observe`, `alert`, `deny`, `cancel` or `terminate`.",
        "mode": "The guard's mode: `off`, `observe` or `enforce`.",
        "outcome": "What really happened: `prevented`, `cancelled`, `terminated`, `too_late`,"
        " `observed` or `failed`.",
        "reason": "The rule's reason.",
        "held_us": "Microseconds that the backend waited for the verdict.",
        "text": "The statement's text, literals redacted.",
    },
)

LOSSES = _table(
    "losses",
    "What could not be recorded, counted; without a row here nothing was dropped.",
    "occurred_at",
    "occurred_at:t agent source reason count:u",
    {
        "source": "Where: `ebpf`, `pgaudit`, `spool`, `collector` ...",
        "reason": "Why: `ring_full`, `spool_full`, `rejected` ...",
        "count": "How many facts.",
    },
)

CATALOG = _table(
    "catalog",
    "One row for each setting, role, membership or privilege in each snapshot.",
    "occurred_at",
    "occurred_at:t agent cluster database kind name value detail server_version",
    {
        "occurred_at": "When the snapshot was taken: the same for all its rows.",
        "database": "Empty for what belongs to the whole cluster.",
        "kind": "`setting`, `hba`, `role`, `membership` or `privilege`.",
        "name": "Key within kind and database: `log_statement`, `table:hr.salary<-analyst`.",
        "value": "What it is.",
        "detail": "Where it comes from: a file and line, the grantor.",
        "server_version": "The server's version.",
    },
)

FINDINGS = _table(
    "findings",
    "One row for each finding, in its last state.",
    "occurred_at",
    "id kind detector severity title sentence occurred_at:t agent cluster database user_name"
    " identity object score:f evidence_sql statement_id:u resolved_at:t details",
    {
        "id": "The same cause on the same day gives the same id.",
        "kind": "`drift`, `anomaly` or `guard`.",
        "detector": "`first_seen`, `volume`, `drift.settings`, `guard.<rule>` ...",
        "sentence": "What happened, in one sentence.",
        "identity": "Who, by identity or login.",
        "object": "What it is about: a relation, setting or role.",
        "score": "How unusual; comparable within one detector.",
        "evidence_sql": "A query over these views that shows the evidence.",
        "resolved_at": "When the cause was gone; NULL while it lasts.",
        "details": "More, as a JSON object.",
    },
    latest_by="id",
)

ALERTS = _table(
    "alerts",
    "One row for each change of an alert.",
    "occurred_at",
    "occurred_at:t group_key status severity title summary starts_at:t ends_at:t labels annotations"
    " finding_ids:l count:u",
    {
        "group_key": "Names the alert: rows with the same key are about the same alert.",
        "status": "`firing` or `resolved`.",
        "summary": "A few lines for a person.",
        "starts_at": "When it began to fire.",
        "ends_at": "When it was resolved; NULL while it fires.",
        "labels": "JSON object.",
        "annotations": "JSON object.",
        "finding_ids": "`id` in view findings.",
        "count": "Findings in it.",
    },
)

DRIFT = _table(
    "drift",
    "One row for each difference from the accepted baseline, in its last state.",
    "occurred_at",
    "occurred_at:t agent cluster kind database name change desired observed attribution"
    " statement_id:u actor resolved_at:t",
    {
        "occurred_at": "When it was detected.",
        "kind": "`setting`, `hba`, `role`, `membership` or `privilege`.",
        "name": "As in view catalog.",
        "change": "`added`, `removed` or `changed`.",
        "desired": "The baseline's value.",
        "observed": "The value found.",
        "attribution": "`attributed` to a captured statement, or `unattributed`.",
        "actor": "Who did it.",
        "resolved_at": "When it was reverted or accepted; NULL while it lasts.",
    },
    latest_by="agent cluster kind database name occurred_at",
)

AUDIT_COVERAGE = _table(
    "audit_coverage",
    "One row for each backend and minute: did eBPF and pgaudit see the same? See docs/coverage.md.",
    "minute",
    "minute:t seconds:f agent cluster database user_name identity pid:p backend_started_at:t"
    " matched:u only_ebpf:u only_pgaudit:u exempt:u pgaudit_ratio:f ebpf_ratio:f"
    " only_ebpf_examples:l only_pgaudit_examples:l exempt_reasons lost",
    {
        "minute": "When the minute began. A statement belongs to the minute in which it ended.",
        "seconds": "Length of the minute, `analytics.audit_coverage.window_seconds`.",
        "identity": "Who, by identity or login.",
        "backend_started_at": "When that process started, cut to the second.",
        "matched": "Statements that both saw.",
        "only_ebpf": "Statements that eBPF saw and pgaudit should have logged, but did not.",
        "only_pgaudit": "Statements that pgaudit logged and eBPF did not see.",
        "exempt": "Statements that one of them by design does not see.",
        "pgaudit_ratio": "`matched / (matched + only_ebpf)`; NULL where nothing is expected.",
        "ebpf_ratio": "`matched / (matched + only_pgaudit)`; NULL where nothing is expected.",
        "only_ebpf_examples": "Up to three of those texts, redacted.",
        "only_pgaudit_examples": "Up to three of those texts, redacted.",
        "exempt_reasons": "JSON object: how many for each reason.",
        "lost": "JSON object: facts that the agent counted as lost then, by source and reason.",
    },
    latest_by="agent cluster pid backend_started_at user_name identity database minute",
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        STATEMENTS,
        SESSIONS,
        VERDICTS,
        LOSSES,
        CATALOG,
        FINDINGS,
        ALERTS,
        DRIFT,
        AUDIT_COVERAGE,
    )
}


def empty(name: str) -> pl.DataFrame:
    return pl.DataFrame(schema=TABLES[name].dtypes)


def aligned(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of an older segment with the columns of today, NULL where it had none."""
    dtypes = TABLES[name].dtypes
    missing = [pl.lit(None, dtype).alias(c) for c, dtype in dtypes.items() if c not in frame.schema]
    return frame.with_columns(missing).select(list(dtypes)) if missing else frame
