"""When a grant lets nothing pass, and which statements may have changed what it is about."""

from dataclasses import replace

import pytest

from agent.approvals.known import Known, Request, may_change
from model.approval import Bound, Grant, Moment, Term
from model.session import BackendKey

HOUR = 3_600_000_000
NOW = Moment(1_790_000_000_000_000, 50 * HOUR, "boot")
GRANT = Grant(
    "g", "CODE", Bound("h", "main", "shop", "app", "", "ab"), 2, Term.begin(NOW, HOUR),
    relations=("shop.orders", "prices"), functions=("purge",),
)  # fmt: skip
MESSAGE = Request(BackendKey(1, 2), 77)


def test_it_lets_pass_until_it_is_used_up():
    assert Known(GRANT).refusal(NOW) == ""
    assert Known(GRANT, used=1).refusal(NOW) == ""
    assert Known(GRANT, used=2).refusal(NOW) == "used up"


def test_it_lets_nothing_pass_once_it_is_void_or_expired():
    assert Known(GRANT, void="changed").refusal(NOW) == "changed"
    assert Known(GRANT).refusal(replace(NOW, boot_us=NOW.boot_us + HOUR)) == "expired"


def test_after_a_restart_of_the_host_it_waits_for_the_collector():
    assert "collector" in Known(GRANT).refusal(replace(NOW, boot_id="next"))


def test_statements_of_one_message_are_one_use():
    known = Known(GRANT, used=2, last=MESSAGE)
    assert known.continues(MESSAGE)
    assert not known.continues(replace(MESSAGE, at_us=78))
    assert not known.continues(replace(MESSAGE, backend=BackendKey(1, 3)))


def test_without_the_moment_of_the_message_each_statement_is_a_use():
    unknown = Request(BackendKey(1, 2), 0)
    assert not Known(GRANT, last=unknown).continues(unknown)


@pytest.mark.parametrize(
    "text",
    [
        b"ALTER TABLE shop.orders ADD COLUMN x int",
        b"alter table Orders rename to old",
        b"DROP SCHEMA shop CASCADE",
        b"CREATE TRIGGER t BEFORE DELETE ON shop.orders EXECUTE FUNCTION f()",
        b'CREATE RULE r AS ON DELETE TO "orders" DO INSTEAD NOTHING',
        b"CREATE TEMP TABLE prices (id int)",
        b"CREATE OR REPLACE FUNCTION purge() RETURNS void LANGUAGE sql AS ''",
        b'ALTER TABLE U&"\\006Frders" ADD COLUMN x int',
    ],
)
def test_what_defines_something_of_these_names_may_have_changed_it(text):
    assert may_change(text, GRANT)


@pytest.mark.parametrize(
    "text",
    [
        b"DELETE FROM shop.orders",
        b"SELECT created FROM shop.orders",
        b"CREATE TABLE elsewhere (id int)",
        b"TRUNCATE shop.orders",
    ],
)
def test_what_reads_or_writes_it_or_defines_something_else_has_not(text):
    assert not may_change(text, GRANT)
