"""Commands that run pgwarden itself: up, agent, collector."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import typer

from cli.context import ConfigOption, Exit, err, fail, read_config

STOP_SECONDS = 10.0
POLL_SECONDS = 0.2


def agent(config: ConfigOption = None) -> None:
    """Run the agent of this host."""
    _become("agent", config)


def collector(config: ConfigOption = None) -> None:
    """Run the collector."""
    _become("collector", config)


def _become(name: str, config: Path | None) -> NoReturn:
    """The program replaces us: the command line's libraries have no place beside a database."""
    try:
        os.execv(sys.executable, _command(name, config))
    except OSError as error:
        fail(_not_started(name, error))


def _command(name: str, config: Path | None) -> list[str]:
    arguments = [] if config is None else ["--config", str(config)]
    # -P: a folder named like us in the current directory is not us.
    return [sys.executable, "-P", "-m", name, *arguments]


def up(config: ConfigOption = None) -> None:
    """Run agent and collector on this host, with no other service."""
    read_config(config)
    raise typer.Exit(supervise(config))


def supervise(config: Path | None) -> int:
    """Collector, then agent; when one ends or we are told to stop, both end.

    They stay two processes: the agent must not carry the collector's libraries, and a collector
    that dies must not take the guard with it without being noticed.
    """
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    programs: dict[str, subprocess.Popen[bytes]] = {}
    for name in ("collector", "agent"):
        try:
            programs[name] = _start(name, config)
        except OSError as error:
            for started in programs.values():
                _stop(started)
            fail(_not_started(name, error))
    while not stopping and all(p.poll() is None for p in programs.values()):
        time.sleep(POLL_SECONDS)
    ended = next((name for name, p in programs.items() if p.poll() is not None), None)
    # The agent first: what it still holds goes to a collector that still listens.
    for name in ("agent", "collector"):
        _stop(programs[name])
    if ended is not None and not stopping:
        err.print(f"✗ the {ended} ended with code {programs[ended].returncode}", style="red")
        return programs[ended].returncode or Exit.FOUND
    return Exit.GOOD


def _not_started(name: str, error: OSError) -> str:
    return (
        f"the {name} cannot be started: {sys.executable}: {error.strerror}; install pgwarden anew"
    )


def _start(name: str, config: Path | None) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C reaches us alone, and we stop them in order.
    return subprocess.Popen(_command(name, config), start_new_session=True)


def _stop(program: subprocess.Popen[bytes]) -> None:
    if program.poll() is not None:
        return
    program.send_signal(signal.SIGTERM)
    try:
        program.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()
