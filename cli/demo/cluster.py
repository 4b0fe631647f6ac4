"""Real PostgreSQL clusters of our own, in a folder of their own, for demo, tests and bench.

Nothing outside that folder is touched: own port, own socket folder, own log.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

SERVER_ACCOUNT = "postgres"
START_SECONDS = 30


def server_folder(major: int = 15) -> Path:
    return Path(f"/usr/lib/postgresql/{major}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def as_server_account() -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    return [
        "setpriv",
        f"--reuid={SERVER_ACCOUNT}",
        f"--regid={SERVER_ACCOUNT}",
        "--clear-groups",
        "--inh-caps=-all",
    ]


@dataclass
class PostgresCluster:
    """One server. ``with PostgresCluster() as cluster`` starts it and removes it afterwards."""

    log_format: str = "csvlog"
    pgaudit: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)
    initdb: tuple[str, ...] = ()
    major: int = 15
    keep_folder: Path | None = None
    programs: Path | None = None
    """Folder of the server's programs, if not Debian's."""
    port: int = 0
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder = self.keep_folder or Path(tempfile.mkdtemp(prefix="pgwarden-pg-"))
        self.port = self.port or free_port()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def sockets(self) -> Path:
        return self.folder / "sockets"

    @property
    def binary(self) -> Path:
        return self._programs / "postgres"

    @property
    def _programs(self) -> Path:
        return self.programs or server_folder(self.major) / "bin"

    @property
    def log_directory(self) -> Path:
        return self.data / "log"

    @property
    def postmaster_pid(self) -> int:
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    def __enter__(self) -> PostgresCluster:
        try:
            self.create()
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def create(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.sockets.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.folder, SERVER_ACCOUNT, SERVER_ACCOUNT)
            shutil.chown(self.sockets, SERVER_ACCOUNT, SERVER_ACCOUNT)
        self.folder.chmod(0o755)
        self._server_tool(
            "initdb",
            "--pgdata", str(self.data),
            "--username", "postgres",
            "--auth", "trust",
            "--no-sync",
            *(self.initdb or ("--encoding=UTF8", "--locale=C.UTF-8")),
        )  # fmt: skip
        lines = [f"{name} = '{value}'" for name, value in self._settings().items()]
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write("\n".join(["", *lines, ""]))

    def start(self) -> None:
        self._server_tool(
            "pg_ctl", "start", "--wait", f"--timeout={START_SECONDS}",
            "--pgdata", str(self.data), "--log", str(self.folder / "start.log"),
        )  # fmt: skip

    def stop(self, mode: str = "fast") -> None:
        self._server_tool("pg_ctl", "stop", "--wait", "--mode", mode, "--pgdata", str(self.data))

    def restart(self) -> None:
        self.stop()
        self.start()

    def reload(self) -> None:
        self._server_tool("pg_ctl", "reload", "--pgdata", str(self.data))

    def remove(self) -> None:
        if (self.data / "postmaster.pid").exists():
            try:
                self.stop("immediate")
            except RuntimeError:
                time.sleep(0.5)
        if self.keep_folder is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def dsn(self, user: str = "postgres", dbname: str = "postgres", **more: str) -> str:
        words = {"host": "127.0.0.1", "port": str(self.port), "user": user, "dbname": dbname}
        return psycopg.conninfo.make_conninfo(**(words | more))

    def connect(self, **words: str) -> psycopg.Connection:
        return psycopg.connect(self.dsn(**words), autocommit=True)

    def psql(
        self, sql: str, user: str = "postgres", dbname: str = "postgres", socket_: bool = False
    ) -> subprocess.CompletedProcess[str]:
        host = str(self.sockets) if socket_ else "127.0.0.1"
        return subprocess.run(
            [
                "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align",
                "--host", host, "--port", str(self.port),
                "--username", user, "--dbname", dbname, "--command", sql,
            ],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def _settings(self) -> dict[str, str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.sockets),
            "fsync": "off",
            "logging_collector": "on",
            "log_destination": self.log_format,
            "log_file_mode": "0640",
            "log_line_prefix": "%m [%p] %c %l %u@%d %a %h ",
        }
        if self.pgaudit:
            settings |= {"shared_preload_libraries": "pgaudit", "pgaudit.log": "all"}
        return settings | dict(self.settings)

    def _server_tool(self, tool: str, *args: str) -> None:
        command = [*as_server_account(), str(self._programs / tool), *args]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=90, check=False, cwd="/"
        )
        if done.returncode != 0:
            raise RuntimeError(f"{tool} failed ({done.returncode}): {done.stderr or done.stdout}")
