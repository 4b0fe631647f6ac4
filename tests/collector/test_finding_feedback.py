"""What people say of findings goes into the record, and is taken from there."""

from __future__ import annotations

import json

import pytest

from analytics.findings import DAY_US
from analytics.gate import Gate
from collector.finding_feedback import FeedbackError, FindingFeedback, thresholds
from collector.rows import finding_rows
from collector.store import Store
from tests.analytics.gate.candidates import START_US, candidate, learnt


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "data", commit_seconds=0.01)
    store.start()
    yield store
    store.close()


@pytest.fixture
def raised(store):
    _, [raised] = Gate().step([candidate(9)], 40, START_US)
    store.append("findings", finding_rows([raised.finding]))
    assert store.segments.flush()
    return raised


@pytest.fixture
def desk(store):
    return FindingFeedback(store, lambda: None)


def test_a_word_on_a_finding_is_durable_with_its_author_and_what_it_moves(store, raised, desk):
    judged = desk.judge(raised.finding.id[:10], "dismissed", "month end", "carol")
    assert judged.finding_id == raised.finding.id
    assert (judged.moved_before, judged.moved_after > 1) == (0, True)
    [row] = store.query(
        "SELECT finding_id, opinion, author, because, detector, identity, object"
        " FROM finding_feedback"
    )
    assert row == (
        raised.finding.id, "dismissed", "carol", "month end", "volume", "alice", "rows",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("", "confirmed", "", "carol"), "no finding"),
        (("ffff", "confirmed", "", "carol"), "no finding"),
        (("%", "maybe", "", "carol"), "no opinion"),
        (("%", "dismissed", " ", "carol"), "why"),
        (("%", "confirmed", "", ""), "who"),
        (("%", "confirmed", "x" * 501, "carol"), "longer"),
    ],
)
def test_what_cannot_be_said_is_refused_with_the_reason(raised, desk, words, said):
    words = (words[0].replace("%", raised.finding.id), *words[1:])
    with pytest.raises(FeedbackError, match=said):
        desk.judge(*words)


def test_an_id_that_several_findings_begin_with_is_refused(store, desk):
    both = [candidate(9), candidate(9, identity="bob")]
    rows = [row | {"id": f"same{n}"} for n, row in enumerate(finding_rows(both))]
    store.append("findings", rows)
    assert store.segments.flush()
    with pytest.raises(FeedbackError, match="several"):
        desk.judge("same", "confirmed", "", "carol")


def test_thresholds_say_what_it_takes_and_what_was_held_back():
    found = json.loads(json.dumps(thresholds(learnt(5))))
    assert found["threshold_bits"] >= 2
    volume = next(each for each in found["detectors"] if each["detector"] == "volume")
    assert 1 < volume["score"] < 20
    assert volume["history_days"] == pytest.approx(5, abs=0.2)
    assert volume["suppressed"]["below_threshold"] > 0


@pytest.mark.parametrize("detector", ["volume", "activity_time"])
def test_the_score_that_thresholds_show_is_enough_alone(detector):
    gate = learnt(10)
    at_us = START_US + 10 * DAY_US
    shown = {each["detector"]: each["score"] for each in thresholds(gate)["detectors"]}[detector]
    for score, told in ((shown - 0.1, 0), (shown + 0.1, 1)):
        assert len(gate.step([candidate(score, at_us, detector)], 40, at_us)[1]) == told


def test_a_detector_with_sorts_has_a_score_for_each_and_counts_for_all():
    at_us = START_US + 5 * DAY_US
    act = candidate(1.1, at_us, "first_act", details=(("act", "refused"),))
    after, _ = learnt(5).step([act], 40, at_us)
    found = {each["detector"]: each for each in thresholds(after)["detectors"]}
    assert found["first_act: refused"]["score"] > 1
    assert found["first_act"]["score"] is None
    assert found["first_act"]["suppressed"] == {"below_threshold": 1}


def test_a_gate_that_has_seen_nothing_says_what_it_takes_at_first():
    assert thresholds(Gate())["threshold_bits"] == Gate().settings.least_bits


def test_without_analytics_there_are_no_thresholds(desk):
    with pytest.raises(FeedbackError, match="switched off"):
        desk.thresholds()
