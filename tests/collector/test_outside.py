"""Heads reach places outside, and a rolled-back ledger is found by what those kept."""

import re
import shutil
import socket
import threading
from contextlib import contextmanager

import pytest
import yaml

from collector.heads import Sealing
from collector.outside import tellers_from
from collector.outside.post import Post
from collector.outside.syslog import Carrier, Syslog
from collector.outside.telling import OutsideError, Teller
from collector.outside.timestamp import Timestamps
from collector.pgwarden_verify import check_folder
from collector.store import Store
from config.schema import LedgerSettings
from tests.collector.road import START_US
from tests.collector.tsa import Authority, http_server
from tests.waiting import wait_until

RFC5424 = re.compile(
    rb'<109>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \S+ pgwarden \d+ ledger-head - (\{"at_us".*\})'
)
LINE = b'{"at_us":1,"key":"k","prev":"p","root":"r","sig":"s","size":7}'


@contextmanager
def ledger(folder, tellers=()):
    sealing = Sealing(entries=10**6, seconds=10**6, tell=tuple(teller.offer for teller in tellers))
    store = Store(folder, commit_seconds=0.005, sealing=sealing)
    store.tidying.looked_at = float("inf")
    store.start()
    try:
        yield store
    finally:
        store.close()


def grow(store, entries=1):
    for _ in range(entries):
        row = {"occurred_at": START_US, "source": "t", "reason": "r", "count": 1}
        store.append("losses", [row])
        assert store.segments.flush()
    assert store.heads.sign()


@contextmanager
def syslog(kind, folder):
    """A receiver of that kind: what to send to, and the messages that came."""
    messages = []
    if kind == "tcp":
        listener = socket.create_server(("127.0.0.1", 0))
        place = Syslog(host="127.0.0.1", port=listener.getsockname()[1], carrier=Carrier.TCP)

        def receive():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, connection.makefile("rb") as stream:
                    count = b"".join(iter(lambda: stream.read(1).strip(b" "), b""))
                    messages.append(stream.read(int(count)))

    else:
        listener = socket.socket(
            socket.AF_UNIX if kind == "unix" else socket.AF_INET, socket.SOCK_DGRAM
        )
        listener.bind(str(folder / "log") if kind == "unix" else ("127.0.0.1", 0))
        path = folder / "log" if kind == "unix" else None
        port = 514 if path else listener.getsockname()[1]
        place = Syslog(path, "" if path else "127.0.0.1", port)

        def receive():
            while True:
                try:
                    messages.append(listener.recv(65536))
                except OSError:
                    return
                if messages[-1] == b"":
                    return

    thread = threading.Thread(target=receive, daemon=True)
    thread.start()
    yield place, messages
    listener.shutdown(socket.SHUT_RDWR) if kind == "tcp" else None
    listener.close()


@pytest.mark.parametrize("kind", ["udp", "tcp", "unix"])
def test_a_syslog_gets_whole_messages_from_which_the_verifier_takes_the_heads(tmp_path, kind):
    with syslog(kind, tmp_path) as (place, messages):
        teller = Teller("syslog", place, 0.0)
        teller.start()
        with ledger(tmp_path / "data", [teller]) as store:
            grow(store, 3)
            wait_until(lambda: teller.told == 3)
        shutil.copytree(tmp_path / "data", tmp_path / "monday")
        with ledger(tmp_path / "data", [teller]) as store:
            grow(store, 3)
            wait_until(lambda: teller.told == 6)
        teller.stop()
        wait_until(lambda: len(messages) >= 2)
    assert all(RFC5424.fullmatch(message) for message in messages)
    (tmp_path / "kept.log").write_bytes(b"\n".join(messages) + b"\n")
    assert check_folder(tmp_path / "data", tmp_path / "kept.log").problems == []
    rolled_back = check_folder(tmp_path / "monday", tmp_path / "kept.log").problems
    assert any("6 entries signed, 3 are here" in problem for problem in rolled_back)


def test_a_url_gets_each_head_with_its_token_and_what_it_does_not_take_comes_again():
    got, status = [], [503]

    def answer(headers, body):
        got.append((headers["Authorization"], headers["Content-Type"], body))
        return status[0], b""

    with http_server(answer) as url:
        teller = Teller("http", Post(url, "s3cret"), 0.0, retry_seconds=(0.05, 0.1))
        teller.start()
        teller.offer(LINE)
        wait_until(lambda: teller.failures >= 2)
        assert (teller.told, teller.problem) == (0, "it answered 503")
        newer = LINE.replace(b'"size":7', b'"size":8')
        teller.offer(newer)
        status[0] = 204
        wait_until(lambda: teller.told == 8)
        assert teller.problem == ""
        teller.stop()
    assert got[-1] == ("Bearer s3cret", "application/json", newer)


def test_what_went_wrong_is_told_without_url_and_token():
    with pytest.raises(OutsideError) as error:
        Post("http://user:s3cret@127.0.0.1:1/s3cret", "s3cret").tell(LINE)
    assert "s3cret" not in str(error.value)


def test_a_redirect_is_no_success():
    with http_server(lambda *_: (302, b"")) as url, pytest.raises(OutsideError, match="302"):
        Post(url).tell(LINE)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tsa"))


def test_a_timestamp_can_be_checked_with_openssl_alone(tmp_path, authority):
    with http_server(lambda _, body: (200, authority.answer(body))) as url:
        teller = Teller("timestamp", Timestamps(url, tmp_path / "data"), 0.0)
        teller.start()
        with ledger(tmp_path / "data", [teller]) as store:
            grow(store, 2)
            wait_until(lambda: teller.told == 2, what=teller.problem)
        teller.stop()
    head, token = (tmp_path / f"data/timestamps/000000000002.{s}" for s in ("head", "tsr"))
    assert head.read_bytes() == (tmp_path / "data/heads.jsonl").read_bytes().splitlines()[-1]
    verify = ("ts", "-verify", "-in", str(token), "-CAfile", "tsa.pem", "-data")
    assert "Verification: OK" in authority.run(*verify, str(head))
    assert check_folder(tmp_path / "data", head).problems == []
    head.write_bytes(head.read_bytes().replace(b'"size":2', b'"size":3'))
    with pytest.raises(Exception, match="ts"):
        authority.run(*verify, str(head))


@pytest.mark.parametrize("lie", ["old", "other", "rubbish", "refusal", "status"])
def test_a_timestamp_that_proves_nothing_is_not_kept(tmp_path, authority, lie):
    (tmp_path / "data").mkdir()
    authority.lies, authority._first = ("old" if lie == "old" else ""), b""

    def answer(_, body):
        if lie == "other":
            body = _query_about_something_else(authority)
        if lie == "refusal":
            return 200, bytes.fromhex("30053003020102")
        return (500 if lie == "status" else 200), (
            b"no" if lie == "rubbish" else authority.answer(body)
        )

    with http_server(answer) as url:
        place = Timestamps(url, tmp_path / "data")
        if lie == "old":
            place.tell(LINE)
        with pytest.raises(OutsideError):
            place.tell(LINE)
    authority.lies = ""
    assert (tmp_path / "data/timestamps").exists() == (lie == "old")


def _query_about_something_else(authority):
    (authority.folder / "other").write_bytes(b"something else")
    authority.run("ts", "-query", "-data", "other", "-sha512", "-cert", "-out", "o.tsq")
    return (authority.folder / "o.tsq").read_bytes()


def test_no_place_outside_makes_a_commit_wait_and_the_newest_head_is_what_counts():
    told, gate = [], threading.Event()

    class Slow:
        def tell(self, line):
            gate.wait(10)
            told.append(line)

    teller = Teller("slow", Slow(), 0.0)
    teller.start()
    for number in range(1, 1001):
        teller.offer(LINE.replace(b'"size":7', b'"size":%d' % number))
    gate.set()
    wait_until(lambda: teller.told == 1000)
    assert len(told) <= 2
    teller.stop()


def test_every_kind_of_place_can_be_configured_and_a_wrong_one_is_refused(tmp_path):
    text = """
    tell:
      - {type: syslog, socket: /dev/log}
      - {type: syslog, name: central, host: log.example, port: 601, carrier: tcp}
      - {type: http, url: "https://witness.example/heads", token: t}
      - {type: timestamp, url: "http://tsa.example/", every_seconds: 3600}
    """
    settings = LedgerSettings.model_validate(yaml.safe_load(text))
    names = [teller.name for teller in tellers_from(settings.tell, tmp_path)]
    assert names == ["syslog", "central", "http", "timestamp"]
    with pytest.raises(ValueError, match="give a host"):
        LedgerSettings.model_validate({"tell": [{"type": "syslog"}]})
