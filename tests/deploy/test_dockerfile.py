"""The Dockerfile agrees with the tree and with ./run. Building it needs an engine."""

import re
from pathlib import Path

DOCKERFILE = Path("Dockerfile").read_text()
STEPS = re.sub(r"\\\n", " ", DOCKERFILE)
PACKAGES = {"model", "config", "rules", "protos", "agent", "analytics", "collector", "cli"}
# What Debian's slim image lacks and a machine that runs ./run has already.
PYTHON = {"python3", "python3-venv"}


def debian(group: str) -> set[str]:
    lines = Path("requirements.debian").read_text().splitlines()
    return {name for line in lines if line.startswith(group) for name in line.split()[1:]}


def test_every_package_of_the_project_is_copied_and_exists():
    copied = set(re.findall(r"^COPY (\w+) \w+$", DOCKERFILE, re.MULTILINE))
    assert copied == PACKAGES
    assert all(Path(name, "__init__.py").exists() for name in copied)


def test_the_debian_packages_are_those_of_the_build_group():
    installed = {
        name
        for names in re.findall(r"--no-install-recommends ([\w\s.-]+?) +&&", STEPS)
        for name in names.split()
    }
    assert installed - PYTHON <= debian("build")
    assert {"clang", "libbpf-dev", "libbpf1"} <= installed


def test_python_packages_come_from_the_lock_with_hashes():
    assert re.findall(r"pip install.*", STEPS)
    for command in re.findall(r"pip install[^&]*", STEPS):
        assert "--require-hashes -r requirements.lock" in re.sub(r" +", " ", command)


def test_the_image_runs_without_root_and_compiles_the_probes():
    last_stage = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert re.findall(r"^USER (\w+)$", last_stage, re.MULTILINE) == ["pgwarden"]
    assert "-m agent.probes.build" in DOCKERFILE
    assert Path("agent/probes/build.py").exists()
