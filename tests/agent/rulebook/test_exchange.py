"""What the old rules let pass is not let pass by the kernel once the new ones are in force."""

import os
import threading

from agent.capture import Capture
from agent.directory import Directory
from agent.guard.allowances import Allowances
from agent.guard.decision import ALLOW
from agent.guard.hold import Settled
from agent.inbox import Inbox
from agent.rulebook import RuleService
from config.schema import Rules
from model.event import SessionSeen
from tests.agent.guard.test_allowances import BACKEND, SHAPE, Table, started
from tests.agent.rulebook.test_service import Record, ids
from tests.rules.rule_files import rule
from tests.waiting import wait_until

SEEN = SessionSeen(0, BACKEND, "5432", "alice", "shop", "psql", "local", 0)


class Probes:
    """One session and one held statement, then nothing more."""

    def __init__(self) -> None:
        self.polls = [[SEEN], [started()]]

    def poll(self, timeout_ms: int) -> list:
        return self.polls.pop(0) if self.polls else []

    def nothing(self, *_: object) -> list:
        return []

    losses = finish = beat = set_hold = pause = press = nothing

    @property
    def holding(self):
        return self


class SlowGuard:
    """Has the old rules' word, and is about to tell it when they are exchanged."""

    def __init__(self) -> None:
        self.judged, self.go_on = threading.Event(), threading.Event()

    oldest_ns, patience_seconds = 0, 1.0

    def finished(self, ended=None) -> list:
        return []

    def begin(self, event) -> Settled:
        self.judged.set()
        assert self.go_on.wait(10)
        return Settled(ALLOW, None, 100)

    def forget(self, backend) -> None:
        """Nothing is kept."""


def test_a_word_of_the_old_rules_that_is_told_after_the_exchange_began_does_not_stay(tmp_path):
    (tmp_path / "a.yaml").write_text(rule(id="old"))
    table, guard, record = Table(), SlowGuard(), Record()
    allowances = Allowances(table, lambda text: True)
    directory = Directory(lambda session: session, allowances.know)
    capture = Capture(
        Probes(), Inbox(), directory, guard, None, allowances, lambda text, length: SHAPE
    )
    service = RuleService(Rules(packs=[tmp_path]), tmp_path / "state")
    allowed = []
    table_allow = table.allow
    table.allow = lambda *a, **k: (allowed.append(a), table_allow(*a, **k))
    capture.start()
    service.start(capture, allowances, directory, record, record)
    assert guard.judged.wait(10)
    (tmp_path / "part").write_text(rule(id="new"))
    os.replace(tmp_path / "part", tmp_path / "a.yaml")
    wait_until(lambda: ids(service) == ["new"], 10)
    assert record.outcomes == ["in_force"], "the thread that lets pass has not come to it"
    guard.go_on.set()
    wait_until(lambda: record.outcomes == ["in_force", "in_force"], 10)
    assert allowed, "the old word was written"
    assert not table.passes(BACKEND, naming=0)
    assert table.classes[BACKEND][0] > 1, "the session has a number that nothing was allowed to"
    service.stop()
    capture.stop()
