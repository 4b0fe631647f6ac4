"""Fixtures that several folders share."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.live.postgres import PostgresCluster, server_folder

# Tests side by side are told the width of the terminal in which they were started; what our own
# command line prints must not depend on it.
os.environ.pop("COLUMNS", None)
# How long one example takes says nothing beside other tests.
settings.register_profile("beside others", deadline=None)
settings.load_profile("beside others")

ALONE = (
    "tests/kernel/test_attach",
    "tests/kernel/test_builds",
    "tests/kernel/test_canary",
    "tests/kernel/test_capabilities",
    "tests/kernel/test_capture_hold",
    "tests/kernel/test_capture_losses",
    "tests/kernel/test_churn",
    "tests/kernel/test_exact_losses",
    "tests/kernel/test_guard",
    "tests/kernel/test_pid_reuse",
    "tests/kernel/test_plans",
    "tests/guard/test_corpus.py",
    "tests/guard/test_reasons.py",
    "tests/agent/sql/test_hostile.py",
    "tests/faults/test_kills.py",
    "tests/collector/test_kills.py",
    "tests/live/test_canary.py",
    "tests/live/test_degraded.py",
    "tests/live/test_doctor.py",
    "tests/live/test_exact_losses.py",
    "tests/live/test_guard_",
    "tests/live/test_overload.py",
    "tests/live/test_peers_end_to_end.py",
)
"""Folders, files or beginnings of their names."""


FAULTS = "tests/faults/"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", action="store_true", help="only tests/faults, and for long")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--faults"):
        items[:] = [item for item in items if item.nodeid.startswith(FAULTS)]
    for item in items:
        if item.nodeid.startswith(ALONE):
            item.add_marker(pytest.mark.alone)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """A PostgreSQL 15 with pgaudit and csvlog, for tests that leave it as they found it."""
    if not server_folder().exists():
        pytest.skip("PostgreSQL 15 is not installed: ./run setup installs it")
    with PostgresCluster() as cluster:
        yield cluster
