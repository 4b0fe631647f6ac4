"""Rules go from a signing desk through the collector to the agent of a host, as processes."""

import re
from types import SimpleNamespace

import httpx
import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.live.running import Running

RULES = """\
- id: {id}
  title: T
  severity: low
  action: deny
  when: "'shop.{table}' in statement.reads"
"""


class Desk:
    """Where the private key lies: not on the host."""

    def __init__(self, folder) -> None:
        self.folder, self.bundles = folder, folder / "bundles"
        self.bundles.mkdir()
        (folder / "rules").mkdir()

    def sign(self, running, version: int, table: str, key: str = "desk") -> None:
        (self.folder / "rules/a.yaml").write_text(RULES.format(id=f"no-{table}", table=table))
        out = self.bundles / f"{version}-{key}.bundle"
        done = running.pgwarden_without_config(
            "rules", "sign", self.folder / "rules", "--key", self.folder / f"{key}.key",
            "-o", out, "--version", version,
        )  # fmt: skip
        assert done == 0


class Site(Running):
    def wait_ready(self, port: int) -> None:
        """It has no server, so it never is."""

    def agents(self) -> str:
        return self.pgwarden("agents").stdout

    def version(self) -> str:
        """Of the bundle in force, as the metrics say; empty while there are none."""
        try:
            names = self.metrics(self.agent_port)
        except httpx.TransportError:
            return ""
        (info,) = [name for name in names if name.startswith("pgwarden_rules_info")]
        return re.findall(r"version=\"(\d+)\"", info)[0]

    def pgwarden_without_config(self, *words) -> int:
        return CliRunner().invoke(app, [str(word) for word in words]).exit_code


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.fixture
def running(desk):
    """Without a server: what the guard does with exchanged rules, test_rules_reload.py shows."""
    nowhere = SimpleNamespace(port=1, data="/nonexistent", dsn=lambda **_: "host=/nonexistent")
    config = {
        "agent": {
            "capture": {"ebpf": False, "pgaudit": False},
            "clusters": [],
            "catalog": {"enabled": False},
            "rules": {"central": {"public_key": str(desk.folder / "desk.pub")}},
        },
        "collector": {"rules": {"directory": str(desk.bundles)}},
    }
    site = Site(nowhere, config)
    for name in ("desk", "stranger"):
        assert site.pgwarden_without_config("rules", "keygen", desk.folder / name) == 0
    with site:
        yield site


def test_signed_rules_reach_the_agent_and_stay_when_the_collector_is_away(running, desk):
    desk.sign(running, 7, "orders")
    running.wait(lambda: "central=7" in running.agents(), "in force", 30)

    desk.sign(running, 9, "prices", key="stranger")
    running.wait(lambda: "signature" in running.agents(), "the alarm", 30)
    central = 'pgwarden_rules_broken{source="central"}'
    assert running.metrics(running.agent_port)[central] == 1

    desk.sign(running, 10, "prices")
    running.wait(lambda: "central=10" in running.agents(), "the next one", 30)
    assert running.metrics(running.agent_port)[central] == 0

    for newer in desk.bundles.glob("*"):
        if not newer.name.startswith("7-"):
            newer.unlink()
    running.wait(lambda: "older" in running.agents(), "no way back", 30)
    assert "central=10" in running.agents()

    running.stop()
    running.start("agent", wait=False)
    running.wait(lambda: running.version() == "10", "in force without a collector", 30)
    running.stop()
    rows = running.sql("SELECT outcome, version FROM rules_changes WHERE source = 'central'")
    told = sorted((row["outcome"], row["version"]) for row in rows)
    assert told == [("in_force", 7), ("in_force", 10), ("refused", 7), ("refused", 10)]
