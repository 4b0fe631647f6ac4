"""A collector that is told to stop under load ends within five seconds, and nothing is lost.

Whoever hangs outside, where heads and alerts go, changes nothing about that.
"""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest
import yaml

from agent.spool.spool import Spool
from collector.alerts import Alerts, Webhook
from collector.alerts.outbox import Outbox
from collector.alerts.receiver import Delivery, Outcome
from collector.pgwarden_verify import check_folder
from tests.collector.alerts.samples import DRIFT
from tests.collector.process import ROOT
from tests.collector.road import statements, uplink_to
from tests.waiting import wait_until

AGENTS = 3
BATCHES, ROWS = 150, 1_000
STOP_SECONDS = 5.0


class Silent:
    """Takes every connection, and answers nothing."""

    def __init__(self):
        self.taken = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self):
        while True:
            try:
                self.taken.append(self._listening.accept()[0])
            except OSError:
                return

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listening.close()
        for connection in self.taken:
            connection.close()


def outside(port):
    url = f"http://127.0.0.1:{port}"
    return {
        "ledger": {
            "head_seconds": 0.5,
            "head_entries": 1,
            "tell": [
                {"type": "http", "url": f"{url}/heads", "every_seconds": 0},
                {"type": "syslog", "host": "127.0.0.1", "port": port, "carrier": "tcp"},
                {"type": "timestamp", "url": f"{url}/time", "every_seconds": 0},
            ],
        },
        "alerts": {"receivers": [{"type": "webhook", "name": "hook", "url": f"{url}/hook"}]},
    }


def leave_a_letter(data_dir):
    def busy(request):
        return Delivery(Outcome.RETRY, "busy")

    alerts = Alerts(data_dir, [Webhook("hook", "http://receiver.example/hook")], transport=busy)
    alerts.on_findings([DRIFT], time.time_ns() // 1000)
    alerts.close()


def start(folder, **more):
    config = folder / "pgwarden.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "collector": {
                    "data_dir": str(folder / "data"),
                    "listen": [f"unix:{folder}/c.sock"],
                    "metrics": {"port": 0},
                    **more,
                }
            }
        )
    )
    log = (folder / "collector.log").open("ab")
    command = [sys.executable, "-m", "collector", "--config", str(config)]
    return subprocess.Popen(command, cwd=ROOT, stderr=log)


def entries(folder):
    path = folder / "data/ledger.jsonl"
    return len(path.read_bytes().splitlines()) if path.exists() else 0


@pytest.mark.parametrize("hangs", [False, True], ids=["alone", "who is told hangs"])
def test_it_stops_in_five_seconds_with_all_it_acknowledged(tmp_path, hangs):
    with ExitStack() as stack:
        told = None
        if hangs:
            told = stack.enter_context(Silent())
            leave_a_letter(tmp_path / "data")
        stops_in_time(tmp_path, told)
    if hangs:
        outbox = Outbox(tmp_path / "data/alerts.sqlite")
        letter = outbox.next("hook")
        assert letter is not None
        assert letter.alert.title == "log_statement changed", (
            "what was under way is still to be sent"
        )
        outbox.close()


def stops_in_time(tmp_path, told):
    spools = []
    for number in range(AGENTS):
        spool = Spool(tmp_path / f"spool-{number}.db", lambda *_: None, 1 << 30)
        for batch in range(BATCHES):
            first = (number * BATCHES + batch) * ROWS
            spool.append(statements(first, ROWS))
        spools.append(spool)
    collector = start(tmp_path, **(outside(told.port) if told else {}))
    address = f"unix:{tmp_path}/c.sock"
    try:
        uplinks = [uplink_to(address, spool, agent=f"host-{n}") for n, spool in enumerate(spools)]
        for uplink in uplinks:
            uplink.__enter__()
        wait_until(lambda: entries(tmp_path) >= 3, 30)
        if told:
            wait_until(lambda: len(told.taken) >= 4, 20)
        assert all(spool.depth for spool in spools), "it must be under load"
        began = time.monotonic()
        collector.send_signal(signal.SIGTERM)
        assert collector.wait(30) == 0, (tmp_path / "collector.log").read_text()
        took = time.monotonic() - began
        left = sum(spool.depth for spool in spools) * ROWS
        assert took < STOP_SECONDS
        assert "leaked" not in (tmp_path / "collector.log").read_text(), "of a library, at the end"
        assert left, "it was still under load"
        report = check_folder(tmp_path / "data")
        assert (report.problems, report.signed) == ([], report.entries)
        sealed = [json.loads(x) for x in (tmp_path / "data/ledger.jsonl").read_bytes().splitlines()]
        rows = sum(
            file["rows"] for entry in sealed if entry["reason"] != "merged"
            for file in entry["files"] if file["table"] == "statements"
        )  # fmt: skip
        assert AGENTS * BATCHES * ROWS - left <= rows <= AGENTS * BATCHES * ROWS
        for uplink in uplinks:
            uplink.__exit__(None, None, None)
    finally:
        collector.kill()
        collector.wait()
        for spool in spools:
            spool.close()


def test_one_that_cannot_start_says_why_and_nothing_else(tmp_path):
    (tmp_path / "data").write_text("in the way")
    collector = start(tmp_path)
    try:
        assert collector.wait(30) == 1
    finally:
        collector.kill()
        collector.wait()
    (line,) = (tmp_path / "collector.log").read_text().splitlines()
    assert "collector.cannot_start" in line


def test_one_that_is_to_listen_nowhere_says_so(tmp_path):
    collector = start(tmp_path, listen=[])
    try:
        assert collector.wait(30) == 78
    finally:
        collector.kill()
        collector.wait()
    (line,) = (tmp_path / "collector.log").read_text().splitlines()
    assert "collector.listen" in line
