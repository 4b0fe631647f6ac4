"""What sessions run at this moment, asked of all agents."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from agent.spool.spool import Spool
from collector.commands import Agents, AgentStream
from collector.running import running_rows
from protos.pgwarden.v1 import operator_pb2, operator_pb2_grpc
from protos.pgwarden.v1 import uplink_pb2 as pb
from tests.collector.road import START_US, collector_at, uplink_to
from tests.waiting import wait_until


def told(*rows, more=0):
    return pb.CommandResult(outcome="done", message=json.dumps({"rows": list(rows), "more": more}))


def row(pid, started_us=START_US):
    return {"pid": pid, "started_at_us": started_us, "backend_started_at_us": START_US - 1}


def test_rows_of_all_agents_come_together_what_runs_for_longest_first():
    answers = {"b": told(row(1, START_US + 5)), "a": told(row(2), row(3, START_US + 9))}
    rows, problems = running_rows(answers)
    assert [(one["agent"], one["pid"]) for one in rows] == [("a", 2), ("b", 1), ("a", 3)]
    assert rows[0]["started_at"] == "2026-09-21T14:13:20.000000Z"
    assert rows[0]["backend_started_at"] == "2026-09-21T14:13:19.999999Z"
    assert problems == []


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (pb.CommandResult(outcome="refused", message="no probes here"), "a: no probes here"),
        (pb.CommandResult(outcome="done", message="{"), "a: its answer makes no sense"),
        (told({"pid": 1}), "a: its answer makes no sense"),
        (told(row(1, 1 << 70)), "a: its answer makes no sense"),
        (told(row(1), more=4), "a: 4 more run"),
    ],
)
def test_what_an_agent_does_not_tell_is_said(answer, sentence):
    _, problems = running_rows({"a": answer})
    assert [one.startswith(sentence) for one in problems] == [True], problems


def test_an_agent_cannot_speak_for_another_one():
    rows, _ = running_rows({"a": told({**row(1), "agent": "b"})})
    assert [one["agent"] for one in rows] == ["a"]


def test_however_many_agents_are_silent_they_are_waited_for_together():
    agents = Agents()
    for number in range(200):
        agents.connected(AgentStream(pb.Hello(agent=f"host-{number}")))
    began = time.monotonic()
    answers = agents.ask_all("running", 0.5)
    assert time.monotonic() - began < 2
    assert len(answers) == 200
    assert answers["host-7"].message == "agent 'host-7' did not answer within 0.5 s"


def test_who_answers_last_is_heard_though_others_are_silent():
    agents = Agents()
    silent, slow = (AgentStream(pb.Hello(agent=name)) for name in ("a", "b"))
    agents.connected(silent)
    agents.connected(slow)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(agents.ask_all, "running", 0.3)
        command = slow.outbox.get(timeout=5).command
        agents.answered("a", pb.CommandResult(id=command.id, outcome="done", message="not mine"))
        agents.answered("b", pb.CommandResult(id=command.id, outcome="done", message="mine"))
        answers = asked.result()
    assert answers["b"].message == "mine"
    assert answers["a"].outcome == "failed"


def test_an_operator_is_told_what_an_agent_answers_and_who_did_not(tmp_path):
    asked = []

    def answer(command):
        asked.append(command.kind)
        return told(row(42))

    spool = Spool(tmp_path / "spool.db", lambda *_: None)
    with (
        collector_at(tmp_path) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        operator = operator_pb2_grpc.OperatorStub(channel)

        def sessions():
            return operator.Sessions(operator_pb2.SessionsRequest(running=True))

        with uplink_to(running.address, spool, on_command=answer):
            wait_until(lambda: sessions().rows_json)
            (one,) = sessions().rows_json
            assert (json.loads(one)["agent"], json.loads(one)["pid"]) == ("host-a", 42)
        wait_until(lambda: sessions().problems)
        assert list(sessions().problems) == ["host-a: agent 'host-a' is not connected"]
        assert set(asked) == {"running"}
    spool.close()
