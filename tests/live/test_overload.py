"""More than the agent can take: its memory comes to an end of its growth."""

import os
import re
import signal
import subprocess
import time
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
MIB = 1 << 20
LOAD_SECONDS = 12
MOST_BYTES = 256 * MIB
"""More than the 120 MB that are aimed at, which such a load exceeds: docs/overhead.md has by how
much. What is promised here is an end to it."""
SCRIPTS = {
    "repeated": "SELECT 1;\n",
    "all different": "\\set n random(1, 1000000000)\nSELECT :n AS a, " + "1, " * 50 + "2;\n",
    "long": "\\set n random(1, 1000000000)\nSELECT :n AS a, '" + "long " * 2000 + "';\n",
}


def peak_bytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])


def pgbench(server, script, protocol):
    return subprocess.Popen(
        [
            "pgbench", "--no-vacuum", "--client", "4", "--time", str(LOAD_SECONDS), "--protocol",
            protocol, "--file", str(script), "--host", str(server.sockets), "--port",
            str(server.port), "--username", "bot", "postgres",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_under_more_load_than_it_can_take_the_agent_stops_growing(tmp_path):
    """Everything at once; in the middle the agent stands still, so that all of it piles up."""
    with PostgresCluster() as server:
        prepare(server)
        with Running(server, {"agent": {"guard": {"mode": "observe"}}}) as up:
            agent = up.child("agent")
            loads = []
            for name, text in SCRIPTS.items():
                script = tmp_path / name.replace(" ", "_")
                script.write_text(text)
                loads.append(
                    pgbench(server, script, "prepared" if name == "repeated" else "simple")
                )
            with server.connect(user="bot") as connection:
                end = time.monotonic() + LOAD_SECONDS
                frozen = False
                while time.monotonic() < end:
                    connection.execute(f"SELECT length('{'x' * (MIB - 100)}')")
                    if not frozen and time.monotonic() > end - LOAD_SECONDS / 2:
                        frozen = True
                        freeze(agent)
                        time.sleep(2)
                        os.kill(agent, signal.SIGCONT)
            done = 0
            for load in loads:
                said, wrong = load.communicate(timeout=60)
                assert load.returncode == 0, wrong
                done += int(re.search(r"actually processed: (\d+)", said)[1])
            up.wait(lambda: up.metrics(up.agent_port), "it answers")
            peak = peak_bytes(agent)
            print(f"{done / LOAD_SECONDS:.0f} statements/s, peak {peak / MIB:.0f} MiB")
            assert peak < MOST_BYTES
