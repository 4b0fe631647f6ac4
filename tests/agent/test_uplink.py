"""The uplink against a real collector, and against peers that misbehave."""

import signal
import threading
import time
from concurrent import futures

import grpc
import pytest

from agent.channel import AddressError
from agent.spool.spool import Spool
from agent.uplink import Greeting, Uplink
from agent.wire.batch import BatchBuilder, Payload
from collector.ledger_reading import verify
from protos.pgwarden.v1 import operator_pb2, operator_pb2_grpc
from protos.pgwarden.v1 import uplink_pb2 as pb
from tests.collector.process import spawn
from tests.collector.road import (
    SESSION,
    START_US,
    collector_at,
    refuse,
    start_collector,
    statements,
    uplink_to,
)
from tests.waiting import wait_until

MIB = 1 << 20


@pytest.fixture
def losses():
    return []


@pytest.fixture
def spool(tmp_path, losses):
    opened = Spool(tmp_path / "spool.db", lambda *loss: losses.append(loss))
    yield opened
    opened.close()


def test_what_was_spooled_while_the_collector_was_away_arrives_once_it_is_back(tmp_path, spool):
    first = start_collector(tmp_path)
    with uplink_to(first.address, spool) as uplink:
        spool.append(statements(0, 10))
        assert uplink.drain(10)
        first.close()
        for number in range(1, 20):
            spool.append(statements(number * 10, 10))
        wait_until(lambda: not uplink.connected)
        with collector_at(tmp_path) as second:
            assert uplink.drain(10)
            assert second.store.query("SELECT count(*), count(DISTINCT id) FROM statements") == [
                (200, 200)
            ]
        assert uplink.counters.reconnects > 0


def test_a_poison_batch_is_quarantined_on_both_sides_and_the_next_ones_pass(
    tmp_path, spool, losses
):
    bad = pb.Batch(strings=[""], statements=pb.StatementColumns(id=[1, 2], rows=[1]))
    with collector_at(tmp_path) as collector, uplink_to(collector.address, spool) as uplink:
        spool.append(statements(0, 5))
        spool.append(Payload(bad.SerializeToString(), {"statements": 2}))
        spool.append(Payload(b"\xff\xff not protobuf", {"statements": 3}))
        spool.append(statements(5, 5))
        assert uplink.drain(10)
        assert collector.count() == 10
        # What is no message is known at once, the other at the next commit.
        assert sorted(losses) == [("spool", "rejected", 2), ("spool", "rejected", 3)]
        assert collector.uplink.rejected == {"host-a": 2}
        assert len(list((tmp_path / "data/quarantine").glob("poison-*"))) == 2
        assert verify(tmp_path / "data") == []


def test_poison_that_the_collector_cannot_keep_is_refused_all_the_same(tmp_path, spool, losses):
    bad = pb.Batch(strings=[""], statements=pb.StatementColumns(id=[1, 2], rows=[1]))
    with collector_at(tmp_path) as collector, uplink_to(collector.address, spool) as uplink:
        (tmp_path / "data/quarantine").write_bytes(b"no folder")
        spool.append(Payload(bad.SerializeToString(), {"statements": 2}))
        spool.append(statements(5, 5))
        assert uplink.drain(10)
        assert collector.count() == 5
        assert (collector.uplink.rejected, collector.uplink.not_kept) == ({"host-a": 1}, 1)
    assert losses == [("spool", "rejected", 2)]


def test_commands_reach_the_agent_and_their_outcome_the_operator(tmp_path, spool):
    commands = []

    def obey(command):
        commands.append(command)
        if command.kind == "cancel":
            raise RuntimeError("no such power")
        return pb.CommandResult(outcome="done", message="terminated")

    with (
        collector_at(tmp_path) as collector,
        uplink_to(collector.address, spool, on_command=obey) as uplink,
        grpc.insecure_channel(collector.address) as channel,
    ):
        wait_until(lambda: uplink.connected)
        operator = operator_pb2_grpc.OperatorStub(channel)
        order = operator_pb2.ActRequest(kind="terminate", pid=4711, reason="test")
        assert operator.Act(order).outcome == "gone", "no session is known yet"
        builder = BatchBuilder()
        builder.add_session(SESSION, START_US)
        spool.append(*builder.take())
        assert uplink.drain(10)
        wait_until(lambda: operator.Sessions(operator_pb2.SessionsRequest()).rows_json)
        assert operator.Act(order).outcome == "done"
        assert (commands[0].cluster, commands[0].pid) == ("5432", 4711)
        assert commands[0].backend_started_at_us == SESSION.key.started_at_us
        failed = operator.Act(operator_pb2.ActRequest(kind="cancel", pid=4711))
        assert (failed.outcome, failed.message) == ("failed", "RuntimeError: no such power")
        assert operator.Act(operator_pb2.ActRequest(kind="reboot", pid=1)).outcome == "refused"


def test_neither_orders_nor_acknowledgements_wait_for_a_question(tmp_path, spool):
    asked, goes_on = threading.Event(), threading.Event()

    def obey(command):
        if command.kind == "running":
            asked.set()
            goes_on.wait(20)
            return pb.CommandResult(outcome="done", message='{"rows": [], "more": 3}')
        return pb.CommandResult(outcome="done", message="terminated")

    with (
        collector_at(tmp_path) as collector,
        uplink_to(
            collector.address, spool, on_command=obey, questions=frozenset(("running",))
        ) as uplink,
        grpc.insecure_channel(collector.address) as channel,
        futures.ThreadPoolExecutor() as pool,
    ):
        wait_until(lambda: uplink.connected)
        operator = operator_pb2_grpc.OperatorStub(channel)
        question = pool.submit(operator.Sessions, operator_pb2.SessionsRequest(running=True))
        try:
            assert asked.wait(10)
            builder = BatchBuilder()
            builder.add_session(SESSION, START_US)
            spool.append(*builder.take())
            assert uplink.drain(5)
            wait_until(lambda: operator.Sessions(operator_pb2.SessionsRequest()).rows_json)
            order = operator_pb2.ActRequest(kind="terminate", pid=4711, reason="test")
            assert operator.Act(order).message == "terminated"
            assert not question.done()
        finally:
            goes_on.set()
        assert list(question.result(10).problems) == ["host-a: 3 more run, for less long"]


def test_the_status_report_reaches_the_operator(tmp_path, spool):
    def status():
        return pb.Status(capture="both", guard_mode="enforce", degraded=["no jsonlog"])

    with (
        collector_at(tmp_path) as collector,
        uplink_to(collector.address, spool, status=status),
        grpc.insecure_channel(collector.address) as channel,
    ):
        operator = operator_pb2_grpc.OperatorStub(channel)

        def agents():
            return operator.Agents(operator_pb2.AgentsRequest()).agents

        wait_until(lambda: agents() and agents()[0].capture == "both")
        (agent,) = agents()
        assert (agent.agent, agent.connected, agent.guard_mode) == ("host-a", True, "enforce")
        assert list(agent.degraded) == ["no jsonlog"]


def test_a_collector_that_hangs_is_left_and_tried_again(tmp_path, spool):
    class Hanging(grpc.GenericRpcHandler):
        def service(self, details):
            def connect(requests, context):
                for _ in requests:
                    pass
                return iter(())

            return grpc.stream_stream_rpc_method_handler(connect)

    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((Hanging(),))
    address = f"unix:{tmp_path}/hang.sock"
    server.add_insecure_port(address)
    server.start()
    with uplink_to(address, spool, ack_timeout_seconds=0.3) as uplink:
        wait_until(lambda: uplink.counters.reconnects >= 2)
        assert "hangs" in uplink.counters.last_error
    server.stop(0).wait()


def test_of_a_long_backlog_only_a_few_megabytes_are_under_way_at_once(tmp_path, spool):
    came = []

    class Silent(grpc.GenericRpcHandler):
        """Greets, and acknowledges nothing."""

        def service(self, details):
            def connect(requests, context):
                next(requests)
                yield pb.CollectorMessage(ack=pb.Ack()).SerializeToString()
                came.extend(len(each) for each in requests if len(each) > MIB)

            return grpc.stream_stream_rpc_method_handler(connect)

    for _ in range(16):
        spool.append(Payload(bytes(MIB), {"statements": 1}))
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((Silent(),))
    address = f"unix:{tmp_path}/silent.sock"
    server.add_insecure_port(address)
    server.start()
    with uplink_to(address, spool):
        wait_until(lambda: sum(came) > 4 * MIB)
        time.sleep(0.5)  # four more would come in a moment
        assert sum(came) < 6 * MIB
    server.stop(0).wait()


def test_a_stop_does_not_wait_for_a_collector_that_stands_still(tmp_path, spool):
    """What was begun to be written to it never is, and until then gRPC keeps the channel."""
    collector = spawn(tmp_path)
    try:
        assert collector.stdout.readline() == b"ready\n"
        with uplink_to(f"unix:{tmp_path}/collector.sock", spool) as uplink:
            wait_until(lambda: uplink.connected)
            collector.send_signal(signal.SIGSTOP)
            for _ in range(16):
                spool.append(Payload(bytes(MIB), {"statements": 1}))
            wait_until(lambda: uplink._stream.in_flight)
            began = time.monotonic()
            assert not uplink.drain(10, patience_seconds=0.5)
            uplink.stop(0.3)
            assert time.monotonic() - began < 2
        assert spool.depth == 16
    finally:
        collector.kill()
        collector.wait()
        collector.stdout.close()


@pytest.mark.parametrize("address", ["10.0.0.1:4317", "collector.example:4317", "0.0.0.0:1"])
def test_an_address_on_the_network_without_tls_is_refused_with_the_remedy(spool, address):
    with pytest.raises(AddressError, match=r"agent\.tls"):
        Uplink(spool, address, Greeting("a", "", "", ""), refuse)


@pytest.mark.parametrize("address", ["", "localhost", "localhost:x", ":5", "localhost:99999"])
def test_a_malformed_address_is_refused(spool, address):
    with pytest.raises(AddressError, match="host:port"):
        Uplink(spool, address, Greeting("a", "", "", ""), refuse)


def test_an_agent_that_speaks_no_protocol_of_the_collector_says_who_must_be_upgraded(
    tmp_path, spool, monkeypatch
):
    monkeypatch.setattr("agent.uplink.OLDEST", 99)
    with collector_at(tmp_path) as collector, uplink_to(collector.address, spool) as uplink:
        wait_until(lambda: "upgrade the collector" in uplink.counters.last_error)
        assert not uplink.connected
