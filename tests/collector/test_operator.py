"""What an operator can ask a running collector."""

import json
from dataclasses import dataclass, field

import grpc
import pytest

from agent.spool.spool import Spool
from collector.drift.accepting import AmbiguousFindingError
from collector.operator_service import TAIL_ROWS, Tails, rows_json
from collector.segments import Committed
from collector.store import frame_of
from protos.pgwarden.v1 import operator_pb2, operator_pb2_grpc
from tests.collector.road import START_US, collector_at, uplink_to
from tests.waiting import wait_until


@dataclass
class Baseline:
    """Stands where the drift comparison will."""

    has_baseline: bool = True
    accepted_by: str = "root"
    accepted_at_us: int = 5
    rows: list = field(default_factory=lambda: [{"occurred_at": START_US, "name": "fsync"}])
    ignored: list = field(default_factory=list)
    problems: list = field(default_factory=list)

    def status(self):
        return self

    def failing(self, agent):
        return [f"table hr.t on {agent} could not be compared"]

    def accept(self, by, reason, only=None):
        if only is not None:
            raise AmbiguousFindingError("several findings begin with a; give more of the id")
        self.accepted_by = f"{by}: {reason}"
        return 42


@pytest.fixture
def baseline():
    return Baseline()


@pytest.fixture
def running(tmp_path, baseline):
    with collector_at(tmp_path, drift=baseline) as collector:
        yield collector


@pytest.fixture
def operator(running):
    with grpc.insecure_channel(running.address) as channel:
        yield operator_pb2_grpc.OperatorStub(channel)


def test_tail_shows_durable_rows_of_the_kinds_asked_for(running, operator):
    tail = operator.Tail(operator_pb2.TailRequest(kinds=["loss"]))
    tail.initial_metadata()
    running.store.append("findings", [{"id": "f", "occurred_at": START_US}])
    running.store.append("losses", [{"occurred_at": START_US, "reason": "ring_full", "count": 7}])
    item = next(tail)
    row = json.loads(item.row_json)
    assert (item.kind, row["reason"], row["count"]) == ("loss", "ring_full", 7)
    assert row["occurred_at"] == "2026-09-21T14:13:20.000000Z"
    assert running.count("losses") == 1
    tail.cancel()


def test_an_unknown_kind_is_named_with_those_that_exist(operator):
    with pytest.raises(grpc.RpcError) as refusal:
        next(operator.Tail(operator_pb2.TailRequest(kinds=["colour"])))
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "statement" in refusal.value.details()


def test_a_reader_too_slow_loses_rows_and_is_told_how_many():
    tails = Tails()
    reader = tails.open(["loss"])
    frame = frame_of("losses", [{"occurred_at": START_US, "count": 1}] * (TAIL_ROWS + 5))
    tails.publish(Committed(1, {"losses": frame}))
    tails.publish(Committed(2, {"losses": frame}))
    first = json.loads(reader.next(0).row_json)
    assert (first["reason"], first["count"]) == ("slow_reader", TAIL_ROWS + 10)
    assert tails.dropped == TAIL_ROWS + 10


def test_what_could_not_be_compared_stands_with_its_agent(running, operator, tmp_path):
    spool = Spool(tmp_path / "spool.db", lambda *_: None)

    def agents():
        return operator.Agents(operator_pb2.AgentsRequest()).agents

    with uplink_to(running.address, spool):
        wait_until(agents)
        [agent] = agents()
        assert list(agent.degraded) == ["table hr.t on host-a could not be compared"]
    spool.close()


def test_drift_is_asked_of_and_accepted_by_its_handler(operator, baseline):
    status = operator.DriftStatus(operator_pb2.DriftStatusRequest())
    assert status.has_baseline
    row = json.loads(status.rows_json[0])
    assert (row["name"], row["occurred_at"]) == ("fsync", "2026-09-21T14:13:20.000000Z")
    order = operator_pb2.DriftAcceptRequest(accepted_by="alice", reason="upgrade")
    assert operator.DriftAccept(order).items == 42
    assert baseline.accepted_by == "alice: upgrade"


def test_a_finding_that_is_not_clear_is_refused_with_the_reason(operator, baseline):
    order = operator_pb2.DriftAcceptRequest(accepted_by="alice", reason="ok", finding_id="a")
    with pytest.raises(grpc.RpcError) as refused:
        operator.DriftAccept(order)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == "several findings begin with a; give more of the id"
    assert baseline.accepted_by == "root"


def test_health_and_reflection_answer(running):
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
        ProtoReflectionDescriptorDatabase,
    )

    with grpc.insecure_channel(running.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="pgwarden.v1.Uplink")
        serving = health_pb2.HealthCheckResponse.SERVING
        assert stub.Check(request).status == serving
        services = ProtoReflectionDescriptorDatabase(channel).get_services()
        assert {"pgwarden.v1.Uplink", "pgwarden.v1.Operator"} <= set(services)


def test_rows_are_one_line_of_json_each_whatever_their_text():
    frame = frame_of("losses", [{"source": "a\nb\u2028\x85\x1b", "count": 1}])
    (line,) = rows_json(frame)
    assert json.loads(line)["source"] == "a\nb\u2028\x85\x1b"
