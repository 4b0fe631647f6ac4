"""Fixtures that several folders share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.gate import PLAYED, ordered, part_of
from tests.live.postgres import PostgresCluster, server_folder

# Tests side by side are told the width of the terminal in which they were started; what our own
# command line prints must not depend on it.
os.environ.pop("COLUMNS", None)
# How long one example takes says nothing beside other tests.
settings.register_profile("beside others", deadline=None)
settings.load_profile("beside others")

ROOT = Path(__file__).parents[1]
FAULTS = "tests/faults/"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", action="store_true", help="only tests/faults, and for long")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What other parts of the gate play is not even read: it takes seconds a process."""
    wanted = PLAYED.get(config.option.markexpr)
    if wanted is None or not collection_path.name.startswith("test_"):
        return None
    return part_of(collection_path.relative_to(ROOT).as_posix()) not in wanted or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--faults"):
        items[:] = [item for item in items if item.nodeid.startswith(FAULTS)]
    for item in items:
        item.add_marker(part_of(_file(item)).value)  # xdist sends plain strings alone
    if hasattr(config, "workerinput"):  # one of several processes
        places = {file: place for place, file in enumerate(ordered(map(_file, items)))}
        items.sort(key=lambda item: places[_file(item)])


def _file(item: pytest.Item) -> str:
    return item.nodeid.split("::")[0]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """A PostgreSQL 15 with pgaudit and csvlog, for tests that leave it as they found it."""
    if not server_folder().exists():
        pytest.skip("PostgreSQL 15 is not installed: ./run setup installs it")
    with PostgresCluster() as cluster:
        yield cluster
