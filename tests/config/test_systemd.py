"""What systemd hears, checked on a socket of our own."""

import os
import socket

import pytest

from config import systemd


@pytest.fixture
def heard(tmp_path, monkeypatch):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(2)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield lambda: sock.recv(4096).decode()


def test_ready_status_and_heartbeat_are_one_message(heard):
    assert systemd.notify(ready=True, alive=True, status="2 clusters")
    assert heard() == "READY=1\nWATCHDOG=1\nSTATUS=2 clusters"


def test_a_status_cannot_forge_another_line(heard):
    systemd.notify(status="cluster x\nSTOPPING=1")
    assert heard() == "STATUS=cluster x STOPPING=1"


def test_stopping_is_told(heard):
    systemd.notify(stopping=True)
    assert heard() == "STOPPING=1"


def test_an_abstract_socket_is_understood(monkeypatch):
    name = f"pgwarden-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        assert systemd.notify(ready=True)
        assert sock.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all", "@nobody-listens-there"])
def test_without_systemd_nothing_happens(monkeypatch, address):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert systemd.notify(ready=True) is False


def test_nothing_to_say_sends_nothing():
    assert systemd.notify() is False


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [("30000000", "", 15.0), ("30000000", "1", 0.0), ("", "", 0.0), ("soon", "", 0.0)],
)
def test_the_heartbeat_is_due_at_half_of_what_systemd_waits(monkeypatch, usec, pid, seconds):
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert systemd.watchdog_seconds() == seconds
