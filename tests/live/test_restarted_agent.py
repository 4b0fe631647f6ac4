"""What runs while the agent is exchanged is on the record once."""

import os
import threading
import time

import pytest

from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]


def test_a_statement_that_outlives_an_agent_is_told_by_that_one_and_not_by_the_next():
    with PostgresCluster(pgaudit=False) as server:
        prepare(server)
        with server.connect() as slow, server.connect() as other, Running(server) as up:
            text = "SELECT pg_sleep(25) AS outlives"
            thread = threading.Thread(target=slow.execute, args=(text,))
            thread.start()
            time.sleep(1)
            up.stop()
            up.start()
            thread.join()
            slow.execute("SELECT 1 AS behind_it")
            other.execute("SELECT 1 AS elsewhere")
            query = "SELECT text, sqlstate, duration_us FROM statements WHERE text LIKE '%{}%'"
            up.wait_sql(query.format("behind_it"))
            up.wait_sql(query.format("elsewhere"))
            (told,) = up.sql(query.format("outlives"))
    assert (told["sqlstate"], told["duration_us"]) == ("", None)
