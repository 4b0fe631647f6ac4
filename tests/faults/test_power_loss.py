"""The power goes at any moment: acknowledged is stored, and the record still verifies."""

import os
import shutil
from pathlib import Path

from collector.damage import Damage
from collector.entry_signature import Signer
from collector.heads import KEY_NAME, Heads, Sealing, open_key
from collector.ledger import Ledger
from collector.ledger_reading import damage_of, verify
from collector.merge import merge_small_segments
from collector.own_entries import examine
from collector.pgwarden_verify import check_folder
from collector.segments import Segments
from collector.standing import standing
from collector.store import Store
from tests.collector.test_store import batch
from tests.faults.power import PowerDisk


def test_a_power_cut_takes_nothing_that_was_acknowledged(tmp_path, tier, dice, monkeypatch):
    monkeypatch.setattr("collector.ledger.CHECKPOINT_ENTRIES", 8)
    folder = tmp_path / "data"
    folder.mkdir()
    done = [0]
    key = open_key(folder, None)
    disk = PowerDisk(folder, lambda: done[0])
    with disk.watch():
        ledger = Ledger(folder, sign=Signer(key))
        segments = Segments(folder, ledger)
        heads = Heads(folder, Sealing(entries=1 << 30, seconds=1e9), ledger, key)
        for sequence in range(1, 41):
            segments.commit([batch(sequence, rows=1)])
            done[0] = sequence
            if sequence % 5 == 0:
                assert heads.sign()
            if sequence == 36:
                assert merge_small_segments(folder, ledger, "statements", Damage(folder, ledger))
        heads.sign()
        ledger.close()
    assert len(disk.moments) > 100
    monkeypatch.setattr(os, "fsync", lambda _: None)  # what is looked at needs no disk
    for number in range(tier(100, 10_000)):
        after = tmp_path / "after"
        promised = disk.cut(dice, after)
        _survives(after, promised, number)
        shutil.rmtree(after)


def _survives(folder, promised, number):
    state, _ = standing(folder)
    if promised:
        assert state.high_water["host-a", 1] >= promised, number
    for file in state.files.values():
        assert damage_of(folder, file) is None, (number, file.path)
    assert _foreign(folder) == [], "it looks like a forgery"
    # Zeros or half a line at the end are cut off at the start, and set aside.
    ledger = Ledger(folder)
    heads = Heads(folder, Sealing(), ledger, open_key(folder, None))
    assert heads.problems == [], number
    assert ledger.problems == [], number
    assert ledger.seq >= state.seq
    heads.close()
    ledger.close()
    assert verify(folder) == [], number
    assert check_folder(folder).problems == [], number


def test_folders_are_durable_under_their_names_before_a_segment_lies_in_them(tmp_path, monkeypatch):
    """What a cut would else take with all that is in them."""
    inside, fsync = [], os.fsync

    def noted(descriptor):
        place = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        inside.append((place, {each.name for each in place.iterdir()} if place.is_dir() else set()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    data = tmp_path / "data"
    Store(data).close()
    for folder in (data / "segments" / "losses", data / "segments", data):
        assert any(place == folder.parent and folder.name in names for place, names in inside)


def _foreign(folder):
    return examine(folder, open_key(folder, None), folder / KEY_NAME, False).problems
