"""No text of a client breaks a log line, begins another, or acts on a terminal."""

import subprocess
import sys

from tests.collector.alerts.hostile import payloads

WRITE = """
import logging, sys, structlog
from config.program import set_up_log
from tests.collector.alerts.hostile import payloads
set_up_log()
log = structlog.get_logger()
for text in payloads():
    log.info("verdict", rule=text, reason=text)
    logging.getLogger("grpc").warning("%s", text)
try:
    raise ValueError(payloads()[0])
except ValueError:
    log.exception("it.failed")
    logging.getLogger("grpc").exception("it failed")
"""


def test_500_hostile_texts_forge_no_line_and_reach_no_terminal():
    done = subprocess.run(
        [sys.executable, "-c", WRITE], capture_output=True, timeout=60, check=True, cwd="."
    )
    lines = done.stderr.decode().removesuffix("\n").split("\n")
    assert len(lines) == 2 * len(payloads()) + 2
    assert all(line.isprintable() for line in lines)
    assert sum(line.startswith("timestamp=") for line in lines) == len(payloads()) + 1
