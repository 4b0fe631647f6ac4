"""An agent that stands still loses what does not fit, counts it, and says so: to the last one."""

import os
import signal
import subprocess
import time
from contextlib import ExitStack

import pytest

from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import Running, freeze, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]

FROZEN_SECONDS = 10
STORED = "SELECT coalesce(sum(executions), 0)::BIGINT AS n FROM statements WHERE user_name = 'bot'"
LOST = (
    "SELECT coalesce(sum(count), 0)::BIGINT AS n FROM losses WHERE "
    "source = 'ebpf' AND reason IN ('statement', 'execution', 'urgent_statement', 'table_full')"
    " OR source = 'agent' AND reason = 'queue_full'"
)
URGENT = "SELECT count(*) AS n FROM losses WHERE reason LIKE 'urgent%'"
IN_THE_DARK = (
    "CREATE ROLE made_in_the_dark",
    "GRANT analyst TO made_in_the_dark",
    "ALTER ROLE made_in_the_dark NOLOGIN",
    "CREATE TABLE dark (id int)",
    "DROP TABLE dark",
)


def configuration(aggregate, mode):
    # Our own queries are statements as well: without them all losses are pgbench's.
    return {
        "agent": {
            "capture": {
                "ring_bytes": 4096,
                "pgaudit": False,
                "aggregate": aggregate,
                "canary_interval_seconds": 0,
            },
            "catalog": {"enabled": False},
            "guard": {"mode": mode},
        }
    }


def test_what_clients_did_is_stored_or_counted_as_lost_though_the_agents_stood_still(tmp_path):
    """One agent tells everything singly and observes, one counts what is repeated and enforces."""
    script = tmp_path / "script"
    script.write_text("SELECT 1;\nSELECT :client_id + 1;\n")
    with PostgresCluster(pgaudit=False) as server, ExitStack() as stack:
        prepare(server)
        singly = stack.enter_context(Running(server, configuration("never", "observe")))
        guarding = stack.enter_context(Running(server, configuration("overload", "enforce")))
        owner = stack.enter_context(server.connect(user="app"))
        load = subprocess.Popen(
            [
                "pgbench", "--no-vacuum", "--client", "2", "--time", str(FROZEN_SECONDS + 2),
                "--file", str(script), "--host", str(server.sockets), "--port",
                str(server.port), "--username", "bot", "postgres",
            ],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(1)
        agents = [up.child("agent") for up in (singly, guarding)]
        for agent in agents:
            freeze(agent)
        try:
            thaw_at = time.monotonic() + FROZEN_SECONDS
            # Held by the kernel, which does not know yet; the watchdog lets it go.
            owner.execute("DROP TABLE shop.orders")
            for text in IN_THE_DARK:
                server.psql(text)
            time.sleep(thaw_at - time.monotonic())
        finally:
            for agent in agents:
                os.kill(agent, signal.SIGCONT)
        said = load.communicate(timeout=30)[0]
        (line,) = [each for each in said.splitlines() if "actually processed" in each]
        ran = 2 * int(line.rpartition(": ")[2])
        for up in (singly, guarding):
            assert_exact(up, ran, loses=up is singly)
        # The probes' word that psql had gone was among the lost.
        open_ones = "SELECT user_name FROM sessions WHERE ended_at IS NULL"
        singly.wait(lambda: singly.sql(open_ones) == [{"user_name": "app"}], "all others ended", 30)
        # The one that was held, and the one that was not, because nobody beat any more.
        assert guarding.sql("SELECT rule_id, outcome FROM verdicts") == 2 * [
            {"rule_id": "drop-protected", "outcome": "too_late"}
        ]


def assert_exact(up, ran, loses):
    up.wait_sql("SELECT 1 FROM statements WHERE text = 'DROP TABLE dark'")

    def found():
        stored, lost = up.sql(STORED)[0]["n"], up.sql(LOST)[0]["n"]
        print(f"ran {ran}, stored {stored}, lost {lost}")
        return stored + lost == ran and (lost or not loses)

    up.wait(found, f"{ran} stored or lost", 20)
    assert up.sql(URGENT) == [{"n": 0}]
    told = up.sql("SELECT text FROM statements WHERE user_name <> 'bot' AND text NOT LIKE '%?%'")
    assert sorted(row["text"] for row in told) == sorted(["DROP TABLE shop.orders", *IN_THE_DARK])
