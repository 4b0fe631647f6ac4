"""A program that is started many times and imported once: each start is a child of its own, in
which ``__main__`` runs anew and ends as it likes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SECONDS = 30
SERVER = f"""
import importlib, os, runpy, signal, sys
name = sys.argv[1]
importlib.import_module(name + ".__main__")
del sys.modules[name + ".__main__"]
for line in sys.stdin:
    config, output = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if child == 0:
        signal.alarm({SECONDS})
        told = os.open(output, os.O_WRONLY | os.O_CREAT)
        os.dup2(told, 1)
        os.dup2(told, 2)
        sys.argv = [name, "--config", config]
        runpy.run_module(name, run_name="__main__", alter_sys=True)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Program:
    """Started by ``with``; ``run`` gives the exit code and what was written."""

    def __init__(self, name: str) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER, name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()

    def run(self, config: Path) -> tuple[int, str]:
        output = config.with_suffix(".out")
        self._server.stdin.write(f"{config}\t{output}\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        return code, output.read_text()
