"""requirements.lock is what runs; requirements-dev.lock adds the tools of ./run to it."""

import re
import tomllib
from pathlib import Path

PROJECT = tomllib.loads(Path("pyproject.toml").read_text())["project"]


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", Path(lock).read_text(), re.MULTILINE))


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", each)[0] for each in requirements}


RUNNING, DEVELOPING = pins("requirements.lock"), pins("requirements-dev.lock")


def test_what_runs_has_the_versions_that_were_tested():
    assert RUNNING.items() <= DEVELOPING.items()


def test_each_lock_has_what_the_project_asks_for():
    assert names(PROJECT["dependencies"]) <= set(RUNNING)
    assert names(PROJECT["optional-dependencies"]["dev"]) <= set(DEVELOPING)


def test_no_tool_of_development_is_installed_where_pgwarden_runs():
    tools = names(PROJECT["optional-dependencies"]["dev"]) - names(PROJECT["dependencies"])
    assert {"pytest", "mypy", "hatchling"} <= tools
    assert not tools & set(RUNNING)


def test_the_page_and_the_image_install_the_lock_for_running_alone():
    for page in ("docs/operations.md", "Dockerfile", "cli/doctor/parts.py"):
        locks = re.findall(r"requirements[\w-]*\.lock", Path(page).read_text())
        assert set(locks) == {"requirements.lock"}, page
