"""The tables of the store: each is a set of Parquet segments, and a view of the same name.

Times are Parquet timestamps in microseconds, UTC. A new column is added at the end with a new
``VERSION``; segments of older versions read as NULL there.
"""

from dataclasses import dataclass, replace

import polars as pl

VERSION = 5

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
    stored_in: str = ""
    """The table whose rows the view shows, where it has none of its own."""

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
    "identity_confidence": "How sure that is, 0 to 1; NULL if an older agent told it.",
    "identity_evidence": "Why, a sentence for each clue, separated by `; `.",
    "pid": "Process id of the backend on its host; from 2147483648 on: not known, its server is in"
    " a container.",
    "backend_started_at": "When that process started; with pid and agent it names a session.",
    "statement_id": "`id` in view statements; 0 where none was captured.",
    "severity": "`informational`, `low`, `medium`, `high` or `critical`.",
    "title": "One line for a person.",
    "digest": "Equal for equal texts that one agent captured: HMAC-SHA256 under a key that stays on"
    " the host, hex, so that no text can be guessed by it. Where `parse_status` is `cut` it is only"
    " of the beginning that was captured and of the text's length: texts that differ behind it"
    " have the same one.",
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
    " transaction executions:u durations trace_parent parameters identity_confidence:f"
    " identity_evidence",
    {
        "id": "Unique within the agent: seconds in the high 32 bits, a counter in the low 32.",
        "parent_id": "The statement that ran this one inside it; 0 for what a client sent.",
        "started_at": "When execution began.",
        "duration_us": "Microseconds until the end; NULL if unknown.",
        "rows": "Rows returned or changed; NULL if unknown.",
        "bytes_sent": "Bytes sent to the client; NULL if unknown.",
        "text_bytes": "Full length of the text as sent, in bytes; about, where only a record of"
        " pgaudit tells it that is over 1 MiB.",
        "source": "`ebpf`, `pgaudit` or `both`: who saw it.",
        "protocol": "`query`, `fastpath`, `replication`, or `startup` (a refused login).",
        "tag": "PostgreSQL's command tag, `SELECT 5`.",
        "sqlstate": "`00000` when it succeeded; empty if unknown.",
        "error_message": "The server's message, `?` for values; `(message withheld)` where its"
        " words are not known, as in other languages than English.",
        "audit_class": "pgaudit's class: `READ`, `WRITE`, `DDL` ...",
        "audit_objects": "Relations as pgaudit resolved them, comma-separated `type:schema.name`.",
        "rule": "Id of the rule that decided, empty if none matched.",
        "parse_status": "`parsed`, `invalid`, `too_long`, `nul`, `failed`; or `cut`: only the"
        " beginning of it was captured, 1,048,575 bytes or, with a row in losses, less.",
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
        "parameters": "What was bound, a JSON list; empty unless `capture.parameters` asks for it."
        " money is in its smallest unit; ranges, bytea, tsvector, jsonpath, macaddr and timetz are"
        " `\\x` and bytes, but for bytea those of the server's memory, not of the protocol.",
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
        "ended_at": "When it ended, or when that was noticed; NULL while it lives.",
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
        "outcome": "What really happened, read back from the statement's result: `prevented`,"
        " `cancelled` (before commit), `terminated`, `too_late`, `observed`, `failed`"
        " (docs/guard.md) or `approved` (docs/approvals.md).",
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
        "reason": "Why: `statement`, `spool_full`, `rejected` ... Which of them are statements that"
        " ran and are not on record, of any login, and which count what is missing of those that"
        " are: docs/operations.md, Tuning on loss.",
        "count": "How many facts.",
    },
)

CATALOG = _table(
    "catalog",
    "One row for each fact that a snapshot brought. See docs/drift.md: a snapshot may be whole or a"
    " change of an earlier one.",
    "occurred_at",
    "occurred_at:t agent cluster database kind name value detail server_version op",
    {
        "occurred_at": "When the snapshot was taken: the same for all its rows.",
        "database": "Empty for what belongs to the whole cluster.",
        "kind": "`setting`, `hba`, `role`, `membership`, `privilege`, `table` ...",
        "name": "Key within kind and database: `log_statement`, `table:hr.salary<-analyst`.",
        "value": "What it is.",
        "detail": "Where it comes from: a file and line, the grantor; of an object its number.",
        "server_version": "The server's version.",
        "op": "`put`: it is so; `removed`: it is gone; `covered`: of this kind the snapshot speaks"
        " from `name` up to and without `value`; `loose`: of a part that older agents cut; NULL: as"
        " older collectors stored it, which is `put`.",
    },
)

CATALOG_CHANGES = _table(
    "catalog_changes",
    "One row for each change of a fact of the catalog; the first look at it is `added`.",
    "occurred_at",
    "occurred_at:t known_at:t agent cluster database kind name change before after detail since:t",
    {
        "occurred_at": "Moment of the snapshot that shows it, by the server's clock.",
        "known_at": "When the collector learnt of it.",
        "database": "Empty for what belongs to the whole cluster.",
        "kind": "As in view catalog.",
        "name": "As in view catalog.",
        "change": "`added`, `removed` or `changed`; with the same value before and after it is"
        " another object, or its number was seen for the first time: see `detail`.",
        "before": "The value until then; empty where it was not there.",
        "after": "The value since then; empty where it is gone.",
        "detail": "Where it comes from: a file and line, the grantor; of an object its number.",
        "since": "It was not so yet at this moment, the last look before; NULL if unknown.",
    },
    latest_by="agent cluster database kind name occurred_at",
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

_DRIFT_COLUMNS = (
    "occurred_at:t agent cluster kind database name change desired observed attribution"
    " statement_id:u actor resolved_at:t user_name approval severity finding_id note known_at:t"
    " outcome resolved_by resolved_statement_id:u renamed"
)
_DRIFT_MEANINGS = {
    "occurred_at": "When it was detected.",
    "kind": "As in view catalog.",
    "name": "As in view catalog.",
    "change": "`added`, `removed` or `changed`.",
    "desired": "The baseline's value.",
    "observed": "The value found.",
    "attribution": "`attributed` to a captured statement, `approved` if somebody had approved that"
    " statement, or `unattributed`.",
    "actor": "Who did it.",
    "resolved_at": "When it was reverted or accepted; NULL while it lasts.",
    "approval": "The request that was approved, as in view approvals.",
    "finding_id": "`id` in view findings: all that one statement or transaction did.",
    "note": "Unattributed: what happened then (a restart, losses). Else: who it may also be.",
    "known_at": "When the collector said so.",
    "outcome": "As `attribution` while it lasts and once it is accepted; `reverted` when the"
    " accepted value came back.",
    "resolved_by": "Who brought the accepted value back, if a captured statement did.",
    "resolved_statement_id": "That statement, `id` in view statements; 0 where there is none.",
    "renamed": "What the object's number says: `renamed from hr.wages`, `renamed to hr.salary`,"
    " `column pay renamed to salary`, `dropped and made anew`, `another one, the former one is now"
    " hr.old`; empty where it says nothing.",
}

DRIFT = _table(
    "drift",
    "One row for each difference from the accepted baseline, in its last state.",
    "occurred_at",
    _DRIFT_COLUMNS,
    _DRIFT_MEANINGS,
    latest_by="agent cluster kind database name occurred_at",
)

DRIFT_CHANGES = replace(
    _table(
        "drift_changes",
        "One row for each thing that was said of a difference, as it was known then: when it was"
        " reported with its cause, when it turned out to be approved, when it was resolved.",
        "known_at",
        _DRIFT_COLUMNS,
        _DRIFT_MEANINGS,
    ),
    stored_in="drift",
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

RULES_CHANGES = _table(
    "rules_changes",
    "One row whenever an agent's rules became others, or others were refused.",
    "occurred_at",
    "occurred_at:t agent outcome source digest previous rules:u version:u problem",
    {
        "occurred_at": "Statements that started later were judged by these rules.",
        "outcome": "`in_force`; or `refused`: what was in force before stays.",
        "source": "What brought it: `start`, `files`, `signal` or `central`.",
        "digest": "SHA-256 over rule files and constants, hex, of these rules.",
        "previous": "The digest of those in force before; empty at a start.",
        "rules": "How many are in force now.",
        "version": "Of the central bundle in force; 0 where there is none.",
        "problem": "Why it was refused.",
    },
)

APPROVALS = _table(
    "approvals",
    "One row for each step of a request to let a refused statement pass. See docs/approvals.md.",
    "occurred_at",
    "occurred_at:t id step request agent cluster database user_name identity identity_kind"
    " identity_name pid:p backend_started_at:t statement_id:u rule_id digest text relations:l"
    " functions:l flags:l names:l grant_id uses:u expires_at:t actor reason",
    {
        "id": "Of the step: one that is told twice is the same step.",
        "step": "`requested`, `granted`, `denied`, `refused_self` (nobody grants their own),"
        " `used`, `expired` or `voided`.",
        "request": "The id in the client's message.",
        "identity": "The proven name that the request is bound to, beside the login.",
        "statement_id": "The refused statement, `id` in view statements; 0 for other steps.",
        "rule_id": "The rule that refused it.",
        "digest": "SHA-256 of the whole text, hex: a grant is bound to it.",
        "text": "The statement; literals redacted unless `agent.approvals.full_text` is on.",
        "relations": "What it reads, writes or defines.",
        "functions": "Functions that it calls.",
        "flags": "`parameters` (any values), `redacted`, `bare_names`, `multi`, `cut`.",
        "names": "Every name of who asked; none of them may grant it.",
        "grant_id": "The grant, of `granted`, `used`, `expired` and `voided`.",
        "uses": "How often the grant lets it pass.",
        "expires_at": "When the grant ends.",
        "actor": "Who decided.",
        "reason": "Why.",
    },
    latest_by="id",
)

FINDING_FEEDBACK = _table(
    "finding_feedback",
    "One row whenever somebody said what they think of a finding: the last word counts. See"
    " docs/anomalies.md.",
    "occurred_at",
    "occurred_at:t finding_id opinion author because detector agent cluster identity object bits:f"
    " threshold:f",
    {
        "occurred_at": "When it was said.",
        "finding_id": "`id` in view findings.",
        "opinion": "`confirmed` or `dismissed`.",
        "author": "Who said it.",
        "because": "Why.",
        "detector": "Whose threshold moves, for this identity and object.",
        "identity": "Who the finding is about, by identity or login.",
        "object": "What it is about.",
        "bits": "How unusual the finding was when it was raised; 0 where that was not a question.",
        "threshold": "Bits that it took then.",
    },
)

ACCESSES = _table(
    "accesses",
    "Who asked the collector for what: one row for each call, or for calls of a kind within five"
    " seconds. See docs/access.md.",
    "occurred_at",
    "occurred_at:t name role via token address method outcome count:u",
    {
        "occurred_at": "When the first of them came.",
        "name": "Of the token or certificate; empty for the socket's owner, and for nobody known.",
        "role": "`viewer`, `investigator`, `approver`, `admin`; empty for nobody known.",
        "via": "`socket`, `certificate`, `token`; empty for nobody known.",
        "token": "The id of the token.",
        "address": "Where the call came from; empty for the socket.",
        "method": "Service and method, as in `Operator.Act`.",
        "outcome": "`allowed` or `refused`.",
        "count": "How many calls.",
    },
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
        DRIFT_CHANGES,
        AUDIT_COVERAGE,
        RULES_CHANGES,
        APPROVALS,
        CATALOG_CHANGES,
        FINDING_FEEDBACK,
        ACCESSES,
    )
}


@dataclass(frozen=True, slots=True)
class DerivedView:
    """A view over other views; nothing of it is stored."""

    name: str
    meaning: str
    columns: tuple[Column, ...]
    sql: str
    """A SELECT of these columns in this order."""


def _derived(
    name: str, meaning: str, columns: str, meanings: dict[str, str], sql: str
) -> DerivedView:
    return DerivedView(name, meaning, _table(name, "", "", columns, meanings).columns, sql)


DRIFT_OBSERVED = _derived(
    "drift_observed",
    "What was so from when to when, and from when to when we believed it: one row for each period"
    " of a fact and each state of our knowledge of it.",
    "agent cluster database kind name value detail valid_from:t valid_to:t known_from:t known_to:t",
    {
        "database": "Empty for what belongs to the whole cluster.",
        "kind": "As in view catalog.",
        "name": "As in view catalog.",
        "value": "What it was in this period.",
        "detail": "Where it comes from: a file and line, the grantor; of an object its number.",
        "valid_from": "It was so from then on, as far as looks at the catalog can tell.",
        "valid_to": "Until then; NULL: no end is known in this state of our knowledge.",
        "known_from": "When the collector learnt of it.",
        "known_to": "When it learnt otherwise; NULL: it is what we know now.",
    },
    """
    WITH changes AS (
        SELECT *, lead(occurred_at) OVER later AS ended_at, lead(known_at) OVER later AS known_to
        FROM catalog_changes
        WINDOW later AS (
            PARTITION BY agent, cluster, database, kind, name ORDER BY occurred_at)
    )
    SELECT agent, cluster, database, kind, name, after AS value, detail,
           occurred_at AS valid_from, NULL::TIMESTAMP AS valid_to,
           known_at AS known_from, known_to
    FROM changes
    WHERE change <> 'removed'
    UNION ALL
    SELECT agent, cluster, database, kind, name, after, detail,
           occurred_at, ended_at, known_to, NULL
    FROM changes
    WHERE change <> 'removed' AND ended_at IS NOT NULL
    """,
)

VIEWS: dict[str, DerivedView] = {view.name: view for view in (DRIFT_OBSERVED,)}
"""In the order in which they can be made: each may use those before it."""


def empty(name: str) -> pl.DataFrame:
    return pl.DataFrame(schema=TABLES[name].dtypes)


def aligned(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of an older segment with the columns of today, NULL where it had none."""
    dtypes = TABLES[name].dtypes
    missing = [pl.lit(None, dtype).alias(c) for c, dtype in dtypes.items() if c not in frame.schema]
    return frame.with_columns(missing).select(list(dtypes)) if missing else frame
