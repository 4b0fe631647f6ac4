"""Programs to be killed a thousand times, forked from one that has imported everything already.

A fresh interpreter spends a second of processor time on imports, and to be killed meanwhile proves
nothing.
"""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["tests.collector.process", "tests.faults.producer", "tests.faults.tidier"]
)


class Forked:
    """``said`` and ``log`` are files with its standard output, from the beginning, and its errors,
    so that both can be read after its end."""

    def __init__(
        self, program: Callable[..., None], *arguments: object, said: Path, log: Path
    ) -> None:
        self.said, self.log = said, log
        said.write_bytes(b"")
        self._process = _FORKS.Process(
            target=_play, args=(program, arguments, said, log), daemon=True
        )
        self._process.start()

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()


def _play(
    program: Callable[..., None], arguments: tuple[object, ...], said: Path, log: Path
) -> None:
    for file, descriptor in ((said, 1), (log, 2)):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    program(*arguments)
