"""The agent of one host, wired top to bottom.

probes → capture thread (guard) ┐
pgaudit logs → one thread each  ├→ inbox → recorder thread → spool → uplink → collector
catalogs → one thread each      ┘
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
if __name__ == "__main__":
    # structlog would load it for colours that we do not print: 3 MB beside a database.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # "there is none", says Python
    gc.disable()  # until ``calm_collector``: what a start makes stays; to look cost a tenth of it

import structlog

from agent.channel import AddressError, check_address
from agent.identities import identities
from agent.identity import IdentityError
from agent.metrics import MetricsPortError
from agent.parameters import KeyFileError
from agent.program import Agent
from agent.rulebook import RuleService
from agent.spool.spool import SpoolError
from config import AgentConfig
from config.program import end_with, start_program
from config.systemd import notify
from model.verdict import Mode
from rules import RuleError
from rules.bundle import BundleError

log = structlog.get_logger(__name__)

BAD_CONFIGURATION = 78
BROKEN = 1
M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -8, -3, -1
LARGE_BYTES = 128 << 10
KEPT_BYTES = 4 << 20
SWITCH_SECONDS = 0.00005
"""A held backend waits for this interpreter: the default of 5 ms between threads is too long."""
COLLECT_AFTER = (20_000, 20, 20)


def run(config: AgentConfig) -> int:
    """Until SIGTERM or SIGINT. Returns the exit code: 78 for a configuration that cannot work."""
    if config.guard.mode is Mode.ENFORCE:
        sys.setswitchinterval(SWITCH_SECONDS)
    keep_heap_small()
    try:
        rules = RuleService(config.rules, config.state_dir)
        who = identities(config)
        check_address(config.collector, config.tls)
    except (RuleError, BundleError, IdentityError, AddressError) as error:
        log.error("configuration.bad", problem=str(error))
        return BAD_CONFIGURATION
    except OSError as error:
        log.error("agent.cannot_start", problem=str(error))
        return BROKEN
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, lambda *_: rules.reload())
    try:
        config.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        agent = Agent(config, rules, who)
    except (SpoolError, KeyFileError, OSError) as error:
        log.error("agent.cannot_start", problem=str(error))
        return BROKEN
    good = False
    try:
        agent.start()
        calm_collector()
        good = agent.supervise(stop)
    except MetricsPortError as error:
        log.error("agent.cannot_start", problem=str(error))
    finally:
        notify(stopping=True)
        agent.stop()
    return 0 if good else BROKEN


def calm_collector() -> None:
    """What was made until here stays, and need not be looked at again. After that next to nothing
    is a cycle: statements come and go by counting, so to look every 700 objects is too often."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(*COLLECT_AFTER)


def keep_heap_small() -> None:
    """glibc gives each thread an arena of its own; ours share two. And after the first megabyte
    that was freed it takes later ones from the heap, which smaller blocks then keep from shrinking:
    large ones stay apart and go back to the kernel."""
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(M_ARENA_MAX, 2)
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


if __name__ == "__main__":
    end_with(start_program("agent", lambda config, _: run(config.agent)))
