"""What drift keeps on disk: only changes are written, the older file is taken over once."""

import json
import sqlite3
import time
from dataclasses import replace

import pytest

from collector.drift.baseline import Difference, Fact, Known, NameRange, Scope
from collector.drift.state import (
    DamagedStateError,
    DriftStateError,
    OpenDrift,
    State,
    load,
    save,
    set_aside,
)
from model.catalog import CatalogKind, DriftChange
from model.finding import Finding, FindingKind
from model.verdict import Severity

SCOPE = Scope("host-a", "5432", CatalogKind.TABLE, "shop")
DRIFT = OpenDrift(SCOPE, Difference("hr.t", DriftChange.ADDED, "", "x", ("", "")), 5, 4, 6)
FINDING = Finding("f1", FindingKind.DRIFT, "drift.tables", Severity.LOW, "t", "s", 5)


def facts(count, value="owner: alice\ncolumn id: bigint"):
    return {f"public.table_{n}": Fact(f"{value}\n# {n}", "") for n in range(count)}


def state_of(**words):
    known = Known(facts(3), facts(4), 9, 8, (NameRange("", "m"),), 15)
    return State(
        {SCOPE: known, SCOPE._replace(database="dw"): Known(None, facts(1), 3)},
        {DRIFT.key: DRIFT},
        {"f1": FINDING},
        "anna",
        7,
        "reviewed",
        42,
        {1: {"name": 'odd "\n name'}, 2: {"name": "b"}},
        2,
        **words,
    )


def test_what_was_saved_is_what_is_loaded(tmp_path):
    save(tmp_path, state_of())
    assert load(tmp_path) == state_of()


def test_a_second_save_writes_what_became_another_and_forgets_what_went(tmp_path):
    state = state_of()
    save(tmp_path, state)
    known = state.known[SCOPE]
    known.observed = {**facts(5), "public.table_1": Fact("other", "d")}
    known.accepted = None
    state.known.pop(SCOPE._replace(database="dw"))
    state.open.clear()
    state.findings["f1"] = replace(FINDING, title="another")
    del state.outbox[1]
    state.seq = 43
    save(tmp_path, state)
    assert load(tmp_path) == state


def test_a_state_that_was_loaded_goes_on_from_what_is_stored(tmp_path):
    save(tmp_path, state_of())
    state = load(tmp_path)
    state.known[SCOPE].observed = facts(2)
    save(tmp_path, state)
    assert load(tmp_path).known[SCOPE].observed == facts(2)


def test_one_change_among_many_facts_is_written_alone(tmp_path):
    state = State({SCOPE: Known(facts(20_000), facts(20_000), 9)})
    save(tmp_path, state)
    known = state.known[SCOPE]
    known.observed = {**known.observed, "public.new": Fact("owner: alice", "")}
    began, size = time.perf_counter(), (tmp_path / "drift.sqlite").stat().st_size
    save(tmp_path, state)
    print(f"saving 1 of 20,000 facts: {(time.perf_counter() - began) * 1000:.1f} ms, {size} bytes")
    with sqlite3.connect(tmp_path / "drift.sqlite") as connection:
        [(count,)] = connection.execute("SELECT count(*) FROM facts")
    assert count == 40_001
    assert load(tmp_path).known[SCOPE].observed == known.observed


def test_the_file_of_an_older_release_is_taken_over_once_and_kept_aside(tmp_path):
    older = {
        "version": 1,
        "seq": 42,
        "accepted_by": "anna",
        "accepted_at_us": 7,
        "reason": "reviewed",
        "known": [[list(SCOPE), 9, {"hr.t": ["a", "b"]}, {"hr.t": ["c", ""]}]],
        "open": [],
        "findings": [],
    }
    (tmp_path / "drift.json").write_text(json.dumps(older))
    state = load(tmp_path)
    assert state.known == {SCOPE: Known({"hr.t": Fact("a", "b")}, {"hr.t": Fact("c", "")}, 9)}
    assert (state.seq, state.accepted_by) == (42, "anna")
    # Table catalog_changes, which came later, learns of it too.
    [row] = state.outbox.values()
    assert (row["name"], row["change"], row["after"], row["known_at"]) == ("hr.t", "added", "c", 9)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "drift.json.migrated",
        "drift.sqlite",
    ]
    assert load(tmp_path) == state


@pytest.mark.parametrize("damage", [b"", b"not a database at all" * 100])
def test_a_damaged_file_is_loud_and_names_the_remedy(tmp_path, damage):
    save(tmp_path, state_of())
    (tmp_path / "drift.sqlite").write_bytes(damage)
    with pytest.raises(DamagedStateError, match="restore it from a backup"):
        load(tmp_path)


def test_a_file_that_was_cut_or_scribbled_over_is_damaged(tmp_path):
    save(tmp_path, State({SCOPE: Known(facts(500), facts(500), 9)}))
    path = tmp_path / "drift.sqlite"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedStateError, match="cannot be read"):
        load(tmp_path)
    path.write_bytes(whole[:8192] + b"\xff" * 8192 + whole[16384:])
    with pytest.raises(DamagedStateError, match="cannot be read"):
        load(tmp_path)


def test_a_file_of_a_later_release_is_refused(tmp_path):
    save(tmp_path, state_of())
    with sqlite3.connect(tmp_path / "drift.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(DriftStateError, match="99") as refused:
        load(tmp_path)
    assert not isinstance(refused.value, DamagedStateError)


def test_a_file_that_somebody_holds_is_not_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr("collector.drift.drift_file.BUSY_SECONDS", 0.05)
    save(tmp_path, state_of())
    with sqlite3.connect(tmp_path / "drift.sqlite") as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DriftStateError, match="locked") as refused:
            load(tmp_path)
    assert not isinstance(refused.value, DamagedStateError)


def test_one_that_is_set_aside_keeps_its_bytes_and_its_journal(tmp_path):
    (tmp_path / "drift.sqlite").write_bytes(b"damaged")
    (tmp_path / "drift.sqlite-journal").write_bytes(b"journal")
    name = set_aside(tmp_path, 1_764_164_700_000_000)
    assert name == "drift.sqlite.damaged-20251126T134500.000000Z"
    assert (tmp_path / name).read_bytes() == b"damaged"
    assert (tmp_path / f"{name}-journal").read_bytes() == b"journal"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_that_was_taken_away_is_written_whole_the_next_time(tmp_path):
    state = state_of()
    save(tmp_path, state)
    (tmp_path / "drift.sqlite").unlink()
    state.seq = 50
    save(tmp_path, state)
    assert load(tmp_path) == state


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DriftStateError, match="cannot be written"):
        save(tmp_path / "file", state_of())
