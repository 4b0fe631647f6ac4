"""A start and a query read on from the ledger's checkpoint, and never believe it over the file."""

import json
import shutil
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from collector import ledger, ledger_reading, standing, store
from collector.checkpoint import NAME
from collector.ledger_reading import entries_since, last_line, read, whole_bytes
from collector.pgwarden_verify import check_folder
from collector.store import Store
from tests.collector.test_ledger_heads import lose, opened
from tests.collector.test_store import batch, count
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Thirty commits of an agent and two of our own, closed."""
    folder = tmp_path_factory.mktemp("original") / "data"
    record = opened(folder)
    for sequence in range(1, 31):
        record.segments.submit(batch(sequence, rows=2))
        assert record.segments.flush()
    lose(record, 1)
    record.note("configuration", sha256="ab")
    record.close()
    return folder


@pytest.fixture
def sealed(original, tmp_path):
    return shutil.copytree(original, tmp_path / "data")


def reopened(folder):
    record = opened(folder)
    found = (
        dict(record.ledger.files), record.ledger.high_water, record.ledger.last_notes,
        record.ledger.state, record.ledger.head,
    )  # fmt: skip
    record.close()
    return found, record


def test_a_start_from_the_checkpoint_stands_where_a_start_from_the_whole_file_stands(
    sealed, tmp_path
):
    copy = tmp_path / "copy"
    shutil.copytree(sealed, copy)
    (copy / NAME).unlink()
    (with_it, one), (without, other) = reopened(sealed), reopened(copy)
    assert with_it == without
    assert one.checkpoint_problem == other.checkpoint_problem == ""
    assert (copy / NAME).exists(), "a missing one is made anew"
    assert check_folder(copy).problems == check_folder(sealed).problems == []


def test_neither_start_nor_query_decodes_entries_before_the_checkpoint(sealed, monkeypatch):
    decoded = []
    decode = ledger_reading.decode
    monkeypatch.setattr(ledger_reading, "decode", lambda line: decoded.append(line) or decode(line))
    assert count(sealed) == 60
    reopened(sealed)
    assert decoded == []


def test_a_checkpoint_is_made_while_the_collector_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "CHECKPOINT_ENTRIES", 8)
    record = opened(tmp_path / "data", entries=4, seconds=0.02)
    for number in range(20):
        lose(record, number)
    wait_until(lambda: (record.data_dir / NAME).exists())
    assert count(record.data_dir, "losses") == 20
    assert record.ledger.checkpoint.size >= 16
    record.close()


def _foreign(folder):
    """The key was exchanged by hand, and its owner has said so."""
    (folder / "ledger.key.before").write_bytes((folder / "ledger.pub").read_bytes())
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "ledger.key").write_bytes(pem)


def _changed(old, new):
    def change(folder):
        data = (folder / NAME).read_bytes()
        assert old in data
        (folder / NAME).write_bytes(data.replace(old, new, 1))

    return change


def _cut(folder):
    data = (folder / NAME).read_bytes()
    (folder / NAME).write_bytes(data[: len(data) // 2])


WRONG = {
    "a segment left out": _changed(b"000000000003.parquet", b"000000000004.parquet"),
    "another mark": _changed(b'["host-a",1,30]', b'["host-a",1,29]'),
    "cut short": _cut,
    "empty": lambda folder: (folder / NAME).write_bytes(b""),
    "no JSON": lambda folder: (folder / NAME).write_bytes(b"\xff\n{}\n"),
    "signed by another key": _foreign,
}


@pytest.mark.parametrize("how", WRONG)
def test_a_wrong_checkpoint_is_rebuilt_and_the_ledger_says_so(sealed, how):
    WRONG[how](sealed)
    (files, marks, *_), record = reopened(sealed)
    assert record.checkpoint_problem
    assert len(files) >= 31
    assert marks == {("host-a", 1): 30}
    notes = [note for entry in entries_since(sealed, 32) for note in entry.notes]
    assert [note["problem"] for note in notes if note["kind"] == "checkpoint_rebuilt"] == [
        record.checkpoint_problem
    ]
    assert reopened(sealed)[1].checkpoint_problem == "", "once"
    assert count(sealed) == 60


def test_every_flipped_byte_of_a_checkpoint_is_noticed_by_readers_who_read_the_ledger_then(sealed):
    path = sealed / NAME
    whole = path.read_bytes()
    expected, problem = standing.standing(sealed)
    assert not problem
    for place in range(0, len(whole), 101):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        state, problem = standing.standing(sealed)
        assert problem, place
        assert (state.files, state.head) == (expected.files, expected.head)


def test_an_older_checkpoint_is_only_a_longer_way(sealed):
    older = (sealed / NAME).read_bytes()
    record = opened(sealed)
    lose(record, 2)
    record.close()
    (sealed / NAME).write_bytes(older)
    _, record = reopened(sealed)
    assert record.checkpoint_problem == ""
    assert record.contradictions == []
    assert count(sealed, "losses") == 2


def test_a_checkpoint_newer_than_ledger_or_heads_is_not_believed(sealed):
    newer = (sealed / NAME).read_bytes()
    for name in ("ledger.jsonl", "heads.jsonl"):
        path = sealed / name
        whole = path.read_bytes()
        path.write_bytes(whole[: whole.rstrip(b"\n").rfind(b"\n") + 1])
        state, problem = standing.standing(sealed)
        assert problem
        assert state.seq == (31 if name == "ledger.jsonl" else 32)
        path.write_bytes(whole)
    assert (sealed / NAME).read_bytes() == newer


def test_a_ledger_changed_before_its_checkpoint_is_noticed_at_the_start(sealed):
    path = sealed / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"seq":3,', b'"seq":9,', 1))
    record = opened(sealed)
    assert "before its checkpoint" in record.checkpoint_problem
    assert record.contradictions
    record.close()
    assert check_folder(sealed).problems


def test_a_long_ledger_is_compared_after_the_start(sealed, monkeypatch):
    monkeypatch.setattr(store, "READ_AT_ONCE_BYTES", 0)
    monkeypatch.setattr(standing, "BLOCK_BYTES", 100)
    monkeypatch.setattr(store, "READ_PAUSE_SECONDS", 0.0)
    record = opened(sealed)
    time.sleep(0.1)
    assert record.contradictions == []
    record.close()
    path = sealed / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"seq":3,', b'"seq":9,', 1))
    record = opened(sealed)
    wait_until(lambda: record.contradictions)
    record.segments.flush()
    record.close()
    last = read(path).entries[-1]
    assert [note["kind"] for note in last.notes] == ["ledger_contradicted"]
    assert not (sealed / NAME).exists(), "the next start reads all of it"


def test_files_are_read_backwards_by_blocks_of_any_size(tmp_path, monkeypatch):
    path = tmp_path / "ledger.jsonl"
    for text in (b"", b"\n", b"a\n", b"a", b"aa\nbbb\n\ncc\nhalf", b"half", b"\n\n\n"):
        path.write_bytes(text)
        expected = text.split(b"\n")[:-1]
        for size in (1, 2, 3, 100):
            monkeypatch.setattr(ledger_reading, "BLOCK_BYTES", size)
            assert list(ledger_reading.backwards(path)) == expected[::-1]
            assert last_line(path) == (expected[-1] if expected else b"")
            assert whole_bytes(path) == text.rfind(b"\n") + 1


def test_the_command_says_when_it_had_to_read_all(sealed):
    from collector.views import damage

    assert damage(sealed) == []
    _cut(sealed)
    (sentence,) = damage(sealed)
    assert "the whole ledger was read: ledger.checkpoint is damaged" in sentence


def test_damage_keeps_the_checkpoint_away_for_good(sealed):
    with (sealed / "ledger.jsonl").open("ab") as file:
        file.write(json.dumps({"seq": 33}).encode() + b"\n")
    for _ in range(2):
        record = Store(sealed)
        assert record.contradictions
        assert record.ledger.checkpoint is None or record.ledger.problems
        record.close()
