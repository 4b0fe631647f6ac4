"""Who may speak to a collector that the network can reach."""

import shutil
import ssl
import threading

import grpc
import pytest

from agent.spool.spool import Spool
from collector.access.door import Door, own_certificate
from collector.admission import MOST_CALLS
from collector.commands import Agents
from collector.operator_service import OperatorService, Tails
from collector.server import MAX_STREAMS, ListenError, Server
from collector.service import UplinkService
from collector.sessions import LiveSessions
from collector.store import Store
from protos.pgwarden.v1 import operator_pb2, operator_pb2_grpc
from tests.collector.certificates import Authority, Files
from tests.collector.road import statements, uplink_to
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture
def spool(tmp_path):
    opened = Spool(tmp_path / "spool.db", lambda *_: None)
    opened.append(statements(0, 10))
    yield opened
    opened.close()


@pytest.fixture
def files(authority):
    return authority.issue("collector")


@pytest.fixture
def collector(tmp_path, files):
    store = Store(tmp_path / "data", commit_seconds=0.05)
    agents = Agents()
    uplink = UplinkService(store.segments, agents, tmp_path / "quarantine")
    operator = OperatorService(
        agents, LiveSessions(), Tails(), door=Door(own_certificate(files.certificate))
    )
    server = Server(["127.0.0.1:0"], uplink, operator, files)
    store.start()
    server.start()
    yield server.addresses[0]
    server.stop(0.2)
    store.close()


def refused(address, spool, tls, agent="host-a"):
    with uplink_to(address, spool, agent, tls=tls) as uplink:
        wait_until(lambda: uplink.counters.reconnects >= 2)
        assert not uplink.connected
        assert spool.depth == 1
        return uplink.counters.last_error


def test_an_agent_with_a_certificate_in_its_name_delivers(collector, spool, authority):
    with uplink_to(collector, spool, tls=authority.issue("host-a")) as uplink:
        assert uplink.drain(10)


def test_an_agent_certified_by_another_authority_is_refused(collector, spool, authority, tmp_path):
    stranger = Authority(tmp_path / "theirs").issue("host-a", ca=authority.path)
    refused(collector, spool, stranger)


def test_an_expired_certificate_is_refused(collector, spool, authority):
    refused(collector, spool, authority.issue("host-a", expired=True))


def test_an_agent_refuses_a_collector_of_another_authority(collector, spool, authority, tmp_path):
    theirs = Authority(tmp_path / "theirs")
    refused(collector, spool, authority.issue("host-a", ca=theirs.path))


def test_an_agent_cannot_speak_in_another_ones_name(collector, spool, authority):
    error = refused(collector, spool, authority.issue("host-b"))
    assert "PERMISSION_DENIED" in error
    assert "'host-b'" in error


def test_a_certificate_without_a_common_name_passes_for_nobody(collector, spool, authority):
    error = refused(collector, spool, authority.issue(""))
    assert "the certificate is no agent's" in error


def test_without_any_certificate_nothing_is_answered(collector, spool):
    refused(collector, spool, None)


def test_an_agents_certificate_does_not_make_an_operator_but_the_collectors_own_does(
    collector, authority, files
):
    def ask(tls: Files):
        pem = (tls.ca.read_bytes(), tls.key.read_bytes(), tls.certificate.read_bytes())
        with grpc.secure_channel(collector, grpc.ssl_channel_credentials(*pem)) as channel:
            return operator_pb2_grpc.OperatorStub(channel).Agents(
                operator_pb2.AgentsRequest(), timeout=5
            )

    with pytest.raises(grpc.RpcError) as refusal:
        ask(authority.issue("host-a"))
    assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert ask(files).agents == []


def test_a_renewed_collector_certificate_is_used_without_a_restart(
    collector, spool, authority, files
):
    renewed = authority.issue("collector")
    before = grpc_certificate(collector)
    shutil.copy(renewed.key, files.key)
    shutil.copy(renewed.certificate, files.certificate)
    wait_until(lambda: grpc_certificate(collector) != before)
    with uplink_to(collector, spool, tls=authority.issue("host-a")) as uplink:
        assert uplink.drain(10)


def grpc_certificate(address):
    host, port = address.split(":")
    return ssl.get_server_certificate((host, int(port)), timeout=5)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "10.1.2.3:4317", "[::]:0", "collector.example:1"])
def test_listening_on_the_network_without_tls_is_refused_with_the_remedy(tmp_path, address):
    store = Store(tmp_path / "data")
    uplink = UplinkService(store.segments, Agents(), tmp_path)
    with pytest.raises(ListenError, match=r"collector\.tls"):
        Server([address], uplink)
    store.close()


def test_a_unix_socket_is_for_its_owner_only(tmp_path):
    store = Store(tmp_path / "data")
    uplink = UplinkService(store.segments, Agents(), tmp_path)
    server = Server([f"unix:{tmp_path}/run/c.sock"], uplink)
    server.start()
    assert (tmp_path / "run/c.sock").stat().st_mode & 0o777 == 0o600
    server.stop(0)
    store.close()


def test_a_loopback_port_takes_events_but_no_operators(tmp_path, spool):
    store = Store(tmp_path / "data", commit_seconds=0.05)
    agents = Agents()
    operator = OperatorService(agents, LiveSessions(), Tails())
    uplink = UplinkService(store.segments, agents, tmp_path)
    server = Server(["127.0.0.1:0"], uplink, operator)
    store.start()
    server.start()
    address = server.addresses[0]
    with uplink_to(address, spool) as sender, grpc.insecure_channel(address) as channel:
        assert sender.drain(10)
        with pytest.raises(grpc.RpcError) as refusal:
            operator_pb2_grpc.OperatorStub(channel).Agents(operator_pb2.AgentsRequest())
        assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
    server.stop(0)
    store.close()


def test_who_opens_streams_and_says_nothing_leaves_threads_for_others(collector, spool, authority):
    """Each open call holds a thread of the server, which has MAX_STREAMS of them."""
    files = authority.issue("hostile")
    parts = [path.read_bytes() for path in (files.ca, files.key, files.certificate)]
    ended = threading.Event()

    def nothing():
        ended.wait(60)
        yield from ()

    with grpc.secure_channel(collector, grpc.ssl_channel_credentials(*parts)) as channel:
        connect = channel.stream_stream("/pgwarden.v1.Uplink/Connect", bytes, bytes)
        calls = [connect(nothing()) for _ in range(MAX_STREAMS + 1)]
        wait_until(lambda: sum(call.done() for call in calls) == len(calls) - MOST_CALLS)
        codes = {call.code() for call in calls if call.done()}
        assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        with uplink_to(collector, spool, tls=authority.issue("host-a")) as uplink:
            assert uplink.drain(10)
        ended.set()
