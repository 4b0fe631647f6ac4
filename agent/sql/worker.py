"""The parser's process: reads batches of texts, answers each with the fields of its Shape.

Started by ``ParserClient`` as ``python -m agent.sql.worker FD PARENT_PID``; FD is its end of a
socket pair. Not standard output: libpg_query prints there when it runs out of memory, and exits.
Every answer is a frame of its own, written within milliseconds and before any long text is begun,
so that the client knows roughly how far the worker came when it dies.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial

import orjson

from agent.sql import sandbox
from agent.sql.frames import Unpacker, pack
from agent.sql.shape import Answer, answer, judgeable
from model.statement import ParseStatus

CPU_SECONDS_PER_BATCH = 60
"""The client's clock is the real limit; this one holds when the client is gone."""
RECURSION_LIMIT = 12_000
READ_BYTES = 1 << 16  # larger ones are mapped and unmapped by malloc on every call
FLUSH_SECONDS = 0.003
FLUSH_BYTES = 32 << 10
LONG_TEXT_CHARS = 2_000
FAILED = Answer(ParseStatus.FAILED, "")


def main(arguments: list[str]) -> int:
    connection = int(arguments[0])
    sys.setrecursionlimit(RECURSION_LIMIT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _warm_up()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # parse trees hold no cycles: counting references frees them
    sandbox.enter(parent_pid=int(arguments[1]))
    sandbox.renew_cpu_seconds(CPU_SECONDS_PER_BATCH)
    _write(connection, pack(b"ready"))
    serve(connection)
    return 0


def _warm_up() -> None:
    """Whatever Python loads on first use must be loaded before the doors close."""
    for text in (
        "DO $$ BEGIN EXECUTE 'DROP TABLE t'; INSERT INTO a VALUES (1) RETURNING id INTO x; END $$",
        "SELECT 'open",
        "SELECT 1" + "+1" * 600,
    ):
        first, whole = judgeable(text)
        orjson.dumps((first, whole()))
        orjson.dumps(answer(text))


def serve(connection: int) -> None:
    """Answers batches until the client closes its end."""
    unpacker = Unpacker()
    while data := os.read(connection, READ_BYTES):
        for frame in unpacker.feed(data):
            question = orjson.loads(frame)
            if isinstance(question, str):
                _answer_urgent(connection, question)
            else:
                _answer_batch(connection, question)
            # Now and not before: somebody waits for the answer.
            sandbox.renew_cpu_seconds(CPU_SECONDS_PER_BATCH)


def _answer_urgent(connection: int, text: str) -> None:
    """In two: what rules can judge, then all of it."""
    try:
        first, whole = judgeable(text)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  as below
        first, whole = FAILED, lambda: FAILED
    _write(connection, pack(orjson.dumps(first)))
    _write(connection, pack(orjson.dumps(_safely(whole))))


def _answer_batch(connection: int, texts: list[str]) -> None:
    unsent: list[bytes] = []
    unsent_bytes = 0
    due = time.monotonic() + FLUSH_SECONDS
    for text in texts:
        if unsent and (
            len(text) > LONG_TEXT_CHARS or unsent_bytes > FLUSH_BYTES or time.monotonic() >= due
        ):
            _write(connection, b"".join(unsent))
            unsent, unsent_bytes = [], 0
            due = time.monotonic() + FLUSH_SECONDS
        unsent.append(pack(orjson.dumps(_safely(partial(answer, text)))))
        unsent_bytes += len(unsent[-1])
    _write(connection, b"".join(unsent))


def _write(connection: int, data: bytes) -> None:
    """Plain write: the sandbox leaves no socket calls."""
    view = memoryview(data)
    while view:
        view = view[os.write(connection, view) :]


def _safely(asked: Callable[[], Answer]) -> Answer:
    """A supervising catch: one text must not cost the others their answers."""
    try:
        return asked()
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  the client counts it as failed, and redacts by pattern
        return FAILED


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except (BrokenPipeError, ConnectionResetError):
        code = 0
    except MemoryError:
        code = 1
    os._exit(code)
