"""How agent and collector begin: configuration, log, exit code."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import structlog

from config.loader import EXIT_BAD_CONFIGURATION, ConfigError, load
from config.schema import Config

DEFAULT_CONFIG = Path("/etc/pgwarden/pgwarden.yaml")


def start_program(name: str, run: Callable[[Config], int]) -> int:
    """Run one of the programs from its own command line; returns the exit code."""
    arguments = argparse.ArgumentParser(prog=f"python -m {name}")
    arguments.add_argument("--config", "-c", type=Path)
    path = arguments.parse_args().config
    set_up_log()
    try:
        config = load(path or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None))
    except ConfigError as error:
        for problem in error.problems:
            print(f"✗ {problem}", file=sys.stderr)
        return EXIT_BAD_CONFIGURATION
    return run(config)


def set_up_log() -> None:
    """One line an event on standard error. Tracebacks are plain: those with local variables would
    print statements and keys."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
