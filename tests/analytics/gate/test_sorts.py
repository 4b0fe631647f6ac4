"""What one detector says of unlike things is weighed by the history of its like."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analytics.findings import CLAIMED
from analytics.gate import Gate
from tests.analytics.gate.candidates import (
    HOUR_US,
    IDENTITIES,
    MINUTE_US,
    START_US,
    candidate,
    fed,
    ordinary,
)

DAYS = 14
NOW_US = START_US + DAYS * 24 * HOUR_US + HOUR_US


def act(kind, score, at_us=NOW_US, identity="alice", cause="x"):
    return candidate(score, at_us, "first_act", identity, cause, details=(("act", kind),))


def came(login, score, at_us=NOW_US, identity="alice"):
    bits = {"login": f"{score}", "address": "0", "program": "0", "spray": "0"}
    details = (("login", login), *((f"{name}_bits", value) for name, value in bits.items()))
    return candidate(score, at_us, "origin", identity, "10.0.0.9", details=details)


@pytest.fixture(scope="module")
def gate() -> Gate:
    """Every day some people drop a table; nobody ever reached for the server's files."""
    dropped = [
        act("object", 4.0, START_US + (day * 24 + 8 + n) * HOUR_US, f"u{(3 * day + n) % 40}")
        for day in range(DAYS)
        for n in range(3)
    ]
    days = [each for each in ordinary(DAYS) if each.detector != "origin"]
    return fed(Gate(), sorted([*days, *dropped], key=lambda each: each.at_us))[0]


def told(gate, *candidates):
    return gate.step(candidates, IDENTITIES, max(each.at_us for each in candidates))[1]


def test_an_act_that_hardly_ever_happens_is_not_made_ordinary_by_those_of_every_day(gate):
    assert told(gate, act("object", 4.0)) == []
    assert len(told(gate, act("flag", 4.0))) == 1


def test_that_somebody_known_came_to_a_server_explains_what_is_new_there(gate):
    news = [
        candidate(9.0, NOW_US + MINUTE_US, "first_seen", cause="hr.pay"),
        candidate(9.0, NOW_US + 2 * MINUTE_US, "volume"),
    ]
    apart = max(each.evidence for each in told(gate, *news))
    after = max((each.evidence for each in told(gate, came("new here", 3.0), *news)), default=0.0)
    assert after < apart


def test_an_arrival_alone_is_not_told_and_a_stranger_is(gate):
    assert told(gate, came("new here", 4.5)) == []
    assert len(told(gate, came("stranger", 4.5))) == 1


def test_what_does_not_come_with_an_arrival_is_evidence_beside_it(gate):
    errors = candidate(9.0, NOW_US + MINUTE_US, "error_burst", cause="42501")
    [raised] = told(gate, came("new here", 3.0), errors)
    assert raised.agrees == ("origin",)


def test_an_address_that_fails_on_one_login_is_no_case_however_often(gate):
    def failing(roles):
        return candidate(30.0, NOW_US, "origin", details=(("failed_roles", str(roles)), CLAIMED))

    assert told(gate, failing(1)) == []
    assert len(told(gate, failing(2))) == 1


def test_looking_after_a_server_is_no_reach_for_its_files(gate):
    calls = {name: act("call", 9.0, cause=name) for name in ("pg_reload_conf", "pg_read_file")}
    evidence = {name: told(gate, call)[0].evidence for name, call in calls.items()}
    assert evidence["pg_reload_conf"] < evidence["pg_read_file"]


def test_dumps_have_a_history_of_their_own_and_count_for_less(gate):
    exported = candidate(9.0, NOW_US)
    dumped = replace(exported, details=(("way", "dump"),))
    [more], [less] = told(gate, exported), told(gate, dumped)
    assert less.evidence < more.evidence


def test_two_sorts_of_one_detector_do_not_agree(gate):
    """An agreement may end a session."""
    acts = act("flag", 30.0), act("write", 30.0, NOW_US + MINUTE_US, cause="y")
    after, _ = gate.step(acts, IDENTITIES, NOW_US + MINUTE_US)
    assert after.agreements == ()
    volume = candidate(30.0, NOW_US + 2 * MINUTE_US, "volume")
    [agreement] = after.step([volume], IDENTITIES, volume.at_us)[0].agreements
    assert agreement.detectors == ("first_act",)


def test_nor_does_what_is_new_where_somebody_just_came(gate):
    pair = act("flag", 30.0), candidate(30.0, NOW_US + MINUTE_US, "volume")
    assert gate.step(pair, IDENTITIES, pair[1].at_us)[0].agreements
    arrived = came("new here", 3.0), *pair
    assert gate.step(arrived, IDENTITIES, pair[1].at_us)[0].agreements == ()


def test_a_candidate_without_details_is_of_its_detector_alone(gate):
    bare = replace(act("flag", 4.0), details=())
    after, _ = gate.step([bare], IDENTITIES, NOW_US)
    assert "first_act" in after.history.peaks
