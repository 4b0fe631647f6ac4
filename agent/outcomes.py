"""How a verdict ended, read back from what the statement really did.

What the guard has done is one half; the answer that the server gave is the other, and it decides.
``TABLE`` has a row for what was done and a column for how the statement ended; docs/guard.md shows
it to people.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agent.guard.hold import Settled
from model.statement import ParseStatus, Shape, Statement
from model.verdict import Outcome

SUCCESS, REFUSAL, INTERRUPTION = "00000", "42501", "57014"
BEFORE_EXECUTION = ("0A", "22", "25", "26", "34", "3D", "3F", "42")
"""Classes of SQLSTATE with which PostgreSQL's own parser, analysis or transaction state refuses."""

RETURNING = frozenset(
    ("select", "values", "table", "copy", "fetch", "execute", "show", "explain", "with")
)
"""Operations that send rows before they are complete: what has left does not come back."""
COMMITTING = frozenset(("call", "do", "vacuum", "analyze", "cluster", "reindex", "create", "drop"))
"""Operations of which some commit on their way: procedures, CREATE INDEX CONCURRENTLY, VACUUM,
CREATE DATABASE."""


class Ending(StrEnum):
    """How a statement ended, as far as verdicts must tell it apart."""

    RAN = "ran"
    """It completed."""
    REFUSED = "refused"
    """42501 and nothing completed: the error that a redirect raises."""
    INTERRUPTED = "interrupted"
    """57014: it was cancelled, and its transaction was undone."""
    FAILED = "failed"
    """Another error: its transaction was undone."""
    LEAKED = "leaked"
    """An error after it may have sent rows or committed something."""
    NEVER_BEGAN = "never_began"
    """The server itself refused it before execution."""
    UNSEEN = "unseen"
    """Its end never came, or was lost."""


class Done(StrEnum):
    """What the guard has done to the held backend."""

    NOTHING = "nothing"
    """It was not held, was let go, or the guard came after somebody else had let it go."""
    REDIRECTED = "redirected"
    INTERRUPTED = "interrupted"
    ENDED = "ended"
    """Redirected, and the session terminated."""
    CUT_OFF = "cut_off"
    """Interrupted, and the session terminated."""
    BROKEN = "broken"
    """A step failed half way."""


@dataclass(frozen=True, slots=True)
class Read:
    outcome: Outcome
    reason: str = ""
    """What a person should know beside the rule's own reason."""


RAN_ALL_THE_SAME = "it ran to its end all the same"
END_UNSEEN = "how it ended was not seen"
BY_ITSELF = "the server itself refused it"
FAILED_BY_ITSELF = "nothing stopped it, it failed by itself"
LEFT_SOMETHING = "it failed, but may have returned rows or committed a part before"
OTHER_ERROR = "it ended with another error than ours"

_LATE = Read(Outcome.TOO_LATE, RAN_ALL_THE_SAME)
_LEFT = Read(Outcome.TOO_LATE, LEFT_SOMETHING)
_CANCELLED = Read(Outcome.CANCELLED)
_OTHER = Read(Outcome.CANCELLED, OTHER_ERROR)
_TERMINATED = Read(Outcome.TERMINATED)

TABLE: dict[Done, dict[Ending, Read]] = {
    Done.NOTHING: {
        Ending.RAN: Read(Outcome.TOO_LATE),
        Ending.REFUSED: Read(Outcome.CANCELLED, FAILED_BY_ITSELF),
        Ending.INTERRUPTED: _CANCELLED,
        Ending.FAILED: Read(Outcome.CANCELLED, FAILED_BY_ITSELF),
        Ending.LEAKED: _LEFT,
        Ending.NEVER_BEGAN: Read(Outcome.OBSERVED, BY_ITSELF),
        Ending.UNSEEN: Read(Outcome.TOO_LATE, END_UNSEEN),
    },
    # The function whose entry it stood at was never called, whatever else is known.
    Done.REDIRECTED: {
        Ending.RAN: _LATE,
        Ending.REFUSED: Read(Outcome.PREVENTED),
        Ending.INTERRUPTED: _OTHER,
        Ending.FAILED: _OTHER,
        Ending.LEAKED: _OTHER,
        Ending.NEVER_BEGAN: _OTHER,
        Ending.UNSEEN: Read(Outcome.PREVENTED, END_UNSEEN),
    },
    # PostgreSQL looks for interrupts when it likes: only the answer tells whether it did in time.
    Done.INTERRUPTED: {
        Ending.RAN: _LATE,
        Ending.REFUSED: _OTHER,
        Ending.INTERRUPTED: _CANCELLED,
        Ending.FAILED: _OTHER,
        Ending.LEAKED: _LEFT,
        Ending.NEVER_BEGAN: _OTHER,
        Ending.UNSEEN: Read(Outcome.FAILED, END_UNSEEN),
    },
    Done.ENDED: {
        Ending.RAN: _LATE,
        Ending.REFUSED: _TERMINATED,
        Ending.INTERRUPTED: _TERMINATED,
        Ending.FAILED: _TERMINATED,
        Ending.LEAKED: _TERMINATED,
        Ending.NEVER_BEGAN: _TERMINATED,
        Ending.UNSEEN: Read(Outcome.TERMINATED, END_UNSEEN),
    },
    Done.CUT_OFF: {
        Ending.RAN: _LATE,
        Ending.REFUSED: _TERMINATED,
        Ending.INTERRUPTED: _TERMINATED,
        Ending.FAILED: _TERMINATED,
        Ending.LEAKED: _LEFT,
        Ending.NEVER_BEGAN: _TERMINATED,
        Ending.UNSEEN: Read(Outcome.FAILED, END_UNSEEN),
    },
    Done.BROKEN: {
        Ending.RAN: _LATE,
        Ending.REFUSED: Read(Outcome.PREVENTED),
        Ending.INTERRUPTED: _CANCELLED,
        Ending.FAILED: Read(Outcome.CANCELLED, FAILED_BY_ITSELF),
        Ending.LEAKED: _LEFT,
        Ending.NEVER_BEGAN: Read(Outcome.OBSERVED, BY_ITSELF),
        Ending.UNSEEN: Read(Outcome.FAILED, END_UNSEEN),
    },
}


def read_back(settled: Settled | None, statement: Statement, shape: Shape) -> Read:
    """The outcome of a verdict that was to stop ``statement``, in enforce mode."""
    done = done_by(settled)
    read = TABLE[done][ending_of(statement, shape, done)]
    if read.outcome is Outcome.TOO_LATE and statement.transaction.endswith("T"):
        # Worth a person's haste: ending the session now undoes it.
        reason = f"{read.reason}; " if read.reason else ""
        return Read(read.outcome, f"{reason}its transaction was still open")
    return read


def done_by(settled: Settled | None) -> Done:
    if settled is None:
        return Done.NOTHING
    match settled.outcome:
        case Outcome.PREVENTED:
            return Done.REDIRECTED
        case Outcome.CANCELLED:
            return Done.INTERRUPTED
        case Outcome.TERMINATED:
            # A reason says that the redirect could not be done.
            return Done.CUT_OFF if settled.reason else Done.ENDED
        case Outcome.FAILED:
            return Done.BROKEN
    return Done.NOTHING


def ending_of(statement: Statement, shape: Shape, done: Done) -> Ending:
    state = statement.sqlstate
    if not state:
        return Ending.UNSEEN
    if state == SUCCESS:
        return Ending.RAN
    if done is not Done.NOTHING:
        if state == REFUSAL and not statement.tag:
            return Ending.REFUSED
        if state == INTERRUPTION:
            return Ending.INTERRUPTED
    elif state.startswith(BEFORE_EXECUTION) and not (_began(statement) and _returns(shape)):
        return Ending.NEVER_BEGAN
    if _may_have_left_something(shape):
        return Ending.LEAKED
    return Ending.INTERRUPTED if state == INTERRUPTION else Ending.FAILED


def _began(statement: Statement) -> bool:
    """Only what came to its execution has a time of preparation. Not known of every statement."""
    return statement.preparation_us >= 0


def _returns(shape: Shape) -> bool:
    return not RETURNING.isdisjoint(shape.verbs)


def _may_have_left_something(shape: Shape) -> bool:
    return (
        shape.status is not ParseStatus.PARSED
        or shape.statements > 1
        or _returns(shape)
        or not COMMITTING.isdisjoint(shape.verbs)
    )
