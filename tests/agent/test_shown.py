"""What is sent of a statement that names a prepared transaction: no literal, and which it is."""

import pytest

from agent.shown import as_it_is, shown_with
from model.statement import ParseStatus, Shape

KEY = b"k" * 32


def objects(text, operation, key=KEY):
    shape = Shape(ParseStatus.PARSED, "d", "redacted", operation)
    return shown_with(key)(shape, text).objects


PREPARED = objects(b"PREPARE TRANSACTION 'it''s pay 7'", "prepare transaction")


@pytest.mark.parametrize(
    ("text", "operation"),
    [
        (b"commit prepared 'it''s pay 7'", "commit prepared"),
        (b"ROLLBACK  PREPARED'it''s pay 7' ;\n", "rollback prepared"),
        (b"/* app */ COMMIT PREPARED 'it''s pay 7' /* trace */", "commit prepared"),
        (b"-- ends it\nCOMMIT PREPARED 'it''s pay 7'", "commit prepared"),
    ],
)
def test_both_ends_have_the_same_name(text, operation):
    assert objects(text, operation) == PREPARED


def test_the_name_stays_on_the_host_and_nobody_without_the_key_can_try_one():
    [told] = PREPARED
    assert "pay" not in told
    assert objects(b"PREPARE TRANSACTION 'it''s pay 7'", "prepare transaction", b"x") != PREPARED


@pytest.mark.parametrize(
    "text",
    [b"COMMIT PREPARED E'a\\'b'", b"COMMIT PREPARED U&'a'", b"COMMIT PREPARED 'a'; SELECT 'b'",
     b"COMMIT PREPARED 'a"],
)  # fmt: skip
def test_what_is_written_in_another_way_has_none(text):
    assert objects(text, "commit prepared") == ()


def test_other_statements_are_sent_as_they_are():
    shape = Shape(ParseStatus.PARSED, "d", "SELECT ?", "select")
    assert shown_with(KEY)(shape, b"SELECT 'PREPARE TRANSACTION'") is shape
    assert as_it_is(shape, b"x") is shape
    assert shown_with(KEY, full_text=True)(shape, b"SELECT 1").redacted_text == "SELECT 1"
