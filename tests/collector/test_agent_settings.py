"""Whoever has an agent see, guard or redact less leaves in the ledger which settings that were."""

from agent.parts import greeting_of
from collector.agent_settings import KIND, MOST_NAMED, AgentSettings
from collector.bounds import SETTING_CHARACTERS, SETTINGS, cut_hello
from collector.commands import Agents, AgentState
from collector.guard_modes import AGAIN_US
from collector.known_agents import Roster
from collector.pgwarden_verify import check_folder
from config import AgentConfig
from config.effective import digests
from protos.pgwarden.v1 import uplink_pb2 as pb
from tests.collector.test_ledger_notes import notes_after

T = 1_790_000_000_000_000


def state(settings, agent="host-a"):
    return AgentState(pb.Hello(agent=agent, configuration=settings), True, T, pb.Status())


def configured(**more):
    return AgentConfig.model_validate({"name": "host-a", **more})


def test_each_setting_has_a_digest_under_its_name_and_no_value():
    plain = digests(configured())
    full = digests(configured(send_full_text=True, guard={"mode": "enforce"}))
    assert {name for name in plain if plain[name] != full[name]} == {"guard.mode", "send_full_text"}
    assert all(len(each) == 16 for each in full.values())


def test_a_secret_counts_only_as_set_or_not():
    def with_dsn(*dsn):
        return digests(configured(clusters=[{"port": 5432, "dsn": each} for each in dsn]))

    one, other, none = with_dsn("password=one"), with_dsn("password=other"), with_dsn(None)
    assert one == other != none


def test_what_changed_is_noted_by_name_once_it_is_heard():
    settings = AgentSettings()
    assert settings.observe([state({})], T) == [], "an agent of before says nothing"
    [(kind, first)] = settings.observe([state({"a": "1", "b": "2", "c": "3"})], T)
    assert (kind, first["agent"], first.keys()) == (KIND, "host-a", {"agent", "sha256"})
    assert settings.observe([state({"a": "1", "b": "2", "c": "3"})], T + AGAIN_US) == []
    later = [state({"a": "1", "b": "9", "d": "4"})]
    [(_, facts)] = settings.observe(later, T + AGAIN_US)
    assert (facts["was"], facts["changed"]) == (first["sha256"], "b, c, d")
    assert settings.observe([state({"a": "5"})], T + AGAIN_US + 1) == [], (
        "not more than once a minute"
    )


def test_what_an_agent_says_is_bounded():
    hello = pb.Hello(agent="a", configuration={f"{n} {'x' * 999}": "y" * 999 for n in range(9_999)})
    said = cut_hello(hello).configuration
    assert 0 < len(said) <= SETTINGS
    assert all(len(name) <= SETTING_CHARACTERS and len(said[name]) <= 64 for name in said)
    settings = AgentSettings({"a": {"x": "1"}})
    [(_, facts)] = settings.observe([state(dict(said), "a")], T)
    assert facts["changed"].endswith(f"and {len(said) + 1 - MOST_NAMED} more")


def test_a_change_while_the_collector_was_away_is_noted_by_the_next_one(tmp_path):
    """From what an agent really says, with the collector's own memory of it."""

    def greeted(**more):
        agents = Agents()
        notes = []
        roster = Roster(tmp_path / "agents.json", agents, ())
        said = greeting_of(configured(**more)).configuration
        agents._states["host-a"] = state(said)
        roster.turn(lambda kind, **facts: notes.append(facts) if kind == KIND else None)
        roster.save()
        return notes

    assert [note.get("changed") for note in greeted()] == [None]
    assert greeted() == []
    [note] = greeted(guard={"mode": "enforce"}, capture={"parameters": "full"})
    assert note["changed"] == "capture.parameters, guard.mode"


def test_it_stands_in_the_ledger_which_verifies(tmp_path):
    def say(collector):
        collector._agents._states["host-a"] = state({"guard.mode": "1"})
        collector._roster.turn(collector._store.note)

    found = [note for note in notes_after(tmp_path, say) if note["kind"] == KIND]
    assert [note["agent"] for note in found] == ["host-a"]
    assert check_folder(tmp_path / "data").problems == []
