"""The command itself: its version, its own name, and programs that cannot be started."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.demo.command import called_as
from cli.main import app
from model.version import __version__


@pytest.mark.parametrize("words", ["--version", "version"])
def test_it_tells_its_version(words):
    done = CliRunner().invoke(app, [words])
    assert (done.exit_code, done.output) == (0, f"{__version__}\n")


def test_the_help_still_says_what_it_is_and_names_the_option():
    done = CliRunner().invoke(app, ["-h"])
    assert done.exit_code == 0
    assert "See, attribute, guard and record" in done.output
    assert "--version" in re.sub(r"\x1b\[[0-9;]*m", "", done.output)


@pytest.mark.parametrize(
    "words",
    [("drift", "-h"), ("status", "-h"), ("agents", "-h"), ("approvals", "-h"), ("agent", "-h")],
    ids=lambda words: words[0],
)
def test_a_command_does_not_wait_for_libraries_that_it_does_not_use(words):
    """DuckDB and Polars take as long to import as all the rest of it."""
    code = (
        "import sys; from cli.main import app; app(standalone_mode=False);"
        "print({'polars', 'duckdb'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("program", "printed"),
    [
        (".venv/bin/pgwarden", ".venv/bin/pgwarden"),
        ("/usr/local/bin/pgwarden", "/usr/local/bin/pgwarden"),
        ("/opt/pgwarden/cli/main.py", "pgwarden"),
        ("-c", "pgwarden"),
    ],
)
def test_the_demo_prints_commands_by_the_name_it_was_called(program, printed):
    assert called_as(program) == printed


@pytest.mark.parametrize("command", ["up", "agent", "collector"])
def test_a_program_that_cannot_be_executed_is_one_line_and_code_1(command, tmp_path):
    gone = tmp_path / "python"
    code = f"import sys; sys.executable = {str(gone)!r}; from cli.main import app; app()"
    config = tmp_path / "pgwarden.yaml"
    config.write_text("")
    done = subprocess.run(
        [sys.executable, "-c", code, command, "--config", str(config)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "cannot be started" in line
    assert f"{gone}: No such file or directory" in line


def test_a_collector_is_not_left_behind_when_the_agent_cannot_be_executed(tmp_path):
    """The interpreter goes away between the two: a script that starts one program and removes
    itself."""
    once, mark = tmp_path / "python", tmp_path / "ended"
    once.write_text(
        f"#!/bin/sh\nrm -f {once}\ntrap 'echo yes > {mark}; exit 0' TERM\n"
        f"touch {tmp_path}/runs\nwhile :; do sleep 0.05; done\n"
    )
    once.chmod(0o755)
    code = (
        "import pathlib, subprocess, sys, time\n"
        f"sys.executable = {str(once)!r}\n"
        "from cli import programs\n"
        "start = programs._start\n"
        "def slowly(*words):\n"
        "    child = start(*words)\n"
        f"    while not pathlib.Path({str(tmp_path)!r}, 'runs').exists(): time.sleep(0.01)\n"
        "    return child\n"
        "programs._start = slowly\n"
        "from cli.main import app\n"
        "app()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "up"],
        capture_output=True, text=True, timeout=30, check=False, cwd=Path.cwd(),
    )  # fmt: skip
    assert done.returncode == 1
    assert "the agent cannot be started" in done.stderr
    assert mark.read_text() == "yes\n"
