"""A transaction's status as clients follow it. Pure; PostgreSQL's own word is compared with it."""

from collections.abc import Iterable

from tests.conformance.expected import SUCCESS

IDLE, OPEN, FAILED = "I", "T", "E"
BEGINS = ("BEGIN", "START")
ENDS = ("COMMIT", "END", "ROLLBACK", "ABORT")


def after(status: str, statements: Iterable[tuple[str, str]]) -> str:
    """Behind one round trip with these texts and SQLSTATEs; an error ends it."""
    for text, sqlstate in statements:
        words = text.upper().replace(";", " ").split()
        back = words[:2] == ["ROLLBACK", "TO"]
        ends = words[0] in ENDS and not back
        if sqlstate != SUCCESS:
            return IDLE if ends or status == IDLE else FAILED
        if words[0] in BEGINS or back:
            status = OPEN
        elif ends:
            status = IDLE
    return status
