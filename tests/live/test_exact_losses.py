"""An agent that stands still loses what does not fit, counts it, and says so: to the last one.

And so does one that is told to stop under load, though its collector hangs; within five seconds.
"""

import os
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

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
STOP_SECONDS = 5.0
LOAD_SECONDS = 5
STORED = "SELECT coalesce(sum(executions), 0)::BIGINT AS n FROM statements WHERE user_name = 'bot'"
LOST = (
    "SELECT coalesce(sum(count), 0)::BIGINT AS n FROM losses WHERE "
    "source = 'ebpf' AND reason IN ('statement', 'execution', 'urgent_statement', 'table_full',"
    " 'no_lock', 'urgent_no_lock')"
    " OR source = 'agent' AND reason IN ('queue_full', 'stopped', 'urgent_stopped')"
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
        load = pgbench(server, script, FROZEN_SECONDS + 2)
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
        verdicts = guarding.sql("SELECT rule_id, outcome FROM verdicts ORDER BY occurred_at")
        assert [(each["rule_id"], each["outcome"]) for each in verdicts] == [
            ("drop-protected", "too_late"),
            ("locked-out", "observed"),
            ("drop-protected", "too_late"),
        ]
        for up in (singly, guarding):
            assert_stops(up, server, script, tmp_path / up.folder.name)


def pgbench(server, script, seconds, *words):
    return subprocess.Popen(
        [
            "pgbench", "--no-vacuum", "--client", "2", "--time", str(seconds),
            "--file", str(script), "--host", str(server.sockets), "--port",
            str(server.port), "--username", "bot", *words, "postgres",
        ],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def assert_stops(up, server, script, transactions):
    lost_before, began_us = up.sql(LOST)[0]["n"], time.time_ns() // 1000
    load = pgbench(server, script, LOAD_SECONDS, "--log", "--log-prefix", str(transactions))
    time.sleep(1)
    agent, collector = up.child("agent"), up.child("collector")
    freeze(collector)
    try:
        time.sleep(2)  # it owes an acknowledgement for longer than an agent waits
        told_us = time.time_ns() // 1000
        os.kill(agent, signal.SIGTERM)
        up.wait(lambda: gone(agent), "the agent's end", 30, every=0.02)
        gone_us = time.time_ns() // 1000
    finally:
        os.kill(collector, signal.SIGCONT)
    assert load.wait(30) == 0, "no backend is left as it was held"
    assert (gone_us - told_us) / 1e6 < STOP_SECONDS
    ended_us = [
        int(seconds) * 1_000_000 + int(us)
        for path in transactions.parent.glob(f"{transactions.name}*")
        for *_, seconds, us in map(str.split, path.read_text().splitlines())
    ]
    least = 2 * sum(each < told_us for each in ended_us)
    most = 2 * sum(each < gone_us for each in ended_us) + 2 * 2
    of_it = f" AND started_at BETWEEN make_timestamptz({began_us}) AND make_timestamptz({gone_us})"

    def found():
        stored, lost = up.sql(STORED + of_it)[0]["n"], up.sql(LOST)[0]["n"] - lost_before
        print(f"stopped in {gone_us - told_us} us: {least}-{most}, stored {stored}, lost {lost}")
        assert stored <= most, "nothing is there twice"
        return stored + lost >= least

    up.wait_ready(up.agent_port)
    up.wait(found, f"{least} stored or lost", 20)


def gone(pid):
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


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
