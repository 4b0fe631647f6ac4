"""Texts to Shapes: the agent's side of the parser.

The parser may crash, hang or run out of memory on text that a stranger wrote. The client kills it,
starts another, and still answers every text: what cannot be parsed is a Shape with a status, and a
guard treats it as unknown.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agent.sql.answers import decisive_in, shape_of, without_tree
from agent.sql.cache import ShapeCache
from agent.sql.decoding import decoded
from agent.sql.glance import is_plain_data
from agent.sql.process import START_SECONDS, URGENT_ANSWERS, WorkerError, WorkerProcess
from agent.sql.skeleton import Skeleton, skeleton_of
from agent.sql.spare import SpareWorker
from model.statement import ParseStatus, Shape

LONG_BYTES = 64 << 10
"""Longer text is parsed unless a glance tells that it is nothing but rows to insert: trees are a
hundred times the size."""
MAX_PARSED_BYTES = 1 << 20
"""As much as is captured."""
MAX_COMMENTS = 500
"""Nested ones take the parser quadratic time: one session could keep it busy for all others."""
MAX_AHEAD_BYTES = 16 << 10
"""Longer texts are asked about by a thread that may wait."""
KEEP_SECONDS = 0.005
SPARE_SECONDS = 0.05
BATCH_TEXTS = 256
BATCH_BYTES = 1 << 20
KILLS = 3
"""So often a text is asked again whose worker somebody else has killed."""
FAILED_FOR_SECONDS = 30.0
"""A text that killed the parser is not tried again for this long; the host may have been busy."""


@dataclass(slots=True)
class ParserCounters:
    """Totals since the client was made."""

    parsed: int = 0
    """Texts that the worker answered."""
    cached: int = 0
    templated: int = 0
    """Texts that differ from a parsed one only in literals that decide nothing."""
    restarts: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    """Texts answered without the cache, by ParseStatus."""


class ParserClient:
    """One worker behind a cache. Safe for threads, which take turns.

    A caller that must not wait behind another's batch (the guard behind the pipeline) makes a
    client of its own and shares the cache: ``ParserClient(cache)``.
    """

    def __init__(
        self,
        cache: ShapeCache | None = None,
        text_budget_seconds: float = 0.25,
        *,
        spare: bool = False,
        on_started: Callable[[int], None] = lambda pid: None,
    ) -> None:
        """``spare``: keep a second worker ready, for callers who cannot wait until one has started.
        ``on_started`` hears of each worker process that is put to work.

        Raises WorkerError where none can be started at all.
        """
        self._cache = cache if cache is not None else ShapeCache()
        self._budget_seconds = text_budget_seconds
        self._lock = threading.Lock()
        self._spare = SpareWorker() if spare else None
        self._spare_seconds = START_SECONDS
        self._on_started = on_started
        self._worker: WorkerProcess | None = None
        self._start()
        self._closed = False
        self._last: tuple[bytes, Skeleton | None] = (b"", None)
        self._ahead: bytes | None = None
        """The worker has been asked about this text, and has not answered."""
        self._ahead_answers = 0
        """That are still to come; the last one is whole."""
        self.counters = ParserCounters()

    def __enter__(self) -> ParserClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def worker_pid(self) -> int:
        """0 while there is none."""
        return self._worker.pid if self._worker else 0

    def shapes(self, texts: Sequence[bytes], full_lengths: Sequence[int]) -> list[Shape]:
        """One Shape per text, in order; never raises for anything that a text holds.

        ``full_lengths`` are the bytes that each statement really had: larger than its text where
        the capture cut it.
        """
        self.keep()
        get = self._cache.get
        answers = [
            get(text) if full_length <= len(text) else None
            for text, full_length in zip(texts, full_lengths, strict=True)
        ]
        missing = [index for index, shape in enumerate(answers) if shape is None]
        self.counters.cached += len(answers) - len(missing)
        if not missing:
            return answers  # type: ignore[return-value]  # none of them is None
        unseen: dict[bytes, Skeleton | None] = {}
        for index in missing:
            answers[index] = self._unseen(texts[index], full_lengths[index], unseen)
        if unseen:
            with self._lock:
                found = self._learn(unseen)
        return [
            found[text] if shape is None else shape
            for text, shape in zip(texts, answers, strict=True)
        ]

    def known(self, text: bytes, full_length: int) -> Shape | None:
        """The answer, if it can be had without asking the worker; never waits."""
        self.keep()
        shape = self._cache.get(text) if full_length <= len(text) else None
        if shape is not None:
            self.counters.cached += 1
            return shape
        return self._unseen(text, full_length, {})

    @property
    def has_spare(self) -> bool:
        return self._spare is not None and self._spare.ready

    def ask_ahead(self, text: bytes) -> bool:
        """Hands the worker a text of which nothing is ``known``, and does not wait for its answer,
        which is for ``answer_soon``, or for whoever asks for its Shape next. True as well where it
        has been asked already.

        False where already this might have to wait: somebody else is asking, the worker must be
        started, the text is long.
        """
        if len(text) > MAX_AHEAD_BYTES or not self._lock.acquire(blocking=False):
            return False
        try:
            worker = self._worker
            if worker is None or self._ahead is not None:
                return self._ahead == text
            if not worker.send_urgent(decoded(text), self._budget_seconds):
                self._ended()
                return False
            self._ahead, self._ahead_answers = text, URGENT_ANSWERS
            return True
        finally:
            self._lock.release()

    def answer_soon(self, text: bytes, patience_seconds: float) -> Shape | None:
        """What rules can see of it: neither its redaction nor its fingerprint. None if the worker
        needs longer than that, or died."""
        answer, whole = self._ahead_answer(text, patience_seconds)
        if answer is None:
            return None
        shape = shape_of(text, answer)
        if whole:
            self._keep(text, self._skeleton(text), answer, shape)
        return shape

    def keep(self) -> None:
        """Remembers the whole of what ``answer_soon`` brought a part of."""
        text = self._ahead
        if text is not None and self._ahead_answers == 1:
            answer, whole = self._ahead_answer(text, KEEP_SECONDS)
            if answer is not None and whole:
                self._keep(text, self._skeleton(text), answer, shape_of(text, answer))

    def _ahead_answer(self, text: bytes, patience_seconds: float) -> tuple[object | None, bool]:
        """The next answer, and whether it is the last one of this text."""
        if not self._lock.acquire(blocking=False):
            return None, False
        try:
            worker = self._worker
            if worker is None or self._ahead != text:
                return None, False
            answers, ended = worker.receive_soon(patience_seconds)
            if ended:
                self._ended()
            if not answers:
                return None, False
            self._ahead_answers -= 1
            if not self._ahead_answers:
                self._ahead = None
            return answers[0], self._ahead is None
        finally:
            self._lock.release()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._stop()
            if self._spare is not None:
                self._spare.close()

    def _unseen(
        self, text: bytes, full_length: int, unseen: dict[bytes, Skeleton | None]
    ) -> Shape | None:
        """From the text's own condition, or from texts like it. None if it must be parsed: then it
        is put among the ``unseen``.
        """
        if full_length > len(text):
            return self._unparsed(text, ParseStatus.CUT, full_length=full_length)
        if len(text) > MAX_PARSED_BYTES:
            return self._unparsed(text, ParseStatus.TOO_LONG)
        if len(text) > LONG_BYTES and is_plain_data(text):
            return self._unparsed(text, ParseStatus.TOO_LONG, harmless=True)
        failed = self._cache.failed(text, time.monotonic)
        if failed is not None:
            self.counters.cached += 1
            return failed
        if b"\0" in text:
            return self._unparsed(text, ParseStatus.NUL)
        if text.count(b"/*") > MAX_COMMENTS:
            return self._unparsed(text, ParseStatus.FAILED)
        skeleton = self._skeleton(text)
        shape = self._from_template(skeleton, text)
        if shape is None:
            unseen[text] = skeleton
        return shape

    def _skeleton(self, text: bytes) -> Skeleton | None:
        """The guard asks for what is ``known`` of a text, and then for its shape: the same object,
        while its backend waits."""
        last, skeleton = self._last
        if last is not text:
            skeleton = skeleton_of(text)
            self._last = text, skeleton
        return skeleton

    def _from_template(self, skeleton: Skeleton | None, text: bytes) -> Shape | None:
        if skeleton is None or len(skeleton) == 1:
            return None  # without a literal it is like no other
        shape = self._cache.templates.shape(skeleton, text)
        if shape is not None:
            self.counters.templated += 1
            self._cache.put_if_met(text, shape)
        return shape

    def _learn(self, unseen: dict[bytes, Skeleton | None]) -> dict[bytes, Shape]:
        """One text of each skeleton is parsed first: the others may follow from it."""
        firsts = {skeleton: text for text, skeleton in unseen.items() if skeleton is not None}
        shapes = self._parse(
            {
                text: skeleton
                for text, skeleton in unseen.items()
                if skeleton is None or firsts[skeleton] is text
            }
        )
        rest: dict[bytes, Skeleton | None] = {}
        for text, skeleton in unseen.items():
            if text not in shapes:
                shape = self._from_template(skeleton, text)
                if shape is None:
                    rest[text] = skeleton
                else:
                    shapes[text] = shape
        return shapes | self._parse(rest)

    def _unparsed(
        self,
        text: bytes,
        status: ParseStatus,
        *,
        harmless: bool | None = None,
        full_length: int = 0,
    ) -> Shape:
        self.counters.by_status[status] += 1
        return without_tree(text, status, harmless=harmless, full_length=full_length)

    def _parse(self, unseen: dict[bytes, Skeleton | None]) -> dict[bytes, Shape]:
        """After a worker's end the rest of its batch is asked one by one, to find who did it."""
        shapes: dict[bytes, Shape] = {}
        texts = list(unseen)
        at = singly_until = 0
        while at < len(texts):
            batch = _batch(texts, at, 1 if at < singly_until else BATCH_TEXTS)
            answers, ended = self._ask_worker(batch)
            if ended and len(batch) > 1:
                singly_until = at + len(batch)
            elif not answers:
                answers = self._ask_again(batch, ended)
            for text, answer in zip(batch, answers, strict=False):
                shapes[text] = shape_of(text, answer)
                self._keep(text, unseen[text], answer, shapes[text])
                at += 1
        return shapes

    def _ask_again(self, text: list[bytes], ended: str) -> list[object]:
        """Somebody else's kill says nothing of the text; one that is out of time or crashes the
        parser is guilty."""
        answers: list[object] = []
        for _ in range(KILLS):
            if answers or ended != "killed":
                break
            answers, ended = self._ask_worker(text)
        return answers or [None]

    def _ask_worker(self, batch: list[bytes]) -> tuple[list[object], str]:
        if self._closed:
            return [], "closed"
        if self._worker is not None and not self._worker.alive:
            guilty = batch == [self._ahead] and not self._worker.killed()
            self._ended()
            if guilty:
                return [], "died"
        mine = batch == [self._ahead]
        count, self._ahead, self._ahead_answers = self._ahead_answers, None, 0
        try:
            worker = self._worker or self._start()
            answers, ended = worker.receive(count, self._budget_seconds)
            if ended and not mine:
                self._ended()
                worker = self._start()
        except WorkerError:
            return [], "not started"
        if not mine:
            answers, ended = worker.ask([decoded(text) for text in batch], self._budget_seconds)
        if ended == "died" and worker.killed():
            ended = "killed"
        if ended:
            self._ended()
        return answers[-1:] if mine and not ended else [] if mine else answers, ended

    def _ended(self) -> None:
        """The worker is of no more use."""
        self._stop()
        self._ahead, self._ahead_answers = None, 0
        self.counters.restarts += 1

    def _start(self) -> WorkerProcess:
        if self._spare is None:
            worker = WorkerProcess()
        else:
            # Who waits for the first one has time. Later ones are wanted while a backend is held: a
            # text without a worker is judged by the rules for what cannot be parsed.
            worker = self._spare.take(self._spare_seconds)
            self._spare_seconds = SPARE_SECONDS
        self._worker = worker
        self._on_started(worker.pid)
        return worker

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def _keep(self, text: bytes, skeleton: Skeleton | None, answer: object, shape: Shape) -> None:
        self.counters.parsed += 1
        self.counters.by_status[shape.status] += 1
        if shape.status is ParseStatus.FAILED:
            self._cache.put_failed(text, shape, time.monotonic() + FAILED_FOR_SECONDS)
            return
        self._cache.put(text, shape)
        if skeleton is not None and shape.status is ParseStatus.PARSED:
            decisive = decisive_in(answer, text)
            if decisive is not None:
                self._cache.templates.learn(skeleton, text, shape, decisive)


def _batch(texts: list[bytes], at: int, limit: int) -> list[bytes]:
    batch: list[bytes] = []
    size = 0
    for text in texts[at : at + limit]:
        size += len(text)
        if batch and size > BATCH_BYTES:
            break
        batch.append(text)
    return batch
