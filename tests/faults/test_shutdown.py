"""A collector that is told to stop under load ends within five seconds, and nothing is lost."""

import json
import signal
import subprocess
import sys
import time

import yaml

from agent.spool.spool import Spool
from collector.pgwarden_verify import check_folder
from tests.collector.process import ROOT
from tests.collector.road import statements, uplink_to
from tests.waiting import wait_until

AGENTS = 3
BATCHES, ROWS = 150, 1_000
STOP_SECONDS = 5.0


def start(folder):
    config = folder / "pgwarden.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "collector": {
                    "data_dir": str(folder / "data"),
                    "listen": [f"unix:{folder}/c.sock"],
                    "metrics": {"port": 0},
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


def test_it_stops_in_five_seconds_with_all_it_acknowledged(tmp_path):
    spools = []
    for number in range(AGENTS):
        spool = Spool(tmp_path / f"spool-{number}.db", lambda *_: None, 1 << 30)
        for batch in range(BATCHES):
            first = (number * BATCHES + batch) * ROWS
            spool.append(statements(first, ROWS))
        spools.append(spool)
    collector = start(tmp_path)
    address = f"unix:{tmp_path}/c.sock"
    try:
        uplinks = [uplink_to(address, spool, agent=f"host-{n}") for n, spool in enumerate(spools)]
        for uplink in uplinks:
            uplink.__enter__()
        wait_until(lambda: entries(tmp_path) >= 3, 30)
        assert all(spool.depth for spool in spools), "it must be under load"
        began = time.monotonic()
        collector.send_signal(signal.SIGTERM)
        assert collector.wait(30) == 0, (tmp_path / "collector.log").read_text()
        took = time.monotonic() - began
        left = sum(spool.depth for spool in spools) * ROWS
        assert took < STOP_SECONDS
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
