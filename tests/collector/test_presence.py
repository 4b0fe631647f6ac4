"""A disk that is not there at a start takes nothing out of the record, and what was taken out comes
back when it is there again."""

import json
import shutil
from pathlib import Path

import pytest

from collector import ledger_reading as ledger
from collector.pgwarden_verify import check_folder
from collector.proofs import GoneError, Prover
from collector.store import Store, StoreError
from tests.collector.test_ledger_heads import lose, opened
from tests.collector.test_store import batch, count

FOLDER = "segments/statements"


@pytest.fixture
def sealed(tmp_path):
    """Five commits, closed."""
    with_batches(tmp_path / "data", range(1, 6))
    return tmp_path / "data"


def with_batches(data, sequences):
    store = Store(data, commit_seconds=0.01)
    store.start()
    for sequence in sequences:
        store.segments.submit(batch(sequence))
        assert store.segments.flush()
    store.close()
    return store


def last_entry(data):
    return json.loads((data / ledger.NAME).read_text().splitlines()[-1])


@pytest.mark.parametrize("part", ["segments", FOLDER])
@pytest.mark.parametrize("is_mount_point", [True, False])
def test_a_disk_that_is_not_mounted_at_a_start_takes_nothing_out_of_the_record(
    sealed, part, is_mount_point
):
    before = (sealed / ledger.NAME).read_bytes()
    (sealed / part).rename(sealed.parent / "elsewhere")
    if is_mount_point:
        (sealed / part).mkdir()
    with pytest.raises(StoreError, match="has none of its 5 segments: mount or restore it"):
        Store(sealed)
    assert (sealed / ledger.NAME).read_bytes() == before
    shutil.rmtree(sealed / part, ignore_errors=True)
    (sealed.parent / "elsewhere").rename(sealed / part)
    with_batches(sealed, [6])
    assert count(sealed) == 60


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "I/O")])
def test_a_segment_that_cannot_be_looked_at_is_not_a_missing_one(sealed, monkeypatch, error):
    before, real = (sealed / ledger.NAME).read_bytes(), Path.stat

    def stat(path, **options):
        if path.name == "000000000003.parquet":
            raise type(error)(*error.args, str(path))
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(StoreError, match=r"000000000003\.parquet: .*check mount, owner and disk"):
        Store(sealed)
    monkeypatch.undo()
    assert (sealed / ledger.NAME).read_bytes() == before
    with_batches(sealed, [6])
    assert count(sealed) == 60


def test_segments_that_are_gone_for_good_are_taken_out_where_a_person_says_so(sealed):
    shutil.rmtree(sealed / FOLDER)
    with pytest.raises(StoreError, match="gone-for-good"):
        Store(sealed)
    (sealed / FOLDER).mkdir()
    (sealed / FOLDER / "gone-for-good").touch()
    with_batches(sealed, [6])
    assert count(sealed) == 10
    assert check_folder(sealed).problems == []


def test_a_segment_that_was_missing_at_one_start_holds_again_when_it_is_back(sealed):
    victim = sealed / FOLDER / "000000000003.parquet"
    victim.rename(sealed.parent / "kept")
    assert len(with_batches(sealed, [6]).quarantined) == 1
    assert count(sealed) == 50
    (sealed.parent / "kept").rename(victim)
    store = with_batches(sealed, [])
    assert (store.taken_back, store.quarantined) == ([f"{FOLDER}/{victim.name}"], [])
    assert count(sealed) == 60
    report = check_folder(sealed)
    assert (report.problems, report.signed) == ([], report.entries)
    assert last_entry(sealed)["reason"] == "restored"
    assert with_batches(sealed, [7]).taken_back == []
    assert count(sealed) == 70


def test_what_was_set_aside_and_is_whole_is_taken_back_from_quarantine(sealed):
    """As an earlier release did with all of a disk that was away for one start."""
    victim = sealed / FOLDER / "000000000003.parquet"
    whole = victim.read_bytes()
    victim.unlink()
    with_batches(sealed, [])
    (sealed / "quarantine").mkdir(exist_ok=True)
    (sealed / "quarantine/statements-17-000000000003.parquet").write_bytes(whole)
    (sealed / "quarantine/statements-18-000000000003.parquet").write_bytes(whole[:-1] + b"x")
    assert len(with_batches(sealed, []).taken_back) == 1
    assert count(sealed) == 50


def test_what_is_back_as_something_else_is_set_aside_and_does_not_hold(sealed):
    victim = sealed / FOLDER / "000000000003.parquet"
    whole = victim.read_bytes()
    victim.unlink()
    with_batches(sealed, [])
    victim.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    store = with_batches(sealed, [])
    assert store.taken_back == []
    assert len(store.quarantined) == 1
    assert count(sealed) == 40


def test_a_restored_segment_is_no_commit_of_its_own(sealed):
    victim = sealed / FOLDER / "000000000003.parquet"
    victim.rename(sealed.parent / "kept")
    with_batches(sealed, [])
    (sealed.parent / "kept").rename(victim)
    store = Store(sealed)
    assert store.taken_back
    assert [each.seq for each in store.commits_from(6)] == []
    store.close()


def test_the_events_of_a_segment_that_came_back_can_be_proven_and_are_compared_again(tmp_path):
    data = tmp_path / "data"
    store = opened(data)
    for lost in (1, 2, 3):
        lose(store, lost)
    store.close()
    victim = data / "segments/losses/000000000002.parquet"
    victim.rename(tmp_path / "kept")
    opened(data).close()
    with pytest.raises(GoneError, match="damaged"):
        Prover(data).event(2, 1)
    (tmp_path / "kept").rename(victim)
    store = opened(data)
    assert store.taken_back
    store.heads.sign()
    store.close()
    assert json.loads(Prover(data).event(2, 1)["event"])["count"] == 2
    assert list(Prover(data).matching(lambda event: True)) == [(1, 1), (2, 1), (3, 1)]
    victim.write_bytes(victim.with_name("000000000003.parquet").read_bytes())
    assert any("entry 2" in each for each in Prover(data).contradictions())
    victim.unlink()
    opened(data).close()
    with pytest.raises(GoneError, match="damaged"):
        Prover(data).event(2, 1)
