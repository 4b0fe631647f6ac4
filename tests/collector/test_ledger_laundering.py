"""The collector signs nothing over what it did not write, whatever somebody puts beside it."""

import hashlib
import json
import shutil
import time
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from collector import key_rotation
from collector.entry_signature import Signer
from collector.heads import HeadsError, Sealing, head_line, key_id, open_key, read_key
from collector.key_rotation import KIND, finish, rotate
from collector.ledger import Ledger
from collector.ledger_entry import RETENTION, Entry, encode, entry_hash, signed_digest
from collector.ledger_reading import lines, read
from collector.own_entries import examine
from collector.pgwarden_verify import KEY_CONTEXT, canonical, check_folder
from collector.store import Store, StoreError
from model.merkle import Tree, leaf_hash

FILES = ("heads.jsonl", "ledger.pub", "successions.jsonl")


@pytest.fixture
def data(tmp_path):
    """Five commits, of which the key lies elsewhere."""
    (tmp_path / "etc").mkdir()
    folder = tmp_path / "data"
    store = opened(folder)
    for number in range(5):
        lose(store, number)
    store.close()
    shutil.copy(folder / "ledger.pub", tmp_path / "auditor.pub")
    return folder


def key_file(data):
    return data.parent / "etc/ledger.key"


def sealing(data):
    return Sealing(key=key_file(data), seconds=3600.0)


def opened(data):
    store = Store(data, commit_seconds=0.001, sealing=sealing(data))
    store.tidying.looked_at = float("inf")
    store.start()
    return store


def lose(store, number):
    row = {"occurred_at": 1, "agent": "a", "source": "t", "reason": f"{number}", "count": 1}
    store.append("losses", [row])
    assert store.segments.flush()


def grown(data):
    """The contradictions of a start that adds to the ledger."""
    store = opened(data)
    found = list(store.contradictions)
    lose(store, 9)
    store.close()
    return found


def audited(data):
    return check_folder(data, key=data.parent / "auditor.pub")


def pem(key):
    public = key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def named(by, following, size):
    said = {
        "at_us": 1, "key": key_id(by.public_key()), "next": pem(following), "prev": "",
        "root": "", "size": size,
    }  # fmt: skip
    return {**said, "sig": by.sign(KEY_CONTEXT + canonical(said)).hex()}


def append_removal(data, key=None, notes=()):
    """Takes a segment out, as somebody would who can only write the disk."""
    last = read(data / "ledger.jsonl").entries[-1]
    victim = next(f.path for each in read(data / "ledger.jsonl").entries for f in each.files)
    draft = Entry(last.seq + 1, time.time_ns() // 1000, last.hash, removed=(victim,),
                  reason=RETENTION, notes=notes)  # fmt: skip
    if key is not None:
        draft = replace(draft, signed=Signer(key)(signed_digest(draft)))
    with (data / "ledger.jsonl").open("ab") as file:
        file.write(encode(replace(draft, hash=entry_hash(draft))))
    (data / victim).unlink(missing_ok=True)
    (data / "ledger.checkpoint").unlink(missing_ok=True)
    return victim


def append_head(data, key):
    tree = Tree()
    for line in lines(data):
        tree.append(leaf_hash(line))
    *_, last = (data / "heads.jsonl").read_bytes().splitlines()
    prev = hashlib.sha256(last).hexdigest()
    with (data / "heads.jsonl").open("ab") as file:
        file.write(head_line((tree.size, tree.root()), 1, prev, key) + b"\n")


def kept(data):
    return {name: (data / name).read_bytes() for name in FILES if (data / name).exists()}


def put_back(data, files):
    for name in FILES:
        (data / name).unlink(missing_ok=True)
    for name, content in files.items():
        (data / name).write_bytes(content)
    (data / "ledger.checkpoint").unlink(missing_ok=True)


def reasons(data):
    return [entry.reason for entry in read(data / "ledger.jsonl").entries if entry.removed]


@pytest.mark.parametrize("with_succession", [True, False])
def test_a_foreign_head_over_a_foreign_line_launders_neither(data, with_succession):
    before, foreign = kept(data), Ed25519PrivateKey.generate()
    append_removal(data)
    append_head(data, foreign)
    with (data / "ledger.pub").open("a") as file:
        file.write(pem(foreign))
    if with_succession:
        said = named(foreign, read_key(key_file(data)), 1)
        (data / "successions.jsonl").write_bytes(canonical(said) + b"\n")
    first, second = grown(data)
    assert "the last 1 lines of heads.jsonl are not signed by our key" in first
    assert "1 entries from 6 on were appended by somebody" in second
    put_back(data, before)
    assert grown(data) == []
    report = audited(data)
    assert report.problems == []
    assert reasons(data) == ["damaged"], "the loss stands there as what it is"
    assert any("not signed by our key" in each for each in report.notices)


def test_a_key_that_was_replaced_signs_nothing_any_more(data):
    stolen = read_key(key_file(data))
    rotate(data, sealing(data))
    assert grown(data) == []
    append_removal(data, stolen)
    append_head(data, stolen)
    first, second = grown(data)
    assert "not signed by our key" in first
    assert "were appended by somebody without the ledger's key" in second
    assert audited(data).problems == []
    assert reasons(data) == ["damaged"]


def test_a_key_that_was_replaced_does_not_bring_its_own_time_back(data):
    stolen, before = read_key(key_file(data)), kept(data)
    old_ledger = (data / "ledger.jsonl").read_bytes()
    rotate(data, sealing(data))
    assert grown(data) == []
    put_back(data, before)
    (data / "ledger.jsonl").write_bytes(old_ledger)
    append_removal(data, stolen)
    with pytest.raises(StoreError, match="its ledger is not of this collector"):
        opened(data)


def test_own_lines_behind_a_foreign_one_do_not_cover_it(data):
    """As a collector of an earlier release has left them."""
    append_removal(data)
    ledger = Ledger(data, sign=Signer(read_key(key_file(data))))
    ledger.append(1, (), notes=({"kind": "order"},))
    ledger.close()
    (contradiction,) = grown(data)
    assert "2 entries from 6 on were appended by somebody" in contradiction


def test_nothing_is_signed_in_a_folder_where_nothing_is_ours(data):
    before = (data / "heads.jsonl").read_bytes()
    older = pem(read_key(key_file(data)))
    key_file(data).unlink()
    open_key(data.parent / "etc", key_file(data))  # exchanged by hand
    with pytest.raises(StoreError, match=r"neither a head nor an entry is signed by .*ledger\.key"):
        opened(data)
    assert (data / "heads.jsonl").read_bytes() == before
    beside = key_file(data).with_name("ledger.key.before")
    beside.write_text(older)
    assert grown(data) == [], "who owns the key's folder has said so"
    assert not beside.exists()
    assert grown(data) == []


def test_after_a_change_of_the_key_the_new_one_has_signed_what_the_older_one_left(data):
    rotate(data, sealing(data))
    own = key_id(read_key(key_file(data)).public_key())
    assert json.loads((data / "heads.jsonl").read_bytes().splitlines()[-1])["key"] == own
    assert not key_file(data).with_name("ledger.key.before").exists()
    assert audited(data).problems == []


def test_a_crash_between_the_key_and_its_first_head_is_no_contradiction(data, monkeypatch):
    def killed(*_):
        raise HeadsError("killed")

    monkeypatch.setattr(key_rotation, "open_key", _once(key_rotation.open_key, killed))
    with pytest.raises(HeadsError):
        rotate(data, sealing(data))
    assert key_file(data).with_name("ledger.key.before").exists()
    assert grown(data) == []
    assert not key_file(data).with_name("ledger.key.before").exists()
    assert audited(data).problems == []


def _once(real, then):
    steps = [then, real]
    return lambda *given: steps.pop()(*given)


def test_a_note_that_our_key_did_not_sign_puts_no_other_in_its_place(data):
    foreign, planted = Ed25519PrivateKey.generate(), key_file(data).with_name("ledger.key.next")
    open_key(data.parent / "etc", planted)
    note = {"kind": KIND, "said": named(foreign, read_key(planted), 6)}
    before = key_file(data).read_bytes()
    assert not finish(data, key_file(data), note)
    assert key_file(data).read_bytes() == before
    signed = {"kind": KIND, "said": named(read_key(key_file(data)), read_key(planted), 6)}
    assert finish(data, key_file(data), signed)


def test_an_old_copy_of_all_of_it_is_seen_where_the_key_lies_elsewhere(data):
    copy = shutil.copytree(data, data.parent / "copy")
    assert grown(data) == []
    shutil.rmtree(data)
    shutil.copytree(copy, data)
    (contradiction,) = grown(data)
    assert "ledger.key.head: 6 entries were signed, and there are 5" in contradiction
    assert grown(data) == [], "it is noted, and the record goes on from there"
    assert any("6 entries were signed" in each for each in audited(data).notices)


def test_another_history_of_the_same_length_is_seen_where_the_key_lies_elsewhere(data):
    copy = shutil.copytree(data, data.parent / "copy")
    assert grown(data) == []
    newest = key_file(data).with_name("ledger.key.head").read_bytes()
    shutil.rmtree(data)
    shutil.copytree(copy, data)
    assert len(grown(data)) == 1
    key_file(data).with_name("ledger.key.head").write_bytes(newest)
    (contradiction,) = grown(data)
    assert "the first 6 entries are not those that were signed" in contradiction


@pytest.mark.parametrize("what", [b"", b"no head\n", None])
def test_without_a_head_beside_the_key_a_start_is_as_before(data, what):
    beside = key_file(data).with_name("ledger.key.head")
    beside.unlink()
    if what is not None:
        beside.write_bytes(what)
    assert grown(data) == []
    assert json.loads(beside.read_bytes())["size"] == 6


def test_a_key_that_lies_with_the_record_has_no_head_beside_it(tmp_path):
    store = Store(tmp_path / "data")
    store.close()
    assert not (tmp_path / "data/ledger.key.head").exists()


def test_a_crash_between_an_entry_and_its_head_costs_nothing(data):
    ledger = Ledger(data, sign=Signer(read_key(key_file(data))))
    for number in range(70):
        ledger.append(number, ())
    ledger.close()
    assert examine(data, read_key(key_file(data)), key_file(data), False).problems == []
    assert grown(data) == []
