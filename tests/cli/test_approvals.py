"""What ``pgwarden approvals`` understands and shows."""

import pytest
import typer

from cli.approvals import _lines, _seconds

ASKED = {
    "request": "7K2QX0M9TA",
    "status": "pending",
    "user_name": "app",
    "identity": "",
    "identity_kind": "human",
    "identity_name": "alice",
    "agent": "h",
    "cluster": "main",
    "database": "shop",
    "times": 2,
    "last_us": 1_790_000_000_000_000,
    "rule_id": "mass-delete",
    "text": "DELETE FROM orders\n\x1b[2J",
    "digest": "ab" * 32,
    "flags": ["parameters", "bare_names"],
    "relations": ["orders"],
    "readers": [],
    "catalog": [{"relation": "shop.orders", "rows": -1, "dependants": ["view v\x1b[1m"]}],
    "catalog_problem": "",
    "ran_before": {"times": 3, "mean_rows": 10.4, "most_rows": 20},
    "grant": None,
}


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("1h", 3600), (" 2D ", 172_800)]
)
def test_a_time_is_a_number_with_its_unit(text, seconds):
    assert _seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0h", "1w", "-1h", "1.5h", "h", "1h30m"])
def test_what_is_no_time_is_a_usage_error(text):
    with pytest.raises(typer.Exit) as error:
        _seconds(text)
    assert error.value.exit_code == 2


def test_a_request_is_shown_with_its_dangers_and_nothing_of_it_acts_on_a_terminal():
    page = "\n".join(_lines(ASKED))
    assert "app (human alice)" in page
    assert "any values may be sent" in page
    assert "search_path" in page
    assert "ran 3 times, 10 rows on average, 20 at most" in page
    assert "shop.orders: never analyzed" in page
    assert "nobody in the last 30 days" in page
    assert "\x1b" not in page
