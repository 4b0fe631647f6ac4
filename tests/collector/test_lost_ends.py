"""A session whose end nobody told gets one, once its agent has twice not found it."""

import pytest

from collector.commands import Agents, AgentStream
from collector.lost_ends import (
    AGAIN_SECONDS,
    ANSWER_SECONDS,
    EVERY_SECONDS,
    FIRST_SECONDS,
    MOST,
    LostEnds,
)
from collector.segments import Committed
from collector.sessions import LiveSessions, end_was_noticed
from collector.store import frame_of
from protos.pgwarden.v1 import uplink_pb2 as pb

T = 1_790_000_000_000_007
S = 1_000_000
AGENT = "host-a"


def row(pid, agent=AGENT, started_us=T, ended_us=None, user="app"):
    return {
        "agent": agent, "pid": pid, "backend_started_at": started_us, "cluster": "main",
        "user_name": user, "ended_at": ended_us, "seen_at": T + 5 * S,
    }  # fmt: skip


class World:
    """One agent, its collector's memory, and what is written."""

    def __init__(self, *rows):
        self.agents = Agents()
        self.sessions = LiveSessions(frame_of("sessions", rows))
        self.written = []
        self.lost_ends = LostEnds(self.agents, self.sessions, self.append)
        self.now = 100.0
        self.connect("first")

    def connect(self, instance):
        self.stream = AgentStream(pb.Hello(agent=AGENT, epoch=3, instance=instance))
        self.agents.connected(self.stream)

    def append(self, table, rows):
        self.written.append((table, rows))
        if table == "sessions":
            self.commit(*rows)

    def commit(self, *rows):
        frames = {"sessions": frame_of("sessions", rows)}
        self.sessions.observe(Committed(1, frames))

    def after(self, seconds):
        """What the agent is asked by then: pids."""
        self.now += seconds
        self.lost_ends.turn(self.now)
        if self.stream.outbox.empty():
            return None
        self.command = self.stream.outbox.get().command
        assert self.command.kind == "ended"
        return [*self.command.unended.pid]

    def answer(self, message, outcome="done", at_us=T + 60 * S):
        result = pb.CommandResult(id=self.command.id, outcome=outcome, message=message, at_us=at_us)
        self.agents.answered(AGENT, result)
        assert self.after(0.3) is None

    def of(self, table):
        return [each for name, rows in self.written if name == table for each in rows]


def test_a_session_that_was_gone_twice_has_ended_when_that_was_noticed():
    world = World(row(1), row(2, user="bob"), row(3, agent="host-b"))
    assert world.after(0) is None
    assert world.after(FIRST_SECONDS) == [1, 2]
    assert [*world.command.unended.backend_started_at_us] == [T, T]
    assert [*world.command.unended.cluster] == ["main", "main"]
    world.answer("[1]")
    assert world.written == [], "the row of its end may be on its way"
    assert world.after(AGAIN_SECONDS) == [2]
    world.answer("[0]")
    [ended] = world.of("sessions")
    assert (ended["pid"], ended["user_name"], ended["cluster"]) == (2, "bob", "main")
    assert ended["ended_at"] == ended["seen_at"] == T + 60 * S
    assert world.of("losses") == [
        {
            "occurred_at": T + 60 * S, "agent": AGENT, "source": "sessions",
            "reason": "session_end_unseen", "count": 1,
        }
    ]  # fmt: skip
    assert world.sessions.frame()["pid"].to_list() == [1, 3]
    assert world.after(EVERY_SECONDS) == [1]


def test_an_end_that_comes_meanwhile_is_the_sessions_own():
    world = World(row(1))
    world.after(0)
    assert world.after(FIRST_SECONDS) == [1]
    world.answer("[0]")
    assert world.after(AGAIN_SECONDS) == [1]
    world.commit(row(1, ended_us=T + 9 * S))
    world.answer("[0]")
    assert world.written == []


def test_who_was_there_at_the_second_look_lives():
    world = World(row(1))
    world.after(0)
    for pause in (FIRST_SECONDS, AGAIN_SECONDS):
        assert world.after(pause) == [1]
        world.answer("[0]" if pause == FIRST_SECONDS else "[]")
    assert world.after(EVERY_SECONDS) == [1]
    world.answer("[0]")
    assert world.written == []


def test_a_session_whose_pid_another_one_has_by_now_gets_its_end_too():
    world = World(row(1), row(1, started_us=T + 3 * S))
    assert len(world.sessions.frame()) == 1
    world.after(0)
    for pause in (FIRST_SECONDS, AGAIN_SECONDS):
        world.after(pause)
        world.answer("[0]")
    [ended] = world.of("sessions")
    assert ended["backend_started_at"] == T


def test_an_answer_that_does_not_come_is_asked_for_anew():
    world = World(row(1))
    world.after(0)
    assert world.after(FIRST_SECONDS) == [1]
    assert world.after(ANSWER_SECONDS) is None
    assert world.agents._waiting == {}
    for pause in (EVERY_SECONDS, AGAIN_SECONDS):
        assert world.after(pause) == [1]
        world.answer("[0]")
    assert len(world.of("sessions")) == 1


def test_an_agent_that_has_much_to_send_is_not_asked():
    world = World(row(1))
    world.after(0)
    assert world.after(FIRST_SECONDS) == [1]
    world.answer("[0]")
    world.agents.heard(AGENT, pb.Status(spool_batches=1000))
    assert world.after(AGAIN_SECONDS) is None
    world.agents.heard(AGENT, pb.Status(spool_batches=1))
    assert world.after(EVERY_SECONDS) == [1]
    world.answer("[0]")
    assert world.written == [], "that was the first look of two"


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        ("refused", "this agent knows no ended"),
        ("done", "nonsense"),
        ("done", "{}"),
        ("done", '[-1, 1, 2.0, true, "0", null, 99999999999999999999]'),
    ],
)
def test_an_answer_that_names_none_of_them_ends_none(outcome, message):
    world = World(row(1))
    world.after(0)
    for _ in range(3):
        assert world.after(EVERY_SECONDS) == [1]
        world.answer(message, outcome)
    assert world.written == []


def test_no_moment_that_an_agent_names_is_too_much_for_us():
    world = World(row(1), row(2, started_us=-(1 << 62)))
    world.after(0)
    for pause in (FIRST_SECONDS, AGAIN_SECONDS):
        world.after(pause)
        world.answer("[0, 1]", at_us=(1 << 63) - 1)
    assert {each["ended_at"] for each in world.of("sessions")} == {(1 << 63) - 1}


def test_an_end_is_not_before_what_is_known_of_the_session():
    world = World(row(1))
    world.after(0)
    for pause in (FIRST_SECONDS, AGAIN_SECONDS):
        world.after(pause)
        world.answer("[0]", at_us=T)
    assert [each["ended_at"] for each in world.of("sessions")] == [T + 5 * S]


def test_the_next_agent_of_a_host_is_asked_anew_and_an_answer_of_the_last_one_is_let_go():
    world = World(row(1))
    world.after(0)
    assert world.after(FIRST_SECONDS) == [1]
    world.connect("second")
    assert world.after(ANSWER_SECONDS) is None
    world.agents.answered(AGENT, pb.CommandResult(id=world.command.id, outcome="done"))
    assert world.after(FIRST_SECONDS) == [1]
    world.agents.disconnected(world.stream)
    assert world.after(EVERY_SECONDS) is None
    assert world.agents._waiting == {}


def test_of_two_agents_with_one_name_neither_is_asked_about_the_others_sessions():
    world = World(row(1))
    world.after(0)
    for instance in ("second", "first", "second"):
        world.connect(instance)
    assert world.agents.twins()
    assert [world.after(EVERY_SECONDS) for _ in range(2)] == [None, None]


def test_many_sessions_are_asked_about_one_part_after_the_other():
    world = World(*(row(pid) for pid in range(MOST + 2)))
    world.after(0)
    assert world.after(FIRST_SECONDS) == [*range(MOST)]
    world.answer("[]")
    assert world.after(EVERY_SECONDS) == [MOST, MOST + 1]
    world.answer("[1]")
    assert world.after(AGAIN_SECONDS) == [MOST + 1]
    world.answer("[0]")
    assert [each["pid"] for each in world.of("sessions")] == [MOST + 1]
    assert world.after(EVERY_SECONDS)[:2] == [0, 1]


def test_an_end_that_was_noticed_can_be_told_from_one_that_was_seen():
    rows = [
        row(1) | {"ended_at": T + 5 * S},
        row(2) | {"ended_at": T + 4 * S},
        row(3),
        row(4, started_us=T - T % S) | {"ended_at": T + 5 * S},
    ]
    noticed = frame_of("sessions", rows).filter(end_was_noticed())
    assert noticed["pid"].to_list() == [1]
