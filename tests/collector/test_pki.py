"""Certificates of the private authority, in real handshakes with a real collector."""

import dataclasses
import os
import shutil
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from datetime import timedelta

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from agent.spool.spool import Spool
from collector.revocation import Revocations
from collector.server import ListenError, check_certificates
from model.certified import Role
from protos.pgwarden.v1 import operator_pb2, operator_pb2_grpc
from tests.collector.authority import Pki, guarded_collector, now
from tests.collector.road import statements, uplink_to
from tests.waiting import wait_until

DAY = timedelta(days=1)


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


@pytest.fixture
def files(pki):
    return pki.issue(Role.COLLECTOR, "collector")


@pytest.fixture
def collector(tmp_path, files):
    with guarded_collector(tmp_path, files) as running:
        yield running


@pytest.fixture
def spool(tmp_path):
    opened = Spool(tmp_path / "spool.db", lambda *_: None)
    opened.append(statements(0, 10))
    yield opened
    opened.close()


def refused(collector, spool, tls, agent="host-a"):
    with uplink_to(collector.address, spool, agent, tls=tls) as uplink:
        wait_until(lambda: uplink.counters.reconnects >= 2)
        assert not uplink.connected
        assert spool.depth == 1
    assert collector.counts() == (0, 0)
    return uplink.counters.last_error


def test_an_agent_delivers_with_a_certificate_of_its_name(collector, spool, pki):
    with uplink_to(collector.address, spool, tls=pki.agent()) as uplink:
        assert uplink.drain(10)
    assert collector.counts() == (10, 10)


def test_names_that_no_common_name_could_hold_are_told_apart_by_their_uri(collector, spool, pki):
    long = "a/é:" + "x" * 80
    other = pki.agent(long + "2")
    with uplink_to(collector.address, spool, long, tls=pki.agent(long)) as uplink:
        assert uplink.drain(10)
    spool.append(statements(10, 10))
    with uplink_to(collector.address, spool, long, tls=other) as uplink:
        wait_until(lambda: "PERMISSION_DENIED" in uplink.counters.last_error)


def test_an_agent_cannot_send_as_another_one(collector, spool, pki):
    error = refused(collector, spool, pki.agent("host-b"))
    assert "PERMISSION_DENIED: the certificate is 'host-b''s, the Hello says 'host-a'" in error


@pytest.mark.parametrize("role", [Role.APPROVER, Role.COLLECTOR])
def test_a_certificate_of_another_role_sends_for_nobody_not_even_in_its_own_name(
    collector, spool, pki, role
):
    error = refused(collector, spool, pki.issue(role, "host-a"))
    assert "the certificate is no agent's: pgwarden pki issue agent host-a" in error


def test_a_certificate_of_another_authority_of_the_same_name_is_refused(
    collector, spool, pki, tmp_path
):
    (tmp_path / "other").mkdir()
    theirs = Pki(tmp_path / "other").agent()
    refused(collector, spool, dataclasses.replace(theirs, ca=pki.agent("x").ca))


def test_an_expired_certificate_is_refused_and_the_agent_names_file_and_remedy(
    collector, spool, pki
):
    expired = pki.agent(lifetime=DAY, at=now() - 2 * DAY)
    error = refused(collector, spool, expired)
    assert f"{expired.certificate} ended on " in error
    assert "pgwarden pki rotate" in error


def test_a_certificate_that_is_not_yet_valid_is_refused_and_the_agent_says_so(
    collector, spool, pki
):
    early = pki.agent(at=now() + DAY)
    error = refused(collector, spool, early)
    assert f"{early.certificate} is not valid before" in error


def test_an_agent_refuses_a_collector_whose_certificate_is_an_agents(tmp_path, spool, pki):
    with guarded_collector(tmp_path, pki.agent("127.0.0.1")) as fake:
        refused(fake, spool, pki.agent())


def test_a_revoked_certificate_is_refused_and_told_why(collector, spool, pki):
    mine = pki.agent()
    pki.revoke("host-a")
    error = refused(collector, spool, mine)
    assert error.startswith("UNAUTHENTICATED: the certificate of 'CN=host-a'")
    assert "is revoked: pgwarden pki issue" in error


def test_an_open_stream_ends_within_seconds_of_the_revocation_and_another_ones_goes_on(
    tmp_path, collector, spool, pki
):
    others = Spool(tmp_path / "other.db", lambda *_: None)
    with (
        uplink_to(collector.address, spool, tls=pki.agent()) as uplink,
        uplink_to(collector.address, others, "host-b", tls=pki.agent("host-b")) as other,
    ):
        assert uplink.drain(10)
        wait_until(lambda: other.connected)
        pki.revoke("host-a")
        wait_until(lambda: "is revoked" in uplink.counters.last_error, 60)
        spool.append(statements(10, 10))
        assert not uplink.drain(0.5)
        others.append(statements(0, 10))
        assert other.drain(10)
        assert other.counters.reconnects == 0
    others.close()


def test_a_revoked_collector_certificate_is_no_operators_any_more_tails_included(
    collector, pki, files
):
    pem = (files.ca.read_bytes(), files.key.read_bytes(), files.certificate.read_bytes())
    with grpc.secure_channel(collector.address, grpc.ssl_channel_credentials(*pem)) as channel:
        stub = operator_pb2_grpc.OperatorStub(channel)
        assert stub.Agents(operator_pb2.AgentsRequest(), timeout=5).agents == []
        tail = stub.Tail(operator_pb2.TailRequest())
        tail.initial_metadata()
        pki.revoke("collector")
        with pytest.raises(grpc.RpcError) as ended:
            next(tail)
        assert ended.value.code() is grpc.StatusCode.CANCELLED
        with pytest.raises(grpc.RpcError) as refusal:
            stub.Agents(operator_pb2.AgentsRequest(), timeout=5)
        assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.RpcError):
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)


def test_an_open_stream_does_not_outlive_its_certificate(collector, spool, pki):
    brief = pki.agent(lifetime=timedelta(seconds=4))
    with uplink_to(collector.address, spool, tls=brief) as uplink:
        assert uplink.drain(3)
        wait_until(lambda: f"{brief.certificate} ended on" in uplink.counters.last_error)
        assert not uplink.connected


@pytest.mark.parametrize("damage", ["garbage", "other authority", "older"])
def test_a_revocation_list_that_cannot_be_believed_changes_nothing_and_is_a_problem(
    tmp_path, collector, spool, pki, damage
):
    old = pki.crl.read_bytes()
    mine, gone = pki.agent(), pki.agent("host-b")
    pki.revoke("host-b")
    time.sleep(1.5)
    (tmp_path / "other").mkdir()
    lists = {
        "garbage": b"\x00not a list",
        "other authority": Pki(tmp_path / "other").crl.read_bytes(),
        "older": old,
    }
    pki.crl.write_bytes(lists[damage])
    wait_until(lambda: collector.server.problems)
    assert str(pki.crl) in collector.server.problems[0]
    with uplink_to(collector.address, spool, "host-b", tls=gone) as uplink:
        wait_until(lambda: "is revoked" in uplink.counters.last_error)
    with uplink_to(collector.address, spool, tls=mine) as uplink:
        assert uplink.drain(10)
    pki.revoke("host-a")
    wait_until(lambda: not collector.server.problems)


def test_an_authority_that_was_restored_revives_nothing_over_a_restart_either(tmp_path, pki):
    """Its list goes on from an older number: first below, then at the one in use."""
    backup = tmp_path / "backup"
    mine, gone, later = (pki.agent(name) for name in ("host-a", "host-b", "host-c"))
    shutil.copytree(pki.folder, backup)
    pki.revoke("host-b")
    ca, kept = mine.ca, tmp_path / "state/crl.pem"
    believed = Revocations(pki.crl, ca, kept)
    assert loaded(gone) in believed
    newest = pki.crl.read_bytes()
    shutil.rmtree(pki.folder)
    shutil.copytree(backup, pki.folder)
    shutil.copy(pki.folder / "crl.pem", pki.crl)
    for _ in range(2):
        after = Revocations(pki.crl, ca, kept)
        assert "is older than the list in use" in after.problem
        assert f"first copy {kept} to its folder as crl.pem" in after.problem
        assert loaded(gone) in after
        pki.revoke("host-c")
    assert kept.read_bytes() == newest
    shutil.copy(kept, pki.folder / "crl.pem")
    pki.revoke("host-c")
    after.refresh()
    assert after.problem == ""
    assert loaded(gone) in after
    assert loaded(later) in after
    assert loaded(mine) not in after
    assert kept.read_bytes() == pki.crl.read_bytes()


def test_what_was_remembered_and_is_damaged_keeps_no_collector_from_starting(tmp_path, pki):
    gone, kept = pki.agent(), tmp_path / "crl.pem.kept"
    pki.revoke("host-a")
    for damage in (b"junk", b"", pki.crl.read_bytes()[:-50]):
        kept.write_bytes(damage)
        believed = Revocations(pki.crl, gone.ca, kept)
        assert believed.problem == ""
        assert loaded(gone) in believed
        assert kept.read_bytes() == pki.crl.read_bytes()


def loaded(files):
    return x509.load_pem_x509_certificate(files.certificate.read_bytes())


def test_both_certificates_are_rotated_while_streaming_and_every_batch_is_there_once(
    collector, spool, pki, files
):
    mine = pki.agent()
    fed, done = 10, threading.Event()

    def feed() -> None:
        nonlocal fed
        while not done.wait(0.005):
            spool.append(statements(fed, 10))
            fed += 10

    feeder = threading.Thread(target=feed)
    with uplink_to(collector.address, spool, tls=mine) as uplink:
        feeder.start()
        for turn in range(1, 4):
            served = certificate_of(collector)
            pki.rotate("collector", files)
            wait_until(lambda before=served: certificate_of(collector) != before)
            pki.rotate("host-a", mine)
            wait_until(lambda turns=turn: uplink.counters.renewals >= turns)
            wait_until(lambda: uplink.connected)
        done.set()
        feeder.join()
        assert uplink.drain(20)
        assert uplink.counters.reconnects == 0
    assert fed > 100
    assert collector.counts() == (fed, fed)


def test_while_key_and_certificate_do_not_belong_together_the_former_ones_serve(
    collector, spool, pki, files
):
    mine = pki.agent()
    with uplink_to(collector.address, spool, tls=mine) as uplink:
        assert uplink.drain(10)
        other = pki.issue(Role.COLLECTOR, "second")
        files.key.write_bytes(other.key.read_bytes())
        mine.key.write_bytes(other.key.read_bytes())
        certificate_of(collector)
        assert f"{files.key} is not the key of {files.certificate}" in collector.server.problems[0]
        time.sleep(2.5)
        spool.append(statements(10, 10))
        assert uplink.drain(10)
        assert (uplink.counters.renewals, uplink.counters.reconnects) == (0, 0)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("certificate", b"junk", "holds no certificate in PEM"),
        ("key", b"junk", "holds no private key in PEM"),
        ("ca", b"", "holds no certificate in PEM"),
        ("crl", b"junk", "holds no revocation list in PEM"),
        ("crl", None, "No such file or directory; pgwarden pki init makes a list"),
    ],
)
def test_a_collector_does_not_start_with_files_that_cannot_serve_and_names_them(
    files, name, content, says
):
    path = getattr(files, name)
    if content is None:
        os.unlink(path)
    else:
        path.write_bytes(content)
    with pytest.raises(ListenError, match=says) as refusal:
        check_certificates(files)
    assert str(path) in str(refusal.value)


def test_a_handshake_over_a_slow_network_succeeds(collector, spool, pki):
    with (
        slow_road_to(collector.address, delay_seconds=0.3) as address,
        uplink_to(address, spool, tls=pki.agent()) as uplink,
    ):
        assert uplink.drain(20)
        assert uplink.counters.reconnects == 0


@contextmanager
def slow_road_to(address, delay_seconds):
    host, port = address.split(":")
    far = socket.create_connection((host, int(port)))
    with socket.create_server(("127.0.0.1", 0)) as entry:

        def carry(source, to):
            with suppress(OSError):
                while data := source.recv(65536):
                    time.sleep(delay_seconds)
                    to.sendall(data)

        def serve():
            with suppress(OSError):
                near, _ = entry.accept()
                back = threading.Thread(target=carry, args=(far, near), daemon=True)
                back.start()
                carry(near, far)
                far.shutdown(socket.SHUT_RDWR)
                back.join()
                near.close()

        road = threading.Thread(target=serve, daemon=True)
        road.start()
        yield f"127.0.0.1:{entry.getsockname()[1]}"
        road.join(5)
        far.close()


def certificate_of(collector):
    host, port = collector.address.split(":")
    return ssl.get_server_certificate((host, int(port)), timeout=5)
