"""SIGHUP brings what it can into force, says what waits for a restart, and survives mistakes."""

import json
import signal
import subprocess
import sys

import pytest
import yaml

from tests.collector.process import ROOT
from tests.waiting import wait_until


class Program:
    def __init__(self, folder):
        self.folder = folder
        self.config = folder / "pgwarden.yaml"
        self.write()
        self._err = (folder / "log").open("wb")
        command = [sys.executable, "-m", "collector", "--config", str(self.config)]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=self._err)
        wait_until(lambda: "collector.start" in self.log, 60)

    def write(self, **sections):
        base = {
            "data_dir": str(self.folder / "data"),
            "listen": [f"unix:{self.folder}/c.sock"],
            "metrics": {"port": 0},
        }
        self.config.write_text(yaml.safe_dump({"collector": base | sections}))

    @property
    def log(self):
        return (self.folder / "log").read_text()

    def notes(self):
        lines = (self.folder / "data/ledger.jsonl").read_bytes().splitlines()
        notes = [note for line in lines for note in json.loads(line).get("notes", ())]
        return [note for note in notes if note["kind"] == "configuration"]

    def close(self):
        self.process.terminate()
        code = self.process.wait(30)
        self._err.close()
        return code


@pytest.fixture
def program(tmp_path):
    program = Program(tmp_path)
    yield program
    if program.process.poll() is None:
        assert program.close() == 0


def test_a_change_is_in_force_and_in_the_ledger_and_a_mistake_changes_nothing(program):
    wait_until(lambda: len(program.notes()) == 1)
    program.write(retention={"days": 30}, commit_seconds=1.5)
    program.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(program.notes()) == 2)
    wait_until(lambda: "configuration.needs_restart sections=commit_seconds" in program.log)
    program.config.write_text("collector: {retention: {days: never}}")
    program.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "configuration.not_reloaded" in program.log)
    program.config.unlink()
    program.process.send_signal(signal.SIGHUP)
    wait_until(lambda: program.log.count("configuration.not_reloaded") == 2)
    assert program.close() == 0
    assert len(program.notes()) == 2
