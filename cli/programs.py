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
RESTART_SECONDS = 0.5
ENDS_PER_MINUTE = 5


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
    """Collector and agent until we are told to stop; one that ends is started again.

    They stay two processes: the agent must not carry the collector's libraries, and a collector
    that dies must not take the guard with it. A configuration that cannot work (78) or too many
    ends in a minute end both.
    """
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    programs: dict[str, subprocess.Popen[bytes]] = {}

    def reload(number: int, _frame: object) -> None:
        for program in programs.values():
            program.send_signal(number)

    signal.signal(signal.SIGHUP, reload)
    for name in ("collector", "agent"):
        try:
            programs[name] = _start(name, config)
        except OSError as error:
            for started in programs.values():
                _stop(started)
            fail(_not_started(name, error))
    ends: list[float] = []
    code = int(Exit.GOOD)
    while not stopping and not code:
        time.sleep(POLL_SECONDS)
        for name, program in programs.items():
            if program.poll() is None or stopping:
                continue
            err.print(f"✗ the {name} ended with code {program.returncode}", style="red")
            ends = [at for at in ends if time.monotonic() - at < 60] + [time.monotonic()]
            if program.returncode == Exit.CONFIGURATION or len(ends) > ENDS_PER_MINUTE:
                code = program.returncode if program.returncode > 0 else Exit.FOUND
                break
            time.sleep(RESTART_SECONDS)
            programs[name] = _start(name, config)
    # The agent first: what it still holds goes to a collector that still listens.
    for name in ("agent", "collector"):
        _stop(programs[name])
    return code


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
