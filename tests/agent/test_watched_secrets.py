"""Rows of watched tables that hold a secret under a name of its own."""

import pytest

from agent.catalog.watched import Watched, naming_columns, row_value

SETTINGS = Watched("settings", "public.settings")
COLUMNS = ["key", "value", "since", "active", "note"]


def told(*row: str | None, columns=COLUMNS, key=(0,)) -> dict[str, str]:
    value = row_value(SETTINGS, columns, list(row), naming_columns(columns, key))
    return dict(line.split(": ", 1) for line in value.splitlines())


@pytest.mark.parametrize("name", ["stripe_secret", "smtp.password", "API_KEY", "github-token"])
def test_a_row_that_is_called_like_a_secret_shows_no_text_but_its_name(name):
    row = told(name, "hunter2xyz", "2026-03-01", "t", None)
    assert row["key"] == name
    assert row["value"].startswith("hidden ")
    assert row["value"] != told(name, "hunter3xyz", "2026-03-01", "t", None)["value"]
    assert (row["since"], row["active"], row["note"]) == ("2026-03-01", "t", "NULL")


def test_a_row_with_a_number_for_a_key_is_called_by_its_name():
    columns = ["id", "name", "value"]
    assert told("7", "stripe_secret", "hunter2xyz", columns=columns)["value"].startswith("hidden ")


def test_other_rows_are_shown():
    row = told("max_tokens", "some text", "2026-03-01", "t", "x")
    assert (row["value"], row["note"]) == ("some text", "x")
    assert told("token_required", "on", "2026-03-01", "t", "")["value"] == "on"
