"""Group commit: batches gather for a moment, then become sealed Parquet segments together.

The order is the promise: temporary file, fsync, rename, fsync of the folder, ledger line, fsync,
and only then the acknowledgement. Duplicates are known by (agent, epoch, sequence), against what
is durable and against what is still waiting. Agents' batches wait as they came, and are decoded
here, all of a commit together.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

import polars as pl

from collector import schema
from collector.intake import Decoded
from collector.ledger import Ledger, LedgerError, fsync_folder
from collector.ledger_entry import SealedFile
from collector.refusals import Refusals
from collector.security_events import sealed_events
from collector.segment_file import write_segment
from collector.sharing import Waiting
from collector.submission import BatchId, Owner, Refused, Submission, is_own, opened, ranges
from model.catalog import Snapshot

COMMIT_SECONDS = 0.5
COMMIT_ROWS = 100_000
"""A commit starts early when it would have so many."""
MAX_WAITING_ROWS = 400_000
"""When so many rows wait, streams of agents that have more than their part of them are not read:
their spools take over."""
MAX_ROWS_OF_AGENT = 200_000
"""So many of them may be one agent's."""
MAX_OWN_ROWS = 100_000
"""Findings, alerts and drift that may wait while the disk refuses."""
FOLDER = "segments"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Committed:
    """What one commit made durable."""

    seq: int
    frames: Mapping[str, pl.DataFrame]
    snapshots: tuple[tuple[str, Snapshot], ...] = ()
    at_us: int = 0
    """When, by the collector's clock, as the ledger says; 0: unknown."""


class Accepted(StrEnum):
    NEW = "new"
    DUPLICATE = "duplicate"
    BROKEN = "broken"


@dataclass(slots=True)
class SegmentCounters:
    """For the metrics page; written by the commit thread, but duplicates by the streams."""

    batches: int = 0
    """Of agents, made durable."""
    duplicates: int = 0
    own_rows_dropped: int = 0
    listener_failures: int = 0
    commit_seconds: float = 0.0
    last_error: str = ""


class Segments:
    """``on_commit`` runs on the commit thread after the acknowledgements; keep it short.

    ``healthy`` is False from a failed commit until the next good one. A failure of the ledger
    itself is final: ``broken`` stays True, nothing is accepted, and a restart reads the truth back.
    """

    def __init__(
        self,
        data_dir: Path,
        ledger: Ledger,
        on_commit: Callable[[Committed], None] = lambda _: None,
        commit_seconds: float = COMMIT_SECONDS,
        commit_rows: int = COMMIT_ROWS,
    ) -> None:
        self._data_dir = data_dir
        self._ledger = ledger
        self._on_commit = on_commit
        self._commit_seconds = commit_seconds
        self._commit_rows = commit_rows
        self._lock = threading.Condition()
        self._waiting = Waiting(commit_rows)
        self._waiting_since = 0.0
        self._load_of: Counter[str] = Counter()
        """Rows that wait or are being committed, by agent; those without any are not in it."""
        self._durable = dict(ledger.high_water)
        self._received = dict(ledger.high_water)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        self.counters = SegmentCounters()
        self.healthy = True
        self.broken = False
        self._refusals = Refusals(data_dir / "state")
        for name in schema.TABLES:
            (data_dir / FOLDER / name).mkdir(parents=True, exist_ok=True)
        # Their names too must be durable before a segment in them is.
        for folder in (data_dir / FOLDER, data_dir):
            fsync_folder(folder)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Something is being committed, or will be."""
        return self._thread.is_alive()

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Commit what waits, then end."""
        with self._lock:
            self._stopping = True
            self._lock.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def submit(self, submission: Submission) -> Accepted:
        """Queue for the next commit; blocks while too much waits. Duplicates add no rows."""
        batch = submission.batch
        with self._lock:
            while batch and self._is_full(batch.agent) and not self._closed(submission):
                self._lock.wait(0.2)
            if self._closed(submission):
                return Accepted.BROKEN
            why, refuse = "", submission.refused
            if batch is not None:
                key = (batch.agent, batch.epoch)
                if batch.sequence <= self._received.get(key, 0):
                    self.counters.duplicates += 1
                    undecided = batch.sequence > self._durable.get(key, 0)
                    why = "" if undecided else self._refusals.reason(batch)
                    if not why or refuse is None:
                        self._queue(submission.again(undecided))
                        return Accepted.DUPLICATE
                else:
                    self._received[key] = batch.sequence
            if not why or refuse is None:
                self._queue(submission)
                return Accepted.NEW
        # Refused since the stream was greeted, which its agent has not been told.
        refuse(why)
        return Accepted.DUPLICATE

    def durable_sequence(self, agent: str, epoch: int) -> int:
        with self._lock:
            return self._durable.get((agent, epoch), 0)

    def durable_of_spool(self, agent: str, epoch: int, first_epoch: int) -> int:
        """The highest number that came from the file whose epochs began with that one. 0: that is
        not known; the newest epoch here counts, for numbers rise with the epochs of a file."""
        with self._lock:
            known = {each: last for (name, each), last in self._durable.items() if name == agent}
        if not first_epoch:
            return known.get(epoch, 0) or known.get(max(known, default=0), 0)
        return max(
            (last for each, last in known.items() if each == epoch or each >= first_epoch),
            default=0,
        )

    def refuse(self, batch: BatchId, reason: str) -> None:
        """It did not even come to be queued. Raises OSError: then nothing after it may be."""
        self._refusals.add([(batch, reason)])

    def refused(self, agent: str, epoch: int, durable: int) -> list[tuple[int, str]]:
        """What was refused of the numbers up to ``durable``, and why."""
        return self._refusals.of(agent, epoch, durable)

    def knows(self, agent: str) -> bool:
        """Something of it is durable here."""
        with self._lock:
            return any(name == agent for name, _ in self._durable)

    def flush(self, timeout_seconds: float = 10.0) -> bool:
        """Wait until everything queued so far is durable. Never call it from ``on_commit``."""
        done = threading.Event()
        outcome: list[bool] = []

        def settled(good: bool) -> None:
            outcome.append(good)
            done.set()

        self.submit(Submission({}, settled=settled))
        return done.wait(timeout_seconds) and outcome == [True]

    def replace_owner(self, owner: Owner) -> None:
        """Whatever this stream still tries to add is refused from now on."""
        with self._lock:
            owner.broken = True
            self._lock.notify_all()

    def _closed(self, submission: Submission) -> bool:
        return self.broken or self._stopping or submission.owner.broken

    def _is_full(self, agent: str) -> bool:
        """Who has little waiting is never held up by those who have much."""
        load = self._load_of.get(agent, 0)
        if load > MAX_ROWS_OF_AGENT:
            return True
        is_crowded = sum(self._load_of.values()) > MAX_WAITING_ROWS
        return is_crowded and load > MAX_WAITING_ROWS // len(self._load_of)

    def _queue(self, submission: Submission) -> None:
        if not self._waiting:
            self._waiting_since = time.monotonic()
        self._waiting.add(submission)
        self._load_of[submission.agent] += submission.load
        if len(self._waiting) == 1 or self._waiting.due >= self._commit_rows:
            self._lock.notify_all()

    def _unload(self, submissions: Sequence[Submission]) -> None:
        """They do not wait any more."""
        for submission in submissions:
            self._load_of[submission.agent] -= submission.load
        self._load_of = +self._load_of
        self._lock.notify_all()

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._waiting and not self._stopping:
                    self._lock.wait()
                if not self._waiting:
                    return
                # What came during the last commit has waited already.
                deadline = self._waiting_since + self._commit_seconds
                while not self._stopping and self._waiting.due < self._commit_rows:
                    left = deadline - time.monotonic()
                    if left <= 0 or not self._lock.wait(left):
                        break
                group = self._waiting.take(everything=self._stopping)
                self._waiting_since = time.monotonic()  # of what is left
            self._supervised(group)
            if self.broken:
                return

    def _supervised(self, group: list[Submission]) -> None:
        """Whatever one group does, the next one is committed."""
        try:
            self._commit_group(group)
        except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001 - a supervising loop
            self.counters.listener_failures += 1
            _log.exception("a commit failed")
            self._drop(group, f"{type(error).__name__}: {error}")
            time.sleep(min(1.0, self._commit_seconds))

    def _commit_group(self, group: list[Submission]) -> None:
        began = time.monotonic()
        contents, poison = opened(group)
        try:
            if poison:
                group = self._without(poison, group)
            self._refusals.forget({each.batch for each in group if each.batch is not None})
            committed = self.commit(group, contents)
        except LedgerError as error:
            self.broken = True
            self._drop(group, str(error))
            return
        except (OSError, pl.exceptions.PolarsError) as error:
            self._drop(group, str(error))
            time.sleep(min(1.0, self._commit_seconds))
            return
        with self._lock:
            for batch in (submission.batch for submission in group):
                if batch is not None:
                    self._durable[batch.agent, batch.epoch] = batch.sequence
            self._unload(group)
        self.healthy = True
        for submission in _last_of_streams(group):
            self._settle(submission, durable=True)
        self.counters.commit_seconds += time.monotonic() - began
        if committed is not None:
            self._tell(committed)

    def _without(self, poison: list[Refused], group: list[Submission]) -> list[Submission]:
        """The group without them. They are not received any more: sent again, they are refused
        again. Raises OSError."""
        for submission, reason in poison:
            if submission.refused is not None:
                self._say(partial(submission.refused, reason))
        # Without room for it nothing may be acknowledged; to tell of it needs none.
        self._refusals.add((each.batch, reason) for each, reason in poison if each.batch)
        bad = {id(submission) for submission, _ in poison}
        good = [submission for submission in group if id(submission) not in bad]
        last = {(each.agent, each.epoch): each.last for each in ranges(good)}
        with self._lock:
            self._unload([submission for submission, _ in poison])
            for each in ranges([submission for submission, _ in poison]):
                stream = each.agent, each.epoch
                if self._received.get(stream) == each.last:
                    self._received[stream] = last.get(stream, self._durable.get(stream, 0))
        return good

    def _settle(self, submission: Submission, durable: bool) -> None:
        if submission.settled is not None:
            self._say(partial(submission.settled, durable))

    def _say(self, tell: Callable[[], None]) -> None:
        """Who hears of it must not stop the others' commits."""
        try:
            tell()
        except Exception:  # noqa: BLE001 - it is counted and logged, and the thread must live
            self.counters.listener_failures += 1
            _log.exception("a stream could not be told of a commit")

    def _tell(self, committed: Committed) -> None:
        """What listens must not stop the record: its failure is counted, and the rows are safe."""
        try:
            self._on_commit(committed)
        except LedgerError as error:
            self.broken = True
            self._drop([], str(error))
        except Exception:  # noqa: BLE001 - it is logged, and the thread must live
            self.counters.listener_failures += 1
            _log.exception("a listener failed on commit %d", committed.seq)

    def commit(
        self, group: list[Submission], contents: Sequence[Decoded] | None = None
    ) -> Committed | None:
        """Make the group durable now, in the calling thread; None when it holds nothing.

        ``contents``: of all of it, decoded; None: it has no messages."""
        if contents is None:
            contents = [Decoded(each.frames, each.snapshots) for each in group]
        sources = ranges(group)
        frames = _concat(contents)
        notes = tuple(note for submission in group for note in submission.notes)
        if not sources and not frames and not notes:
            return None
        with self._ledger.turn:  # the segments are named by the line that will tell of them
            seq = self._ledger.seq + 1
            files = tuple(self._seal(name, frame, seq) for name, frame in frames.items())
            for name in frames:
                fsync_folder(self._data_dir / FOLDER / name)
            at_us = time.time_ns() // 1000
            events, roots = sealed_events(frames)
            self._ledger.append(at_us, files, sources, events=events, notes=(*notes, *roots))
        self.counters.batches += sum(submission.batch is not None for submission in group)
        snapshots = tuple(item for content in contents for item in content.snapshots)
        return Committed(seq, frames, snapshots, at_us)

    def _seal(self, table: str, frame: pl.DataFrame, seq: int) -> SealedFile:
        path = Path(FOLDER) / table / f"{seq:012d}.parquet"
        return write_segment(self._data_dir, path, table, frame)

    def _drop(self, group: list[Submission], error: str) -> None:
        """Nothing of this group is durable: agents send again, own rows wait for the next try."""
        self.healthy = False
        self.counters.last_error = error
        with self._lock:
            group = [*group, *self._waiting]
            own = [s for s in group if is_own(s) and not self.broken]
            kept, kept_rows = [], 0
            for submission in own:
                if kept_rows + submission.rows <= MAX_OWN_ROWS:
                    kept.append(submission)
                    kept_rows += submission.rows
                else:
                    self.counters.own_rows_dropped += submission.rows
            self._waiting.replace(kept)
            self._waiting_since = time.monotonic()
            self._load_of = Counter({"": kept_rows})  # only our own are kept
            kept_ids = {id(submission) for submission in kept}
            dropped = [s for s in group if id(s) not in kept_ids]
            for submission in dropped:
                submission.owner.broken = True
            self._received = dict(self._durable)
            self._lock.notify_all()
        for submission in dropped:
            self._settle(submission, durable=False)


def _last_of_streams(group: Sequence[Submission]) -> list[Submission]:
    """Of each stream's batches the last, for its acknowledgement covers those before; and all
    else."""
    last = {id(each.owner): each for each in group if each.batch is not None}
    return [each for each in group if each.batch is None or last[id(each.owner)] is each]


def _concat(contents: Sequence[Decoded]) -> dict[str, pl.DataFrame]:
    parts: dict[str, list[pl.DataFrame]] = {}
    for content in contents:
        for name, frame in content.frames.items():
            if frame.height:
                parts.setdefault(name, []).append(frame)
    return {
        name: pl.concat(frames) if len(frames) > 1 else frames[0] for name, frames in parts.items()
    }
