"""One difference at which our own code fails keeps back no other."""

from dataclasses import replace

import pytest

from collector.drift import explanation, findings
from collector.drift.accepting import Only
from collector.drift.reach import Consequences
from collector.drift.state import SHARED
from model.catalog import Attribution
from tests.collector.test_drift import GRANT, WORK_MEM, World, by, snapshot


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.commit(0, snapshot(0))
    return world


def test_a_difference_that_cannot_be_explained_is_told_as_nobodys_with_a_note(world, monkeypatch):
    target_of = explanation.target_of

    def poisoned(scope, step):
        if step.name == "work_mem":
            raise KeyError("a value")
        return target_of(scope, step)

    monkeypatch.setattr("collector.drift.attribution.target_of", poisoned)
    grant = by("bob", 5, "grant", objects=["table:hr.salaries"], roles=["analyst"])
    news = world.commit(6, snapshot(6, {**WORK_MEM, **GRANT}), statements=[grant])
    rows = {row["name"]: row for row in [*news.rows, *world.tick(10).rows]}
    assert rows["table:hr.salaries<-analyst"]["actor"] == "bob"
    assert rows["work_mem"]["attribution"] == Attribution.UNATTRIBUTED
    assert rows["work_mem"]["note"] == ("who did it could not be looked for: KeyError in pgwarden")


def test_a_difference_that_cannot_be_worded_is_a_finding_that_says_so(world, monkeypatch):
    def poisoned(kind, difference):
        raise KeyError("a value")

    world.commit(6, snapshot(6, WORK_MEM))
    monkeypatch.setattr(findings.risk, "describe", poisoned)
    [found] = world.tick(10).findings
    assert found.sentence == (
        "setting work_mem changed; what that means could not be worded: KeyError in pgwarden"
    )
    assert found.object == "work_mem"


MANY = {("privilege", "shop", f"table:hr.t{n}<-analyst"): ("SELECT", "") for n in range(50)}


@pytest.mark.parametrize("only", [None, Only(kind="privilege")])
def test_what_is_accepted_before_it_was_told_is_told_together(world, monkeypatch, only):
    worked_out = []
    reach = Consequences.of

    def counted(self, known, drifts):
        worked_out.append(len(drifts))
        return reach(self, known, drifts)

    monkeypatch.setattr(Consequences, "of", counted)
    world.commit(6, snapshot(6, MANY))
    world.drift.accept("ann", "it is right", only)
    news = world.tick(7)
    assert worked_out == [50]
    assert len(news.rows) == 100
    assert {row["resolved_at"] is None for row in news.rows} == {True, False}
    assert news.findings[-1].sentence.endswith("since then accepted by ann: it is right")
    assert news.findings[-1].resolved_at_us


def test_a_sentence_names_few_of_the_statements_that_did_the_rest(world):
    news = world.commit(6, snapshot(6, {**WORK_MEM, **GRANT}))
    rows = [*news.rows, *world.tick(20).rows]
    assert rows
    shared = [f"{SHARED}: statement {n}, statement {n + 1}" for n in range(1, 40)]
    drifts = [
        replace(drift, note=note) for drift in world.drift._state.open.values() for note in shared
    ]
    found = findings.finding_of(drifts)
    said = f"{SHARED}: statement 1, statement 2, statement 10 and 37 more"
    assert found.sentence.count(SHARED) == 1
    assert said in found.sentence
    assert dict(found.details)["note"].count(SHARED) == len(shared)
