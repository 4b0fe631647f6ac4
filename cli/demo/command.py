"""``pgwarden demo``: everything real, everything ours, everything gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import orjson
import typer
from rich.console import Console

from cli.context import Exit, fail
from cli.demo import scenes, world
from cli.demo.cluster import PostgresCluster, free_port, server_folder
from cli.demo.follow import Follower
from cli.demo.receiver import Receiver
from cli.demo.summary import summarise
from cli.demo.workload import Assistant, Service

READY_SECONDS = 30.0
SETTLE_SECONDS = 3.0
SETTINGS = {"pgaudit.log_relation": "on"}
"""pgaudit's records name the relations that a statement really touched."""


def demo(
    once: Annotated[bool, typer.Option("--once", help="Play once, stop everything, exit.")] = False,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the summary to this file.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw what the terminal showed as SVG.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the record's folder behind.")] = False,
) -> None:
    """Show pgwarden at its job on a PostgreSQL 15 of its own."""
    if os.geteuid() != 0:
        fail("the demo attaches eBPF probes: run it as root (sudo ./run demo)", Exit.USAGE)
    if not server_folder().exists():
        fail("PostgreSQL 15 is not installed: ./run setup installs it")
    console = Console(highlight=False, record=picture is not None)
    started = time.monotonic()
    # A service manager's stop must also undo everything, so it takes the way of Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="pgwarden-demo-"))
    folder.chmod(0o755)
    try:
        failures = _run(folder, console, started, once, json)
    except KeyboardInterrupt:
        failures = []
    finally:
        if picture is not None:
            console.save_svg(str(picture), title="./run demo")
        if keep:
            console.print(f"kept: {folder}", markup=False)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    raise typer.Exit(Exit.FOUND if failures else Exit.GOOD)


def _run(
    folder: Path, console: Console, started: float, once: bool, json: Path | None
) -> list[str]:
    with ExitStack() as stack:
        console.print("· starting a PostgreSQL 15 with pgaudit", style="dim")
        cluster = stack.enter_context(
            PostgresCluster(settings=SETTINGS, keep_folder=folder / "postgres")
        )
        world.build(cluster)
        receiver = Receiver(lambda alert: _print_alert(console, alert))
        stack.callback(receiver.stop)
        ports = free_port(), free_port()
        config = folder / "pgwarden.yaml"
        world.write_configuration(
            config, world.configuration(cluster, folder, receiver.url, *ports)
        )
        console.print("· pgwarden up", style="dim")
        stack.enter_context(_pgwarden_up(config, folder))
        for port in ports:
            _wait_until_ready(port, folder)
        follower = Follower(f"unix:{folder}/collector.sock", console)
        stack.callback(follower.stop)
        service = Service(cluster, folder)
        stack.callback(service.stop)
        assistant = Assistant(cluster)
        stack.callback(assistant.stop)
        stage = scenes.Stage(
            cluster, follower, receiver, assistant, console, lambda pid: _kill(config, pid)
        )
        scenes.play(stage)
        time.sleep(SETTLE_SECONDS)  # the merge window: late audit records join their statements
        summary = summarise(folder / "collector", len(receiver.received))
        summary["duration_seconds"] = round(time.monotonic() - started, 1)
        _say_where_to_look(console, config, ports, summary)
        if once:
            console.print("  (--once ends all of it now; without --once it stays up)", style="dim")
        if json is not None:
            json.write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2) + b"\n")
        if not once:
            console.print("\nThe demo goes on until Ctrl-C.", style="bold")
            signal.pause()
    return stage.failures


@contextmanager
def _pgwarden_up(config: Path, folder: Path) -> Iterator[None]:
    with (folder / "pgwarden.log").open("wb") as log:
        program = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "up", "--config", str(config)],
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            program.terminate()
            try:
                program.wait(20)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()


def _wait_until_ready(port: int, folder: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    log = (folder / "pgwarden.log").read_text(errors="backslashreplace")
    fail(f"pgwarden was not ready within {READY_SECONDS:.0f} s; its log:\n{log[-4000:]}")


def _kill(config: Path, pid: int) -> str:
    done = subprocess.run(
        [
            sys.executable, "-m", "cli.main", "kill", str(pid),
            "--reason", "reads salaries", "--config", str(config),
        ],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return (done.stdout or done.stderr).strip()


def _print_alert(console: Console, alert: dict[str, Any]) -> None:
    console.print(
        f"         ☎ alert {alert.get('status')} {alert.get('severity')}: {alert.get('title')}",
        style="bold magenta",
        markup=False,
    )


def called_as(program: str) -> str:
    """``program`` where it is our command, so that what is printed can be pasted as it stands."""
    return program if Path(program).name == "pgwarden" else "pgwarden"


def _say_where_to_look(
    console: Console, config: Path, ports: tuple[int, int], summary: dict[str, Any]
) -> None:
    console.rule("[bold]In numbers[/bold]", align="left")
    for key, value in summary.items():
        console.print(f"  {key:18} {value}", markup=False)
    console.rule("[bold]To look further[/bold]", align="left")
    command = f"{called_as(sys.argv[0])} {{}} --config {config}"
    console.print(f"  agent metrics      http://127.0.0.1:{ports[0]}/metrics", markup=False)
    console.print(f"  collector metrics  http://127.0.0.1:{ports[1]}/metrics", markup=False)
    for words in (
        'sql "SELECT user_name, operation, count(*) FROM statements GROUP BY ALL ORDER BY 3 DESC"',
        "findings",
        "drift status",
        "sessions",
        "tail",
        "doctor",
    ):
        console.print("  $ " + command.format(words), markup=False, soft_wrap=True)
