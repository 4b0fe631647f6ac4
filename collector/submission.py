"""What waits for a commit: batches of agents as they came, and the collector's own rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import polars as pl

from collector.columns import Sent
from collector.intake import Decoded, sift
from collector.ledger_entry import Note, SourceRange
from collector.weight import MESSAGE_ROWS, rows_in
from model.catalog import Snapshot
from protos.pgwarden.v1 import uplink_pb2 as pb


@dataclass(frozen=True, slots=True)
class BatchId:
    agent: str
    epoch: int
    sequence: int


@dataclass(slots=True)
class Owner:
    """The stream that submitted; ``broken`` once one of its batches was dropped or it was replaced.

    A broken stream may add nothing: an acknowledgement covers all earlier sequences, so accepting
    a later batch would acknowledge the dropped one.
    """

    broken: bool = False


@dataclass(frozen=True, slots=True)
class Submission:
    frames: Mapping[str, pl.DataFrame]
    """By table, with that table's columns."""
    batch: BatchId | None = None
    """None for the collector's own rows."""
    owner: Owner = field(default_factory=Owner)
    snapshots: tuple[tuple[str, Snapshot], ...] = ()
    """(agent, snapshot), whole, for the drift comparison."""
    settled: Callable[[bool], None] | None = None
    """Called once: True when durable, False when dropped and to be sent again. Of what one stream
    has in a commit only the last hears that it is durable, and with it all before."""
    notes: tuple[Note, ...] = ()
    """For the ledger itself."""
    message: pb.Batch | None = None
    """In the place of frames and snapshots: not decoded yet."""
    refused: Callable[[str], None] | None = None
    """Called instead of ``settled`` where the message is poison: it is never stored."""
    weight: int = 0
    """What it costs, in rows; 0: as many as it has."""
    follows: str = ""
    """The agent of the batch that it repeats."""

    @property
    def agent(self) -> str:
        """Whose place in the queue it has; empty: the collector's own."""
        return self.batch.agent if self.batch is not None else self.follows

    @property
    def load(self) -> int:
        return self.weight or self.rows

    @property
    def is_mark(self) -> bool:
        """It only tells that what was ahead of it is durable."""
        return not (self.agent or self.rows or self.notes)

    @property
    def rows(self) -> int:
        waiting = rows_in(self.message) if self.message is not None else 0
        return waiting + sum(frame.height for frame in self.frames.values())

    @property
    def sent(self) -> tuple[Sent, ...]:
        """The message, if it is one, and whose it is."""
        agent = self.batch.agent if self.batch is not None else ""
        return ((agent, self.message),) if self.message is not None else ()

    def again(self, undecided: bool) -> "Submission":
        """A copy that adds no rows. It settles with, or after, the first one: that is ahead in the
        queue. ``undecided``: whether that one is poison is not known yet."""
        return Submission(
            {},
            owner=self.owner,
            settled=self.settled,
            message=self.message if undecided else None,
            refused=self.refused,
            weight=self.weight if undecided else MESSAGE_ROWS,
            follows=self.agent,
        )


Refused = tuple[Submission, str]
"""A message that is poison, and why."""


def opened(group: Sequence[Submission]) -> tuple[list[Decoded], list[Refused]]:
    """What the group holds, in its order, and those of it that are poison."""
    contents: list[Decoded] = []
    poison: list[Refused] = []
    for kind, run in groupby(group, _kind):
        some = list(run)
        if kind is _OWN:
            contents += [Decoded(each.frames, each.snapshots) for each in some]
            continue
        sent = [
            (s.batch.agent if s.batch else "", s.message) for s in some if s.message is not None
        ]
        decoded, refused = sift(sent)
        poison += [(some[place], reason) for place, reason in refused.items()]
        if kind is _SENT:
            contents += decoded
    return contents, poison


_SENT, _AGAIN, _OWN = "sent", "again", "own"


def _kind(submission: Submission) -> str:
    if submission.message is None:
        return _OWN
    return _SENT if submission.batch is not None else _AGAIN


def is_own(submission: Submission) -> bool:
    """It must not be lost: nobody sends it again."""
    sent = submission.batch is not None or submission.message is not None
    return not sent and bool(submission.rows or submission.notes)


def ranges(group: Sequence[Submission]) -> tuple[SourceRange, ...]:
    """First and last sequence of each stream of batches."""
    found: dict[tuple[str, int], tuple[int, int]] = {}
    for batch in (submission.batch for submission in group):
        if batch is not None:
            first, _ = found.get((batch.agent, batch.epoch), (batch.sequence, 0))
            found[batch.agent, batch.epoch] = (first, batch.sequence)
    return tuple(SourceRange(*key, *ends) for key, ends in found.items())
