"""One row as one line: whatever stands in it acts on no terminal."""

import pytest
from rich.text import Text

from cli.lines import LINES, line

HOSTILE = "a\x1b[2J\x1b]0;x\x07\x9b31m\r\n\0\u202e\u2028[bold]" + "n" * 200


class Row(dict):
    """Every field holds it, but those that are numbers or lists."""

    def get(self, key, default=None):
        return super().get(key, HOSTILE)

    def __missing__(self, key):
        return HOSTILE


@pytest.mark.parametrize("kind", [*LINES, "another"])
def test_a_line_of_hostile_fields_holds_nothing_but_what_can_be_shown(kind):
    row = Row(x=HOSTILE, reads=[HOSTILE], writes=[HOSTILE], duration_us=1, sqlstate=HOSTILE)
    shown = line(kind, row)
    assert isinstance(shown, Text)
    assert shown.plain.isprintable(), shown.plain
    assert "[bold]" in shown.plain or "n" * 20 in shown.plain


def test_a_line_of_a_harmless_row_keeps_its_styles():
    row = {"outcome": "prevented", "rule_id": "r", "reason": "because", "user_name": "ann"}
    assert any("red" in str(span.style) for span in line("verdict", row).spans)


@pytest.mark.parametrize(("status", "shown"), [("cut", True), ("parsed", False)])
def test_a_statement_of_which_only_the_beginning_is_known_says_so(status, shown):
    row = {"text": "INSERT", "parse_status": status, "text_bytes": 5_000_000}
    told = line("statement", row).plain
    assert ("only the beginning of 5000000 bytes" in told) is shown
