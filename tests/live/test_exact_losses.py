"""An agent that stands still loses what does not fit, counts it, and says so: to the last one."""

import os
import signal
import subprocess
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

FROZEN_SECONDS = 3
STORED = "SELECT coalesce(sum(executions), 0)::BIGINT AS n FROM statements WHERE user_name = 'app'"
LOST = (
    "SELECT coalesce(sum(count), 0)::BIGINT AS n FROM losses WHERE "
    "source = 'ebpf' AND reason IN ('statement', 'execution', 'urgent_statement', 'table_full')"
    " OR source = 'agent' AND reason = 'queue_full'"
)
URGENT = "SELECT count(*) AS n FROM losses WHERE reason LIKE 'urgent%'"


@pytest.mark.parametrize("aggregate", ["never", "overload"])
def test_what_pgbench_did_is_stored_or_counted_as_lost_though_the_agent_stood_still(
    tmp_path, aggregate
):
    script = tmp_path / "script"
    script.write_text("SELECT 1;\nSELECT :client_id + 1;\n")
    # Our own catalog queries are statements as well: without them all losses are pgbench's.
    agent_section = {
        "capture": {"ring_bytes": 4096, "pgaudit": False, "aggregate": aggregate},
        "catalog": {"enabled": False},
    }
    with PostgresCluster(pgaudit=False) as server:
        prepare(server)
        with Running(server, {"agent": agent_section}) as up:
            agent = up.child("agent")
            load = subprocess.Popen(
                [
                    "pgbench", "--no-vacuum", "--client", "2", "--time", str(FROZEN_SECONDS + 2),
                    "--file", str(script), "--host", str(server.sockets), "--port",
                    str(server.port), "--username", "app", "postgres",
                ],
                stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            time.sleep(1)
            os.kill(agent, signal.SIGSTOP)
            try:
                time.sleep(FROZEN_SECONDS)
                server.psql("CREATE ROLE made_in_the_dark")
            finally:
                os.kill(agent, signal.SIGCONT)
            said = load.communicate(timeout=30)[0]
            (line,) = [each for each in said.splitlines() if "actually processed" in each]
            ran = 2 * int(line.rpartition(": ")[2])
            up.wait_sql("SELECT 1 FROM statements WHERE text LIKE 'CREATE ROLE made_in_the_dark'")

            def found():
                stored, lost = up.sql(STORED)[0]["n"], up.sql(LOST)[0]["n"]
                print(f"{aggregate}: ran {ran}, stored {stored}, lost {lost}")
                return stored + lost == ran and (lost or aggregate == "overload")

            up.wait(found, f"{ran} stored or lost", 20)
            assert up.sql(URGENT) == [{"n": 0}]
