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


def test_a_session_that_ends_while_no_agent_runs_gets_an_end_and_one_that_lives_on_stays_itself():
    open_ones = "SELECT pid FROM sessions WHERE ended_at IS NULL"
    with PostgresCluster(pgaudit=False) as server:
        prepare(server)
        with Running(server) as up, server.connect(application_name="stays") as stays:
            pid = stays.info.backend_pid
            leaves = server.connect(application_name="leaves", user="app")
            for session in (stays, leaves):
                session.execute("SELECT 1 AS before")
            ours = " AND application_name IN ('stays', 'leaves')"
            up.wait(lambda: len(up.sql(open_ones + ours)) == 2, "both are known")
            up.stop()
            leaves.close()
            left_at = time.time()
            up.start()
            of_it = "SELECT * FROM sessions WHERE application_name = '{}'"
            up.wait_sql(of_it.format("leaves") + " AND ended_at IS NOT NULL", timeout=45)
            (left,) = up.sql(
                "SELECT user_name, epoch(ended_at) AS at, ended_at = seen_at AS is_noticed"
                " FROM sessions WHERE application_name = 'leaves'"
            )
            of_none = "SELECT coalesce(sum(count), 0)::BIGINT AS n FROM losses WHERE reason = '{}'"
            lost = up.sql(of_none.format("session_end_unseen"))
            # The agent's own sessions may be among them: they end with it.
            unseen = up.sql("SELECT count(*) AS n FROM sessions WHERE ended_at = seen_at")
            (alive,) = up.sql(of_it.format("stays"))
            listed = up.answered("sessions").stdout
            stays.execute("SELECT 1 AS behind_it")
            up.wait_sql("SELECT 1 FROM statements WHERE text LIKE '%behind_it%'")
            (after,) = up.sql(of_it.format("stays"))
    assert (left["user_name"], left["is_noticed"]) == ("app", True)
    assert left_at <= left["at"] <= time.time()
    assert lost == unseen
    assert (alive["ended_at"], alive["pid"]) == (None, pid)
    assert "stays" in listed
    assert "leaves" not in listed
    assert (after["pid"], after["backend_started_at"], after["ended_at"]) == (
        alive["pid"],
        alive["backend_started_at"],
        None,
    )
