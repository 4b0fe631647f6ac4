"""What compiles with bcc takes seconds of processor time, and has a bound: on an idle machine."""

import os
import subprocess

import pytest

from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import Running, prepare
from tests.live.test_degraded import captured
from tests.live.test_doctor import NAMED, configured, doctor, grant_all

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]


def test_the_bcc_loader_captures_from_end_to_end():
    try:
        import bcc  # noqa: F401
    except ImportError:
        found = subprocess.run(["/usr/bin/python3", "-c", "import bcc"], capture_output=True)
        if found.returncode:
            pytest.skip("python3-bpfcc not installed: ./run setup installs it")
    with PostgresCluster() as cluster:
        prepare(cluster)
        with Running(cluster, {"agent": {"capture": {"loader": "bcc"}}}) as up:
            row = captured(up, cluster, "through_bcc")
            assert (row["source"], row["rows"]) == ("both", 100)


def test_doctor_tries_a_configured_bcc_and_uses_it(tmp_path):
    capture = {"loader": "bcc"}
    with PostgresCluster(log_format="jsonlog", settings=NAMED) as cluster:
        grant_all(cluster)
        config = configured(cluster, state_dir=str(tmp_path), capture=capture)
        answer = doctor(tmp_path, config, "--json")
    [loader] = [row for row in answer.rows if row.get("aspect") == "loader"]
    if loader["mark"] == "bad" and "not installed" in loader["sentence"]:
        pytest.skip("bcc is not installed")
    assert loader["mark"] == "good", loader
    assert "PortalRun fires" in [row.get("sentence") for row in answer.rows]
