"""The agent says which probe of which server is silent, and its own tries disturb nobody."""

import os
import signal

import pytest

from tests.live.postgres import PostgresCluster, server_folder
from tests.live.private_server import bypass, copy_programs, open_folder, upgrade_in_place
from tests.live.running import Running, freeze, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]
OFTEN = {"canary_interval_seconds": 1, "canary_seconds": 2}
TRIED = "its probes have not been tried for long"


@pytest.fixture(scope="module")
def cluster():
    with PostgresCluster() as running:
        prepare(running)
        yield running


def fires(up):
    """By probe, of the cluster ``main``."""
    name = 'pgwarden_agent_probe_canary_ok{cluster="main",probe="'
    metrics = up.metrics(up.agent_port)
    return {key[len(name) : -2]: ok for key, ok in metrics.items() if key.startswith(name)}


def silent(up):
    return {probe for probe, ok in fires(up).items() if not ok}


def test_a_build_whose_probe_never_fires_is_an_alarm_until_a_better_one_runs():
    """Both come as an upgrade in place."""
    with open_folder() as folder:
        programs = copy_programs(folder / "programs")
        with PostgresCluster(programs=programs) as server:
            prepare(server)
            with Running(server, {"agent": {"capture": OFTEN}}) as up:
                up.wait(lambda: fires(up) and not silent(up), "all probes fire", 30)
                upgrade_in_place(programs / "postgres")
                bypass(programs / "postgres", "secure_write", "pg_rusage_init")
                server.restart()
                up.wait(lambda: silent(up) == {"secure_write"}, "the alarm", 30)
                told = "main: the probe on secure_write does not fire"
                up.wait(lambda: told in up.answered("agents").stdout, told)
                upgrade_in_place(programs / "postgres", server_folder() / "bin" / "postgres")
                server.restart()
                up.wait(lambda: fires(up) and not silent(up), "the end of the alarm", 30)
                up.wait(lambda: told not in up.answered("agents").stdout, f"no more: {told}")


def test_a_server_that_stands_still_is_an_alarm_and_the_agent_stops_all_the_same(cluster):
    with Running(cluster, {"agent": {"capture": OFTEN}}) as up:
        up.wait(lambda: fires(up) and not silent(up), "all probes fire", 30)
        everything = set(fires(up))
        freeze(cluster.postmaster_pid)
        try:
            up.wait(lambda: silent(up) == everything, "the alarm", 30)
            up.wait(lambda: TRIED in up.answered("agents").stdout, TRIED)
            assert up.stop() == 0
        finally:
            os.kill(cluster.postmaster_pid, signal.SIGCONT)


def test_where_statements_are_refused_its_tries_prove_all_probes_and_no_rule_minds(cluster):
    """The packs that come with pgwarden."""
    guard = {"mode": "enforce", "on_timeout": "deny", "deadline_ms": 2000}
    with Running(cluster, {"agent": {"guard": guard, "capture": OFTEN}}) as up:
        up.wait(lambda: "standard_ExecutorStart" in fires(up), "what runs inside is tried", 30)
        tried = "SELECT 1 FROM statements WHERE text LIKE '%UNLISTEN%'"
        up.wait(lambda: len(up.sql(tried)) > 3, "some rounds on record", 30)
        assert silent(up) == set()
        assert up.sql("SELECT rule_id, text FROM verdicts") == []
        names = up.sql(
            "SELECT DISTINCT application_name FROM statements WHERE text LIKE '%UNLISTEN%'"
        )
        assert names == [{"application_name": "pgwarden"}]
        assert up.sql("SELECT title FROM findings WHERE title NOT LIKE 'Baseline of %'") == []
