"""The Dockerfile agrees with the tree and with ./run. Building it needs an engine."""

import re
import tomllib
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


def test_python_packages_come_from_the_lock_with_hashes_and_then_the_project_alone():
    commands = [re.sub(r" +", " ", c) for c in re.findall(r"pip install[^&\n]*", STEPS)]
    assert len(commands) == 2
    assert commands[0].rstrip().endswith("--require-hashes -r requirements.lock")
    assert commands[1].rstrip().endswith("--no-deps .")


def test_what_the_build_of_the_project_reads_is_copied():
    project = tomllib.loads(Path("pyproject.toml").read_text())
    build = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    read = {
        "pyproject.toml",
        build["hooks"]["custom"]["path"],
        project["project"]["readme"],
        *project["project"]["license-files"],
    }
    (copied,) = re.findall(r"^COPY (pyproject.toml .*) \./$", DOCKERFILE, re.MULTILINE)
    assert set(copied.split()) == read
    assert set(build["packages"]) == PACKAGES


def test_the_image_runs_without_root():
    last_stage = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert re.findall(r"^USER (\w+)$", last_stage, re.MULTILINE) == ["pgwarden"]
