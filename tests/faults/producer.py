"""An agent's spool and uplink in a process of its own, to be killed.

``python -m tests.faults.producer FOLDER FIRST`` says ``try N`` before it spools row N and
``kept N`` once that is durable; N counts up from FIRST. What the agent logs goes elsewhere: in
the middle of such a line it would hide a row.
"""

import sys
import threading
from pathlib import Path

import structlog

from agent.spool.spool import Spool
from tests.collector.road import statements, uplink_to


def main(folder: Path, number: int) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    lost = threading.Event()
    spool = Spool(folder / "spool.db", lambda *_: lost.set())
    with uplink_to(f"unix:{folder}/collector.sock", spool):
        while not lost.wait(0.002):
            print(f"try {number}", flush=True)
            spool.append(statements(number, 1))
            print(f"kept {number}", flush=True)
            number += 1
    print("lost", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
