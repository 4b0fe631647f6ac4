"""pgaudit's classes as bits, and which of them a statement's records belong to.

Measured on pgaudit 1.7 with PostgreSQL 15, one class switched on at a time; the same statements are
run against the real extension in ``tests/live/test_audit_expectation.py``.
"""

from __future__ import annotations

from collections.abc import Iterable

READ, WRITE, FUNCTION, ROLE, DDL, MISC, MISC_SET = (1 << n for n in range(7))
ALL = (1 << 7) - 1
CATALOG = 1 << 7
"""Not a class: ``pgaudit.log_catalog`` is on."""

# What a word of pgaudit.log switches on. MISC includes MISC_SET, as in pgaudit's own parser.
WORDS = {
    "none": 0, "all": ALL, "read": READ, "write": WRITE, "function": FUNCTION, "role": ROLE,
    "ddl": DDL, "misc": MISC | MISC_SET, "misc_set": MISC_SET,
}  # fmt: skip

# By command tag, which the server itself gave. Several bits: any of them may be the one, so all
# must be switched on before a record is demanded.
TAGS = {
    "SELECT": READ, "DECLARE CURSOR": READ, "PREPARE": READ | WRITE,
    "INSERT": WRITE, "UPDATE": WRITE, "DELETE": WRITE, "TRUNCATE TABLE": WRITE,
    "COPY": READ | WRITE,
    # To this pgaudit the statement itself is of class MISC, what it does to rows of others.
    "MERGE": READ | WRITE | MISC,
    "DO": FUNCTION,
    "GRANT": ROLE, "REVOKE": ROLE, "GRANT ROLE": ROLE, "REVOKE ROLE": ROLE,
    "CREATE ROLE": ROLE, "ALTER ROLE": ROLE, "DROP ROLE": ROLE,
    "ALTER DEFAULT PRIVILEGES": ROLE,
    "SET": MISC_SET, "RESET": MISC_SET,
    **dict.fromkeys((
        "BEGIN", "START TRANSACTION", "COMMIT", "SAVEPOINT", "RELEASE", "PREPARE TRANSACTION",
        "COMMIT PREPARED", "ROLLBACK PREPARED", "CALL", "SHOW", "FETCH", "MOVE", "CLOSE CURSOR",
        "CLOSE CURSOR ALL", "DEALLOCATE", "DEALLOCATE ALL", "DISCARD ALL", "DISCARD PLANS",
        "DISCARD SEQUENCES", "DISCARD TEMP", "EXPLAIN", "VACUUM", "ANALYZE", "CHECKPOINT", "LISTEN",
        "UNLISTEN", "NOTIFY", "LOAD", "LOCK TABLE", "SET CONSTRAINTS", "REINDEX",
    ), MISC),
    **dict.fromkeys((
        "CLUSTER", "COMMENT", "REFRESH MATERIALIZED VIEW", "SECURITY LABEL",
        "IMPORT FOREIGN SCHEMA", "DROP OWNED", "REASSIGN OWNED",
    ), DDL),
}  # fmt: skip
# Tags that begin so and stand not above.
DEFINITIONS = ("CREATE ", "ALTER ", "DROP ")
# A SELECT that also writes: a CTE with DML, SELECT INTO, CREATE TABLE AS, a materialized view.
SELECT_THAT_WRITES = READ | WRITE | DDL
# EXECUTE gives the tag of what it runs; its own record is of class MISC.
EXECUTE = MISC
# A data change that fails on a constraint has run, and so has a record, but no tag.
FAILED_CHANGE = {"insert": WRITE, "update": WRITE, "delete": WRITE, "merge": WRITE}


def switched_on(setting: str) -> int:
    """The bits of a value of ``pgaudit.log``; words that pgaudit does not know count for nothing.

    >>> switched_on("read, WRITE") == READ | WRITE
    True
    >>> switched_on("all,-misc") == ALL - MISC - MISC_SET
    True
    >>> switched_on("none"), switched_on("")
    (0, 0)
    """
    bits = 0
    for word in _words(setting):
        name = word.removeprefix("-")
        bits = bits & ~WORDS.get(name, 0) if word.startswith("-") else bits | WORDS.get(name, 0)
    return bits


def _words(setting: str) -> Iterable[str]:
    return (word for part in setting.lower().split(",") if (word := part.strip(' "')))
