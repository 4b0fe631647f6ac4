"""Detectors over commits: state that survives restarts, budgets, verdicts."""

from __future__ import annotations

import polars as pl

from analytics.detectors.first_seen import FirstSeenSettings
from collector import schema
from collector.analysis import Analysis, AnalysisSettings
from collector.rows import finding_rows
from collector.store import frame_of
from model.finding import FindingKind
from model.verdict import Severity
from tests.analytics.streams import START_US, batches, clean, frame, statement

AGENT = {"user_name": "assistant", "identity_name": "assistant", "identity_kind": "ai_agent"}
QUICK = AnalysisSettings(
    first_seen=FirstSeenSettings(learn_seconds=60, learn_statements=20), save_every_commits=3
)


def campaign():
    rows = clean(3000)
    rows += [statement(601.0, **AGENT, reads=["hr.salaries"], fingerprint="odd")]
    rows += [statement(602 + n / 10, **AGENT, sqlstate="42501") for n in range(60)]
    return batches(frame([*rows, *clean(500)]), 250)


def feed(analysis, parts, first=1):
    return [
        finding
        for seq, part in enumerate(parts, first)
        for finding in analysis.on_commit({"statements": part}, seq)
    ]


def test_a_campaign_in_the_stream_becomes_findings(tmp_path):
    found = feed(Analysis(tmp_path, QUICK), campaign())
    assert {f.detector for f in found} == {"first_seen", "error_burst"}
    assert {f.identity for f in found} == {"assistant"}


def test_findings_are_rows_of_their_table(tmp_path):
    found = feed(Analysis(tmp_path, QUICK), campaign())
    table = schema.TABLES["findings"]
    rows = finding_rows(found)
    assert all(set(row) == {*table.dtypes} for row in rows)
    assert dict(frame_of("findings", rows).schema) == dict(table.dtypes)


def test_a_restart_after_any_commit_gives_the_same_findings(tmp_path):
    parts = campaign()
    expected = {f.id for f in feed(Analysis(tmp_path / "whole", QUICK), parts)}
    for stop in range(1, len(parts)):
        folder = tmp_path / str(stop)
        before = {f.id for f in feed(Analysis(folder, QUICK), parts[:stop])}
        again = Analysis(folder, QUICK)
        start = again.resume_from()
        assert 1 <= start <= stop + 1
        after = {f.id for f in feed(again, parts[start - 1 :], start)}
        assert before | after == expected


def test_a_stop_loses_nothing_that_needs_a_replay(tmp_path):
    parts = campaign()
    analysis = Analysis(tmp_path, QUICK)
    feed(analysis, parts)
    analysis.save()
    assert Analysis(tmp_path, QUICK).resume_from() == len(parts) + 1


def test_a_replayed_commit_is_not_learnt_twice(tmp_path):
    [part, *_] = campaign()
    analysis = Analysis(tmp_path, QUICK)
    analysis.on_commit({"statements": part}, 1)
    analysis.on_commit({"statements": part}, 1)
    analysis.save()
    state = pl.read_parquet(tmp_path / "first_seen.parquet")
    count = state.filter(pl.col("item") == "")["count"].sum()
    assert count == part.filter(pl.col("sqlstate") == "00000").height


def test_a_damaged_state_is_set_aside_and_learnt_anew(tmp_path):
    analysis = Analysis(tmp_path, QUICK)
    feed(analysis, campaign())
    analysis.save()
    path = tmp_path / "volume.parquet"
    path.write_bytes(path.read_bytes()[:100])
    again = Analysis(tmp_path, QUICK)
    assert again.counters.states_lost == {"volume": 1}
    assert again.resume_from() == 1
    assert path.with_suffix(".damaged").exists()


def test_a_file_of_another_release_is_set_aside(tmp_path):
    pl.DataFrame({"x": [1]}).write_parquet(
        tmp_path / "volume.parquet", metadata={"ledger_sequence": "9"}
    )
    assert Analysis(tmp_path, QUICK).counters.states_lost == {"volume": 1}


class Broken:
    name = "broken"

    def empty_state(self):
        return pl.DataFrame({"x": []})

    def observe(self, state, batch):
        raise pl.exceptions.ComputeError("no")


def test_a_detector_that_fails_is_counted_and_the_rest_goes_on(tmp_path):
    analysis = Analysis(tmp_path, QUICK, [Broken(), *QUICK.detectors()])
    found = feed(analysis, campaign())
    assert analysis.counters.failures["broken"] == len(campaign())
    assert found


def test_a_commit_without_statements_moves_on(tmp_path):
    analysis = Analysis(tmp_path, QUICK)
    assert analysis.on_commit({}, 1) == []
    analysis.save()
    assert Analysis(tmp_path, QUICK).resume_from() == 2


def test_the_budget_counts_what_it_holds_back(tmp_path):
    settings = AnalysisSettings(first_seen=FirstSeenSettings(60, 20), findings_per_day=2)
    rows = clean(3000)
    rows += [statement(600 + n * 20, **AGENT, reads=[f"hr.t{n}"]) for n in range(5)]
    analysis = Analysis(tmp_path, settings)
    found = [f for f in feed(analysis, [frame(rows)]) if f.detector == "first_seen"]
    assert len(found) == 2
    assert analysis.suppressed()["first_seen"] == 3
    assert Analysis(tmp_path, settings).suppressed() == analysis.suppressed()


def verdicts(*rows):
    columns = schema.TABLES["verdicts"].dtypes
    default = dict.fromkeys(columns) | {
        "occurred_at": START_US, "agent": "host-a", "cluster": "5432", "database": "shop",
        "rule_id": "drop-protected", "title": "Destructive DDL", "severity": "high",
        "action": "deny", "mode": "enforce", "outcome": "prevented", "reason": "protected schema",
        "user_name": "web", "identity_name": "", "statement_id": 5,
    }  # fmt: skip
    raw = pl.DataFrame([default | row for row in rows], schema=columns | {"occurred_at": pl.Int64})
    return raw.with_columns(pl.col("occurred_at").cast(pl.Datetime("us")))


def test_verdicts_of_a_rule_are_one_finding_an_identity_and_day(tmp_path):
    analysis = Analysis(tmp_path, QUICK)
    rows = [{"statement_id": n} for n in range(7)]
    [found] = analysis.on_commit({"verdicts": verdicts(*rows, {"action": "observe"})}, 1)
    assert found.kind is FindingKind.GUARD
    assert found.severity is Severity.HIGH
    assert found.sentence == (
        "A statement of web was refused before it ran by rule drop-protected: protected schema"
    )
    assert dict(found.details)["verdicts"] == "7"
    assert analysis.on_commit({"verdicts": verdicts({})}, 2) == []
    [other] = analysis.on_commit({"verdicts": verdicts({"identity_name": "Alice"})}, 3)
    assert other.identity == "Alice"


def test_a_verdict_that_was_not_enforced_in_time_says_so(tmp_path):
    rows = [{"outcome": "prevented"}, {"outcome": "failed"}]
    [found] = Analysis(tmp_path, QUICK).on_commit({"verdicts": verdicts(*rows)}, 1)
    assert "was to be stopped, and was not" in found.sentence


def test_a_verdict_full_of_nonsense_is_still_a_finding(tmp_path):
    rows = [{"severity": "apocalyptic", "outcome": "?", "statement_id": None, "user_name": None}]
    [found] = Analysis(tmp_path, QUICK).on_commit({"verdicts": verdicts(*rows)}, 1)
    assert found.severity is Severity.MEDIUM
