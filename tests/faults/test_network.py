"""A network that loses, delays, repeats and reorders, and one that is cut: nothing is lost."""

import json
import subprocess
import sys
import time

import pytest
import yaml

from collector.ledger_reading import verify
from collector.pgwarden_verify import check_folder
from collector.views import open_views
from model.certified import Role
from tests.collector.authority import Pki
from tests.collector.process import ROOT
from tests.faults.wire import ADDRESSES, FINE, NoWireError, Weather, wire
from tests.waiting import wait_until

AGENTS = 2
FIRST_OF_NEXT = 10_000_000
HALF_OPEN_SECONDS = 30.0
BAD = Weather(lost=0.05, twice=0.02, delay_seconds=0.02, jitter_seconds=0.04)
AWFUL = Weather(lost=0.2, twice=0.02, delay_seconds=0.9, jitter_seconds=0.2)
"""A round trip of about two seconds."""


class FarAgent:
    """``reports``: what it has said so far."""

    def __init__(self, between, folder, pki, number):
        self.name = f"host-{number}"
        files = pki.agent(self.name)
        self._folder = files.certificate.parent
        command = [
            sys.executable, "-m", "tests.faults.far_agent", str(self._folder), self.name,
            f"{ADDRESSES[0]}:7443", str(number * FIRST_OF_NEXT),
        ]  # fmt: skip
        with (folder / f"{self.name}.log").open("wb") as log, self._said.open("wb") as said:
            self.process = between.at(
                1, command, cwd=ROOT, stdin=subprocess.PIPE, stdout=said, stderr=log
            )

    @property
    def _said(self):
        return self._folder / "said"

    def said(self, word):
        """The newest report that has this word; None: none has come."""
        reports = [json.loads(line) for line in self._said.read_text().splitlines()]
        return next((each for each in reversed(reports) if word in each), None)

    def is_connected(self):
        return bool((self.said("connected") or {}).get("connected"))


@pytest.fixture
def between(dice):
    try:
        with wire(dice) as made:
            yield made
    except NoWireError as error:
        pytest.skip(str(error))


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


@pytest.fixture
def collector(tmp_path, between, pki):
    files = pki.issue(Role.COLLECTOR, ADDRESSES[0])
    config = tmp_path / "pgwarden.yaml"
    settings = {
        "data_dir": str(tmp_path / "data"),
        "listen": [f"{ADDRESSES[0]}:7443"],
        "tls": {name: str(getattr(files, name)) for name in ("certificate", "key", "ca", "crl")},
        "metrics": {"port": 0},
    }
    config.write_text(yaml.safe_dump({"collector": settings}))
    command = [sys.executable, "-m", "collector", "--config", str(config)]
    with (tmp_path / "collector.log").open("ab") as log:
        process = between.at(0, command, cwd=ROOT, stderr=log)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def agents(tmp_path, between, pki, collector):
    started = [FarAgent(between, tmp_path, pki, number) for number in range(1, AGENTS + 1)]
    yield started
    for agent in started:
        agent.process.kill()
        agent.process.wait()


def test_a_bad_network_and_one_that_is_cut_lose_and_repeat_nothing(
    tmp_path, between, collector, agents, tier
):
    wait_until(lambda: all(agent.is_connected() for agent in agents), 20)
    between.weather = tier(BAD, AWFUL)
    time.sleep(tier(2.5, 120))
    between.is_cut = True
    time.sleep(tier(1.0, 60))
    between.is_cut = False
    time.sleep(tier(1.0, 120))
    between.weather = tier(BAD, FINE)
    for agent in agents:
        agent.process.stdin.close()
    wait_until(lambda: all(agent.said("drained") for agent in agents), tier(20, 600))
    collector.kill()  # what was acknowledged needs nobody who tidies up
    collector.wait()
    print(f"{between.packets} packets, {between.lost} lost, {between.overtaken} overtaken")
    print([agent.said("drained") for agent in agents])
    assert between.lost > 50
    assert between.overtaken > 50
    assert_stored_once(tmp_path / "data", agents)


def test_a_link_that_is_silently_cut_is_noticed_and_taken_up_again(
    tmp_path, between, collector, agents, tier
):
    if not tier(0, 1):
        pytest.skip("half a minute of silence is for the long tier")
    wait_until(lambda: all(agent.is_connected() for agent in agents), 20)
    between.is_cut = True
    began = time.monotonic()
    wait_until(lambda: not any(agent.is_connected() for agent in agents), HALF_OPEN_SECONDS)
    print(f"noticed after {time.monotonic() - began:.1f} s")
    between.is_cut = False
    wait_until(lambda: all(agent.is_connected() for agent in agents), HALF_OPEN_SECONDS)
    for agent in agents:
        agent.process.stdin.close()
    wait_until(lambda: all(agent.said("drained") for agent in agents), 60)
    assert_stored_once(tmp_path / "data", agents)


def assert_stored_once(data_dir, agents):
    for agent in agents:
        assert agent.said("drained")["drained"]
        assert agent.said("drained")["lost"] == []
    kept = {agent.name: agent.said("kept")["kept"] for agent in agents}
    with open_views(data_dir) as views:
        stored = views.execute(
            "SELECT agent, count(*), count(DISTINCT id) FROM statements GROUP BY agent"
        ).fetchall()
        losses = views.execute("SELECT * FROM losses").fetchall()
    assert {agent: (rows, rows) for agent, rows in kept.items()} == {
        agent: (rows, distinct) for agent, rows, distinct in stored
    }
    assert losses == []
    assert verify(data_dir) == []
    assert check_folder(data_dir).problems == []
