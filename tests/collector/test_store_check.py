"""`store check` names each damaged, missing or extra file; `store rebuild` makes the index anew."""

import json
import os
import shutil

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from cli.main import app
from collector import store_check, store_rebuild
from collector.compaction import compact
from collector.index import index_rows
from collector.store import Store
from collector.store_check import check_store
from collector.store_rebuild import rebuild_index
from tests.collector.test_ledger_heads import opened
from tests.collector.test_store import batch, count

THIRD = "segments/statements/000000000003.parquet"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original") / "data"
    record = opened(folder)
    for sequence in range(1, 6):
        record.segments.submit(batch(sequence))
        assert record.segments.flush()
    record.close()
    return folder


@pytest.fixture
def sealed(original, tmp_path):
    return shutil.copytree(original, tmp_path / "data")


def command(folder, *words):
    return CliRunner().invoke(app, ["store", *words, "--data", str(folder)])


def test_a_record_that_is_whole_has_no_problems(sealed):
    report = check_store(sealed)
    assert (report.problems, report.notices) == ([], [])
    assert report.segments >= 5
    done = command(sealed, "check")
    assert done.exit_code == 0
    assert "✓ all well" in done.output


def _flip(folder):
    data = bytearray((folder / THIRD).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / THIRD).write_bytes(data)


def _append(folder):
    with (folder / THIRD).open("ab") as file:
        file.write(b"x")


DAMAGE = {
    "flip": (_flip, f"{THIRD}: its SHA-256 is not the sealed one"),
    "longer": (_append, f"{THIRD}: "),
    "missing": (lambda folder: (folder / THIRD).unlink(), f"{THIRD}: is missing"),
    "extra": (
        lambda folder: shutil.copy(folder / THIRD, (folder / THIRD).with_name("9.parquet")),
        "segments/statements/9.parquet: the ledger does not name it",
    ),
    "index gone": (lambda folder: (folder / "index.duckdb").unlink(), "index.duckdb: is missing"),
    "index garbage": (
        lambda folder: (folder / "index.duckdb").write_bytes(b"no database" * 999),
        "index.duckdb: cannot be read",
    ),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_each_file_that_is_not_as_it_should_be_is_named_and_the_exit_code_is_1(sealed, how):
    damage, sentence = DAMAGE[how]
    damage(sealed)
    (problem,) = check_store(sealed).problems
    assert problem.startswith(sentence)
    done = command(sealed, "check", "--json")
    assert done.exit_code == 1
    assert json.loads(done.output)["problems"] == [problem]


@pytest.mark.parametrize(
    "lie",
    [
        f"DELETE FROM segments WHERE path = '{THIRD}'",
        f"UPDATE segments SET rows = 11 WHERE path = '{THIRD}'",
        "INSERT INTO segments SELECT 'x', * EXCLUDE path FROM segments LIMIT 1",
        "UPDATE sources SET last = 4",
        "UPDATE head SET hash = 'x'",
    ],
)
def test_an_index_that_says_something_else_is_found_and_made_anew(sealed, lie):
    with duckdb.connect(str(sealed / "index.duckdb")) as index:
        index.execute(lie)
    assert len(check_store(sealed).problems) == 1
    done = command(sealed, "rebuild")
    assert done.exit_code == 0, done.output
    assert check_store(sealed).problems == []


def test_the_index_of_a_running_collector_knows_how_far_agents_came(sealed):
    record = Store(sealed, commit_seconds=0.01)
    record.start()
    record.segments.submit(batch(6))
    assert record.segments.flush()
    record.close()
    with duckdb.connect(str(sealed / "index.duckdb"), read_only=True) as index:
        _, _, sources = index_rows(index)
    assert sources == {("host-a", 1): 6}
    assert check_store(sealed).problems == []


def test_a_rebuild_that_is_interrupted_leaves_the_old_index(sealed, monkeypatch):
    before = (sealed / "index.duckdb").read_bytes()
    monkeypatch.setattr(store_rebuild, "_swap", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        rebuild_index(sealed)
    assert (sealed / "index.duckdb").read_bytes() == before
    monkeypatch.undo()
    seen = []
    assert rebuild_index(sealed, lambda *at: seen.append(at)).segments == len(seen)
    assert seen[-1] == (len(seen), len(seen))


def _interrupted(*_):
    raise KeyboardInterrupt


def test_a_rebuild_leaves_out_what_is_damaged_and_names_it(sealed):
    _flip(sealed)
    done = command(sealed, "rebuild")
    assert done.exit_code == 1
    assert THIRD in done.output
    with duckdb.connect(str(sealed / "index.duckdb"), read_only=True) as index:
        _, segments, _ = index_rows(index)
    assert THIRD not in segments
    assert len(segments) >= 4


def test_rows_are_counted_in_the_segments(sealed):
    path = sealed / THIRD
    rows = pl.read_parquet(path, glob=False).height
    rebuild_index(sealed)
    with duckdb.connect(str(sealed / "index.duckdb"), read_only=True) as index:
        _, segments, _ = index_rows(index)
    assert segments[THIRD][1] == rows == 10


def test_a_rebuild_beside_a_running_collector_is_refused_with_the_remedy_and_a_check_goes_on(
    sealed,
):
    record = Store(sealed)
    done = command(sealed, "rebuild")
    assert done.exit_code == 1
    assert "stop it first" in done.output
    assert check_store(sealed).problems == []
    record.close()
    assert count(sealed) == 50


def after_a_look_at_the_ledger(monkeypatch, step):
    """What a living collector does in the moment after it was read first."""
    steps, real = [step], store_check.read

    def read_ledger(path):
        found = real(path)
        if steps:
            steps.pop()()
        return found

    monkeypatch.setattr(store_check, "read", read_ledger)


def test_a_file_that_a_living_collector_names_a_moment_later_is_no_stranger(sealed, monkeypatch):
    record, ledger = Store(sealed), sealed / "ledger.jsonl"
    whole = ledger.read_bytes()
    ledger.write_bytes(whole[: whole.index(THIRD.encode())].rpartition(b"\n")[0] + b"\n")
    after_a_look_at_the_ledger(monkeypatch, lambda: ledger.write_bytes(whole))
    assert check_store(sealed).problems == []
    record.close()


def test_a_file_that_is_merged_and_removed_while_it_is_checked_is_not_missing(sealed, monkeypatch):
    record = Store(sealed)
    for file in record.ledger.files:
        os.utime(sealed / file, (0, 0))

    def merge():
        replaced = compact(sealed, record.ledger, "statements", record.damage)
        assert len(replaced) > 1
        for path in replaced:
            path.unlink()

    after_a_look_at_the_ledger(monkeypatch, merge)
    assert check_store(sealed).problems == []
    record.close()


def test_what_stays_strange_beside_a_living_collector_is_told(sealed, monkeypatch):
    monkeypatch.setattr(store_check, "SETTLE_SECONDS", 0.5)
    record = Store(sealed)
    shutil.copy(sealed / THIRD, (sealed / THIRD).with_name("9.parquet"))
    _flip(sealed)
    assert len(check_store(sealed).problems) == 2
    record.close()


def test_a_folder_without_a_ledger_is_a_sentence(tmp_path):
    done = command(tmp_path, "check")
    assert done.exit_code == 1
    assert "has no ledger" in done.output


def test_what_an_older_release_left_of_a_note_about_missing_batches_is_no_damage(
    tmp_path, monkeypatch
):
    """It did not count them in how far an agent came: in its index, and in its checkpoint."""
    folder = tmp_path / "data"
    record = opened(folder)
    record.segments.submit(batch(1))
    assert record.segments.flush()
    (agent, epoch), _ = next(iter(record.ledger.high_water.items()))
    with monkeypatch.context() as older:
        older.setattr("collector.ledger_state.BATCHES_MISSING", "unknown")
        older.setattr("collector.checkpoint.VERSION", 1)
        record.note("batches_missing", agent=agent, epoch=epoch, first=2, last=9)
        assert record.segments.flush()
        record.close()
    report = check_store(folder)
    assert (report.problems, report.notices) == ([], []), "by the release of before"
    record = opened(folder)
    assert record.segments.durable_sequence(agent, epoch) == 9
    record.segments.submit(batch(10))
    assert record.segments.flush()
    record.close()
    assert check_store(folder).problems == []
    with duckdb.connect(str(folder / "index.duckdb")) as index:
        index.execute("UPDATE sources SET last = 5")
    assert check_store(folder).problems == [
        "index.duckdb: says something else of how far agents came"
    ]
