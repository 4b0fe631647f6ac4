"""A damaged spool: what can be read of it goes on, in its numbers, and what is lost is counted."""

import os
import shutil
import sqlite3
import time

import pytest

from agent.spool.spool import Spool, SpoolError
from agent.spool.unfinished import set_aside
from tests.agent.test_spool import Losses
from tests.collector.road import statements

BATCHES, ROWS = 300, 2
PAGE = 4096


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A spool in one file whose first batches are with the collector."""
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder / "spool.db", lambda *_: None)
    spool.append(*(statements(number * ROWS, ROWS) for number in range(1, BATCHES + 21)))
    spool.forget(20)
    epoch = spool.epoch
    spool.close()
    return (folder / "spool.db").read_bytes(), epoch


def opened(path, data):
    path.parent.mkdir()
    path.write_bytes(data)
    losses = []
    spool = Spool(path, lambda *loss: losses.append(loss))
    waiting = {batch.sequence: batch for batch in everything(spool)}
    assert {loss[:2] for loss in losses} <= {("spool", "spool_damaged")}
    lost = BATCHES * ROWS - sum(batch.rows for batch in waiting.values())
    return spool, waiting, lost, sum(count for *_, count in losses)


def flipped(data, page, dice):
    changed = bytearray(data)
    changed[page * PAGE + dice.randrange(12)] ^= 1 << dice.randrange(8)
    return bytes(changed)


def test_a_flip_in_the_head_of_any_page_costs_what_is_counted(tmp_path, whole, dice, tier):
    data, epoch = whole
    pages = range(len(data) // PAGE)
    kept_most = 0
    for number in tier(pages, [*pages] * 10):
        path = tmp_path / f"{number}-{dice.random()}" / "spool.db"
        spool, waiting, lost, counted = opened(path, flipped(data, number, dice))
        assert lost == counted, number
        assert all(spool.read_from(each)[0].body == batch.body for each, batch in waiting.items())
        if waiting:
            assert spool.epoch == epoch, "what may have been sent is the same batch"
        assert spool.append(statements(9_000, 1)) > max(waiting, default=0)
        kept_most += lost < BATCHES * ROWS / 10
        spool.close()
        shutil.rmtree(path.parent)
    # But for the one page that leads to all the others of a table.
    assert kept_most >= len(tier(pages, [*pages] * 10)) * 0.95


def test_what_comes_upon_damage_that_no_start_sees_is_kept_in_the_next_file(tmp_path, whole):
    """A key and its mirror that differ: only who writes there meets it."""
    data, _ = whole
    places = [
        at + byte for at in range(len(data)) if data.startswith(b"last", at) for byte in range(4)
    ]
    met = 0
    for number, place in enumerate(places):
        changed = bytearray(data)
        changed[place] ^= 1 << 3
        path = tmp_path / str(number) / "spool.db"
        spool, waiting, lost, counted = opened(path, bytes(changed))
        before = len(list(path.parent.glob("*.damaged-*")))
        new = spool.append(statements(9_000, 1))
        assert (lost, counted, new) == (0, 0, max(waiting) + 1)
        [kept] = spool.read_from(new)
        assert kept.rows == 1
        met += len(list(path.parent.glob("*.damaged-*"))) > before
        spool.close()
    assert met, "some of it was met by the append alone"


def test_a_name_that_is_no_text_any_more_costs_nothing(tmp_path, whole):
    """Of a table, in the page that says where they are; of a key, whose row then holds any type."""
    data, _ = whole
    names = [at + byte for name in (b"batch", b"meta", b"epoch") for at in found(data, name)
             for byte in (0, len(name) - 1)]  # fmt: skip
    heads = [at - byte for at in found(data, b"last") for byte in (1, 2, 3, 4, 5)]
    for number, (place, bit) in enumerate([*((at, 7) for at in names), *((at, 0) for at in heads)]):
        changed = bytearray(data)
        changed[place] ^= 1 << bit
        began = time.monotonic()
        spool, _, lost, counted = opened(tmp_path / str(number) / "spool.db", bytes(changed))
        assert (lost, counted) == (0, 0), place
        assert time.monotonic() - began < 5, "the file of before is locked"
        spool.close()


def found(data, name):
    return [at for at in range(len(data)) if data.startswith(name, at)]


def test_a_cut_costs_what_lay_behind_it(tmp_path, whole, dice, tier):
    data, epoch = whole
    for number in range(tier(20, 300)):
        cut = dice.randrange(PAGE * 8, len(data))
        path = tmp_path / str(number) / "spool.db"
        spool, _, lost, counted = opened(path, data[:cut])
        assert 0 < lost == counted, (number, cut)
        assert spool.epoch == epoch
        spool.close()
        shutil.rmtree(path.parent)


def test_a_cut_within_the_last_page_is_seen_at_the_start(tmp_path, whole):
    data, _ = whole
    for number, cut in enumerate(range(len(data) - PAGE + 1, len(data), 97)):
        spool, _, lost, counted = opened(tmp_path / str(number) / "spool.db", data[:cut])
        assert lost == counted, cut
        spool.close()


def test_what_finds_no_room_when_it_is_salvaged_is_counted_to_the_row(disk, dice):
    """At every fill of the disk; the damaged file takes its room as well."""
    counts = [dice.randint(1, 9) for _ in range(700)]
    spool = Spool(disk / "spool.db", lambda *_: None)
    spool.append(*(statements(number * 10, count) for number, count in enumerate(counts)))
    spool.forget(20)
    epoch = spool.epoch
    spool.close()
    data = bytearray((disk / "spool.db").read_bytes())
    data[len(data) // 2 // PAGE * PAGE] ^= 1
    waiting, some = sum(counts[20:]), 0
    for number in range(12):
        folder = disk / str(number)
        folder.mkdir()
        path = folder / "spool.db"
        losses = Losses()
        path.write_bytes(bytes(data))
        (disk / "spool.db").unlink(missing_ok=True)
        room = (number + 1) * len(data) // 12 + 100_000
        with (folder / "ballast").open("wb") as file:
            file.write(bytes(shutil.disk_usage(disk).free - room))
        spool = Spool(path, losses)
        kept = {batch.sequence: batch for batch in everything(spool)}
        assert spool.epoch == epoch
        stored = sum(batch.rows for batch in kept.values())
        assert stored + losses.total() == waiting, (number, room)
        some += 0 < stored < waiting * 0.9
        spool.close()
        again = Spool(path, losses)
        assert [batch.sequence for batch in everything(again)] == [*kept]
        assert again.last_sequence == len(counts)
        again.close()
        shutil.rmtree(folder)
    assert some >= 3


def everything(spool):
    first, found = 1, []
    while batches := spool.read_from(first):
        found += batches
        first = batches[-1].sequence + 1
    return found


def test_a_damaged_spool_waits_where_no_new_one_can_be_made(disk, whole):
    data, epoch = whole
    path = disk / "spool.db"
    path.write_bytes(data[: len(data) - PAGE * 3 - 99])
    _, _, lost, counted = opened(disk.parent / "unhurt" / "spool.db", path.read_bytes())
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free))
    losses = []
    for _ in range(2):
        with pytest.raises(SpoolError, match=r"is damaged and there is no new one.*make room"):
            Spool(path, lambda *loss: losses.append(loss))
    assert losses == []
    ballast.unlink()
    spool = Spool(path, lambda *loss: losses.append(loss))
    assert (spool.epoch, spool.last_sequence) == (epoch, BATCHES + 20)
    assert losses == [("spool", "spool_damaged", counted)]
    assert lost == counted
    spool.close()


@pytest.mark.parametrize("side", ["-wal", ""])
def test_a_kill_between_the_names_of_its_parts_loses_nothing(tmp_path, monkeypatch, side):
    """What is in its log belongs to it, whichever has its other name already."""
    path = tmp_path / "spool.db"
    child = os.fork()
    if not child:
        spool = Spool(path, lambda *_: None)
        spool.append(*(statements(number * ROWS, ROWS) for number in range(1, 9)))
        monkeypatch.setattr("agent.spool.unfinished.fsync", lambda _: os._exit(9))
        if side:
            monkeypatch.setattr("agent.spool.unfinished._PARTS", (side,))
        set_aside(path)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    losses = []
    spool = Spool(path, lambda *loss: losses.append(loss))
    assert [batch.sequence for batch in everything(spool)] == [*range(1, 9)]
    assert losses == []
    spool.close()
    assert len(list(tmp_path.glob("*.damaged-*"))) >= 1


def test_a_kill_while_it_is_salvaged_loses_nothing_uncounted(tmp_path, whole, monkeypatch):
    data, epoch = whole
    path = tmp_path / "spool.db"
    cut = data[: len(data) - PAGE - 99]
    _, _, lost, counted = opened(tmp_path / "unhurt" / "spool.db", cut)
    path.write_bytes(cut)
    for moment in ("_waiting", "_rows_of", "_fits"):
        child = os.fork()
        if not child:
            monkeypatch.setattr(f"agent.spool.salvage.{moment}", lambda *_: os._exit(9))
            Spool(path, lambda *_: None)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    told = []
    spool = Spool(path, lambda *loss: told.append(loss))
    assert (told, spool.epoch) == ([("spool", "spool_damaged", counted)], epoch)
    assert spool.last_sequence == BATCHES + 20
    spool.append(statements(9_000, 1))
    spool.close()
    again = Spool(path, lambda *loss: told.append(loss))
    assert again.last_sequence == BATCHES + 21
    assert (len(told), lost) == (1, counted)
    again.close()


def test_in_the_file_of_an_older_release_each_lost_batch_counts_at_least_one(tmp_path, whole):
    """It has no mirrors, and gets none from a damaged table."""
    older = tmp_path / "older.db"
    older.write_bytes(whole[0])
    with sqlite3.connect(older) as db:
        for name in ("batch", "meta", "epoch"):
            db.execute(f"DROP INDEX {name}_mirror")
        (leaf,) = db.execute(
            "SELECT max(pageno) FROM dbstat WHERE name = 'batch' AND pagetype = 'leaf'"
        ).fetchone()
    db.close()
    data = bytearray(older.read_bytes())
    data[(leaf - 1) * PAGE] ^= 1
    spool, _, lost, counted = opened(tmp_path / "new" / "spool.db", bytes(data))
    assert 0 < counted <= lost < BATCHES * ROWS / 10
    spool.close()


@pytest.mark.parametrize("page", [0, 1])
def test_the_first_pages_cost_nothing(tmp_path, whole, dice, page):
    """What they say is known: the tables' places, and what is in their mirrors."""
    data, epoch = whole
    damaged = bytearray(data)
    damaged[page * PAGE : page * PAGE + 200] = dice.randbytes(200)
    spool, waiting, lost, counted = opened(tmp_path / "new" / "spool.db", bytes(damaged))
    assert (lost, counted, spool.epoch, min(waiting)) == (0, 0, epoch, 21)
    assert spool.append(statements(9_000, 1)) == BATCHES + 21
    spool.close()


def test_damage_that_is_met_while_the_agent_runs_costs_no_more(tmp_path, whole, dice):
    data, epoch = whole
    path = tmp_path / "new" / "spool.db"
    spool, _, lost, counted = opened(path, data)
    assert (lost, counted) == (0, 0)
    losses = []
    spool._on_loss = lambda *loss: losses.append(loss)
    with path.open("r+b") as file:
        for page in range(len(data) // PAGE // 2, len(data) // PAGE // 2 + 4):
            file.seek(page * PAGE)
            file.write(dice.randbytes(12))
    spool._db.execute("PRAGMA shrink_memory")
    spool._db.execute("PRAGMA cache_size = 0")
    spool.read_from(1, 1000)
    left = {
        batch.sequence for first in range(1, BATCHES + 21, 64) for batch in spool.read_from(first)
    }
    assert 0 < len(left) < BATCHES
    assert losses == [("spool", "spool_damaged", (BATCHES - len(left)) * ROWS)]
    assert spool.epoch == epoch
    spool.close()
