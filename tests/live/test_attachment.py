"""The agent keeps its probes where the servers are."""

import os

import pytest

from config.schema import Capture
from tests.live.postgres import PostgresCluster, server_folder
from tests.live.private_server import copy_programs, open_folder, upgrade_in_place
from tests.live.running import Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]

PROMISED_SECONDS = 15


@pytest.fixture
def programs():
    with open_folder() as folder:
        yield copy_programs(folder / "programs")


def access(server, name):
    return {
        "port": server.port,
        "data_directory": str(server.data),
        "name": name,
        "dsn": server.dsn(user="pgwarden"),
    }


def seen_by_the_probes(up, server, marker):
    """Asked again and again, as clients do: within the promised time it must be on record."""

    def found():
        server.psql(f"SELECT 1 AS {marker}")
        return up.sql(
            f"SELECT 1 FROM statements WHERE text LIKE '%{marker}' AND source IN ('ebpf', 'both')"
        )

    up.wait(found, marker, PROMISED_SECONDS)


def test_restarts_an_upgrade_in_place_and_a_new_cluster_are_followed(programs):
    later = PostgresCluster(pgaudit=False)
    with PostgresCluster(programs=programs, pgaudit=False) as server:
        prepare(server)
        config = {
            "clusters": [access(server, "main"), access(later, "later")],
            "capture": {"rescan_seconds": Capture().rescan_seconds},
        }
        with Running(server, {"agent": config}) as up:
            seen_by_the_probes(up, server, "at_first")
            server.stop("immediate")
            server.start()
            seen_by_the_probes(up, server, "after_a_crash")
            upgrade_in_place(programs / "postgres")
            server.restart()
            seen_by_the_probes(up, server, "after_an_upgrade")
            with later:
                prepare(later)
                seen_by_the_probes(up, later, "in_a_new_cluster")
