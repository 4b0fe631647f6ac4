"""An agent that guards no longer says so itself, and the ledger keeps it."""

import threading

from collector.commands import AgentState
from collector.guard_modes import AGAIN_US, KIND, GuardModes
from collector.pgwarden_verify import check_folder
from protos.pgwarden.v1 import uplink_pb2 as pb
from tests.collector.test_ledger_notes import notes_after
from tests.waiting import wait_until

T = 1_790_000_000_000_000


def state(mode: str, agent: str = "host-a") -> AgentState:
    return AgentState(pb.Hello(agent=agent), True, T, pb.Status(guard_mode=mode))


def test_a_mode_is_noted_when_it_is_first_heard_and_when_it_changes():
    modes = GuardModes()
    assert modes.observe([state("")], T) == [], "it has said nothing yet"
    first = modes.observe([state("enforce"), state("observe", "host-b")], T)
    assert [(facts["agent"], facts["mode"], facts["was"]) for _, facts in first] == [
        ("host-a", "enforce", ""),
        ("host-b", "observe", ""),
    ]
    assert modes.observe([state("enforce")], T + 2 * AGAIN_US) == []
    [(kind, facts)] = modes.observe([state("observe")], T + 2 * AGAIN_US)
    assert (kind, facts) == (KIND, {"agent": "host-a", "mode": "observe", "was": "enforce"})


def test_an_agent_that_says_another_one_each_time_is_noted_once_a_minute_and_cut():
    modes = GuardModes()
    notes = [
        note
        for second in range(0, 180, 5)
        for note in modes.observe([state(f"{second} " + "x" * 10**6)], T + second * 1_000_000)
    ]
    assert len(notes) == 3
    assert all(len(facts["mode"]) == 16 for _, facts in notes)


def test_the_collector_notes_it_while_it_supervises(tmp_path):
    def say(collector):
        stop = threading.Event()
        collector._agents._states["host-a"] = state("observe")
        thread = threading.Thread(
            target=collector.supervise, args=(stop, threading.Event(), lambda: None)
        )
        thread.start()
        try:
            wait_until(lambda: collector._roster._guard_modes._noted)
        finally:
            stop.set()
            thread.join()

    found = [note for note in notes_after(tmp_path, say) if note["kind"] == KIND]
    assert found == [{"kind": KIND, "agent": "host-a", "mode": "observe", "was": ""}]
    assert check_folder(tmp_path / "data").problems == []
