"""Who may speak to a collector that the network can reach."""

import shutil
import ssl
import threading
from contextlib import ExitStack, contextmanager

import grpc
import pytest

from agent.spool.spool import Spool
from collector import admission
from collector import server as server_module
from collector.access.door import Door, own_certificate
from collector.admission import MOST_CALLS, MOST_STREAMS
from collector.commands import Agents
from collector.operator_service import OperatorService, Tails
from collector.server import ListenError, Server
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
    with serving(tmp_path, files) as address:
        yield address


@contextmanager
def serving(tmp_path, files, *more):
    store = Store(tmp_path / "data", commit_seconds=0.05)
    agents = Agents()
    uplink = UplinkService(store.segments, agents, tmp_path / "quarantine")
    operator = OperatorService(
        agents, LiveSessions(), Tails(), door=Door(own_certificate(files.certificate))
    )
    server = Server(["127.0.0.1:0", *more], uplink, operator, files)
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


def test_with_an_authority_in_between_the_collector_knows_its_own_certificate(tmp_path, spool):
    between = Authority(tmp_path / "root").below(tmp_path / "between")
    files = between.issue("collector")
    files.certificate.write_bytes(b"subject=collector\n" + files.certificate.read_bytes())
    with serving(tmp_path, files) as address:
        with uplink_to(address, spool, tls=between.issue("host-a")) as uplink:
            assert uplink.drain(10)
        assert list(agents_known_to(address, files)) == ["host-a"]
        with pytest.raises(grpc.RpcError) as refusal:
            agents_known_to(address, between.issue("collector"))
        assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED


def agents_known_to(address, files):
    parts = [path.read_bytes() for path in (files.ca, files.key, files.certificate)]
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(*parts)) as channel:
        stub = operator_pb2_grpc.OperatorStub(channel)
        return [each.agent for each in stub.Agents(operator_pb2.AgentsRequest(), timeout=10).agents]


CONNECT = "/pgwarden.v1.Uplink/Connect"
AGENTS = "/pgwarden.v1.Operator/Agents"


class Hostile:
    """Begins calls and says nothing in them."""

    def __init__(self, address, authority, name, uri=""):
        files = authority.issue(name, uri=uri)
        parts = [path.read_bytes() for path in (files.ca, files.key, files.certificate)]
        own = [("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(*parts), own)
        self.ended = threading.Event()
        self.calls = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.channel.close()

    def begin(self, count, method=CONNECT):
        start = self.channel.stream_stream(method, bytes, bytes)
        self.calls += [start(self._nothing()) for _ in range(count)]

    def open(self):
        return sum(not call.done() for call in self.calls)

    def codes(self):
        return {call.code() for call in self.calls if call.done()}

    def _nothing(self):
        self.ended.wait(60)
        yield from ()


def test_of_one_owner_only_so_many_streams_are_open(collector, spool, authority):
    with Hostile(collector, authority, "hostile") as hostile:
        hostile.begin(MOST_CALLS)
        wait_until(lambda: hostile.open() == MOST_STREAMS)
        assert hostile.codes() == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert "4 streams open" in next(c for c in hostile.calls if c.done()).details()
        with uplink_to(collector, spool, tls=authority.issue("host-a")) as uplink:
            assert uplink.drain(10)


def test_an_owner_is_whom_the_certificate_names_and_not_its_subject(collector, authority):
    """One agent with two certificates is one; two whose subject says nothing are two."""
    one, other = "urn:pgwarden:agent:one", "urn:pgwarden:agent:other"
    with ExitStack() as open_now:
        first, second, third = (
            open_now.enter_context(Hostile(collector, authority, *names))
            for names in (("first", one), ("second", one), ("first", other))
        )
        first.begin(MOST_STREAMS)
        wait_until(lambda: first.open() == MOST_STREAMS)
        second.begin(1)
        wait_until(lambda: second.codes() == {grpc.StatusCode.RESOURCE_EXHAUSTED})
        assert "'urn:pgwarden:agent:one' has 4 streams" in second.calls[0].details()
        third.begin(MOST_STREAMS + 1)
        wait_until(lambda: third.open() == MOST_STREAMS)
        assert first.open() == MOST_STREAMS


def test_who_begins_single_requests_and_does_not_send_them_is_counted_too(
    collector, spool, authority
):
    with Hostile(collector, authority, "hostile") as hostile:
        hostile.begin(MOST_CALLS + 5, AGENTS)
        wait_until(lambda: hostile.open() == MOST_CALLS)
        assert hostile.codes() == {grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_a_call_that_says_nothing_is_ended_and_others_go_on(
    collector, spool, authority, monkeypatch
):
    monkeypatch.setattr(admission, "HELLO_SECONDS", 0.5)
    with (
        uplink_to(collector, spool, tls=authority.issue("host-a")) as uplink,
        Hostile(collector, authority, "hostile") as hostile,
    ):
        assert uplink.drain(10)
        hostile.begin(2)
        hostile.begin(2, AGENTS)
        wait_until(lambda: hostile.open() == 0)
        assert hostile.codes() == {grpc.StatusCode.CANCELLED}
        spool.append(statements(10, 10))
        assert uplink.drain(10)
        assert uplink.counters.reconnects <= 1


def test_many_hostile_agents_that_say_nothing_shut_no_honest_one_out(
    tmp_path, files, spool, authority, monkeypatch
):
    """As many in proportion as nine with 32 calls each were to 256 threads."""
    monkeypatch.setattr(server_module, "MOST_AT_ONCE", 40)
    monkeypatch.setattr(server_module, "SPARE_THREADS", 4)
    with ExitStack() as stack, serving(tmp_path, files) as address:
        for number in range(9):
            hostile = stack.enter_context(Hostile(address, authority, f"hostile{number}"))
            hostile.begin(20)
            wait_until(lambda hostile=hostile: hostile.open() == MOST_STREAMS)
        with uplink_to(address, spool, tls=authority.issue("host-a")) as uplink:
            assert uplink.drain(20)


def test_one_call_more_than_it_serves_is_told_so_at_once_and_its_owner_still_gets_in(
    tmp_path, files, spool, authority, monkeypatch
):
    monkeypatch.setattr(server_module, "MOST_AT_ONCE", 3)
    socket = f"unix:{tmp_path}/c.sock"
    with ExitStack() as stack, serving(tmp_path, files, socket) as address:
        hostile = stack.enter_context(Hostile(address, authority, "other"))
        hostile.begin(4)
        wait_until(lambda: hostile.open() == 3)
        assert "3 calls at once" in refused_with(address, spool, authority)
        with uplink_to(socket, spool) as uplink:
            assert uplink.drain(20)


def refused_with(address, spool, authority):
    with uplink_to(address, spool, tls=authority.issue("host-a")) as uplink:
        wait_until(lambda: uplink.counters.last_error or not spool.depth)
        return uplink.counters.last_error
