"""What is switched off or out of reach degrades pgwarden, says so, and never ends it."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import HTTP, Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]


@pytest.fixture(scope="module")
def cluster():
    with PostgresCluster() as server:
        prepare(server)
        yield server


@pytest.fixture(scope="module")
def plain_cluster():
    """Without pgaudit."""
    with PostgresCluster(pgaudit=False) as server:
        prepare(server)
        yield server


def captured(up, cluster, marker, user="bot"):
    """The record of one statement that ``cluster`` now runs."""
    assert cluster.psql(f"SELECT note AS {marker} FROM shop.orders", user=user).returncode == 0
    (row,) = up.wait_sql(f"SELECT * FROM statements WHERE text LIKE '%{marker}%'")
    return row


def told(up, words):
    """Output of ``pgwarden agents`` once it says ``words``."""
    return up.wait(lambda: words in (said := up.answered("agents").stdout) and said, words)


def test_without_ebpf_the_log_alone_is_captured_and_status_says_so(cluster):
    with Running(cluster, {"agent": {"capture": {"ebpf": False}}}) as up:
        row = captured(up, cluster, "from_the_log")
        assert (row["source"], row["user_name"]) == ("pgaudit", "bot")
        assert row["reads"] == ["shop.orders"]
        assert "capture=pgaudit" in told(up, "capture=pgaudit")
        assert "agent.capture.ebpf is off" in told(up, "no eBPF capture")
        own = f"pid = {row['pid']} AND ended_at IS NOT NULL"
        up.wait_sql(f"SELECT * FROM sessions WHERE {own}", 45)  # the log does not say so
        assert up.sql("SELECT * FROM losses WHERE reason = 'session_end_unseen'") == []


def test_guarding_without_ebpf_is_told_not_pretended(cluster):
    config = {"agent": {"capture": {"ebpf": False}, "guard": {"mode": "enforce"}}}
    with Running(cluster, config, ready=False) as up:
        up.wait(lambda: "nothing is held" in unready(up), "not ready, and it says why")
        assert "nothing is held" in told(up, "nothing is held")
        cluster.psql("CREATE TABLE unheld (id int)")
        assert cluster.psql("DROP TABLE unheld").returncode == 0
        (row,) = up.wait_sql("SELECT * FROM verdicts WHERE text LIKE '%unheld%'")
        assert (row["action"], row["outcome"]) == ("deny", "too_late")


def test_without_pgaudit_ebpf_alone_captures_and_status_says_so(plain_cluster):
    with Running(plain_cluster) as up:
        row = captured(up, plain_cluster, "from_the_probes")
        assert (row["source"], row["rows"], row["user_name"]) == ("ebpf", 100, "bot")
        said = told(up, "pgaudit is not loaded")
        assert "capture=ebpf" in said
        assert "shared_preload_libraries" in said


def access_to(name, cluster):
    return {
        "port": cluster.port,
        "data_directory": str(cluster.data),
        "name": name,
        "dsn": cluster.dsn(user="pgwarden"),
    }


def test_two_clusters_are_watched_by_one_agent(cluster, plain_cluster):
    access = [access_to("first", cluster), access_to("second", plain_cluster)]
    config = {"agent": {"clusters": access, "guard": {"mode": "enforce"}}}
    with Running(cluster, config) as up:
        for name, each in (("first", cluster), ("second", plain_cluster)):
            assert captured(up, each, f"in_{name}")["cluster"] == name
            refused = each.psql("DROP TABLE shop.orders", user="bot")
            assert "blocked by pgwarden" in refused.stderr
        rows = up.wait_sql(
            "SELECT cluster FROM verdicts WHERE outcome = 'prevented' "
            "AND (SELECT count(*) FROM verdicts WHERE outcome = 'prevented') = 2 ORDER BY cluster"
        )
        assert [row["cluster"] for row in rows] == ["first", "second"]


@pytest.mark.parametrize(("mode", "verdicts"), [("observe", [("deny", "observed")]), ("off", [])])
def test_a_guard_that_only_observes_or_is_off_lets_a_drop_through(cluster, mode, verdicts):
    cluster.psql("CREATE TABLE doomed (id int)")
    with Running(cluster, {"agent": {"guard": {"mode": mode}}}) as up:
        assert cluster.psql("DROP TABLE doomed").returncode == 0
        (row,) = up.wait_sql("SELECT id, sqlstate FROM statements WHERE text LIKE 'DROP%doomed'")
        assert row["sqlstate"] == "00000"
        found = up.sql(f"SELECT action, outcome FROM verdicts WHERE statement_id = {row['id']}")
        assert [(each["action"], each["outcome"]) for each in found] == verdicts


def watchdogs_of(agent):
    """Living children of any thread."""
    found = []
    for task in Path(f"/proc/{agent}/task").iterdir():
        with suppress(FileNotFoundError):  # the thread has ended since
            found += [int(pid) for pid in (task / "children").read_text().split()]
    return [pid for pid in found if b"agent.guard.watchdog" in command_line(pid)]


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def test_a_watchdog_that_dies_is_replaced_and_the_guard_goes_on(cluster):
    with Running(cluster, {"agent": {"guard": {"mode": "enforce"}}}) as up:
        agent = up.child("agent")
        watchdog, other = sorted(watchdogs_of(agent))
        os.kill(watchdog, signal.SIGKILL)
        up.wait(lambda: len({*watchdogs_of(agent)} - {watchdog, other}) == 1, "another watchdog")
        assert captured(up, cluster, "after_the_watchdog")["sqlstate"] == "00000"
        refused = cluster.psql("DROP TABLE shop.orders", user="bot")
        assert "blocked by pgwarden" in refused.stderr


def is_refused(cluster):
    """What no session has sent before."""
    unseen = f"DROP TABLE shop.orders, t{time.time_ns()}"
    return "blocked by pgwarden" in cluster.psql(unseen).stderr


def test_watchdogs_that_do_not_answer_for_a_new_server_are_replaced_and_the_guard_goes_on(cluster):
    other = PostgresCluster()
    access = [access_to("first", cluster), access_to("second", other)]
    with Running(cluster, {"agent": {"clusters": access, "guard": {"mode": "enforce"}}}) as up:
        agent = up.child("agent")
        # Before there is another server: they may be told of it as soon as it runs.
        with frozen(watchdogs_of(agent)) as unheard, other:
            prepare(other)
            until = time.monotonic() + 90
            while {*unheard} & {*watchdogs_of(agent)}:
                # Meanwhile somebody waits for their answer, and not the one who judges. Once both
                # are gone nothing is held until there are others.
                assert is_refused(cluster) or not {*unheard} & {*watchdogs_of(agent)}
                assert time.monotonic() < until
                time.sleep(0.1)
            up.wait(lambda: len(watchdogs_of(agent)) == 2, "others in their place")
            for each in (cluster, other):
                up.wait(lambda each=each: is_refused(each), "it is refused again")
            for _ in range(20):
                assert is_refused(other)


@contextmanager
def frozen(pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield pids
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextmanager
def agent_as(up, account):
    """The agent of ``up`` as ``account``, without rights but to read files and folders: the
    interpreter may lie in a folder of root's."""
    keep = "+dac_read_search,+dac_override"
    group = pwd.getpwnam(account).pw_gid
    state = up.folder / "agent"
    state.mkdir(exist_ok=True)
    shutil.chown(state, account)
    up.folder.chmod(0o755)
    log = up.folder / "agent-log"
    with log.open("wb") as file:
        agent = subprocess.Popen(
            [
                "setpriv", f"--reuid={account}", f"--regid={group}", "--clear-groups",
                f"--inh-caps=-all,{keep}", f"--ambient-caps=-all,{keep}",
                f"--bounding-set=-all,{keep}",
                sys.executable, "-P", "-m", "agent", "--config", str(up.config),
            ],
            stdout=file, stderr=file,
        )  # fmt: skip
    try:
        yield agent
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.wait(20)
    assert "Traceback" not in log.read_text()
    assert agent.returncode == 0, log.read_text()


@pytest.fixture
def collector_alone(cluster):
    up = Running(cluster, {"agent": {"guard": {"mode": "enforce"}}})
    up.start("collector")
    try:
        yield up
    finally:
        up.__exit__()


def unready(up):
    try:
        answer = HTTP.get(f"http://127.0.0.1:{up.agent_port}/readyz")
    except httpx.TransportError:
        return ""
    assert answer.status_code == 503
    return answer.text


def test_an_agent_without_capabilities_degrades_to_the_log_without_a_traceback(
    cluster, collector_alone
):
    up = collector_alone
    with agent_as(up, "postgres"):
        # It enforces nothing, so it is not ready; what it can do it does.
        up.wait(lambda: "nothing is held" in unready(up), "the log is followed")
        row = captured(up, cluster, "seen_without_rights")
        assert (row["source"], row["user_name"]) == ("pgaudit", "bot")
        said = told(up, "capture=pgaudit")
        assert "CAP_BPF" in said


def test_an_agent_that_cannot_start_says_why_without_a_traceback(cluster):
    with Running(cluster) as up:
        again = subprocess.run(
            [sys.executable, "-P", "-m", "agent", "--config", str(up.config)],
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert again.returncode == 1
        assert "is another agent using the same state_dir?" in again.stderr
        other = os.environ | {"PGWARDEN_AGENT__STATE_DIR": str(up.folder / "other")}
        again = subprocess.run(
            [sys.executable, "-P", "-m", "agent", "--config", str(up.config)],
            capture_output=True, text=True, timeout=30, env=other,
        )  # fmt: skip
        assert again.returncode == 1
        assert f"127.0.0.1:{up.agent_port}" in again.stderr
        assert "Traceback" not in again.stderr
