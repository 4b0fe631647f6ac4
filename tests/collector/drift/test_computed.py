"""What the server works out from a setting that somebody changed is no drift."""

from __future__ import annotations

import pytest

from collector.drift import computed
from collector.drift.baseline import Fact
from tests.collector.drift.story import ran, scope
from tests.collector.drift.test_outcomes import World

AUTO = "configuration file /d/postgresql.auto.conf:3"


def settings(connections, memory, detail="default"):
    return {
        ("setting", "", "max_connections"): (connections, AUTO),
        ("setting", "", "shared_memory_size"): (memory, detail),
        ("setting", "", "wal_buffers"): ("4MB", "default"),
    }


def test_a_restart_with_more_connections_is_one_finding_of_who_asked_for_them(tmp_path):
    world = World(tmp_path)
    world.commit(0, settings("100", "143MB"))
    did = [ran(1, "bob", "ALTER SYSTEM SET max_connections = 500")]
    world.commit(5, settings("100 (restart pending)", "143MB"), statements=did)
    world.commit(20, settings("500", "170MB"))
    world.tick(40)
    assert {row["actor"] for row in world.drift.status().rows} == {"bob"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Fact("4MB", "default"), Fact("64kB", f"configuration file {AUTO}")),
        (Fact("4MB", "default"), Fact("64kB", "command line")),
        (Fact("64kB", f"configuration file {AUTO}"), Fact("4MB", "default")),
    ],
)
def test_what_somebody_set_or_took_back_stays_a_difference(before, after):
    accepted, observed = {"wal_buffers": before}, {"wal_buffers": after}
    taken = computed.accepting(scope("setting"), accepted, observed, ["wal_buffers"])
    assert taken == accepted


def test_data_checksums_that_are_switched_off_stay_a_difference():
    accepted, observed = ({"data_checksums": Fact(on, "default")} for on in ("on", "off"))
    taken = computed.accepting(scope("setting"), accepted, observed, ["data_checksums"])
    assert taken == accepted


def of_plpgsql(detail="default"):
    return {("setting", "", "plpgsql.check_asserts"): ("on", detail)}


def open_after(tmp_path, *looks):
    world = World(tmp_path)
    for second, look in enumerate(looks):
        world.commit(10 * second, settings("100", "143MB") | look)
    world.tick(10 * len(looks) + 30)
    return [row["name"] for row in world.drift.status().rows]


def test_settings_of_a_library_come_and_go_with_it(tmp_path):
    assert open_after(tmp_path, of_plpgsql(), {}) == []


def test_settings_of_a_library_that_come_back_are_as_they_were(tmp_path):
    assert open_after(tmp_path, {}, of_plpgsql(), {}, of_plpgsql()) == []


@pytest.mark.parametrize("looks", [({}, of_plpgsql(AUTO)), (of_plpgsql(AUTO), {})])
def test_one_that_somebody_set_is_a_difference(tmp_path, looks):
    assert open_after(tmp_path, *looks) == ["plpgsql.check_asserts"]
