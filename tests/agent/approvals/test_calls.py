"""Which calls are part of the statement that a grant let pass."""

from dataclasses import replace

from agent.approvals.calls import Passed, Running
from agent.approvals.known import Request
from model.event import StatementStarted
from model.session import BackendKey
from model.statement import ParseStatus, Shape

BACKEND = BackendKey(4711, 1)
SHAPE = Shape(
    ParseStatus.PARSED, "digest", "redacted", functions=("pg_catalog.lo_export", "set_config"),
    settings=("work_mem",),
)  # fmt: skip
TEXT = b"SELECT lo_export(17, '/x'), set_config('work_mem', $1, true)"
PASSED = Passed(Request(BACKEND, 9), "grant", "CODE", SHAPE, TEXT)
CALL = StatementStarted(
    1, BACKEND, b"SELECT lo_export($1, '/x')", 26, requested_at_us=9, depth=1, nested=True,
    calls="lo_export",
)  # fmt: skip
BARE = replace(SHAPE, functions=("lo_export",), settings=())


def of(event, shape, passed=PASSED):
    running = Running()
    running.let_pass(passed)
    return running.of(event, shape)


def test_a_function_that_stands_in_the_text_is_part_of_it():
    assert of(CALL, BARE) is PASSED


def test_another_function_another_message_and_another_session_are_not():
    assert of(replace(CALL, calls="lo_import"), BARE) is None
    assert of(replace(CALL, requested_at_us=10), BARE) is None
    assert of(replace(CALL, backend=BackendKey(4712, 1)), BARE) is None
    unknown = replace(PASSED, request=Request(BACKEND, 0))
    assert of(replace(CALL, requested_at_us=0), BARE, unknown) is None


def test_another_file_than_the_one_that_was_granted_is_not():
    assert of(replace(CALL, text=b"SELECT lo_export($1, '/etc/cron.d/x')"), BARE) is None


def test_a_function_of_the_same_name_in_another_schema_is_not():
    own = replace(PASSED, shape=replace(SHAPE, functions=("app.lo_export",)))
    assert of(CALL, BARE, own) is None


def test_a_statement_that_is_no_call_is_not():
    assert of(replace(CALL, calls=""), BARE) is None


def test_a_setting_must_stand_there_too_unless_it_was_to_be_worked_out():
    call = replace(CALL, calls="set_config")
    assert of(call, replace(BARE, settings=("work_mem",))) is PASSED
    assert of(call, replace(BARE, settings=("fsync",))) is None
    computed = replace(PASSED, shape=replace(SHAPE, settings=("?",)))
    assert of(call, replace(BARE, settings=("fsync",)), computed) is computed
