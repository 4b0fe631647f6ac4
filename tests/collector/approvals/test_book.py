"""Requests and decisions: who may decide, what ends a grant, and that every step is an event."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.approvals.book import Book, DecisionError, Status, Who
from collector.approvals.shares import MOST_OF_AGENT, MOST_REQUESTS
from collector.approvals.state import ApprovalState
from model.approval import Bound, Moment, Step

HOUR = 3_600_000_000
NOW = Moment(1_790_000_000_000_000, 50 * HOUR, "boot")
BOUND = Bound("h", "main", "shop", "app", "", "ab" * 32)
DBA = Who("dba", ("dba", "root"))


def step(step=Step.REQUESTED, bound=BOUND, number=1, **fields):
    row = {
        "occurred_at": NOW.wall_us + number,
        "id": f"s{number}",
        "step": step.value,
        "request": bound.code,
        "agent": bound.agent,
        "cluster": bound.cluster,
        "database": bound.database,
        "user_name": bound.user,
        "identity": bound.identity,
        "identity_kind": "human",
        "identity_name": "alice",
        "pid": 7,
        "backend_started_at": 1,
        "statement_id": 9,
        "rule_id": "mass-delete",
        "digest": bound.digest,
        "text": "DELETE FROM shop.orders",
        "relations": ["shop.orders"],
        "functions": [],
        "flags": [],
        "names": ["app", "alice", "Alice.Smith"],
        "grant_id": "",
        "reason": "",
    }
    return row | fields


@pytest.fixture
def book():
    book = Book()
    book.observe(step())
    return book


def flood(book, bound, requests):
    for number in range(requests):
        one = replace(bound, digest=f"{number:064x}")
        book.observe(step(bound=one, number=number + 2))


def give(book, who=DBA, uses=1, now=NOW, grant="g1", reason="ticket 7"):
    return book.give(BOUND.code, who, grant, uses=uses, lasts_us=HOUR, reason=reason, now=now)


def said(book):
    return [row["step"] for row in book.take().rows]


def test_a_refusal_is_a_request_and_a_repeat_is_the_same_one(book):
    book.observe(step(number=2))
    (asked,) = book.requests()
    assert (asked.status, asked.times, asked.id) == (Status.PENDING, 2, BOUND.code)


def test_a_grant_is_an_event_with_who_why_and_until_when(book):
    give(book, uses=3)
    (row,) = book.take().rows
    assert (row["step"], row["actor"], row["reason"]) == ("granted", "dba", "ticket 7")
    assert (row["uses"], row["expires_at"]) == (3, NOW.wall_us + HOUR)
    assert book.request(BOUND.code).status is Status.GRANTED


@pytest.mark.parametrize("name", ["app", "APP", "alice", "alice.smith"])
def test_nobody_grants_their_own_under_any_of_their_names_and_trying_is_an_event(book, name):
    with pytest.raises(DecisionError, match="nobody grants their own"):
        give(book, Who("dba", ("dba", name)))
    assert said(book) == ["refused_self"]
    assert book.living("h") == []


def test_a_name_that_became_known_later_counts_too(book):
    book.learn(BOUND.code, ("root",))
    with pytest.raises(DecisionError, match="nobody grants their own: root"):
        give(book)


def test_who_sent_the_same_statement_before_may_not_grant_it_either(book):
    book.observe(step(number=2, names=["app", "bob"], identity_name="bob"))
    with pytest.raises(DecisionError, match="alice"):
        give(book, Who("alice", ("alice",)))


def test_a_denial_is_an_event_and_a_repeat_of_the_request_does_not_undo_it(book):
    assert not book.refuse(BOUND.code, DBA, reason="no", now=NOW)
    book.observe(step(number=2))
    assert book.request(BOUND.code).status is Status.DENIED
    assert said(book) == ["denied"]


def test_a_grant_can_be_taken_back(book):
    give(book)
    assert book.refuse(BOUND.code, DBA, reason="too soon", now=NOW)
    assert book.living("h") == []
    assert said(book) == ["granted", "denied"]


def test_uses_are_counted_once_each_and_the_last_one_ends_it(book):
    give(book, uses=2)
    used = step(Step.USED, number=5, grant_id="g1")
    book.observe(used)
    book.observe(used)
    assert len(book.living("h")) == 1
    book.observe(step(Step.USED, number=6, grant_id="g1"))
    assert book.living("h") == []
    assert book.request(BOUND.code).status is Status.USED


def test_what_was_used_up_can_be_asked_for_again(book):
    give(book)
    book.observe(step(Step.USED, number=5, grant_id="g1"))
    book.observe(step(number=6))
    assert book.request(BOUND.code).status is Status.PENDING
    give(book, grant="g2")
    assert [each.grant.id for each in book.living("h")] == ["g2"]


def test_a_grant_that_an_agent_found_void_is_over(book):
    give(book)
    book.observe(step(Step.VOIDED, number=5, grant_id="g1", reason="altered"))
    assert book.living("h") == []
    assert book.grant_of(BOUND.code).over == "altered"


def test_another_agent_neither_uses_nor_voids_nor_takes_over(book):
    give(book)
    for each in (Step.USED, Step.VOIDED, Step.REQUESTED):
        book.observe(step(each, number=5, grant_id="g1", agent="evil", text="SELECT 1"))
    assert len(book.living("h")) == 1
    assert book.request(BOUND.code).text == "DELETE FROM shop.orders"


def test_a_request_whose_id_is_not_that_of_its_statement_is_not_taken():
    book = Book()
    book.observe(step(digest="cd" * 32))
    assert book.requests() == []


def test_an_expired_grant_is_over_and_that_is_an_event(book):
    give(book)
    book.take()
    book.tick(replace(NOW, wall_us=NOW.wall_us + HOUR - 1, boot_us=NOW.boot_us + HOUR - 1))
    assert said(book) == []
    book.tick(replace(NOW, wall_us=NOW.wall_us + HOUR))
    assert said(book) == ["expired"]
    assert book.request(BOUND.code).status is Status.EXPIRED


def test_a_clock_set_back_does_not_prolong_a_grant(book):
    give(book)
    book.take()
    book.tick(replace(NOW, wall_us=NOW.wall_us - 99 * HOUR, boot_us=NOW.boot_us + HOUR))
    assert said(book) == ["expired"]


def test_a_living_grant_is_not_given_twice(book):
    give(book)
    with pytest.raises(DecisionError, match="granted already"):
        give(book, grant="g2")


@pytest.mark.parametrize("reason", ["", "x" * 501])
def test_a_decision_says_why(book, reason):
    with pytest.raises(DecisionError, match="say why"):
        give(book, reason=reason)


def test_what_nobody_decided_about_is_forgotten_after_a_month(book):
    month = 31 * 24 * HOUR
    book.tick(replace(NOW, wall_us=NOW.wall_us + month))
    assert book.requests() == []


def test_a_flood_of_requests_pushes_out_the_oldest_and_never_a_living_grant():
    book = Book()
    book.observe(step())
    give(book)
    flood(book, BOUND, MOST_OF_AGENT + 10)
    book.tick(NOW)
    assert len(book.requests()) == MOST_OF_AGENT
    assert book.request(BOUND.code) is not None
    assert len(book.living("h")) == 1
    # Ten of the flood and the one beside it that took the grant's place.
    assert book.take().pushed_out == {"h": 11}


def test_a_flood_pushes_out_no_request_of_another_agent_or_login(book):
    theirs = replace(BOUND, agent="other")
    book.observe(step(bound=theirs))
    flood(book, replace(BOUND, user="flood"), MOST_REQUESTS)
    for number in range(MOST_REQUESTS // MOST_OF_AGENT):
        flood(book, replace(BOUND, agent=f"evil-{number}"), MOST_OF_AGENT + 1)
    book.tick(NOW)
    assert book.request(BOUND.code) is not None
    assert book.request(theirs.code) is not None
    assert MOST_REQUESTS - MOST_OF_AGENT < len(book.requests()) <= MOST_REQUESTS


def test_names_that_an_agent_makes_up_bring_it_no_more_room(book):
    for number in range(MOST_OF_AGENT + 9):
        book.observe(step(bound=replace(BOUND, agent="evil", user=f"u{number}"), number=number))
    book.tick(NOW)
    assert sum(each.bound.agent == "evil" for each in book.requests()) == MOST_OF_AGENT
    assert book.take().pushed_out == {"evil": 9}


def test_what_is_over_goes_before_what_waits(book):
    give(book)
    book.observe(step(Step.USED, number=5, grant_id="g1"))
    book.observe(step(bound=replace(BOUND, digest="cd" * 32), number=-5))
    flood(book, BOUND, MOST_OF_AGENT - 1)
    book.tick(NOW)
    assert book.request(BOUND.code) is None
    assert book.take().pushed_out == {}


def test_everything_is_there_again_after_a_restart(tmp_path, book):
    give(book, uses=2)
    book.observe(step(Step.USED, number=5, grant_id="g1"))
    state = ApprovalState(tmp_path)
    changes = book.take()
    state.save(changes, seq=7)
    state.close()
    again = ApprovalState(tmp_path)
    assert again.seq == 7
    restored = Book(again.requests(), again.grants())
    assert restored.requests() == book.requests()
    assert restored.living("h") == book.living("h")
    assert [row["step"] for row in again.unsaid()] == ["granted"]
    again.said([row["id"] for row in again.unsaid()])
    assert again.unsaid() == []
    again.close()


@given(st.lists(st.sampled_from(["ask", "give", "use", "deny", "void", "tick"]), max_size=30))
def test_whatever_happens_no_grant_is_used_more_often_than_given(actions):
    book = Book()
    for number, action in enumerate(actions):
        given_now = book.grant_of(BOUND.code)
        grant = given_now.grant.id if given_now else ""
        try:
            match action:
                case "ask":
                    book.observe(step(number=number))
                case "give":
                    give(book, grant=f"g{number}")
                case "use":
                    book.observe(step(Step.USED, number=number, grant_id=grant))
                case "deny":
                    book.refuse(BOUND.code, DBA, reason="no", now=NOW)
                case "void":
                    book.observe(step(Step.VOIDED, number=number, grant_id=grant))
                case "tick":
                    book.tick(NOW)
        except DecisionError:
            pass
        for living in book.living("h"):
            assert len(living.uses_known) < living.grant.uses
            assert book.request(BOUND.code).status is Status.GRANTED
