"""What a statement is, does and touched."""

from collections.abc import Hashable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple

from model.event import Asked, Executed, Protocol
from model.session import Session

MAX_NAMES = 500
"""Per list of a Shape: a text of 64 KB can name more things than any reader wants. A list this long
may lack some, so a rule about what must not be named has to treat it as naming everything."""


class ParseStatus(StrEnum):
    PARSED = "parsed"
    INVALID = "invalid"
    """PostgreSQL's grammar refuses it."""
    TOO_LONG = "too_long"
    CUT = "cut"
    """Only a prefix was captured."""
    NUL = "nul"
    FAILED = "failed"
    """The parser died, ran out of time or memory."""


class Facts:
    """Many facts as one key: a tuple is hashed anew each time, and we ask for every statement."""

    __slots__ = ("_all", "_hash")

    def __init__(self, facts: Hashable) -> None:
        self._all = facts
        self._hash = hash(facts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Facts) and self._all == other._all


@dataclass(frozen=True)
class Shape:
    """Everything that follows from a statement's text alone; no literal survives in it.

    Without slots: where no text repeats, one is made from another for each of them.

    Relations are ``schema.name`` where the text says the schema, else ``name``. ``operation`` is
    the first verb in lower case (``select``, ``drop``, ``grant`` ...), ``verbs`` all of them, CTEs,
    PREPARE bodies and multi-statement strings included.
    """

    status: ParseStatus
    digest: str
    """SHA-256 of the text, hex; of the redacted text where a password stands in it. Of one that is
    cut: of what was captured, a NUL and the length of all of it in decimal."""
    redacted_text: str
    operation: str = ""
    summary: str = ""
    """OpenTelemetry's ``db.query.summary``: ``SELECT orders customers``."""
    verbs: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    """``type:name`` of what DDL and GRANT are about: ``table:public.orders``, ``role:etl``."""
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    """Names set by SET, ALTER SYSTEM, ALTER ROLE or DATABASE ... SET."""
    roles: tuple[str, ...] = ()
    """Roles that CREATE/ALTER/DROP ROLE, GRANT or SET ROLE name."""
    flags: tuple[str, ...] = ()
    """About UPDATE and DELETE: ``missing_where``, ``trivial_where`` (true for every row); also of
    ON CONFLICT DO UPDATE, unless the rows stand in the statement or a condition chooses them. Of
    MERGE: ``by_source`` (it changes all rows that its source lacks). About reads: ``star``
    (``SELECT *``), ``limit``, ``unfiltered`` (a SELECT, TABLE or COPY TO of a whole relation: no
    WHERE, no LIMIT, no aggregate over everything; or one that gathers rows in a value, by json_agg,
    ARRAY(...), query_to_xml and the like, and that no equality picks). About roles: the attributes
    that are given, ``superuser``, ``bypassrls``, ``replication``, ``createrole``, and ``public``
    (PUBLIC is a grantee). About secrets: ``password`` (one is set or named), ``plain_password`` (as
    it is, not as a SCRAM or MD5 verifier), ``connection_password`` (in a connection string or
    option), ``credential_file`` (a server's file that usually holds keys or passwords is read or
    written). About DDL: ``cascade``, ``drop_part`` (ALTER ... DROP of a column, constraint,
    partition, a column's expression or identity; NO INHERIT), ``safeguard`` (DISABLE TRIGGER, RULE
    or ROW LEVEL SECURITY, NO FORCE, of an event trigger too; ALTER POLICY, a new policy that is
    true for everybody, NOT ENFORCED, a view's security_barrier, security_invoker or check_option
    reset), ``unlogged`` (SET UNLOGGED), ``writes_stopped`` (a rule DO INSTEAD that writes nothing,
    a CHECK that is true of no row), ``locked_out`` (NOLOGIN, ALLOW_CONNECTIONS false, a CONNECTION
    LIMIT of 0, of a role or database that is there; VALID UNTIL before 2026, PASSWORD NULL,
    a timeout below 100 ms for others), ``replication_cut`` (DROP of a publication or
    subscription, or one that is altered to less; REPLICA IDENTITY NOTHING), ``emptied`` (REFRESH
    ... WITH NO DATA), ``replaced`` (OR REPLACE of what is not temporary), ``system_object`` (made
    or altered in pg_catalog or information_schema), ``stepped_up`` (ALTER ... SECURITY DEFINER,
    LEAKPROOF), ``kept_setting`` (ALTER SYSTEM, ROLE or DATABASE ... SET or RESET), ``owner`` (OWNER
    TO, REASSIGN OWNED), ``renamed`` (a schema, a database),
    ``role_renamed``, ``renumbered`` (RESTART, INCREMENT,
    MAXVALUE or CYCLE of a sequence), ``native_code`` (LOAD, CREATE LANGUAGE, and code of a language
    that may do all that the server's account may, C aside), ``library`` (LOAD or C from a path that
    is not among the server's libraries), ``replica_trigger`` (one is enabled for replication,
    ENABLE REPLICA or ALWAYS), ``overwrite`` (ALTER ... TYPE ... USING other than a plain cast of
    the column, or SET EXPRESSION: all its values are replaced), ``temporary_tie`` (a permanent
    object is made to depend on one of schema pg_temp, and will go with it). About the server:
    ``program``, ``server_file`` (COPY with one of its programs or files, a foreign table over one,
    a tablespace), ``connection`` (the server connects to another one, or is told where and as whom:
    dblink, foreign servers but those of file_fdw, user mappings, IMPORT FOREIGN SCHEMA,
    subscriptions). About the text: ``explain_analyze``, ``multi``, ``code`` (DO or a function body;
    verbs and objects of static SQL within it are included where it parses), ``dynamic`` (code that
    builds the SQL it runs, or that could not be read)."""
    changes: tuple[str, ...] = ()
    """``update t`` or ``delete t`` for each UPDATE and DELETE, as often as it stands in the text:
    what a plan has beyond these is not the text's. ``foldable`` behind one whose WHERE may be gone
    from a plan that was made for certain values. ``merge t`` where nothing but its ON chooses the
    rows. Not for rules."""
    fingerprint: str = ""
    """libpg_query's; for grouping only, never for an allow-list."""
    statements: int = 0
    parts: tuple["Shape", ...] = ()
    """Of a string of several statements: what each of them is, does and touches by itself, in their
    order; rules are asked about each. Those beyond a bound are one, and then the last is not
    PARSED: what is not told apart is not understood. Empty where there is one statement."""
    starts: tuple[tuple[int, int], ...] = ()
    """Where each of ``parts`` begins: so many bytes behind the end of that literal of the text,
    counted from 1 (agent/sql/skeleton.py); 0: behind the text's beginning. Empty where nobody can
    say."""

    @cached_property
    def form(self) -> Facts:
        """All but the digest: texts that differ in literals only have it in common."""
        return Facts(_form_of(self))

    @cached_property
    def judged(self) -> Facts:
        """What rules can see of it."""
        return Facts(_judged_of(self))


NOT_JUDGED = frozenset(("digest", "redacted_text", "fingerprint", "statements", "starts"))
_names = tuple(field.name for field in fields(Shape))
_form_of = attrgetter(*(name for name in _names if name != "digest"))
_judged_of = attrgetter(*(name for name in _names if name not in NOT_JUDGED))


class Source(StrEnum):
    EBPF = "ebpf"
    PGAUDIT = "pgaudit"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Audit:
    """What pgaudit adds to a statement."""

    audit_class: str
    command: str
    objects: tuple[str, ...] = ()
    """``type:schema.name`` as pgaudit resolved them."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One execution, complete. -1 stands for a number that no source saw."""

    id: int
    """Unique within an agent: epoch seconds in the high 32 bits, a counter in the low 32."""
    session: Session
    text: bytes = field(repr=False)
    """As captured; stays on the host."""
    text_bytes: int
    started_at_us: int
    source: Source
    duration_us: int = -1
    rows: int = -1
    bytes_sent: int = -1
    tag: str = ""
    sqlstate: str = ""
    """``00000`` when it succeeded, empty when unknown."""
    error_message: str = field(default="", repr=False)
    """As the server sent it: may hold literals, so it is redacted before it leaves the host."""
    protocol: Protocol = Protocol.QUERY
    parent_id: int = 0
    audit: Audit | None = None
    preparation_us: int = -1
    """Of the duration: before execution began (parsing, planning, waiting for locks)."""
    transaction: str = ""
    """Status before and after as in ReadyForQuery: ``II`` autocommit, ``IT`` begins a transaction,
    ``TT`` within one, ``TI`` ends it, ``TE`` fails it; ``?`` for what is not known."""
    executions: int = 1
    """More than one: the kernel counted them together, and the numbers above are sums; their
    durations are those of execution alone, without preparation."""
    durations: tuple[int, ...] = ()
    """Of counted executions: how many took less than 2**index microseconds."""
    trace_parent: str = ""
    """W3C Trace Context of the request that sent it, if its comment names one."""
    parameters: bytes = field(default=b"", repr=False)
    """What was bound, as captured; stays on the host."""
    hold_id: int = 0
    """Of its hold among all of its backend's; 0: it was not held."""
    number: int = 0
    """Which of the statements of its round trip it is, from 1; 0: unknown."""
    asked: Asked | None = None
    """What the client asked for, of which this is a part; empty if unknown. None: it is that
    itself. Stays on the host."""


class StatementRun(NamedTuple):
    """Successful executions of one text in one session, which differ in nothing but numbers.

    The Statement of ``executions[i]`` has the id ``first_id + i``. A NamedTuple: where no text
    repeats there is one for each of them.
    """

    first_id: int
    session: Session
    text: bytes
    """As captured; stays on the host."""
    tag: str
    transaction: str
    executions: list[Executed]
    trace_parent: str = ""
    parameters: bytes = b""
    """Where there are any, ``executions`` holds one."""

    @property
    def number(self) -> int:
        """Each was alone in its round trip."""
        return 1

    def statement(self, index: int) -> Statement:
        one = self.executions[index]
        return Statement(
            id=self.first_id + index,
            session=self.session,
            text=self.text,
            text_bytes=len(self.text),
            started_at_us=one.started_at_us,
            source=Source.EBPF,
            duration_us=one.duration_us,
            rows=one.rows,
            bytes_sent=one.bytes_sent,
            tag=self.tag,
            sqlstate="00000",
            preparation_us=one.preparation_us,
            transaction=self.transaction,
            trace_parent=self.trace_parent,
            parameters=self.parameters,
        )
