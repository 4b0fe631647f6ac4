"""Texts to Shapes: the agent's side of the parser.

The parser may crash, hang or run out of memory on text that a stranger wrote. The client kills it,
starts another, and still answers every text: what cannot be parsed is a Shape with a status, and a
guard treats it as unknown.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.sql.cache import ShapeCache
from agent.sql.glance import HARMLESS, is_harmless
from agent.sql.process import WorkerError, WorkerProcess
from agent.sql.redact import leading_verb, redact_unscanned
from agent.sql.skeleton import Skeleton, literals_in, skeleton_of
from model.statement import ParseStatus, Shape

LONG_BYTES = 64 << 10
"""Longer text is parsed only where a glance finds something in it that rules are about: nested
comments take quadratic time, trees a hundred times the size."""
MAX_PARSED_BYTES = 1 << 20
"""As much as is captured."""
MAX_COMMENTS = 500
"""Nested ones take the parser quadratic time: one session could keep it busy for all others."""
BATCH_TEXTS = 256
BATCH_BYTES = 1 << 20
FAILED_FOR_SECONDS = 30.0
"""A text that killed the parser is not tried again for this long; the host may have been busy."""

_LISTS = (
    "verbs", "objects", "reads", "writes", "columns", "functions", "settings", "roles", "flags"
)  # fmt: skip
_TEXTS = ("redacted_text", "operation", "summary", "fingerprint")


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

    def __init__(self, cache: ShapeCache | None = None, text_budget_seconds: float = 0.25) -> None:
        """Raises WorkerError where the worker cannot be started at all."""
        self._cache = cache if cache is not None else ShapeCache()
        self._budget_seconds = text_budget_seconds
        self._lock = threading.Lock()
        self._worker: WorkerProcess | None = WorkerProcess()
        self._closed = False
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
        shape = self._cache.get(text) if full_length <= len(text) else None
        if shape is not None:
            self.counters.cached += 1
            return shape
        return self._unseen(text, full_length, {})

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._stop()

    def _unseen(
        self, text: bytes, full_length: int, unseen: dict[bytes, Skeleton | None]
    ) -> Shape | None:
        """From the text's own condition, or from texts like it. None if it must be parsed: then it
        is put among the ``unseen``.
        """
        if full_length > len(text):
            return self._unparsed(text, ParseStatus.CUT)
        if len(text) > MAX_PARSED_BYTES:
            return self._unparsed(text, ParseStatus.TOO_LONG)
        if len(text) > LONG_BYTES and is_harmless(text):
            return self._unparsed(text, ParseStatus.TOO_LONG)
        failed = self._cache.failed(text, time.monotonic())
        if failed is not None:
            self.counters.cached += 1
            return failed
        if b"\0" in text:
            return self._unparsed(text, ParseStatus.NUL)
        if text.count(b"/*") > MAX_COMMENTS:
            return self._unparsed(text, ParseStatus.FAILED)
        skeleton = skeleton_of(text)
        shape = self._from_template(skeleton, text)
        if shape is None:
            unseen[text] = skeleton
        return shape

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

    def _unparsed(self, text: bytes, status: ParseStatus) -> Shape:
        self.counters.by_status[status] += 1
        return _without_tree(text, status)

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
                shapes[text] = self._keep(text, unseen[text], answer)
                at += 1
        return shapes

    def _ask_again(self, text: list[bytes], ended: str) -> list[object]:
        """A worker that died may have been somebody else's kill; a text out of time is guilty."""
        answers: list[object] = []
        if ended == "died":
            answers, _ = self._ask_worker(text)
        return answers or [None]

    def _ask_worker(self, batch: list[bytes]) -> tuple[list[object], str]:
        if self._closed:
            return [], "closed"
        try:
            worker = self._worker or self._start()
        except WorkerError:
            return [], "not started"
        answers, ended = worker.ask([_decoded(text) for text in batch], self._budget_seconds)
        if ended:
            self._stop()
            self.counters.restarts += 1
        return answers, ended

    def _start(self) -> WorkerProcess:
        self._worker = WorkerProcess()
        return self._worker

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def _keep(self, text: bytes, skeleton: Skeleton | None, answer: object) -> Shape:
        shape = _shape(text, answer)
        self.counters.parsed += 1
        self.counters.by_status[shape.status] += 1
        if shape.status is ParseStatus.FAILED:
            self._cache.put_failed(text, shape, time.monotonic() + FAILED_FOR_SECONDS)
            return shape
        self._cache.put(text, shape)
        if skeleton is not None and shape.status is ParseStatus.PARSED:
            decisive = _decisive(answer, text)
            if decisive is not None:
                self._cache.templates.learn(skeleton, text, shape, decisive)
        return shape


def _batch(texts: list[bytes], at: int, limit: int) -> list[bytes]:
    batch: list[bytes] = []
    size = 0
    for text in texts[at : at + limit]:
        size += len(text)
        if batch and size > BATCH_BYTES:
            break
        batch.append(text)
    return batch


def _decoded(text: bytes) -> str:
    """A server may use another encoding than UTF-8. Its server encodings never use ASCII bytes for
    anything else, and its lexer takes every other byte for a letter, as it does the sign that
    stands here for those that are no UTF-8: what is a word, a string, a comment stays the same.
    """
    return text.decode("utf-8", "replace")


def _without_tree(text: bytes, status: ParseStatus) -> Shape:
    redacted = redact_unscanned(_decoded(text))
    return _named(Shape(status, hashlib.sha256(text).hexdigest(), redacted), text)


def _named(shape: Shape, text: bytes) -> Shape:
    """A statement without parse tree still has a first word, and is or is not harmless."""
    verb = leading_verb(shape.redacted_text)
    whole = shape.status is not ParseStatus.CUT
    return Shape(
        shape.status,
        shape.digest,
        shape.redacted_text,
        operation=verb,
        summary=verb.upper(),
        flags=(HARMLESS,) if whole and is_harmless(text) else (),
    )


def _shape(text: bytes, answer: object) -> Shape:
    """The worker's answer as a Shape; it may have been taken over by a text, so believe no type."""
    if not isinstance(answer, dict) or not _well_formed(answer):
        return _without_tree(text, ParseStatus.FAILED)
    status = ParseStatus(answer["status"])
    if status is not ParseStatus.PARSED and not answer["redacted_text"]:
        return _without_tree(text, status)
    fields: dict[str, Any] = {key: tuple(answer[key]) for key in _LISTS}
    fields |= {key: answer[key] for key in _TEXTS}
    digest = hashlib.sha256(_without_password(text, answer)).hexdigest()
    shape = Shape(status=status, digest=digest, statements=answer["statements"], **fields)
    return shape if status is ParseStatus.PARSED else _named(shape, text)


def _without_password(text: bytes, answer: dict[str, Any]) -> bytes:
    """A hash of a text with a password in it could be searched for the password."""
    return answer["redacted_text"].encode() if "password" in answer["flags"] else text


def _well_formed(answer: dict[str, Any]) -> bool:
    if answer.get("status") not in _STATUSES or type(answer.get("statements")) is not int:
        return False
    for key in _TEXTS:
        if type(answer.get(key)) is not str:
            return False
    for key in _LISTS:
        items = answer.get(key)
        if type(items) is not list or not _ONLY_TEXT.issuperset(map(type, items)):
            return False
    return True


_ONLY_TEXT = frozenset({str})


def _decisive(answer: object, text: bytes) -> tuple[int, ...] | None:
    """Believed only as far as the indices exist."""
    given = answer.get("decisive") if isinstance(answer, dict) else None
    if type(given) is not list:
        return None
    if not given:
        return ()
    indices = range(sum(1 for _ in literals_in(text)))
    if not all(type(index) is int and index in indices for index in given):
        return None
    return tuple(sorted(set(given)))


_STATUSES = frozenset(status.value for status in ParseStatus)
