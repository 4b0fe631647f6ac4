"""An agent's spool and uplink on another host, in a process of its own.

``python -m tests.faults.far_agent FOLDER NAME ADDRESS FIRST`` with cert.pem, key.pem and ca.pem in
FOLDER spools rows as fast as PAUSE_SECONDS allows until its standard input ends; then it says
``kept FIRST LAST``, and ``drained RECONNECTS`` when the collector has acknowledged all of it.
"""

import json
import sys
import threading
import time
from pathlib import Path

import structlog

from agent.spool.spool import Spool
from tests.collector.certificates import Files
from tests.collector.road import statements, uplink_to

ROWS = 20
PAUSE_SECONDS = 0.02
DRAIN_SECONDS = 600.0


def main() -> None:
    folder, name, address, first = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    files = Files(folder / "cert.pem", folder / "key.pem", folder / "ca.pem")
    lost: list[tuple[str, str, int]] = []
    spool = Spool(folder / "spool.db", lambda *loss: lost.append(loss))
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    with uplink_to(address, spool, name, tls=files) as uplink:
        rows = connected = 0
        while not ended.wait(PAUSE_SECONDS):
            spool.append(statements(first + rows, ROWS))
            rows += ROWS
            if uplink.connected != connected:
                connected = uplink.connected
                print(json.dumps({"connected": connected, "at": time.monotonic()}), flush=True)
        print(json.dumps({"kept": rows}), flush=True)
        drained = uplink.drain(DRAIN_SECONDS)
        counters = uplink.counters
        report = {"drained": drained, "lost": lost, "reconnects": counters.reconnects}
        print(json.dumps({**report, "error": counters.last_error}), flush=True)
    spool.close()


if __name__ == "__main__":
    main()
