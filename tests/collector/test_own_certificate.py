"""The collector's own certificate: a new one is taken up, and connections at once do no harm."""

import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest
import yaml

from collector.certificates import CertificateError, OwnCertificate
from model.certified import Role
from tests.collector.authority import Pki
from tests.collector.process import ROOT
from tests.waiting import wait_until

CONNECTIONS = 3_000


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


@pytest.fixture
def files(pki):
    return pki.issue(Role.COLLECTOR, "localhost")


def test_what_has_not_changed_is_not_handed_over_again(files):
    own = OwnCertificate(files)
    assert [own.renewed() for _ in range(3)] == [None, None, None]


def test_another_certificate_is_handed_over_once(files, pki):
    own = OwnCertificate(files)
    pki.rotate("localhost", files)
    assert own.renewed() is not None
    assert own.renewed() is None


def test_half_a_pair_is_not_handed_over_and_is_a_problem_until_it_is_whole(files, pki):
    own = OwnCertificate(files)
    before = files.key.read_bytes()
    shutil.copy(pki.issue(Role.COLLECTOR, "other").key, files.key)
    assert own.renewed() is None
    assert "is not the key of" in own.problem
    files.key.write_bytes(before)
    assert own.renewed() is None
    assert own.problem == ""


def test_files_that_cannot_serve_are_refused_at_the_start(files):
    files.key.unlink()
    with pytest.raises(CertificateError, match="cannot read"):
        OwnCertificate(files)


def test_connections_of_strangers_without_end_do_not_end_the_collector(tmp_path, files):
    port = free_port()
    settings = {
        "data_dir": str(tmp_path / "data"),
        "listen": [f"127.0.0.1:{port}"],
        "tls": {name: str(getattr(files, name)) for name in ("certificate", "key", "ca")},
        "metrics": {"port": 0},
    }
    config = tmp_path / "pgwarden.yaml"
    config.write_text(yaml.safe_dump({"collector": settings}))
    command = [sys.executable, "-m", "collector", "--config", str(config)]
    with (tmp_path / "log").open("wb") as log:
        collector = subprocess.Popen(command, cwd=ROOT, stderr=log)
    try:
        wait_until(lambda: connect(port), 30)
        storms = [
            threading.Thread(target=storm, args=(port, CONNECTIONS, collector)) for _ in range(4)
        ]
        for each in storms:
            each.start()
        for each in storms:
            each.join()
        assert collector.poll() is None, (tmp_path / "log").read_text()
        assert connect(port)
    finally:
        collector.kill()
        collector.wait()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def storm(port, connections, collector):
    """Fifty at a time, until the collector ends; they say nothing."""
    until = time.monotonic() + 60
    while connections > 0 and collector.poll() is None and time.monotonic() < until:
        opened = []
        for _ in range(50):
            try:
                opened.append(socket.create_connection(("127.0.0.1", port), timeout=5))
            except OSError:
                break
        connections -= 50
        for each in opened:
            each.close()
