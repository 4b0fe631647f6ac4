"""The whole harness on one small world."""

import json
from dataclasses import dataclass

import pytest

from bench import detect
from bench.detection import recording
from bench.detection.recording import Recorder, WorldKey
from bench.detection.report import page
from collector.analysis import AnalysisSettings
from tests.analytics.streams import START_US, clean, frame, statement
from tests.bench.detection.test_scoring import Campaign

DAY = 86_400


@dataclass(frozen=True)
class SmallWorld:
    """Nine quiet days; on the last one somebody's rows are a thousand times the usual."""

    seed: int
    days: int
    hostile: bool

    start_us = START_US
    identities = ("orders_api", "alice")

    @property
    def campaigns(self):
        at_us = START_US + 8 * DAY * 1_000_000
        theft = Campaign("theft", "fast", ("alice",), at_us, at_us + 3_600_000_000)
        return (theft,) if self.hostile else ()

    def batches(self):
        rows = clean(900, per_second=900 / (9 * DAY))
        if self.hostile:
            who = {"user_name": "alice", "identity_name": "alice", "identity_kind": "human"}
            rows += [
                statement(
                    8 * DAY + n, **who, rows=2_000_000, bytes_sent=10**9, reads=["shop.orders"]
                )
                for n in range(20)
            ]
        whole = frame(sorted(rows, key=lambda row: row["started_at"]))
        yield from whole.iter_slices(100)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(recording, "World", SmallWorld)


def test_detectors_with_a_recording_are_not_run_again(tmp_path, monkeypatch):
    few = AnalysisSettings().detectors()[:3]
    recorder = Recorder(tmp_path, few, ["keyword_rules"])
    first = recorder.record(WorldKey(1, 9, True))
    monkeypatch.setattr("bench.detection.recording.play", lambda *_: pytest.fail("played again"))
    assert recorder.record(WorldKey(1, 9, True)) == first
    assert sum(step.events for step in first.truth.steps) == 920
    assert set(first.detectors) == {detector.name for detector in few}


def test_a_run_writes_the_figures_of_every_budget_and_method(tmp_path, monkeypatch):
    monkeypatch.setattr(detect, "PAGE", tmp_path / "measured.md")
    file = tmp_path / "figures.json"
    detect.main(
        ["--seeds", "1", "--days", "9", "--budgets", "1", "50", "--baselines", "bytes_z3",
         "--cache", str(tmp_path), "--json", str(file), "--docs"]
    )  # fmt: skip
    report = json.loads(file.read_text())
    assert list(report["budgets"]) == ["1", "50"]
    for methods in report["budgets"].values():
        assert list(methods) == ["pgwarden", "bytes_z3"]
        for figures in methods.values():
            assert {
                "precision", "recall", "ttd_median_seconds", "ttd_p90_seconds",
                "alerts_per_clean_day",
            } <= set(figures)  # fmt: skip
    assert report["budgets"]["50"]["bytes_z3"]["recall"] == 1.0
    assert report["budgets"]["50"]["bytes_z3"]["ttd_median_seconds"] == 0.0
    assert report["events_per_second"] > 0
    assert (tmp_path / "measured.md").read_text() == page(report)


def test_the_page_is_not_made_of_a_part_of_the_detectors(capsys):
    with pytest.raises(SystemExit):
        detect.main(["--docs", "--without", "volume"])
    assert "--docs tells of all detectors" in capsys.readouterr().err


def test_how_many_batches_detectors_get_at_once_changes_nothing(tmp_path, monkeypatch):
    detectors = AnalysisSettings().detectors()
    few = [each for each in detectors if each.name in ("volume", "first_seen", "origin")]
    said = []
    for together in (1, 4):
        monkeypatch.setattr(recording, "TOGETHER", together)
        said.append(Recorder(tmp_path / str(together), few, []).record(WorldKey(1, 9, True)))
    one, four = ({name: each.at for name, each in of.detectors.items()} for of in said)
    assert one == four
    assert one["volume"]
