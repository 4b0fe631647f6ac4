"""What is wrong with a cluster is said with its name before it, once."""

import os

import pytest

from agent.clusters import Clusters
from agent.inbox import Inbox
from config import AgentConfig
from tests.live.postgres import free_port
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root sees the server's folder"),
]


def test_a_login_that_fails_is_said_once_by_log_and_catalog_each(postgres, tmp_path):
    section = {
        "state_dir": tmp_path,
        "capture": {"ebpf": False},
        "only_configured_clusters": True,
        "clusters": [
            {
                "port": postgres.port,
                "data_directory": postgres.data,
                "name": "main",
                "dsn": f"host=127.0.0.1 port={free_port()} user=pgwarden",
            }
        ],
    }
    config = AgentConfig.model_validate(section)
    clusters = Clusters(config, Inbox(), lambda _: None, None, None)
    try:
        clusters.rescan(None)
        wait_until(lambda: len(clusters.problems()) == 2)
        for problem in clusters.problems():
            assert problem.startswith("main: ")
            assert problem.count("main") == 1
            assert "connection failed" in problem
    finally:
        clusters.close()
