"""Lines that somebody without the key adds to the ledger never become the collector's own."""

import json
import random
from pathlib import Path

import polars as pl
import pytest

from collector import heads, ledger_reading
from collector.heads import CONTEXT, Sealing
from collector.key_rotation import RotationError, rotate
from collector.ledger_entry import MERGED, RETENTION
from collector.merge import merge_small_segments
from collector.own_entries import examine
from collector.pgwarden_verify import canonical, check_folder
from collector.segment_file import write_segment
from collector.store import open_views
from tests.collector import ledger_attacks as attacks
from tests.collector.test_ledger_attacks import SEED, kept
from tests.collector.test_ledger_heads import lose, opened, sealed, verified

__all__ = ["kept", "sealed"]


def written(folder, disk):
    """The attacked disk, on the disk."""
    for path in (folder / "segments").rglob("*.parquet"):
        path.unlink()
    for path, data in disk.segments.items():
        (folder / path).write_bytes(data)
    (folder / "ledger.jsonl").write_bytes(disk.ledger)


@pytest.mark.parametrize("kind", attacks.APPENDED)
def test_an_appended_line_is_set_aside_at_the_start_and_noted_and_signed_never(sealed, kind):
    before = (sealed / "ledger.jsonl").read_bytes()
    disk = attacks._with_line(attacks.read(sealed), random.Random(7), kind)
    written(sealed, disk)
    assert any("entry 7: nobody signed it" in each for each in check_folder(sealed).problems)
    store = opened(sealed)
    (contradiction,) = store.contradictions
    assert "1 entries from 7 on were appended by somebody without the ledger's key" in contradiction
    aside = sealed / "quarantine/ledger-unsigned-7.jsonl"
    assert aside.read_bytes() == disk.ledger[len(before) :]
    lose(store, 1)
    store.close()
    assert (sealed / "ledger.jsonl").read_bytes().startswith(before)
    notes = [
        note for each in ledger_reading.read(sealed / "ledger.jsonl").entries for note in each.notes
    ]
    assert [n["problem"] for n in notes if n["kind"] == "ledger_contradicted"] == [contradiction]
    assert any(contradiction in notice for notice in verified(sealed).notices)
    again = opened(sealed)
    assert again.contradictions == []
    again.close()


def test_a_segment_that_was_taken_out_holds_again_when_its_file_is_left(sealed):
    disk = attacks.read(sealed)
    (victim,) = {path for path in disk.segments if path.endswith("losses/000000000003.parquet")}
    with_line = attacks._with_line(disk, random.Random(1), "noted")
    entry = json.loads(with_line.ledger.splitlines()[-1])
    line = attacks.rechain(
        [json.loads(each) for each in disk.ledger.splitlines()]
        + [{**entry, "notes": [], "removed": [victim], "reason": RETENTION}]
    )[-1]
    (sealed / "ledger.jsonl").write_bytes(disk.ledger + line + b"\n")
    store = opened(sealed)
    assert victim in store.ledger.files
    store.close()
    assert len(rows(sealed)) == 5


def rows(folder):
    with open_views(folder) as views:
        return views.execute("SELECT count FROM losses ORDER BY count").fetchall()


def test_what_a_crash_left_without_a_head_proves_itself(tmp_path):
    """Killed at any moment, also right after a merge whose files are gone already."""
    data = tmp_path / "data"
    store = opened(data, entries=10**6, seconds=3600.0)
    for number in range(40):
        lose(store, number)
    for path in merge_small_segments(data, store.ledger, "losses", store.damage):
        path.unlink()
    crash(store)
    report = verified(data)
    assert report.signed < report.entries == 41
    store = opened(data)
    assert store.contradictions == store.quarantined == []
    store.close()
    assert verified(data).signed == 41
    assert len(rows(data)) == 40


def crash(store):
    """As a kill would: nothing more is signed."""
    store.heads.sign = lambda: False
    store.close()


def test_without_its_heads_a_ledger_still_knows_its_own_entries(sealed):
    disk = attacks._with_line(attacks.read(sealed), random.Random(3), "retained")
    written(sealed, disk)
    (sealed / "heads.jsonl").unlink()
    store = opened(sealed)
    assert "heads.jsonl is empty or gone" in store.contradictions[0]
    assert "1 entries from 7 on" in store.contradictions[1]
    store.close()


@pytest.mark.parametrize("forged", [b'{"size":9}\n', b"no head\n"])
def test_a_false_head_over_appended_lines_does_not_cover_them(sealed, forged):
    disk = attacks._with_line(attacks.read(sealed), random.Random(3), "added")
    written(sealed, disk)
    with (sealed / "heads.jsonl").open("ab") as file:
        file.write(forged)
    store = opened(sealed)
    assert "the last 1 lines of heads.jsonl are not signed by our key" in store.contradictions[0]
    assert "1 entries from 7 on" in store.contradictions[1]
    store.close()
    (aside,) = (sealed / "quarantine").glob("heads-foreign-*.jsonl")
    assert aside.read_bytes() == forged
    report = check_folder(sealed)
    assert report.problems == []
    assert any("heads.jsonl are not signed by our key" in each for each in report.notices)


def test_a_key_is_not_rotated_over_lines_of_somebody_else(sealed):
    written(sealed, attacks._with_line(attacks.read(sealed), random.Random(3), "added"))
    before = (sealed / "heads.jsonl").read_bytes()
    with pytest.raises(RotationError, match="start the collector once"):
        rotate(sealed, Sealing())
    assert (sealed / "heads.jsonl").read_bytes() == before
    assert not (sealed / "quarantine").exists()


@pytest.fixture
def older(tmp_path, monkeypatch):
    """A collector of the release before: it signs heads alone, and they say nothing of entries."""

    def head_line(state, at_us, prev, key):
        head = json.loads(real(state, at_us, prev, key))
        fields = {name: value for name, value in head.items() if name not in ("entries", "sig")}
        return canonical({**fields, "sig": key.sign(CONTEXT + canonical(fields)).hex()})

    real = heads.head_line
    monkeypatch.setattr(heads, "head_line", head_line)
    store = opened(tmp_path / "data", entries=10**6, seconds=3600.0)
    store.ledger.sign = None
    yield store
    monkeypatch.undo()


def test_a_ledger_of_the_release_before_verifies_and_goes_on(older, monkeypatch):
    for number in range(3):
        lose(older, number)
    older.close()
    monkeypatch.undo()
    data = older.data_dir
    assert b"signed" not in (data / "ledger.jsonl").read_bytes()
    assert b"entries" not in (data / "heads.jsonl").read_bytes()
    assert verified(data).notices == []
    store = opened(data)
    assert store.contradictions == store.quarantined == []
    lose(store, 3)
    store.close()
    assert (verified(data).notices, len(rows(data))) == ([], 4)
    assert b'"entries":"signed"' in (data / "heads.jsonl").read_bytes()


def merged(store, change=lambda frame: frame):
    """Killed after a merge that no head covers, as are the entries before and after it."""
    for number in range(40):
        lose(store, number)
    ledger, data = store.ledger, store.data_dir
    old = list(ledger.files.values())
    frame = change(pl.concat([pl.read_parquet(data / file.path) for file in old]))
    path = Path(f"segments/losses/{40:012d}-{41:012d}.parquet")
    new = write_segment(data, path, "losses", frame)
    ledger.append(1, (new,), removed=tuple(file.path for file in old), reason=MERGED)
    lose(store, 40)
    crash(store)
    return [data / file.path for file in old]


def test_a_merge_by_the_release_before_that_no_head_covers_is_taken_as_it_is(older, monkeypatch):
    merged(older)
    monkeypatch.undo()
    assert verified(older.data_dir).notices == ["42 entries are not signed yet"]
    store = opened(older.data_dir)
    assert store.contradictions == store.quarantined == []
    store.close()
    assert (verified(older.data_dir).notices, len(rows(older.data_dir))) == ([], 41)


def test_a_merge_into_other_rows_is_not(older, monkeypatch):
    old = merged(older, lambda frame: frame.with_columns(pl.lit(0, pl.UInt64).alias("count")))
    monkeypatch.undo()
    store = opened(older.data_dir)
    assert "2 entries from 41 on" in store.contradictions[0]
    assert all(str(path.relative_to(older.data_dir)) in store.ledger.files for path in old)
    store.close()
    assert rows(older.data_dir) == [(number,) for number in range(40)]


def test_a_merge_that_nobody_signed_is_a_problem_when_what_it_replaces_is_gone(older, monkeypatch):
    for path in merged(older):
        path.unlink()
    monkeypatch.undo()
    assert check_folder(older.data_dir).problems == ["entry 41: nobody signed it"]


def test_whatever_is_appended_is_found_before_the_start(kept, tmp_path):
    whole, _, key = kept
    dice = attacks.dice_of(SEED)
    for number in range(300):
        disk = attacks.append(whole, dice)
        for name, data in (("ledger.jsonl", disk.ledger), ("heads.jsonl", disk.heads)):
            (tmp_path / name).write_bytes(data)
        found = examine(tmp_path, key, tmp_path / "ledger.key", False)
        lines = b"".join(line + b"\n" for line in found.lines)
        assert whole.ledger + lines == disk.ledger, f"{number} of seed {SEED}"
