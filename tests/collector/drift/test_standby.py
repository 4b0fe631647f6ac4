"""What a standby replays was done on its primary; its files are its own."""

from collector.drift.standby import comes_by_replay
from model.verdict import Severity
from tests.collector.drift.story import difference, scope
from tests.collector.test_drift import FILE, GRANT, World, snapshot

STANDBY = {("setting", "", "(recovery)"): ("standby", "default")}


def told(world):
    return {row["name"]: (row["note"], row["severity"]) for row in world.drift.status().rows}


def test_what_a_standby_replays_is_no_step_more_severe(tmp_path):
    world = World(tmp_path)
    world.commit(0, snapshot(0, STANDBY))
    line = {("setting", "", "shared_buffers"): ("256MB", FILE)}
    world.commit(6, snapshot(6, {**STANDBY, **GRANT, **line}))
    found = {each.object: each for each in world.tick(20).findings}
    note, severity = told(world)["table:hr.salaries<-analyst"]
    assert note.startswith("the server is a standby")
    assert severity == Severity.MEDIUM
    assert found["table:hr.salaries<-analyst"].sentence.startswith("Replayed from the primary: ")
    assert found["shared_buffers"].sentence.startswith("Nobody on the wire did it: ")


def test_one_that_was_promoted_says_so_and_what_comes_later_is_nobodys(tmp_path):
    world = World(tmp_path)
    world.commit(0, snapshot(0, STANDBY))
    world.commit(6, snapshot(6))
    [found] = world.tick(20).findings
    assert found.sentence == "Nobody on the wire did it: the server was promoted"
    world.commit(30, snapshot(30, GRANT))
    world.tick(45)
    note, severity = told(world)["table:hr.salaries<-analyst"]
    assert (note, severity) == ("", Severity.HIGH)


def test_settings_of_the_server_rules_and_slots_are_its_own():
    step = difference("work_mem", "4MB", "8MB")
    assert not any(comes_by_replay(scope(kind), step) for kind in ("setting", "hba", "slot"))
    assert comes_by_replay(scope("setting"), difference("work_mem@etl", None, "8MB"))
    assert comes_by_replay(scope("role"), step)
