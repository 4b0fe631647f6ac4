"""Grants on the host: a use is on the disk before the statement goes, and stays used."""

from dataclasses import replace

import pytest

from agent.approvals.desk import pause_seconds
from agent.approvals.known import Request
from agent.approvals.store import ApprovalStoreError
from agent.probes.layout import Part
from model.approval import Moment, Step, Term
from model.session import Session
from tests.agent.approvals.hosting import BOUND, HOUR, NOW, SESSION, Host, grant


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path)
    yield host
    host.store.close()


def test_a_grant_lets_pass_as_often_as_it_says_and_each_use_is_a_step(host):
    host.desk.accept([(grant(uses=2), 0)])
    assert [host.use(), host.use(), host.use()] == ["g1", "g1", ""]
    host.work()
    assert [step.step for step in host.steps] == [Step.USED, Step.USED]
    assert [step.reason for step in host.steps] == ["use 1 of 2", "use 2 of 2"]


def test_what_is_bound_otherwise_is_not_let_pass(host):
    host.desk.accept([(grant(), 0)])
    for field in ("agent", "cluster", "database", "user", "identity", "digest"):
        assert host.use(replace(BOUND, **{field: "other"})) == ""
    assert host.use() == "g1"


def parts(host, *given, message=9):
    """Whether each passes, one after the other in one message."""
    return [bool(host.use(message=message, part=part)) for part in given]


def test_what_the_message_itself_asks_for_is_one_use(host):
    host.desk.accept([(grant(), 0)])
    assert parts(host, Part.CLIENTS, Part.CLIENTS, Part.CLIENTS) == [True, True, True]
    assert parts(host, Part.CLIENTS, message=10) == [False]


def test_what_a_function_executes_is_a_use_each_time_also_in_one_message(host):
    host.desk.accept([(grant(uses=2), 0)])
    assert parts(host, Part.NONE, Part.NONE, Part.NONE) == [True, True, False]
    host.work()
    assert [step.reason for step in host.steps] == ["use 1 of 2", "use 2 of 2"]


def test_a_command_inside_a_function_has_one_query(host):
    host.desk.accept([(grant(), 0)])
    assert parts(host, Part.NONE, Part.COMMANDS, Part.COMMANDS) == [True, True, False]


def test_a_query_whose_command_nobody_refused_is_a_use_each_time(host):
    host.desk.accept([(grant(), 0)])
    assert parts(host, Part.COMMANDS, Part.COMMANDS) == [True, False]


def test_a_function_uses_a_grant_up_and_then_the_message_itself_does_not_pass(host):
    host.desk.accept([(grant(), 0)])
    assert parts(host, Part.NONE, Part.CLIENTS) == [True, False]


def test_the_message_uses_a_grant_up_and_then_a_function_in_it_does_not_pass(host):
    host.desk.accept([(grant(), 0)])
    assert parts(host, Part.CLIENTS, Part.NONE, Part.COMMANDS) == [True, False, False]


def test_a_moment_that_is_not_known_continues_nothing(host):
    host.desk.accept([(grant(), 0)])
    request = Request(SESSION.key, 0, Part.CLIENTS)
    used = [host.desk.use(BOUND, request, SESSION, "rule") for _ in range(2)]
    assert used == ["g1", ""]


def alter(host):
    host.desk.passed(SESSION.key, b"ALTER TABLE shop.orders RENAME TO o2")


def alter_unseen(host):
    host.fingerprint = "f2"
    host.work()


def go_beyond_its_end(host):
    host.now = replace(NOW, boot_us=NOW.boot_us + HOUR)


def hear_nothing_of_the_catalog(host):
    host.desk._checked_at.clear()


@pytest.mark.parametrize("uses", [1, 2])
@pytest.mark.parametrize(
    "end", [alter, alter_unseen, go_beyond_its_end, hear_nothing_of_the_catalog]
)
def test_a_grant_that_ends_while_its_message_runs_lets_no_further_part_pass(host, end, uses):
    host.desk.accept([(grant(uses=uses), 0)])
    assert parts(host, Part.CLIENTS, Part.CLIENTS) == [True, True]
    assert host.desk.holds("g1")
    end(host)
    assert parts(host, Part.CLIENTS) == [False]
    assert not host.desk.holds("g1")


def test_what_runs_by_a_used_up_grant_goes_on_when_the_collector_no_longer_lists_that(host):
    host.desk.accept([(grant(), 0)])
    assert parts(host, Part.CLIENTS) == [True]
    host.desk.accept([])
    assert parts(host, Part.CLIENTS) == [True]
    assert host.desk.holds("g1")


def test_a_grant_that_is_taken_back_with_uses_left_lets_no_further_part_pass(host):
    host.desk.accept([(grant(uses=2), 0)])
    assert parts(host, Part.CLIENTS) == [True]
    host.desk.accept([])
    assert parts(host, Part.CLIENTS) == [False]
    assert not host.desk.holds("g1")


def test_the_catalog_is_asked_of_a_used_up_grant_until_its_session_ends(host):
    host.desk.accept([(grant(), 0)])
    host.use()
    host.work()
    looks = host.looks
    host.work()
    assert host.looks == looks + 1
    host.session = Session(SESSION.key)
    host.work()
    assert host.looks == looks + 1


def test_a_new_process_knows_what_continues(host):
    host.desk.accept([(grant(), 0)])
    assert parts(host, Part.CLIENTS) == [True]
    again = host.again()
    again.work()
    assert parts(again, Part.NONE) == [False]
    assert parts(again, Part.CLIENTS) == [True]


def test_a_use_is_not_forgotten_by_a_new_process_and_its_step_is_told_there(host):
    host.desk.accept([(grant(), 0)])
    assert host.use() == "g1"
    again = host.again()
    again.desk.accept([(grant(), 0)])
    assert again.use() == ""
    again.work()
    assert [step.step for step in again.steps] == [Step.USED]


def test_a_new_process_asks_the_catalog_first(host):
    host.desk.accept([(grant(), 0)])
    again = host.again()
    assert again.use() == ""
    again.work()
    assert again.use() == "g1"


def test_a_change_while_no_process_watched_voids_it(host):
    host.desk.accept([(grant(), 0)])
    host.fingerprint = "f2"
    again = host.again()
    again.work()
    assert again.use() == ""
    again.desk._tell()
    assert [step.step for step in again.steps] == [Step.VOIDED]


def test_without_the_catalog_a_new_process_holds_it_for_void(tmp_path):
    host = Host(tmp_path, fingerprint="")
    assert "restart" in host.desk.accept([(grant(), 0)])
    again = host.again()
    assert again.use() == ""
    again.work()
    assert [step.step for step in again.steps] == [Step.VOIDED]
    assert "stopped" in again.steps[0].reason


def test_without_the_catalog_it_works_while_the_process_watches(tmp_path):
    host = Host(tmp_path, fingerprint="")
    host.desk.accept([(grant(), 0)])
    assert host.use() == "g1"


def test_a_change_that_no_text_tells_is_found_in_the_catalog(host):
    host.desk.accept([(grant(), 0)])
    host.fingerprint = "f2"
    host.work()
    assert host.use() == ""
    host.desk._tell()
    assert [step.step for step in host.steps] == [Step.VOIDED]


def test_a_catalog_that_does_not_answer_suspends_it(host, monkeypatch):
    host.desk.accept([(grant(), 0)])
    host.fingerprint = OSError("gone")
    monkeypatch.setattr("agent.approvals.desk.FRESH_SECONDS", 0.0)
    host.work()
    assert host.use() == ""
    monkeypatch.undo()
    host.fingerprint = "f1"
    host.work()
    assert host.use() == "g1"


def test_an_expired_grant_lets_nothing_pass_however_the_clock_is_set(host):
    host.desk.accept([(grant(uses=9), 0)])
    host.now = replace(NOW, boot_us=NOW.boot_us + HOUR, wall_us=NOW.wall_us - 9 * HOUR)
    assert host.use() == ""
    host.now = replace(NOW, wall_us=NOW.wall_us + HOUR)
    assert host.use() == ""
    host.now = NOW
    assert host.use() == "g1"


def test_told_again_it_does_not_last_longer(host):
    host.desk.accept([(grant(), 0)])
    host.now = replace(NOW, boot_us=NOW.boot_us + HOUR - 1, wall_us=NOW.wall_us + HOUR - 1)
    host.desk.accept([(replace(grant(), term=Term.begin(host.now, HOUR)), 0)])
    host.now = replace(NOW, boot_us=NOW.boot_us + HOUR, wall_us=NOW.wall_us + HOUR)
    assert host.use() == ""


def test_after_a_restart_of_the_host_the_collector_says_it_again(host):
    host.desk.accept([(grant(), 0)])
    host.now = Moment(NOW.wall_us + 1, 5, "next")
    assert host.use() == ""
    host.desk.accept([(replace(grant(), term=Term.begin(host.now, HOUR // 2)), 0)])
    assert host.use() == "g1"


def test_what_the_collector_no_longer_lists_is_over_and_its_uses_are_kept(host):
    host.desk.accept([(grant(), 0)])
    host.desk.accept([])
    assert host.use() == ""
    host.desk.accept([(grant(), 0)])
    assert host.use() == "g1"
    host.desk.accept([])
    host.desk.accept([(grant(), 0)])
    assert host.use() == ""


def test_a_grant_that_was_taken_back_does_not_live_again_in_a_new_process(host):
    host.desk.accept([(grant(), 0)])
    host.desk.accept([])
    again = host.again()
    again.work()
    assert again.use() == ""


def test_uses_that_only_the_collector_knows_of_count(host):
    host.desk.accept([(grant(), 1)])
    assert host.use() == ""


def test_a_use_that_cannot_be_written_down_is_none(host, monkeypatch):
    host.desk.accept([(grant(), 0)])

    def full(*_):
        raise ApprovalStoreError("disk full")

    monkeypatch.setattr(host.store, "save", full)
    assert host.use() == ""
    assert "disk full" in host.desk.problem
    monkeypatch.undo()
    assert host.use() == "g1"


def test_a_step_is_told_again_by_a_new_process_until_it_is_surely_recorded(host, monkeypatch):
    host.desk.accept([(grant(uses=3), 0)])
    host.use()
    host.work()
    again = host.again()
    again.work()
    assert [step.id for step in again.steps] == [step.id for step in host.steps]
    monkeypatch.setattr("agent.approvals.desk.TOLD_SECONDS", -1.0)
    again.work()
    again.use()
    last = again.again()
    last.work()
    assert [step.reason for step in last.steps] == ["use 2 of 3"]


def test_a_transaction_that_stays_open_does_not_make_the_server_be_asked_more_often_for_long():
    assert pause_seconds(100.0, 101.0) < pause_seconds(None, 101.0)
    assert pause_seconds(100.0, 3700.0) == pause_seconds(None, 3700.0)
