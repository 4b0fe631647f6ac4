"""An agent that does not come back after a restart of the collector is missed all the same."""

import json

import grpc
import pytest

from agent.spool.spool import Spool
from collector.commands import Agents, AgentStream
from collector.known_agents import Roster
from collector.silence import HEARD, SILENT, SILENT_US
from protos.pgwarden.v1 import operator_pb2, operator_pb2_grpc
from protos.pgwarden.v1 import uplink_pb2 as pb
from tests.collector.road import collector_at, uplink_to
from tests.waiting import wait_until

T = 1_790_000_000_000_000
HOUR_US = 3_600_000_000


class Clock:
    now_us = T

    def __call__(self) -> int:
        return self.now_us


class Collector:
    """One run of it, as far as agents are concerned."""

    def __init__(self, folder, clock, of_ledger=()):
        self.agents = Agents(clock)
        self.roster = Roster(folder / "state/agents.json", self.agents, of_ledger, clock)
        self.notes = []

    def turn(self):
        self.roster.turn(lambda kind, **facts: self.notes.append((kind, facts)))
        return [kind for kind, _ in self.notes if kind in (SILENT, HEARD)]

    def connect(self, agent="host-a", boot="boot-1"):
        stream = AgentStream(pb.Hello(agent=agent, epoch=3, boot_id=boot, version="0.1"))
        self.agents.connected(stream)
        self.agents.heard(agent, pb.Status(guard_mode="enforce"), 7)
        return stream


@pytest.fixture
def clock():
    return Clock()


def test_one_that_went_while_no_collector_ran_is_silent_twenty_seconds_after_the_start(
    tmp_path, clock
):
    first = Collector(tmp_path, clock)
    first.connect()
    assert SILENT not in first.turn()
    clock.now_us = T + HOUR_US
    again = Collector(tmp_path, clock)
    [state] = again.agents.states()
    assert (state.connected, state.last_seen_us, state.acked_sequence) == (False, T, 7)
    assert state.status.guard_mode == "enforce"
    assert again.turn() == [], "it may be on its way"
    assert state.missed_since_us == clock.now_us, "nor does the alert of silence fire"
    clock.now_us += SILENT_US + 1
    assert again.turn() == [SILENT]
    [(_, facts)] = again.notes
    assert (facts["agent"], facts["boot_id"], facts["sequence"]) == ("host-a", "boot-1", 7)
    assert facts["since_us"] == T


def test_one_that_comes_back_at_once_leaves_no_gap(tmp_path, clock):
    Collector(tmp_path, clock).turn()
    first = Collector(tmp_path, clock)
    first.connect()
    first.turn()
    clock.now_us = T + HOUR_US
    again = Collector(tmp_path, clock)
    again.connect()
    clock.now_us += SILENT_US - 1
    assert again.turn() == []


def test_a_gap_that_began_before_the_restart_is_told_once_and_ends_after_it(tmp_path, clock):
    first = Collector(tmp_path, clock)
    first.agents.disconnected(first.connect())
    clock.now_us += SILENT_US + 1
    assert first.turn() == [SILENT]
    again = Collector(tmp_path, clock)
    clock.now_us += HOUR_US
    assert again.turn() == []
    again.connect(boot="boot-2")
    assert again.turn() == [HEARD]
    [(_, facts)] = again.notes
    assert (facts["since_us"], facts["boot_id"]) == (T, "boot-2")


@pytest.mark.parametrize("damage", [None, b"", b'[{"hello": 7}]', b"\x00\xff"])
def test_without_what_was_kept_those_of_the_ledger_are_awaited(tmp_path, clock, damage):
    if damage is not None:
        (tmp_path / "state").mkdir()
        (tmp_path / "state/agents.json").write_bytes(damage)
    run = Collector(tmp_path, clock, ["host-b", "host-a", "host-a"])
    assert [state.hello.agent for state in run.agents.states()] == ["host-a", "host-b"]
    clock.now_us += SILENT_US + 1
    assert run.turn() == [SILENT, SILENT]
    kept = json.loads((tmp_path / "state/agents.json").read_text())
    assert [each["silent_since_us"] for each in kept] == [T, T]


def test_a_retired_one_is_not_missed_and_one_that_is_connected_cannot_be_retired(tmp_path, clock):
    run = Collector(tmp_path, clock)
    stream = run.connect()
    assert "stop it first" in run.agents.retire("host-a")
    assert "no agent 'host-b'" in run.agents.retire("host-b")
    run.agents.disconnected(stream)
    clock.now_us += SILENT_US + 1
    assert run.turn() == [SILENT]
    assert run.agents.retire("host-a") == ""
    run.turn()
    again = Collector(tmp_path, clock)
    assert (again.agents.states(), again.turn()) == ([], [])


def test_who_retires_an_agent_stands_in_the_ledger(tmp_path):
    spool = Spool(tmp_path / "spool.db", lambda *_: None)
    with (
        collector_at(tmp_path) as collector,
        grpc.insecure_channel(collector.address) as channel,
    ):
        operator = operator_pb2_grpc.OperatorStub(channel)
        request = operator_pb2.RetireAgentRequest(agent="host-a", reason="sold", requested_by="bob")
        with uplink_to(collector.address, spool):
            wait_until(collector.agents.states)
            with pytest.raises(grpc.RpcError) as refused:
                operator.RetireAgent(request)
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        wait_until(lambda: not collector.agents.states()[0].connected)
        operator.RetireAgent(request)
        assert operator.Agents(operator_pb2.AgentsRequest()).agents == []
    spool.close()
    lines = (tmp_path / "data/ledger.jsonl").read_text().splitlines()
    [note] = [n for line in lines for n in json.loads(line).get("notes", ()) if "agent" in n]
    said = {key: note[key] for key in ("kind", "agent", "by", "reason")}
    assert said == {"kind": "agent_retired", "agent": "host-a", "by": "bob", "reason": "sold"}


def test_what_an_agent_says_of_itself_is_kept_short(tmp_path):
    spool = Spool(tmp_path / "spool.db", lambda *_: None)
    said = pb.Status(capture="b" * 100, degraded=["x" * 1010] * 3900)
    with (
        collector_at(tmp_path) as collector,
        uplink_to(collector.address, spool, status=lambda: said, version="B" * 1_000_000),
    ):
        wait_until(lambda: any(s.status.degraded for s in collector.agents.states()))
        [state] = collector.agents.states()
        assert state.hello.version == "B" * 64
        assert len(state.status.capture) == 16
        assert [len(each) for each in state.status.degraded] == [1000] * 50 + [len("and 3850 more")]
    spool.close()


def test_a_guard_that_was_disarmed_while_the_collector_restarted_is_noted(tmp_path, clock):
    first = Collector(tmp_path, clock)
    first.connect()
    assert SILENT not in first.turn()
    first.agents.heard("host-a", pb.Status(guard_mode="enforce"))
    again = Collector(tmp_path, clock)
    clock.now_us += 90_000_000
    again.connect()
    assert again.turn() == []
    again.agents.heard("host-a", pb.Status(guard_mode="observe"))
    again.turn()
    said = {"agent": "host-a", "mode": "observe", "was": "enforce"}
    assert again.notes == [("guard_mode", said)]
