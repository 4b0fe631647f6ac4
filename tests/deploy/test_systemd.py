"""systemd accepts the units, and they are hardened as far as their work allows."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path("deploy/systemd")
AGENT, COLLECTOR = FOLDER / "pgwarden-agent.service", FOLDER / "pgwarden-collector.service"
UNITS = [AGENT, COLLECTOR]
CAPABILITIES = {
    "CAP_BPF",
    "CAP_PERFMON",
    "CAP_SYS_ADMIN",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_PTRACE",
    "CAP_DAC_READ_SEARCH",
    "CAP_KILL",
}
HARDENING = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "LockPersonality": "yes",
    "RestrictSUIDSGID": "yes",
    "UMask": "0077",
    "LimitCORE": "0",
}


def service(unit: Path) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str
    parser.read(unit)
    return parser["Service"]


@pytest.fixture
def installed(tmp_path):
    """The units as they would stand on a host, with programs that exist here."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    for unit in UNITS:
        text = re.sub(r"/opt/pgwarden/bin/pgwarden", "/bin/true", unit.read_text())
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_systemd_finds_nothing_to_complain_about(installed):
    paths = [str(installed / unit.name) for unit in UNITS]
    done = analyze("verify", "--man=no", "--recursive-errors=no", *paths)
    ours = [line for line in done.stderr.splitlines() if "pgwarden" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize(("unit", "tenths"), [(AGENT, 30), (COLLECTOR, 20)])
def test_the_exposure_that_systemd_computes_stays_low(installed, unit, tenths):
    path = str(installed / unit.name)
    done = analyze("security", "--offline=true", f"--threshold={tenths}", path)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_the_agent_has_the_capabilities_of_its_work_and_the_collector_none():
    agent = service(AGENT)
    assert set(agent["CapabilityBoundingSet"].split()) == CAPABILITIES
    assert set(agent["AmbientCapabilities"].split()) == CAPABILITIES
    assert service(COLLECTOR)["CapabilityBoundingSet"] == ""


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_both_are_hardened_watched_and_check_their_configuration_first(unit):
    section = service(unit)
    assert {name: section[name] for name in HARDENING} == HARDENING
    assert section["Type"] == "notify"
    assert float(section["WatchdogSec"]) > 0
    assert " config validate " in section["ExecStartPre"]
    assert section["RestartPreventExitStatus"] == "78"
    assert section["User"] == "pgwarden"


def test_the_guards_watchdog_outlives_the_agent():
    assert service(AGENT)["KillMode"] == "control-group"
    assert float(service(AGENT)["TimeoutStopSec"]) >= 5
