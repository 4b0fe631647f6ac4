"""How agent and collector begin: configuration, log, exit code."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import structlog

from config.loader import EXIT_BAD_CONFIGURATION, ConfigError, load
from config.plain_log import PlainFormatter, escape_values
from config.schema import Config

DEFAULT_CONFIG = Path("/etc/pgwarden/pgwarden.yaml")


def end_with(code: int) -> NoReturn:
    """The end of the process, here and now: all that it has is closed. The interpreter's own end
    would take a second under load, wait for threads that gRPC or a dead receiver keeps, and let a
    library report what it "leaked" in 47 lines behind the one that says why we end."""
    atexit._run_exitfuncs()  # the log's, and those of tools around us
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more
            stream.flush()
    os._exit(code)


def start_program(name: str, run: Callable[[Config, Callable[[], Config]], int]) -> int:
    """Run one of the programs from its own command line; returns the exit code. ``run`` gets the
    configuration, and what reads it again (raises ConfigError)."""
    arguments = argparse.ArgumentParser(prog=f"python -m {name}")
    arguments.add_argument("--config", "-c", type=Path)
    path = arguments.parse_args().config
    set_up_log()

    def read() -> Config:
        return load(path or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None))

    try:
        config = read()
    except ConfigError as error:
        for problem in error.problems:
            print(f"✗ {problem}", file=sys.stderr)
        return EXIT_BAD_CONFIGURATION
    return run(config, read)


def set_up_log() -> None:
    """One line an event on standard error. Tracebacks are plain: those with local variables would
    print statements and keys."""
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter("%(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            escape_values,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
