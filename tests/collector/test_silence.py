"""An agent that falls silent leaves a gap, and the gap stands in the ledger."""

from collector.commands import AgentState
from collector.ledger_entry import decode
from collector.silence import HEARD, SILENT, SILENT_US, Silences
from collector.store import Store
from protos.pgwarden.v1 import uplink_pb2 as pb

T = 1_790_000_000_000_000


def state(last_seen_us: int, boot: str = "boot-1", sequence: int = 7) -> AgentState:
    hello = pb.Hello(agent="host-a", epoch=3, boot_id=boot)
    return AgentState(hello, False, last_seen_us, pb.Status(), sequence)


def test_a_gap_is_told_once_when_it_begins_and_once_when_it_ends():
    silences = Silences()
    assert silences.observe([state(T)], T + SILENT_US) == []
    [(kind, facts)] = silences.observe([state(T)], T + SILENT_US + 1)
    assert (kind, facts["since_us"], facts["sequence"]) == (SILENT, T, 7)
    assert silences.observe([state(T)], T + 10 * SILENT_US) == []
    back = T + 11 * SILENT_US
    [(kind, facts)] = silences.observe([state(back, "boot-2", 9)], back + 5)
    assert (kind, facts["since_us"], facts["until_us"]) == (HEARD, T, back)
    assert (facts["boot_id"], facts["sequence"]) == ("boot-2", 9)
    assert silences.observe([state(back)], back + 5) == []


def test_the_notes_are_entries_of_the_ledger(tmp_path):
    store = Store(tmp_path / "data", commit_seconds=0.01)
    store.start()
    for kind, facts in Silences().observe([state(T)], T + 2 * SILENT_US):
        store.note(kind, **facts)
    assert store.segments.flush()
    store.close()
    lines = (tmp_path / "data/ledger.jsonl").read_text().splitlines()
    notes = [note for line in lines for note in decode(line).notes]
    assert [(n["kind"], n["agent"], n["boot_id"]) for n in notes] == [(SILENT, "host-a", "boot-1")]
