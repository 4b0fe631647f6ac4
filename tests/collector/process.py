"""A collector in a process of its own, to be killed: ``python -m tests.collector.process DIR``."""

import subprocess
import sys
import threading
from pathlib import Path

from tests.collector.road import start_collector

ROOT = Path(__file__).resolve().parents[2]


def spawn(folder: Path) -> "subprocess.Popen[bytes]":
    """Start it without waiting; its standard output says ``ready`` once it listens."""
    command = [sys.executable, "-m", "tests.collector.process", str(folder)]
    log = (folder / "collector.log").open("ab")
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log)


def main(folder: Path) -> None:
    start_collector(folder)
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
