"""Detectors over commits: state that survives restarts, budgets, verdicts."""

from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from analytics import keyed
from analytics.detectors.error_burst import ErrorBurst
from analytics.detectors.first_seen import FirstSeen, FirstSeenSettings
from analytics.gate.population import Population
from collector import schema
from collector.alerts.grouping import Grouper, Policy
from collector.analysis import Analysis, AnalysisSettings
from collector.rows import finding_rows
from collector.store import frame_of
from model.finding import FindingKind
from model.verdict import Severity
from tests.analytics.streams import START_US, batches, clean, frame, statement

AGENT = {"user_name": "assistant", "identity_name": "assistant", "identity_kind": "ai_agent"}
QUICK = AnalysisSettings(
    first_seen=FirstSeenSettings(day_seconds=60, min_bits=1), save_every_commits=3
)

SOME = (FirstSeen(QUICK.first_seen), ErrorBurst(QUICK.error_burst))


def campaign():
    rows = clean(3000)
    rows += [statement(601.0, **AGENT, reads=["hr.salaries"], fingerprint="odd")]
    rows += [statement(602 + n / 10, **AGENT, sqlstate="42501") for n in range(60)]
    return batches(frame([*rows, *clean(500)]), 500)


def feed(analysis, parts, first=1):
    return [
        finding
        for seq, part in enumerate(parts, first)
        for finding in analysis.on_commit({"statements": part}, seq)
    ]


def test_a_campaign_in_the_stream_becomes_findings(tmp_path):
    found = feed(Analysis(tmp_path, QUICK), campaign())
    told = [f for f in found if f.identity == "assistant"]
    assert {f.detector for f in told} == {"error_burst"}
    assert "first_seen" in dict(told[0].details)["agrees"]


def test_findings_are_rows_of_their_table(tmp_path):
    found = feed(Analysis(tmp_path, QUICK), campaign())
    table = schema.TABLES["findings"]
    rows = finding_rows(found)
    assert all(set(row) == {*table.dtypes} for row in rows)
    assert dict(frame_of("findings", rows).schema) == dict(table.dtypes)


def test_a_restart_after_any_commit_gives_the_same_findings(tmp_path):
    parts = campaign()  # saved after the third and the sixth
    expected = {f.id for f in feed(Analysis(tmp_path / "whole", QUICK), parts)}
    for stop in range(1, len(parts)):
        folder = tmp_path / str(stop)
        before = {f.id for f in feed(Analysis(folder, QUICK), parts[:stop])}
        again = Analysis(folder, QUICK)
        start = again.resume_from()
        assert 1 <= start <= stop + 1
        after = {f.id for f in feed(again, parts[start - 1 :], start)}
        assert before | after == expected


def ahead(analysis, parts, first=1, policies=None):
    commits = [(seq, {"statements": part}) for seq, part in enumerate(parts, first)]
    analysis.look_ahead(commits, policies)
    return feed(analysis, parts, first)


def test_commits_that_wait_are_seen_together_and_give_what_each_would_have_given(tmp_path):
    parts = campaign()
    each, together = Analysis(tmp_path / "each", QUICK), Analysis(tmp_path / "together", QUICK)
    expected = feed(each, parts)
    found = [*ahead(together, parts[:4], 1, {}), *ahead(together, parts[4:], 5)]
    assert found == expected != []
    each.save()
    together.save()
    for file in sorted((tmp_path / "each").glob("*.parquet")):
        states = [pl.read_parquet(tmp_path / name / file.name) for name in ("each", "together")]
        # When a key was used last only says what is evicted first, and not to the moment.
        states = [keyed.entries(s) if keyed.is_keyed(s) else s.sort(s.columns) for s in states]
        assert_frame_equal(*(state.drop("last_us") for state in states))


def test_minutes_of_audit_coverage_come_with_the_commit_that_closes_them(tmp_path):
    parts = campaign()
    each, together = (Analysis(tmp_path / name, QUICK) for name in ("each", "together"))
    together.look_ahead([(seq, {"statements": part}) for seq, part in enumerate(parts, 1)], {})
    assert together.take_minutes() == []
    closed = []
    for seq, part in enumerate(parts, 1):
        for analysis in (each, together):
            analysis.on_commit({"statements": part}, seq, {})
        closed.append(each.take_minutes())
        assert together.take_minutes() == closed[-1]
    assert any(closed)


def test_a_crash_while_detectors_are_ahead_of_the_gate_loses_nothing(tmp_path):
    parts = campaign()
    expected = {f.id for f in feed(Analysis(tmp_path / "whole", QUICK, SOME), parts)}
    for stop in range(1, len(parts)):
        folder = tmp_path / str(stop)
        crashed = Analysis(folder, QUICK, SOME)
        crashed.look_ahead([(seq, {"statements": part}) for seq, part in enumerate(parts, 1)])
        before = {f.id for f in feed(crashed, parts[:stop])}
        again = Analysis(folder, QUICK, SOME)
        start = again.resume_from()
        after = {f.id for f in ahead(again, parts[start - 1 :], start)}
        assert before | after == expected


def test_a_detector_that_cannot_look_ahead_sees_commits_one_by_one(tmp_path):
    analysis = Analysis(tmp_path, QUICK, [Broken(ValueError("no")), *SOME])
    assert ahead(analysis, campaign())
    assert analysis.counters.failures["broken"] == len(campaign())


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
    once = Analysis(tmp_path / "once", QUICK)
    once.on_commit({"statements": part}, 1)
    once.save()
    assert_frame_equal(state, pl.read_parquet(tmp_path / "once" / "first_seen.parquet"))


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

    def __init__(self, error):
        self.error = error

    def observe(self, state, batch):
        raise self.error


@pytest.mark.parametrize(
    "error",
    [pl.exceptions.ComputeError("no"), ValueError("no"), pl.exceptions.PanicException("no")],
    ids=lambda error: type(error).__name__,
)
def test_a_detector_that_fails_is_counted_and_the_rest_goes_on(tmp_path, error):
    analysis = Analysis(tmp_path, QUICK, [Broken(error), *SOME])
    found = feed(analysis, campaign())
    assert analysis.counters.failures["broken"] == len(campaign())
    assert found


def test_a_full_disk_hides_no_finding(tmp_path, monkeypatch):
    analysis = Analysis(tmp_path, QUICK, SOME)
    monkeypatch.setattr("collector.analysis.fsync_folder", lambda _: full_disk())
    assert feed(analysis, campaign())
    assert analysis.counters.failures["save"] > 0


def full_disk():
    raise OSError(28, "No space left on device")


def test_names_that_were_only_claimed_are_no_identities():
    refused = [statement(n, user_name=f"guess {n}", operation="login") for n in range(50)]
    seen = Population().with_(frame([*refused, *clean(100)]), START_US)
    assert len(seen.known) == len(Population().with_(frame(clean(100)), START_US).known)


def test_a_commit_without_statements_moves_on(tmp_path):
    analysis = Analysis(tmp_path, QUICK)
    assert analysis.on_commit({}, 1) == []
    analysis.save()
    assert Analysis(tmp_path, QUICK).resume_from() == 2


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


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("too_late", "ran although it is forbidden"),
        ("failed", "was to be stopped, and nobody saw whether it was"),
    ],
)
def test_what_was_not_stopped_is_a_critical_finding_beside_that_of_what_was(
    tmp_path, outcome, said
):
    rows = [{"outcome": "prevented"}, {"outcome": outcome, "severity": "low"}]
    refused, missed = Analysis(tmp_path, QUICK).on_commit({"verdicts": verdicts(*rows)}, 1)
    assert (refused.severity, missed.severity) == (Severity.HIGH, Severity.CRITICAL)
    assert said in missed.sentence
    assert missed.detector == refused.detector
    assert missed.title == "Not stopped: Destructive DDL: web"


def test_each_statement_that_was_too_late_is_a_finding_and_a_replay_repeats_none(tmp_path):
    analysis = Analysis(tmp_path, QUICK)
    first, second = ({"outcome": "too_late", "statement_id": n} for n in (5, 6))
    assert len(analysis.on_commit({"verdicts": verdicts({}, first)}, 1)) == 2
    assert len(analysis.on_commit({"verdicts": verdicts({}, second)}, 2)) == 1
    assert analysis.on_commit({"verdicts": verdicts({}, second)}, 3) == []


def test_a_statement_that_was_too_late_pages_beside_a_firing_alert_of_its_rule(tmp_path):
    rows = [{"severity": "critical"}, {"severity": "critical", "outcome": "too_late"}]
    grouper = Grouper(Policy())
    found = Analysis(tmp_path, QUICK).on_commit({"verdicts": verdicts(*rows)}, 1)
    alerts = [grouper.observe(finding, finding.at_us) for finding in found]
    assert [alert.severity for alert in alerts if alert] == [Severity.CRITICAL] * 2


def test_an_order_of_an_operator_that_failed_is_no_page(tmp_path):
    row = {"rule_id": "operator", "outcome": "failed", "severity": "informational"}
    [found] = Analysis(tmp_path, QUICK).on_commit({"verdicts": verdicts(row)}, 1)
    assert found.severity is Severity.INFORMATIONAL


def test_a_verdict_full_of_nonsense_is_still_a_finding(tmp_path):
    rows = [{"severity": "apocalyptic", "outcome": "?", "statement_id": None, "user_name": None}]
    [found] = Analysis(tmp_path, QUICK).on_commit({"verdicts": verdicts(*rows)}, 1)
    assert found.severity is Severity.MEDIUM
