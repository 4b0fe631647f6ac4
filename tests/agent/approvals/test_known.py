"""When a grant lets nothing pass."""

from dataclasses import replace

from agent.approvals.known import Known, Request
from agent.probes.layout import Part
from model.approval import Bound, Grant, Moment, Term
from model.session import BackendKey

HOUR = 3_600_000_000
NOW = Moment(1_790_000_000_000_000, 50 * HOUR, "boot")
GRANT = Grant(
    "g", "CODE", Bound("h", "main", "shop", "app", "", "ab"), 2, Term.begin(NOW, HOUR),
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


def test_what_a_message_asks_for_is_executed_once():
    message = replace(MESSAGE, part=Part.CLIENTS)
    known = Known(GRANT, used=2, last=message)
    assert known.continues(message)
    assert not known.continues(replace(message, at_us=78))
    assert not known.continues(replace(message, backend=BackendKey(1, 3)))
    assert not known.continues(MESSAGE)


def test_what_a_function_executes_is_executed_anew_but_for_the_query_of_a_command():
    known = Known(GRANT, used=2, last=MESSAGE)
    query = replace(MESSAGE, part=Part.COMMANDS)
    assert not known.continues(MESSAGE)
    assert known.continues(query)
    assert not known.continued(query).continues(query)


def test_a_part_of_what_was_counted_needs_no_use_and_all_else():
    used_up = Known(GRANT, used=2)
    assert used_up.refusal(NOW, counted=True) == ""
    assert replace(used_up, void="changed").refusal(NOW, counted=True) == "changed"
    late = replace(NOW, boot_us=NOW.boot_us + HOUR)
    assert used_up.refusal(late, counted=True) == "expired"


def test_without_the_moment_of_the_message_each_statement_is_a_use():
    unknown = Request(BackendKey(1, 2), 0, Part.CLIENTS)
    assert not Known(GRANT, last=unknown).continues(unknown)
