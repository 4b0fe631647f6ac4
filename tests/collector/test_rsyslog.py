"""A real syslog daemon, not ours, keeps heads so that the verifier takes its file as it is."""

import shutil
import socket
import subprocess

import pytest

from collector.outside.syslog import Carrier, Syslog
from collector.outside.telling import Teller
from collector.pgwarden_verify import check_folder
from tests.collector.test_outside import grow, ledger
from tests.waiting import wait_until

CONFIG = """
global(workDirectory="{folder}" maxMessageSize="64k")
module(load="imudp")
module(load="imtcp")
module(load="imuxsock" SysSock.Use="off")
input(type="imudp" address="127.0.0.1" port="{port}")
input(type="imtcp" address="127.0.0.1" port="{port}")
input(type="imuxsock" Socket="{folder}/log")
action(type="omfile" file="{folder}/kept" template="{template}" fileCreateMode="0644")
"""


@pytest.fixture
def rsyslog(tmp_path):
    """``rsyslog(template)`` starts one; returns the port, its socket and its file."""
    program = shutil.which("rsyslogd") or "/usr/sbin/rsyslogd"
    if not shutil.which(program):
        pytest.skip("needs rsyslog: ./run setup installs it")
    folder = tmp_path / "r"
    folder.mkdir()
    started = []

    def start(template):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        config = folder / "conf"
        config.write_text(CONFIG.format(folder=folder, port=port, template=template))
        command = [program, "-n", "-f", str(config), "-i", str(folder / "pid")]
        with (folder / "said").open("wb") as said:
            started.append(subprocess.Popen(command, stdout=said, stderr=said))
        wait_until(lambda: _listens(port) and (folder / "log").exists(), 10, "see said")
        return port, folder / "log", folder / "kept"

    yield start
    for process in started:
        process.terminate()
        process.wait(10)


def _listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("template", ["RSYSLOG_FileFormat", "RSYSLOG_SyslogProtocol23Format"])
@pytest.mark.parametrize("way", ["udp", "tcp", "unix"])
def test_heads_come_through_a_real_syslog_whole(tmp_path, rsyslog, way, template):
    port, path, kept = rsyslog(template)
    place = Syslog(path) if way == "unix" else Syslog(None, "127.0.0.1", port, Carrier(way))
    teller = Teller("syslog", place, 0.0)
    teller.start()
    with ledger(tmp_path / "data", [teller]) as store:
        for _ in range(3):
            size = store.heads.signed[0] if store.heads.signed else 0
            grow(store, 2)
            wait_until(lambda size=size: teller.told == size + 2)
    teller.stop()
    heads = (tmp_path / "data/heads.jsonl").read_bytes().splitlines()
    wait_until(lambda: kept.exists() and all(head in kept.read_bytes() for head in heads[-3:]))
    report = check_folder(tmp_path / "data", kept)
    assert (report.problems, report.signed) == ([], 6)
    shutil.copytree(tmp_path / "data", tmp_path / "rolled")
    ledger_file = tmp_path / "rolled/ledger.jsonl"
    ledger_file.write_bytes(b"".join(ledger_file.read_bytes().splitlines(keepends=True)[:4]))
    problems = check_folder(tmp_path / "rolled", kept).problems
    assert any("a head from outside" in each and "6 entries signed" in each for each in problems)
