"""Fixtures that several folders share."""

from collections.abc import Iterator

import pytest

from tests.live.postgres import PostgresCluster, server_folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """A PostgreSQL 15 with pgaudit and csvlog, for tests that leave it as they found it."""
    if not server_folder().exists():
        pytest.skip("PostgreSQL 15 is not installed: ./run setup installs it")
    with PostgresCluster() as cluster:
        yield cluster
