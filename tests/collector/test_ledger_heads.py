"""Signed heads and proofs, made by the real store; an auditor needs one file and no pgwarden."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from collector import heads_outside
from collector import pgwarden_verify as verifier
from collector.heads import Sealing
from collector.ledger import Ledger
from collector.merge import merge_small_segments
from collector.pgwarden_verify import check_folder, check_proof, public_keys
from collector.proofs import Prover
from collector.store import Store, StoreError, frame_of
from tests.collector.road import START_US
from tests.collector.test_store import batch
from tests.waiting import wait_until

VERIFIER = Path(verifier.__file__)


def opened(folder, outside=None, **more):
    store = Store(folder, commit_seconds=0.01, sealing=Sealing(outside=outside, **more))
    store.tidying.looked_at = float("inf")  # it merges nothing by itself, however long a test takes
    store.start()
    return store


def gap(count):
    return {"occurred_at": START_US, "source": "test", "reason": "gap", "count": count}


def lose(store, count):
    store.append("losses", [gap(count)])
    assert store.segments.flush()


def verified(folder, outside=None):
    report = check_folder(folder, outside)
    assert report.problems == []
    return report


@pytest.fixture
def sealed(tmp_path):
    """Five commits with security events, closed, with heads in a file outside."""
    store = opened(tmp_path / "data", tmp_path / "outside.jsonl")
    for sequence in range(1, 6):
        both = batch(sequence)
        losses = frame_of("losses", [gap(sequence)])
        store.segments.submit(replace(both, frames={**both.frames, "losses": losses}))
        assert store.segments.flush()
    store.note("configuration", sha256="ab")
    store.close()
    return tmp_path / "data"


def pgwarden(folder, *arguments):
    configured = folder.parent / "pgwarden.yaml"
    configured.write_text(f"collector: {{data_dir: {folder}}}\n")
    return CliRunner().invoke(app, ["ledger", *arguments, "-c", str(configured)])


def test_everything_is_signed_when_the_collector_has_stopped_and_the_key_is_for_its_owner(sealed):
    report = verified(sealed, sealed.parent / "outside.jsonl")
    assert report.signed == report.entries >= 5
    assert (sealed / "ledger.key").stat().st_mode & 0o777 == 0o600
    assert (sealed / "heads.jsonl").read_bytes() == (sealed.parent / "outside.jsonl").read_bytes()


def test_heads_come_after_so_many_entries_or_seconds(tmp_path):
    for more in ({"entries": 2, "seconds": 3600.0}, {"entries": 10**6, "seconds": 0.05}):
        store = opened(tmp_path / f"data-{len(more)}-{more['entries']}", **more)
        for number in range(2):
            lose(store, number)
        deadline = time.monotonic() + 20
        while store.heads.signed[0] < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert store.heads.signed == store.ledger.state
        store.close()


def test_a_ledger_of_an_older_release_goes_on_and_all_of_it_is_signed(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    older = Ledger(folder)
    for at_us in (1, 2, 3):
        older.append(at_us, ())
    older.close()
    before = (folder / "ledger.jsonl").read_bytes()
    assert b"events" not in before
    assert b"notes" not in before
    assert check_folder(folder).notices == ["no signed head: only the chain of hashes holds"]
    store = opened(folder)
    lose(store, 1)
    store.close()
    assert (folder / "ledger.jsonl").read_bytes().startswith(before)
    assert verified(folder).signed == 4


def test_a_configured_key_is_made_where_it_belongs_and_one_that_is_no_key_is_refused(tmp_path):
    key = tmp_path / "kept.pem"
    opened(tmp_path / "data", key=key).close()
    assert key.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "data/ledger.key").exists()
    key.write_text("no key")
    with pytest.raises(StoreError, match=r"kept\.pem: not an Ed25519"):
        opened(tmp_path / "data", key=key)


def test_a_lost_key_is_replaced_and_what_the_old_one_signed_still_holds(sealed):
    (sealed / "ledger.key").unlink()
    store = opened(sealed)
    lose(store, 1)
    store.close()
    verified(sealed, sealed.parent / "outside.jsonl")
    assert len(public_keys((sealed / "ledger.pub").read_bytes())) == 2


def events(prover):
    found = []
    places = list(prover.matching(lambda event: found.append(event) or True))
    return list(zip(places, found, strict=True))


def test_merges_keep_every_proof_and_removed_segments_are_not_missed(tmp_path):
    store = opened(tmp_path / "data")
    for number in range(1, 41):
        lose(store, number)
    store.segments.stop()
    before = events(Prover(store.data_dir))
    (removed, *_) = merged = merge_small_segments(
        store.data_dir, store.ledger, "losses", store.damage
    )
    for path in merged:
        path.unlink()
    store.heads.sign()
    verified(store.data_dir)
    prover = Prover(store.data_dir)
    assert events(prover) == before
    assert len(before) == 40
    proof = prover.event(17, 1)
    keys = public_keys((store.data_dir / "ledger.pub").read_bytes())
    assert check_proof(proof, keys) == []
    assert json.loads(proof["event"])["count"] == 17
    # Retention: the deletion is an entry of its own, and it is told.
    (name,) = [path for path in store.ledger.files if path.startswith("segments/losses/")]
    store.ledger.append(1, (), removed=(name,), reason="retention")
    (store.data_dir / name).unlink()
    store.close()
    assert verified(store.data_dir).notices == ["entry 42: 40 rows gone: retention"]
    assert check_proof(proof, keys) == [], "what was proven stays proven"
    assert removed not in store.ledger.files


def test_a_segment_that_vanished_stays_visible_after_the_collector_has_gone_on(sealed):
    next((sealed / "segments/losses").glob("*.parquet")).unlink()
    assert check_folder(sealed).problems
    opened(sealed).close()
    assert verified(sealed).notices == ["entry 7: 1 rows gone: damaged"]


def test_a_ledger_that_contradicts_its_heads_is_noted_at_the_start_and_never_verifies(sealed):
    path = sealed / "ledger.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    store = opened(sealed)
    assert store.heads.problems == ["a head was signed over 6 entries, and there are 3"]
    assert store.segments.flush()
    for number in range(9):
        lose(store, number)
    store.close()
    report = check_folder(sealed)
    assert any("are not the signed" in problem for problem in report.problems)
    assert any("a head was signed over 6 entries" in notice for notice in report.notices)


def test_an_older_copy_of_everything_is_noted_where_heads_went_outside(sealed, tmp_path):
    outside = tmp_path / "outside.jsonl"
    copy = tmp_path / "copy"
    shutil.copytree(sealed, copy)
    store = opened(sealed, outside)
    lose(store, 1)
    store.close()
    store = opened(copy, outside)
    assert "heads that heads.jsonl does not have" in store.heads.problems[0]
    store.close()
    assert check_folder(copy, outside).problems


def test_damage_of_what_is_not_signed_yet_is_noted_once_and_the_collector_goes_on(sealed):
    path = sealed / "ledger.jsonl"
    with path.open("ab") as file:
        file.write(b'{"seq":7}\n')
    for _ in range(3):
        store = opened(sealed)
        assert "entry 7: not a ledger entry" in store.contradictions[0]
        lose(store, 1)
        store.close()
    notes = path.read_bytes().count(b"ledger_contradicted")
    assert notes == 1
    assert check_folder(sealed).problems


def test_heads_that_could_not_go_outside_go_later(tmp_path):
    outside = tmp_path / "mount" / "heads.jsonl"
    store = opened(tmp_path / "data", outside)
    lose(store, 1)
    assert store.heads.sign()
    assert not store.heads.told_outside(0.1)
    wait_until(lambda: store.heads.failures)
    outside.parent.mkdir()
    outside.write_bytes(b'{"at_us":17')  # torn by a full disk
    assert store.heads.sign()
    assert store.heads.told_outside(10)
    store.close()
    assert verified(tmp_path / "data", outside).signed == 1
    assert outside.read_bytes().endswith((tmp_path / "data/heads.jsonl").read_bytes())


@pytest.mark.parametrize("where", ["last_line", "append_line"])
def test_an_error_that_nobody_foresaw_is_told_and_ends_nothing(tmp_path, monkeypatch, where):
    outside, real = tmp_path / "outside.jsonl", getattr(heads_outside, where)
    store = opened(tmp_path / "data", outside)
    lose(store, 3)
    store.close()

    def broken(*_):
        raise RuntimeError("who would have thought")

    monkeypatch.setattr(heads_outside, where, broken)
    store = opened(tmp_path / "data", outside)
    lose(store, 1)
    assert store.heads.sign()
    wait_until(lambda: store.heads.problem)
    assert "RuntimeError: who would have thought; " in store.heads.problem
    assert store.heads.failures
    monkeypatch.setattr(heads_outside, where, real)
    lose(store, 2)
    assert store.heads.sign()
    assert store.heads.told_outside(10)
    assert store.heads.problem == ""
    store.close()
    assert outside.read_bytes().endswith((tmp_path / "data/heads.jsonl").read_bytes())


def test_heads_that_are_left_out_are_counted_and_told_while_nothing_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(heads_outside, "MAX_UNTOLD", 2)
    outside = tmp_path / "mount" / "heads.jsonl"
    store = opened(tmp_path / "data", outside)
    for count in range(1, 6):
        lose(store, count)
        assert store.heads.sign()
    wait_until(lambda: store.heads.left_out >= 3)
    wait_until(lambda: "2 wait" in store.heads.problem)
    assert f"{store.heads.left_out} were left out" in store.heads.problem
    outside.parent.mkdir()
    assert store.heads.sign()
    assert store.heads.told_outside(10)
    assert store.heads.problem == ""
    store.close()


@pytest.mark.parametrize("odd", [b'{"size": 1e999, "root": "00"}', b"[" * 100_000])
def test_a_line_that_is_no_head_keeps_none_from_going_outside(tmp_path, odd):
    outside = tmp_path / "outside.jsonl"
    outside.write_bytes(odd + b"\n")
    store = opened(tmp_path / "data", outside)
    lose(store, 1)
    assert store.heads.sign()
    assert store.heads.told_outside(10)
    store.close()
    assert outside.read_bytes().startswith(odd)
    assert outside.read_bytes().endswith((tmp_path / "data/heads.jsonl").read_bytes())


@pytest.mark.parametrize("is_first", [True, False])
def test_a_head_whose_fsync_failed_is_not_there_twice(tmp_path, monkeypatch, is_first):
    store = opened(tmp_path / "data", tmp_path / "outside.jsonl", entries=10**6, seconds=10**6)
    if is_first:
        store.close()
        (tmp_path / "data/heads.jsonl").unlink()
        (tmp_path / "outside.jsonl").unlink()
    else:
        lose(store, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing_once(os.fsync, "heads.jsonl"))
        if is_first:
            store = opened(tmp_path / "data", tmp_path / "outside.jsonl", seconds=10**6)
        else:
            assert not store.heads.sign()
    assert store.heads.failures
    lose(store, 2)
    assert store.heads.sign()
    store.close()
    assert verified(tmp_path / "data", tmp_path / "outside.jsonl").signed >= 1
    store = opened(tmp_path / "data", tmp_path / "outside.jsonl")
    assert store.contradictions == []
    store.close()


def failing_once(fsync, name):
    failed = []

    def play(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if path.endswith(f"/{name}") and not failed:
            failed.append(path)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    return play


def test_a_head_that_is_twice_in_the_file_outside_is_no_contradiction(tmp_path, monkeypatch):
    outside = tmp_path / "outside.jsonl"
    store = opened(tmp_path / "data", outside, entries=10**6, seconds=10**6)
    assert store.heads.told_outside(10)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing_once(os.fsync, "outside.jsonl"))
        lose(store, 1)
        assert store.heads.sign()
        wait_until(lambda: store.heads.failures)
    store.heads.sign()
    assert store.heads.told_outside(10)
    store.close()
    lines = outside.read_bytes().splitlines()
    assert len(lines) == len(set(lines)) + 1
    verified(tmp_path / "data", outside)
    store = opened(tmp_path / "data", outside)
    assert store.contradictions == []
    store.close()


def test_a_head_cut_at_any_byte_is_set_aside_at_the_start(sealed, tmp_path):
    whole = (sealed / "heads.jsonl").read_bytes()
    for cut in range(len(whole) - 300, len(whole), 37):
        (sealed / "heads.jsonl").write_bytes(whole[:cut])
        opened(sealed).close()
        verified(sealed)


def test_kills_at_any_moment_do_not_look_like_forgery(tmp_path):
    seed = int(os.environ.get("PGWARDEN_SEED", random.randrange(2**32)))
    print(f"seed {seed}")
    dice = random.Random(seed)
    outside = tmp_path / "outside.jsonl"
    writer = [sys.executable, "-c", WRITER, str(tmp_path / "data"), str(outside)]
    for _ in range(6):
        with subprocess.Popen(writer, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "writing\n"
            time.sleep(dice.random() * 0.3)
            process.send_signal(signal.SIGKILL)
        report = check_folder(tmp_path / "data", outside if outside.exists() else None)
        # Ours is durable before it is told outside, never the other way round.
        assert report.problems == []
    assert report.signed


WRITER = """
import sys
from pathlib import Path
from collector.heads import Sealing
from collector.store import Store
store = Store(Path(sys.argv[1]), commit_seconds=0.001, sealing=Sealing(None, Path(sys.argv[2]), 2))
store.start()
print("writing", flush=True)
while True:
    store.append("losses", [{"occurred_at": 1, "source": "t", "reason": "r", "count": 1}])
    store.segments.flush()
"""


def test_a_lying_server_cannot_make_a_proof_of_something_else(sealed):
    keys = public_keys((sealed / "ledger.pub").read_bytes())
    outside = (sealed.parent / "outside.jsonl").read_bytes()
    proof = Prover(sealed).event(3, 1)
    assert check_proof(proof, keys, outside) == []
    entry = json.loads(proof["entry"])
    lie = proof["event"].replace('"count":3', '"count":2')
    root = verifier.sha(b"\0", lie.encode()).hex()
    lies = [
        {"event": lie},
        {"event": lie, "event_index": 1},
        {"event": lie, "entry": json.dumps({**entry, "events": {"count": 1, "root": root}})},
        {"entry": proof["entry"].replace('"seq":3', '"seq":4')},
        {"index": 1},
        {"index": -1},
        {"path": []},
        {"path": proof["path"][:-1]},
        {"path": [*proof["path"], "00" * 32]},
        {"event_path": ["00" * 32]},
        {"head": {**proof["head"], "size": 3}},
        {"head": {**proof["head"], "root": "00" * 32}},
        {"head": None},
        {"entry": 5},
        {"path": "no"},
        {"event_index": "0"},
        {"head": Prover(sealed).entry(1)["head"] | {"key": "0" * 16}},
    ]
    for lie in lies:
        assert check_proof({**proof, **lie}, keys, outside), lie
    dice = random.Random(5)
    text = json.dumps(proof)
    for _ in range(2000):
        place = dice.randrange(len(text))
        other = text[:place] + dice.choice('0123456789abcdef"}{[],') + text[place + 1 :]
        try:
            changed = json.loads(other)
        except ValueError:
            continue
        if changed != proof and not check_proof(changed, keys, outside):
            # A renamed "event" makes it the proof of the entry alone: that is true as well.
            assert changed["entry"] == proof["entry"]
            assert changed["head"] == proof["head"]
            assert changed.get("event", proof["event"]) == proof["event"]


def test_the_command_line_shows_verifies_and_proves(sealed):
    outside = str(sealed.parent / "outside.jsonl")
    shown = pgwarden(sealed, "head", "--json")
    assert json.loads(shown.output)["size"] == verified(sealed).entries
    assert pgwarden(sealed, "verify", "--heads", outside).exit_code == 0
    for event, count in (("2", None), ("2.1", 2), ("4.1", 4)):
        done = pgwarden(sealed, "prove", event, "--heads", outside)
        assert done.exit_code == 0, done.output
        proof = json.loads(done.output)
        assert check_proof(proof, public_keys((sealed / "ledger.pub").read_bytes())) == []
        assert count is None or json.loads(proof["event"])["count"] == count
    assert pgwarden(sealed, "prove", "statement:99").exit_code == 1
    assert pgwarden(sealed, "prove", "nonsense").exit_code == 2
    heads = sealed / "heads.jsonl"
    heads.write_bytes(heads.read_bytes().replace(b'"size":6', b'"size":5'))
    done = pgwarden(sealed, "verify", "--json")
    assert done.exit_code == 1
    assert json.loads(done.output)["problems"]


def test_a_merge_that_changed_rows_is_found_though_its_hashes_hold(tmp_path):
    store = opened(tmp_path / "data")
    for number in range(1, 41):
        lose(store, number)
    store.segments.stop()
    import collector.merge as merge

    class Liar:
        """Merges, and tells another count of what was lost."""

        def concat(self, frames):
            import polars as pl

            return pl.concat(frames).with_columns(pl.lit(0, pl.UInt64).alias("count"))

        def __getattr__(self, name):
            import polars as pl

            return getattr(pl, name)

    honest, merge.pl = merge.pl, Liar()
    try:
        assert merge_small_segments(store.data_dir, store.ledger, "losses", store.damage)
    finally:
        merge.pl = honest
    store.close()
    verified(store.data_dir)
    done = pgwarden(store.data_dir, "verify")
    assert done.exit_code == 1
    assert "entry 1: its security events are not those that were sealed" in done.output.replace(
        "\n", " "
    )


def test_verdicts_are_found_by_their_statement_and_rule(tmp_path):
    store = opened(tmp_path / "data")
    rows = [
        {"occurred_at": START_US, "agent": "a", "statement_id": n, "rule_id": "ddl", "text": "x"}
        for n in (7, 8, 9)
    ]
    store.append("verdicts", rows)
    assert store.segments.flush()
    store.close()
    done = pgwarden(store.data_dir, "prove", "statement:8")
    assert json.loads(json.loads(done.output)["event"])["statement_id"] == 8
    assert len(pgwarden(store.data_dir, "prove", "rule:ddl").output.splitlines()) == 3


def test_a_damaged_segment_is_named_and_hides_no_event_of_others(tmp_path):
    store = opened(tmp_path / "data")
    for number in (7, 8):
        row = {"occurred_at": START_US, "agent": "a", "statement_id": number, "rule_id": "ddl"}
        store.append("verdicts", [{**row, "text": "x"}])
        assert store.segments.flush()
    store.close()
    victim = store.data_dir / "segments/verdicts/000000000001.parquet"
    victim.write_bytes(b"x" * victim.stat().st_size)
    done = pgwarden(store.data_dir, "prove", "statement:8")
    assert done.exit_code == 0, done.output
    assert victim.name in done.stderr.replace("\n", "")
    assert json.loads(done.stdout)["event"]
    for event in ("1.1", "statement:7"):
        done = pgwarden(store.data_dir, "prove", event)
        assert done.exit_code == 1
        assert victim.name in done.output.replace("\n", "")
    assert victim.name in pgwarden(store.data_dir, "verify").output.replace("\n", "")


def test_a_segment_that_was_merged_away_while_it_was_verified_is_not_missed(tmp_path, monkeypatch):
    store = opened(tmp_path / "data")
    for number in range(40):
        lose(store, number)
    real, checked = verifier.check_folder, []

    def slow(*arguments):
        """Has read the ledger, and comes to the segments when they are gone."""
        if not checked:
            before = (store.data_dir / "ledger.jsonl").read_bytes()
            for path in merge_small_segments(store.data_dir, store.ledger, "losses", store.damage):
                path.unlink()
            monkeypatch.setattr(Path, "read_bytes", _older("ledger.jsonl", before))
        report = real(*arguments)
        monkeypatch.setattr(Path, "read_bytes", READ_BYTES)
        checked.append(report.problems)
        return report

    monkeypatch.setattr(verifier, "check_folder", slow)
    done = pgwarden(store.data_dir, "verify")
    assert done.exit_code == 0, done.output
    assert len(checked) == 2
    assert checked[0][0].endswith(" is missing")
    store.close()
    next((store.data_dir / "segments/losses").glob("*.parquet")).unlink()
    assert pgwarden(store.data_dir, "verify").exit_code == 1
    assert len(checked) == 3, "nothing has grown"


READ_BYTES = Path.read_bytes


def _older(name, data):
    return lambda path: data if path.name == name else READ_BYTES(path)
