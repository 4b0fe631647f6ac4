"""Where somebody comes from: campaigns in miniature, and what only looks like one."""

import random
from itertools import pairwise

import pytest

from analytics.detectors.origin import Origin, OriginSettings
from analytics.findings import CLAIMED
from tests.analytics.streams import batches, frame, statement

DAY = 86_400
MORNING = 600.0
"""Seconds after the stream's start, which is 08:53 UTC."""


def at(day, second=0.0):
    return day * DAY + MORNING + second


def working(days=20, services=6, people=6):
    """Services on their hosts, people at their desks; now and then somebody works from home."""
    dice = random.Random(5)
    rows = []
    for day in range(days):
        for n in range(services):
            rows += [service(day, n, 60 * k) for k in range(3)]
        for n in range(people):
            away = dice.random() < 0.05
            address = f"10.9.0.{dice.randrange(250)}" if away else f"10.1.0.{n}"
            rows += [person(day, n, 60 * k, address) for k in range(3)]
    return rows


def service(day, n, second, address="", program=""):
    return statement(
        at(day, second), user_name=f"service{n}", identity_kind="service",
        client_address=address or f"10.2.0.{n}", application_name=program or f"svc{n}-7f9d8-ab12c",
    )  # fmt: skip


def person(day, n, second, address="", program="psql"):
    return statement(
        at(day, second), user_name=f"person{n}", identity_kind="human",
        client_address=address or f"10.1.0.{n}", application_name=program,
    )  # fmt: skip


def failed(day, user, second, address="203.0.113.9"):
    return statement(
        at(day, second), user_name=user, identity_kind="", application_name="", operation="login",
        protocol="startup", sqlstate="28P01", client_address=address, rows=0,
    )  # fmt: skip


def told(rows, settings=None, size=500):
    detector = Origin(settings or OriginSettings())
    state, found = detector.empty_state(), []
    for part in batches(frame(sorted(rows, key=lambda row: row["started_at"])), size):
        state, news = detector.observe(state, part)
        found += news
    return found


def strongest(rows, identity):
    """The score of what is said of somebody in the last days."""
    return max((f.score for f in told(rows) if f.identity == identity and later(f)), default=0.0)


def later(finding):
    return finding.at_us >= statement(at(19))["started_at"]


def test_an_address_that_failed_on_many_roles_and_then_became_one_is_told_in_one_sentence():
    spray = [failed(20, f"person{n % 6}x{n}", n) for n in range(26)] + [failed(20, "person3", 27)]
    found = told(working() + spray + [person(20, 3, 60, "203.0.113.9")])
    worst = max(found, key=lambda finding: finding.score)
    assert worst.identity == "person3"
    assert worst.sentence.startswith(
        "1 address (203.0.113.9) failed on 27 roles in 27 logins, then became person3"
    )
    assert dict(worst.details)["failed_roles"] == "27"


def test_who_fails_to_log_in_is_only_claimed_and_who_comes_is_not():
    """What is claimed agrees with nothing: it must not end the session of whose login it is."""
    fails = [failed(20, f"role{n}", n) for n in range(26)]
    found = told([*working(), *fails, service(20, 2, 1000, "10.1.0.4", "psql")])
    claims = {f.title.partition(" from ")[0]: CLAIMED in f.details for f in found if later(f)}
    assert claims["Failed logins"] is True
    assert claims["New origin: service2"] is False


def test_a_spray_alone_is_told_again_only_as_it_grows():
    found = [
        f for f in told(working() + [failed(20, f"role{n}", n) for n in range(200)]) if later(f)
    ]
    scores = [finding.score for finding in found]
    assert 2 <= len(scores) <= 8
    assert all(after >= before + 0.999 for before, after in pairwise(scores))


def test_a_service_account_at_a_persons_desk_with_a_persons_tool_outweighs_a_new_host():
    stolen = strongest([*working(), service(20, 2, 1000, "10.1.0.4", "psql")], "service2")
    scaled = strongest([*working(), service(20, 2, 1000, "10.2.0.77")], "service2")
    assert stolen > scaled + 3


def test_a_mistyped_password_before_work_is_nothing():
    mistyped = [failed(20, "person1", n, "10.1.0.1") for n in range(3)]
    assert strongest([*working(), *mistyped, person(20, 1, 60)], "person1") == 0


def test_a_new_network_that_others_came_from_already_surprises_less():
    moved = [person(20, n, 10 * n, f"172.16.0.{n}") for n in range(6)]
    together = strongest(working() + moved, "person3")
    alone = strongest([*working(), person(20, 3, 30, "172.16.0.3")], "person3")
    assert together < alone


def test_a_service_that_scales_out_often_surprises_less_than_one_that_never_moved():
    hosts = [service(day, 0, 900, f"10.2.0.{100 + day}") for day in range(1, 20, 2)]
    rows = [
        *working(),
        *hosts,
        service(20, 0, 900, "10.2.0.200"),
        service(20, 1, 900, "10.2.0.201"),
    ]
    assert strongest(rows, "service0") < strongest(rows, "service1")


def test_a_pods_new_name_is_the_same_program():
    renamed = [service(20, 1, 900, program="svc1-55ccd-zz9yx")]
    assert strongest([*working(), *renamed], "service1") == 0


def test_the_second_place_of_a_newcomer_is_less_of_a_surprise_than_that_of_others():
    arrived = person(19, 9, 0, "10.1.0.9")
    once = strongest([*working(), arrived], "person9")
    twice = strongest([*working(), arrived, person(19, 9, 60, "10.1.0.99")], "person9")
    other = strongest([*working(), person(20, 1, 60, "198.51.100.7")], "person1")
    assert twice - once < other


def test_a_login_that_never_worked_here_is_told_and_one_of_nobody_known_more():
    new = person(19, 9, 0, "10.1.0.9")
    stranger = new | {"identity_kind": "unknown", "identity_name": "", "user_name": "old_login"}
    known, unknown = (
        strongest([*working(), new], "person9"),
        strongest([*working(), stranger], "old_login"),
    )
    assert 1.5 < known < unknown


def test_a_finding_says_whether_a_new_login_is_somebodys():
    new = person(19, 9, 0, "10.1.0.9")
    stranger = new | {"identity_kind": "unknown", "identity_name": "", "user_name": "old_login"}
    moved = person(19, 1, 0, "198.51.100.7")
    for row, said in ((new, "new here"), (stranger, "stranger"), (moved, "known")):
        who = row["user_name"]
        [found] = [f for f in told([*working(), row]) if f.identity == who and later(f)]
        assert dict(found.details)["login"] == said


def test_who_moves_from_server_to_server_surprises_less_on_the_next_than_who_never_did():
    def visits(n, cluster, day):
        known = {"identity_name": f"Person {n}", "cluster": cluster}
        return [person(day, n, 60 * k) | known for k in range(3)]

    servers = [service(day, 0, 30 * k) | {"cluster": str(k)} for day in range(20) for k in range(6)]
    settled = [row for day in range(20) for row in visits(1, "0", day)]
    restless = [row for day in range(20) for row in visits(2, str(day // 4), day)]
    rows = [*servers, *settled, *restless, *visits(1, "5", 20), *visits(2, "5", 20)]
    scores = {
        who: max((f.score for f in told(rows) if f.identity == who and later(f)), default=0.0)
        for who in ("Person 1", "Person 2")
    }
    assert scores["Person 1"] > scores["Person 2"] + 0.5


def test_a_desk_that_is_known_from_another_server_is_no_new_place():
    desk = {"identity_name": "Person 1"}
    here = [person(day, 1, 90, "10.7.7.7") | desk for day in range(20)]
    there = [person(day, 1, 60) | desk | {"cluster": "5433"} for day in range(15, 21)]
    moved = [person(20, 1, 120, "10.7.7.7") | desk | {"cluster": "5433"}]
    assert strongest([*working(), *there, *moved], "Person 1") > 1
    assert strongest([*working(), *here, *there, *moved], "Person 1") == 0


def test_on_a_server_that_is_watched_since_days_a_newcomer_is_none():
    assert strongest([person(1, 1, 0, "10.1.0.1"), person(3, 9, 0, "10.1.0.9")], "person9") == 0


def test_a_young_identity_says_how_long_its_history_is():
    found = told([*working(days=3), person(3, 1, 60, "198.51.100.7", "dbeaver")])
    sentences = [finding.sentence for finding in found if finding.identity == "person1"]
    assert sentences
    assert sentences[-1].endswith("days of history)")


def test_an_event_of_2099_neither_raises_nor_hides_what_comes_after_it():
    rows = frame(working())
    jump = frame([statement(75 * 365 * DAY, user_name="service1", identity_kind="service")])
    after = frame([person(20, 3, 60, "203.0.113.9", "sqlmap")])
    detector = Origin()
    state, _ = detector.observe(detector.empty_state(), rows)
    state, absurd = detector.observe(state, jump)
    state, found = detector.observe(state, after)
    assert absurd == []
    assert [finding.identity for finding in found] == ["person3"]


@pytest.mark.parametrize("address", ["", "fe80::1", "::1", "x" * 300, "10.0.0.1\0"])
def test_any_address_is_somebodys_place(address):
    assert told([*working(days=2), person(2, 1, 60, address)]) is not None
