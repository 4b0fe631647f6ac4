"""The wordings of PostgreSQL's own messages, by class of SQLSTATE.

``RAISE ... USING ERRCODE`` lets a function say anything under any SQLSTATE, so a code proves
nothing: only words that are written here are believed. A place for something else is either a
single name, or is redacted afterwards like every quote, parenthesis and number.
"""

from __future__ import annotations

import re

_NAME = r'(?:"[^"\n]*"|[^\W\d][\w$.-]{0,127})'
_QUOTED = r'"[^"\n]*"'
_VALUE = r'".*"'
_TYPE = (
    r'(?:"?[^\W\d][\w$.]{0,127}"?|character varying|double precision|bit varying'
    r"|time(?:stamp)? with(?:out)? time zone)(?:\(\d+(?:,\d+)?\))?(?:\[\])?"
)
_OPERATOR = r"[-+*/<>=~!@#%^&|`?]{1,8}"
_NOUN = (
    r"(?:relation|table|view|materialized view|foreign table|sequence|index|constraint|column"
    r"|role|user|database|schema|extension|parameter|tablespace|policy|rule|trigger|event trigger"
    r"|publication|subscription|language|server|foreign-data wrapper|user mapping|function"
    r"|procedure|routine|aggregate|operator|type|domain|collation|conversion|statistics object"
    r"|large object|access method|encoding|cursor|portal|prepared statement|savepoint)"
)
_OBJECT = rf"{_NOUN} {_NAME}"
_COMMAND = (
    r"(?:SELECT|INSERT|UPDATE|DELETE|MERGE|COPY FROM|COPY TO|TRUNCATE TABLE|VACUUM|ANALYZE|CLUSTER"
    r"|REINDEX|LOCK TABLE|GRANT|REVOKE|COMMENT|CALL|DO|NOTIFY|LISTEN|nextval|setval|ALTER SYSTEM"
    r"|SECURITY LABEL|REFRESH MATERIALIZED VIEW|SELECT FOR UPDATE|SELECT INTO|CREATE TABLE AS"
    r"|SAVEPOINT|ROLLBACK TO SAVEPOINT|RELEASE SAVEPOINT|DECLARE CURSOR|DISCARD ALL"
    r"|REINDEX CONCURRENTLY|(?:CREATE|DROP|REINDEX) INDEX CONCURRENTLY"
    r"|(?:CREATE|ALTER|DROP) (?:TABLE|VIEW|MATERIALIZED VIEW|INDEX|SEQUENCE|SCHEMA|DATABASE|ROLE"
    r"|USER|FUNCTION|PROCEDURE|TRIGGER|TYPE|DOMAIN|EXTENSION|POLICY|TABLESPACE|PUBLICATION"
    r"|SUBSCRIPTION|SERVER|LANGUAGE|RULE|OWNED))"
)
_CLAUSE = (
    r"(?:WHERE|HAVING|GROUP BY|ORDER BY|JOIN|JOIN/ON|JOIN conditions|LIMIT|OFFSET|FILTER|VALUES"
    r"|RETURNING|UPDATE|CHECK|CHECK constraints|DEFAULT expressions|policy expressions|CASE/WHEN"
    r"|index expressions|index predicates|AND|OR|NOT|UNION|INTERSECT|EXCEPT|CASE|COALESCE|ARRAY|IN)"
)

_BY_CLASS: dict[str, tuple[str, ...]] = {
    "08": (
        rf"bind message supplies \d+ parameters, but prepared statement {_QUOTED} requires \d+",
        "unexpected EOF on client connection with an open transaction",
        "connection to client lost",
        "could not receive data from client: Connection reset by peer",
        r"invalid frontend message type \d+",
    ),
    "0A": (
        "cached plan must not change result type",
        rf"cross-database references are not implemented: {_VALUE}",
        r"cannot alter type of a column used by a view or rule",
        rf"cannot (?:insert into|update|delete from) view {_QUOTED}",
    ),
    "0L": ("grant options cannot be granted back to your own grantor",),
    "21": (
        "more than one row returned by a subquery used as an expression",
        "ON CONFLICT DO UPDATE command cannot affect row a second time",
        "MERGE command cannot affect row a second time",
    ),
    "22": (
        "division by zero",
        rf"invalid input syntax for type {_TYPE}(?:: {_VALUE})?",
        rf"invalid input value for enum {_TYPE}: {_VALUE}",
        rf"value too long for type {_TYPE}",
        rf"value {_VALUE} is out of range for type {_TYPE}",
        r"(?:integer|bigint|smallint|interval|timestamp|date|numeric|money|oid|real) out of range",
        r"value out of range: (?:overflow|underflow)",
        "numeric field overflow",
        rf"date/time field value out of range: {_VALUE}",
        rf"time zone {_VALUE} not recognized",
        rf"time zone displacement out of range: {_VALUE}",
        rf"invalid value for parameter {_QUOTED}: {_VALUE}",
        rf'parameter {_QUOTED} requires a (?:Boolean|numeric|integer) value',
        r'invalid byte sequence for encoding "[\w-]+": 0x[0-9a-f]{2}(?: 0x[0-9a-f]{2}){0,8}',
        rf"malformed (?:array|record|range|multirange) literal: {_VALUE}",
        r"invalid regular expression: .*",
        r"syntax error in \w+: .*",
        r"invalid URI query|invalid connection string|unterminated dollar-quoted string",
        r"cannot take (?:logarithm|square root) of (?:a negative number|zero)",
        r"(?:LIMIT|OFFSET) must not be negative",
        "negative substring length not allowed",
        "array subscript out of range",
        "lower bound of range must be less than or equal to its upper bound",
        "step size cannot equal zero",
        "unsupported Unicode escape sequence",
        rf"missing data for column {_QUOTED}",
        "extra data after last expected column",
        "null character not permitted",
        r"null value not allowed for object key",
        r"cannot (?:extract elements from|call jsonb?_\w+ on)"
        r" (?:a|an) (?:scalar|object|array|non-array)",
    ),
    "23": (
        rf"duplicate key value violates unique constraint {_QUOTED}",
        rf"null value in column {_QUOTED}(?: of relation {_QUOTED})? violates not-null constraint",
        rf"column {_QUOTED}(?: of relation {_QUOTED})? contains null values",
        rf"domain {_NAME} does not allow null values",
        rf"value for domain {_NAME} violates check constraint {_QUOTED}",
        rf"insert or update on table {_QUOTED} violates foreign key constraint {_QUOTED}",
        rf"update or delete on table {_QUOTED} violates foreign key constraint {_QUOTED}"
        rf" on table {_QUOTED}",
        rf"new row for relation {_QUOTED} violates (?:check constraint {_QUOTED}"
        r"|partition constraint)",
        rf"check constraint {_QUOTED} of relation {_QUOTED} is violated by some row",
        rf"could not create unique index {_QUOTED}",
        rf"no partition of relation {_QUOTED} found for row",
        rf"conflicting key value violates exclusion constraint {_QUOTED}",
        r"Key \(.*\)=\(.*\) (?:already exists|is duplicated"
        r"|conflicts with existing key \(.*\)=\(.*\)"
        rf'|is (?:not present in|still referenced from) table {_QUOTED})(?: \(.*\))?\.',
        r"Failing row contains \(.*\)\.",
    ),
    "24": (rf"cursor {_QUOTED} does not exist",),
    "25": (
        "current transaction is aborted, commands ignored until end of transaction block",
        rf"cannot execute {_COMMAND} in a read-only transaction",
        rf"cannot execute {_COMMAND} during recovery",
        rf"{_COMMAND} cannot run inside a transaction block",
        rf"{_COMMAND} cannot be executed from a function",
        rf"{_COMMAND} can only be used in transaction blocks",
        "there is no transaction in progress",
        "there is already a transaction in progress",
        "terminating connection due to idle-in-transaction timeout",
    ),
    "26": (rf"prepared statement {_QUOTED} does not exist",),
    "28": (
        r"(?:password|Ident|Peer|LDAP|GSSAPI|SSPI|PAM|certificate|RADIUS|SCRAM|MD5|trust)"
        rf" authentication failed for user {_QUOTED}",
        rf"role {_QUOTED} (?:does not exist|is not permitted to log in)",
        rf"no pg_hba\.conf entry for (?:host|replication connection from host) {_QUOTED},"
        rf" user {_QUOTED}(?:, database {_QUOTED})?(?:, (?:no encryption|SSL encryption"
        r"|GSS encryption|SSL on|SSL off))?",
    ),
    "2B": (
        rf"cannot drop {_OBJECT}(?: of table {_NAME}| on table {_NAME})?"
        r" because other objects depend on it",
        r"cannot drop desired object\(s\) because other objects depend on them",
        rf"role {_QUOTED} cannot be dropped because some objects depend on it",
    ),
    "34": (rf"(?:cursor|portal) {_QUOTED} does not exist",),
    "3B": (rf"savepoint {_QUOTED} does not exist",),
    "3D": (rf"database {_QUOTED} does not exist",),
    "3F": (rf"schema {_QUOTED} does not exist", "no schema has been selected to create in"),
    "40": (
        "deadlock detected",
        r"could not serialize access due to (?:concurrent (?:update|delete)"
        r"|read/write dependencies among transactions)",
        "canceling statement due to conflict with recovery",
        "terminating connection due to conflict with recovery",
    ),
    "42": (
        rf"permission denied for {_OBJECT}",
        r"permission denied to (?:create|drop|alter|rename) (?:role|database|tablespace|user)",
        rf'permission denied to (?:create|set|drop) (?:extension|parameter|role) {_QUOTED}',
        rf"must be (?:owner of {_OBJECT}|superuser(?: to (?:create|alter|drop) (?:superusers|roles"
        r"|replication users))?|a superuser to terminate superuser process)",
        r"must be a member of the role whose (?:query is being canceled|process is being"
        r" terminated)(?: or member of pg_signal_backend)?",
        rf"must be member of role {_QUOTED}",
        rf"new row violates row-level security policy(?: {_QUOTED})?(?: \(USING expression\))?"
        rf" for table {_QUOTED}",
        rf"query would be affected by row-level security policy for table {_QUOTED}",
        r"syntax error at end of input",
        r"(?:syntax error|unterminated (?:string|quoted string|quoted identifier"
        r"|bit string literal|hexadecimal string literal|/\* comment|dollar-quoted string)"
        r"|trailing junk after numeric literal|zero-length delimited identifier"
        r"|invalid Unicode escape value) at or near .*",
        rf"{_OBJECT} does not exist",
        rf"column {_NAME} of relation {_QUOTED} (?:does not exist|already exists)",
        rf"constraint {_QUOTED} (?:of|for) relation {_QUOTED} (?:does not exist|already exists)",
        rf"(?:trigger|policy|rule) {_QUOTED} for (?:table|relation) {_QUOTED}"
        r" (?:does not exist|already exists)",
        rf"{_OBJECT} already exists(?: in schema {_QUOTED})?",
        rf"(?:function|procedure|aggregate) {_NAME}\(.*\) (?:does not exist|is not unique"
        r"|is not a procedure|is a procedure|already exists)",
        rf"function {_NAME} already exists with same argument types",
        rf"operator (?:does not exist|is not unique): (?:{_TYPE} )?{_OPERATOR} {_TYPE}",
        rf"could not (?:determine|identify) (?:data type of parameter \$\d+"
        rf"|an (?:equality|ordering) operator for type {_TYPE}|polymorphic type)",
        r"there is no parameter \$\d+",
        rf"(?:column|function|table) reference {_QUOTED} is ambiguous",
        rf'column {_QUOTED} must appear in the GROUP BY clause or be used in an aggregate function',
        rf"missing FROM-clause entry for table {_QUOTED}",
        rf"invalid reference to FROM-clause entry for table {_QUOTED}",
        rf"(?:table name|column|parameter name|constraint) {_QUOTED} specified more than once",
        rf"(?:aggregate|window|grouping) functions are not allowed in {_CLAUSE}",
        "aggregate function calls cannot be nested",
        rf"set-returning functions are not allowed in {_CLAUSE}",
        rf"argument of {_CLAUSE} must be type {_TYPE}, not type {_TYPE}",
        rf"{_CLAUSE} types {_TYPE} and {_TYPE} cannot be matched",
        rf"column {_QUOTED} is of type {_TYPE} but expression is of type {_TYPE}",
        rf"column {_QUOTED} can only be updated to DEFAULT",
        rf"cannot insert a non-DEFAULT value into column {_QUOTED}",
        rf"column {_QUOTED} cannot be cast automatically to type {_TYPE}",
        rf"cannot cast type {_TYPE} to {_TYPE}",
        "subquery must return only one column",
        "subquery has too (?:many|few) columns",
        r"each (?:UNION|INTERSECT|EXCEPT) query must have the same number of columns",
        "INSERT has more expressions than target columns",
        "INSERT has more target columns than expressions",
        "VALUES lists must all be the same length",
        "there is no unique or exclusion constraint matching the ON CONFLICT specification",
        rf"there is no unique constraint matching given keys for referenced table {_QUOTED}",
        rf"{_QUOTED} is (?:not )?a (?:table|view|sequence|index|composite type|partitioned table)",
        rf"cannot change (?:name of view column {_QUOTED} to {_QUOTED}|return type of existing"
        r" function)",
        rf"unrecognized configuration parameter {_QUOTED}",
        rf"unrecognized role option {_VALUE}",
        rf"wrong number of parameters for prepared statement {_QUOTED}",
        rf"multiple primary keys for table {_QUOTED} are not allowed",
        "cannot insert multiple commands into a prepared statement",
    ),
    "44": (rf"new row violates check option for view {_QUOTED}",),
    "53": (
        "sorry, too many clients already",
        "remaining connection slots are reserved for (?:non-replication )?superuser connections",
        rf"too many connections for (?:role|database) {_QUOTED}",
        "out of memory",
        "out of shared memory",
        rf"could not (?:extend|write to|write) file {_QUOTED}: No space left on device",
    ),
    "54": ("stack depth limit exceeded", r"target lists can have at most \d+ entries"),
    "55": (
        rf"could not obtain lock on (?:row in )?relation {_QUOTED}",
        "canceling statement due to lock timeout",
        rf"database {_QUOTED} is being accessed by other users",
        rf"(?:source )?database {_QUOTED} is not currently accepting connections",
        rf"currval of sequence {_QUOTED} is not yet defined in this session",
        "lastval is not yet defined in this session",
        rf"parameter {_QUOTED} (?:cannot be changed (?:now|without restarting the server"
        r"|after connection start)|can only be set at session start)",
        rf"cannot {_COMMAND} {_QUOTED} because (?:it is being used by active queries in this"
        r" session|it has pending trigger events)",
    ),
    "57": (
        r"canceling statement due to (?:user request|statement timeout|lock timeout"
        r"|conflict with recovery)",
        r"canceling autovacuum task",
        r"canceling authentication due to timeout",
        r"terminating connection due to (?:administrator command|conflict with recovery"
        r"|idle-in-transaction timeout|idle-session timeout|unexpected postmaster exit)",
        "terminating connection because of crash of another server process",
        r"the database system is (?:starting up|shutting down|in recovery mode"
        r"|not accepting connections|not yet accepting connections)",
    ),
    "58": (rf"could not (?:open|read|stat|access|write) (?:file|directory) {_VALUE}(?: for"
           r" (?:reading|writing))?: (?:No such file or directory|Permission denied|Is a directory"
           r"|Not a directory|No space left on device)",),
    "P0": ("query returned no rows", "query returned more than one row", "assertion failed"),
    "00": (
        r"process \d+ (?:still waiting(?: for \w+Lock on (?:transaction|relation|tuple) [\d(), ]+"
        r"(?:of (?:relation \d+ of )?database \d+)?)?) ?after [\d.]+ ms",
    ),
}  # fmt: skip

_COMPILED = {
    start: re.compile("|".join(f"(?:{each})" for each in wordings), re.DOTALL)
    for start, wordings in _BY_CLASS.items()
}


def is_known(text: str, sqlstate: str) -> bool:
    """Whether PostgreSQL itself words a message so; an empty ``sqlstate`` stands for any."""
    if not sqlstate:
        return any(pattern.fullmatch(text) for pattern in _COMPILED.values())
    pattern = _COMPILED.get(sqlstate[:2])
    return pattern is not None and pattern.fullmatch(text) is not None
