"""What may have changed under a grant, and is not known yet, suspends it."""

from dataclasses import replace

import pytest

from agent.approvals.suspects import OpenTransaction
from model.approval import Step
from tests.agent.approvals.hosting import HOUR, NOW, SESSION, Host, grant


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path)
    yield host
    host.store.close()


ALTER = b"ALTER TABLE shop.orders ADD x int"
IN_TRANSACTION = OpenTransaction(SESSION.key.pid, "3/12", defines=False)
WRITING = OpenTransaction(99, "4/7", defines=True)


def test_a_statement_that_may_change_the_relation_suspends_it_until_its_transaction_is_over(host):
    host.desk.accept([(grant(uses=5), 0)])
    host.open = [IN_TRANSACTION]
    host.desk.passed(SESSION.key, ALTER)
    assert host.use() == ""
    host.work()
    assert host.use() == ""
    host.open = [replace(IN_TRANSACTION, number="3/13")]
    host.work()
    assert host.use() == "g1"  # it failed or was rolled back: the catalog says the same
    assert [step.step for step in host.steps if step.step is Step.VOIDED] == []


def test_a_statement_that_has_changed_the_relation_voids_it(host):
    host.desk.accept([(grant(uses=5), 0)])
    host.open = [IN_TRANSACTION]
    host.desk.passed(SESSION.key, ALTER)
    host.work()
    host.open, host.fingerprint = [], "f2"
    assert host.use() == ""
    host.work()
    assert host.use() == ""
    host.desk._tell()
    assert [step.step for step in host.steps] == [Step.VOIDED]
    again = host.again()
    again.desk.accept([(grant(uses=5), 0)])
    assert again.use() == ""


def test_one_that_comes_while_another_is_looked_at_is_waited_for_as_well(host):
    host.desk.accept([(grant(uses=5), 0)])
    host.desk.passed(SESSION.key, ALTER)

    def meanwhile():
        host.looks += 1
        host.desk.passed(SESSION.key, ALTER)
        return "f1"

    host.look, look = meanwhile, host.look
    host.work()
    assert host.use() == ""
    host.look = look
    host.work()
    assert host.use() == "g1"


def test_what_is_prepared_to_be_committed_later_suspends_it_until_then(host):
    host.desk.accept([(grant(uses=5), 0)])
    host.open = [IN_TRANSACTION]
    host.desk.passed(SESSION.key, ALTER)
    host.work()
    prepared = OpenTransaction(0, "prepared 812", defines=True, prepared_us=NOW.wall_us + 9)
    host.open = [prepared]
    host.work()
    host.work()
    assert host.use() == ""
    host.open = [replace(prepared, number="prepared 5", prepared_us=NOW.wall_us - HOUR)]
    host.work()
    assert host.use() == "g1"  # what was prepared long before is none of it


def test_what_was_writing_when_it_was_granted_may_have_changed_it_and_must_end_first(host):
    host.open = [WRITING, replace(WRITING, pid=98, number="5/2", defines=False)]
    assert "ended" in host.desk.accept([(grant(uses=5), 0)])
    host.work()
    assert host.use() == ""
    host.open = [replace(WRITING, number="4/8"), replace(WRITING, pid=98, number="5/2")]
    host.work()
    assert host.use() == "g1"


def test_a_new_process_waits_for_what_it_has_not_seen_begin(host):
    host.desk.accept([(grant(uses=5), 0)])
    again = host.again()
    again.open = [WRITING]
    again.work()
    assert again.use() == ""
    again.open = []
    again.work()
    assert again.use() == "g1"


def test_a_grant_that_was_not_listed_meanwhile_is_looked_at_like_a_new_one(host):
    host.desk.accept([(grant(uses=5), 0)])
    host.desk.accept([])
    host.open = [WRITING]
    host.desk.accept([(grant(uses=5), 0)])
    host.work()
    assert host.use() == ""


def test_without_the_catalog_a_statement_that_may_change_the_relation_voids_it_at_once(tmp_path):
    host = Host(tmp_path, fingerprint="")
    host.desk.accept([(grant(uses=5), 0)])
    host.desk.passed(SESSION.key, ALTER)
    assert host.use() == ""
    host.work()
    again = host.again()
    again.desk.accept([(grant(uses=5), 0)])
    assert again.use() == ""
