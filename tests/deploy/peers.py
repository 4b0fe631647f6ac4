"""Debian's Prometheus and Alertmanager, started in a temporary folder on free loopback ports."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

PROMETHEUS = "/usr/bin/prometheus"
ALERTMANAGER = "/usr/bin/prometheus-alertmanager"


def need(*programs: str) -> None:
    """Skips without them; fails where CI is set, because there a skip would go unseen."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        refuse = pytest.fail if os.environ.get("CI") else pytest.skip
        refuse(f"{', '.join(missing)} not installed: ./run setup installs it")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Peer:
    """A child process with an HTTP port; its log lies in its folder."""

    def __init__(self, folder: Path, name: str, command: list[str], ready_path: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / f"{name}.log"
        self._command = [part.replace("{port}", str(self.port)) for part in command]
        self._ready_path = ready_path

    def __enter__(self) -> "Peer":
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + 15
        while not self._ready():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def get(self, path: str, **parameters: str) -> Any:
        reply = httpx.get(self.url + path, params=parameters, timeout=5)
        reply.raise_for_status()
        return reply.json()

    def _ready(self) -> bool:
        try:
            return httpx.get(self.url + self._ready_path, timeout=1).status_code == 200
        except httpx.HTTPError:
            return False


class Prometheus(Peer):
    """Scrapes ``targets`` (job name to port) every second."""

    def __init__(self, folder: Path, targets: dict[str, int], rules: Path | None = None) -> None:
        jobs = "".join(
            f"  - job_name: {job}\n    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
            for job, port in targets.items()
        )
        loaded = f"rule_files: ['{rules}']\n" if rules else ""
        config = folder / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            f"{loaded}scrape_configs:\n{jobs}"
        )
        command = [
            PROMETHEUS,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            "--web.listen-address=127.0.0.1:{port}",
            "--web.enable-lifecycle",
        ]
        super().__init__(folder, "prometheus", command, "/-/ready")

    def query(self, expression: str) -> list[dict[str, Any]]:
        return self.get("/api/v1/query", query=expression)["data"]["result"]


class Alertmanager(Peer):
    """Notifies ``webhook_url`` of everything, resolves included, without waiting."""

    def __init__(self, folder: Path, webhook_url: str) -> None:
        config = folder / "alertmanager.yml"
        config.write_text(
            "route: {receiver: hook, group_by: ['...'], group_wait: 0s, group_interval: 1s,"
            " repeat_interval: 1h}\n"
            "receivers:\n  - name: hook\n    webhook_configs:\n"
            f"      - {{url: '{webhook_url}', send_resolved: true}}\n"
        )
        command = [
            ALERTMANAGER,
            f"--config.file={config}",
            f"--storage.path={folder / 'alertmanager'}",
            "--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ]
        super().__init__(folder, "alertmanager", command, "/-/ready")
