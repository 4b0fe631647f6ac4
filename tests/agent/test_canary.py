"""A probe that is attached and never fires is noticed."""

import threading

import pytest

from agent.canary import TRIES, Canary, Minded
from agent.sources.canary import Sightings
from model.event import Completion, Protocol, ResponseSent, SessionEnded, StatementStarted
from model.session import BackendKey

ATTACHED = ["PortalRun", "secure_write", "HandleFunctionRequest", "sched_process_exit"]
PID = 4711


class Server:
    """Answers a canary as a server with these probes would; each act takes a second."""

    def __init__(self, *silent):
        self.silent = set(silent)
        self.now = 1000.0
        self.minded = Minded()
        self.rounds = 0
        self.attached = ATTACHED
        self.refuses = False
        self.canary = Canary(
            self.minded, lambda: self.attached, self.sing, 60.0, 0.0, lambda: self.now
        )

    def sing(self, sightings):
        self.rounds += 1
        self.now += 1.0
        if self.refuses:
            raise ConnectionError("connection failed\nand more that nobody needs")
        sightings.pids.add(PID)
        sightings.done |= {"whole", "by parts", "end"}
        self.minded.observe(self.events(sightings.token))

    def events(self, token):
        key = BackendKey(PID, 1)
        told = {
            "PortalRun": [
                StatementStarted(1, key, f"SELECT 1 /* {token} {how} */".encode(), 1)
                for how in ("whole", "by parts")
            ],
            "secure_write": [ResponseSent(2, key, 10, (Completion("SELECT", 1),), ready=True)],
            "sched_process_exit": [SessionEnded(3, key)],
        }
        return [event for of, events in told.items() for event in events if of not in self.silent]


def test_a_round_that_all_probes_told_of_is_good():
    server = Server()
    server.canary.round()
    told = dict.fromkeys(("PortalRun", "secure_write", "sched_process_exit"), True)
    assert server.canary.fires() == told
    assert server.canary.problems() == []
    assert server.rounds == 1


def test_what_this_login_cannot_make_fire_is_neither_good_nor_bad():
    server = Server()
    server.canary.round()
    assert "HandleFunctionRequest" not in server.canary.fires()


@pytest.mark.parametrize("silent", ["PortalRun", "secure_write", "sched_process_exit"])
def test_the_probe_that_is_silent_is_named_and_no_other(silent):
    server = Server(silent)
    server.canary.round()
    assert [one for one, ok in server.canary.fires().items() if not ok] == [silent]
    assert server.canary.problems() == [f"the probe on {silent} does not fire"]
    assert server.rounds == TRIES, "it was tried again before anybody was told"


def test_a_probe_that_fires_again_is_good_again():
    server = Server("PortalRun")
    server.canary.round()
    server.silent.clear()
    server.canary.round()
    assert all(server.canary.fires().values())
    assert server.canary.problems() == []


def test_both_protocols_must_be_told_of():
    sightings = Sightings(["PortalRun"], pids={PID}, done={"whole", "by parts"})
    text = f"SELECT 1 /* {sightings.token} whole */".encode()
    sightings.observe(StatementStarted(1, BackendKey(PID, 1), text, len(text)))
    assert sightings.proofs() == [("PortalRun", False)]


def test_sessions_of_others_prove_nothing():
    sightings = Sightings(["HandleFunctionRequest"], pids={PID}, done={"call"})
    other = BackendKey(PID + 1, 1)
    sightings.observe(StatementStarted(1, other, b"", 0, protocol=Protocol.FASTPATH))
    assert sightings.proofs() == [("HandleFunctionRequest", False)]


def test_a_server_that_nobody_can_log_in_to_proves_nothing_after_a_while():
    server = Server()
    server.canary.round()
    server.refuses = True
    server.canary.round()
    assert all(server.canary.fires().values()), "it may be starting again"
    server.now += 121
    assert set(server.canary.fires().values()) == {False}
    assert server.canary.problems() == [
        "its probes have not been tried for long: connection failed"
    ]
    server.refuses = False
    server.canary.round()
    assert all(server.canary.fires().values())


def test_a_round_that_never_ends_is_no_proof():
    server = Server()
    server.now += 121
    assert server.canary.fires() == dict.fromkeys(ATTACHED, False)
    assert server.canary.problems() == [
        "its probes have not been tried for long: no session has come to its end"
    ]


def test_where_no_probes_are_attached_nothing_is_tried():
    server = Server()
    server.attached = []
    server.canary.round()
    server.now += 1000
    server.canary.round()
    assert server.rounds == 0
    assert server.canary.fires() == {}
    assert server.canary.problems() == []


def test_a_canary_that_stands_still_does_not_keep_its_owner_from_stopping():
    still, stuck = threading.Event(), threading.Event()

    def sing(sightings):
        stuck.set()
        still.wait()

    canary = Canary(Minded(), lambda: ATTACHED, sing, 60.0, 10.0)
    thread = threading.Thread(target=canary.run, daemon=True)
    thread.start()
    stuck.wait()
    canary.stop()  # at once
    still.set()
    thread.join(5)
    assert not thread.is_alive()
    assert canary.fires() == {}
