"""``pgwarden findings show``: everything that stands behind a finding, out of the record alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from analytics.gate import Gate
from cli.findings import chart
from cli.main import app
from collector.finding_feedback import FindingFeedback
from collector.rows import finding_rows
from collector.store import Store
from tests.analytics.gate.candidates import START_US, candidate

HOSTILE = "select \x1b[2Jfrom shop.orders"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A configuration file, and the id of a finding that somebody dismissed."""
    folder = tmp_path_factory.mktemp("show")
    config = folder / "pgwarden.yaml"
    config.write_text(f"collector:\n  data_dir: {folder / 'data'}\n")
    store = Store(folder / "data", commit_seconds=0.01)
    store.start()
    found = candidate(
        9,
        START_US,
        statement_id=7,
        evidence_sql="SELECT started_at, rows, text FROM statements ORDER BY rows DESC",
        details=(("expected", "10"), ("seen", "50000"), ("statements", "7,8"), ("peers", "6")),
    )
    _, [raised] = Gate().step([found], 40, START_US)
    statements = [
        {
            "agent": "host-a", "id": 7 + n, "started_at": START_US - n * 3_600_000_000,
            "cluster": "5432", "database": "shop", "identity_name": "alice",
            "rows": 50_000 // (n + 1),
            "text": HOSTILE, "parent_id": 0,
        }
        for n in range(30)
    ]  # fmt: skip
    store.append("findings", finding_rows([raised.finding]))
    store.append("statements", statements)
    assert store.segments.flush()
    FindingFeedback(store, lambda: None).judge(found.id, "dismissed", "month end", "carol")
    store.close()
    return config, found.id


def ask(world, *words):
    return CliRunner().invoke(app, ["findings", *words, "--config", str(world[0])])


def test_a_person_reads_sentence_numbers_statements_evidence_week_and_feedback(world):
    done = ask(world, "show", world[1][:8])
    assert done.exit_code == 0, done.output
    for said in (
        "alice did something",
        "expected 10, seen 50000, peers 6",
        "needed (5 a day per 100 identities)",
        "dismissed by carol: month end",
        "bits more than others",
        "SELECT started_at, rows, text FROM statements",
        "rows by hour, of alice",
        "◀",
    ):
        assert said in done.output
    assert "\x1b[2J" not in done.output


def test_a_script_reads_the_same_as_json(world):
    found = json.loads(ask(world, "show", world[1], "--json").output)
    assert found["id"] == world[1]
    assert [each["id"] for each in found["statements"]] == [8, 7]
    assert len(found["evidence"]) == 10
    assert found["evidence"][0]["rows"] == 50_000
    assert found["feedback"][0]["author"] == "carol"
    assert found["moved_bits"] > 0
    assert found["week"]["metric"] == "rows"
    assert sum(found["week"]["hours"].values()) > 50_000


def test_an_id_that_is_nobodys_is_said_so(world):
    done = ask(world, "show", "ffffffff")
    assert done.exit_code == 1
    assert "no finding" in done.stderr


def test_a_listing_still_needs_no_subcommand_and_names_ids(world):
    done = ask(world, "--hours", "100000")
    assert done.exit_code == 1
    assert world[1][:8] in done.output


def test_dismissing_needs_a_reason(world):
    done = ask(world, "dismiss", world[1], "--because", " ")
    assert done.exit_code == 2


def test_a_week_marks_the_moment_and_scales_to_its_highest_hour():
    at = datetime(2026, 3, 7, 14, 20, tzinfo=UTC)
    hour = datetime(2026, 3, 7, 14, tzinfo=UTC)
    lines = [line.plain for line in chart.week({hour: 80, hour.replace(hour=2): 40}, at)]
    assert len(lines) == 8
    assert lines[-1].endswith("◀ 14h: 80")
    assert lines[-1][11:35] == "  ▄" + " " * 11 + "█" + " " * 9
    assert all("◀" not in line for line in lines[:-1])
