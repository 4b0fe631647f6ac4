"""The ledger's key is changed as planned: who knows the first one can follow, offline."""

import json
import shutil
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from agent.witness import Witness
from agent.witness_key import signed_by_child, signed_here
from collector import key_rotation, pgwarden_verify
from collector.heads import Sealing, head_line
from collector.key_rotation import SUCCESSIONS, RotationError, rotate, successions
from collector.ledger import Ledger
from collector.pgwarden_verify import check_folder
from protos.pgwarden.v1 import uplink_pb2 as pb
from tests.collector.test_cosigning import world_at
from tests.collector.test_ledger_heads import lose, opened, pgwarden, sealed, verified

__all__ = ["sealed"]


@pytest.fixture
def first(sealed):
    """The first key's public half, as an auditor keeps it."""
    return shutil.copy(sealed / "ledger.pub", sealed.parent / "first.pub")


def grow(folder):
    store = opened(folder, folder.parent / "outside.jsonl")
    assert store.contradictions == []
    assert store.checkpoint_problem == ""
    lose(store, 1)
    store.close()


def private(folder):
    return load_pem_private_key((folder / "ledger.key").read_bytes(), None)


def test_a_verifier_that_knows_the_first_key_follows_to_the_newest(sealed, first):
    outside = sealed.parent / "outside.jsonl"
    for _ in range(3):
        done = pgwarden(sealed, "rotate")
        assert done.exit_code == 0, done.output
        grow(sealed)
    assert len({json.loads(line)["key"] for line in outside.read_bytes().splitlines()}) == 4
    report = check_folder(sealed, outside, first)
    assert (report.problems, report.signed) == ([], report.entries)
    alone = sealed.parent / "alone"
    alone.mkdir()
    shutil.copy(pgwarden_verify.__file__, alone)
    command = [sys.executable, "-I", "pgwarden_verify.py", str(sealed), "--key", str(first)]
    done = subprocess.run(command, cwd=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert (sealed / "ledger.key").stat().st_mode & 0o777 == 0o600
    assert not (sealed / "ledger.key.next").exists()


def proven(folder, key, *proofs):
    """Exit code and words of the verifier, a file for itself, of proofs and a key alone."""
    alone = folder.parent / "alone"
    alone.mkdir(exist_ok=True)
    shutil.copy(pgwarden_verify.__file__, alone)
    (alone / "proofs").write_text("\n".join(proofs) + "\n")
    command = ["-I", "pgwarden_verify.py", "--proof", "proofs", "--key", str(key)]
    done = subprocess.run([sys.executable, *command], cwd=alone, capture_output=True, text=True)
    return done.returncode, done.stdout


def test_a_proof_of_one_event_leads_from_the_first_key_to_the_one_that_signed(sealed, first):
    def prove():
        done = pgwarden(sealed, "prove", "1")
        assert done.exit_code == 0, done.output
        return done.output.strip()

    before = prove()
    assert "keys" not in json.loads(before)
    for _ in range(2):
        pgwarden(sealed, "rotate")
        grow(sealed)
    after = prove()
    newest = shutil.copy(sealed / "ledger.pub", sealed.parent / "newest.pub")
    shutil.move(sealed, sealed.parent / "gone")
    for key in (first, newest):
        code, told = proven(sealed, key, before, after)
        assert (code, told.count("proven: ")) == (0, 2), told
    mute = json.loads(after)
    del mute["keys"]
    assert "not trusted" in proven(sealed, first, json.dumps(mute))[1]
    gap = json.loads(after)
    del gap["keys"][0]
    assert proven(sealed, first, json.dumps(gap))[0] == 1
    (sealed.parent / "stranger.pub").write_text(
        key_rotation._pem(Ed25519PrivateKey.generate().public_key())
    )
    assert proven(sealed, sealed.parent / "stranger.pub", before, after)[0] == 1


def test_a_proof_with_the_head_of_a_replaced_key_convinces_nobody(sealed, first):
    """Somebody kept a copy of it, and proves what was added later."""
    stolen = private(sealed)
    pgwarden(sealed, "rotate")
    grow(sealed)
    ledger = Ledger(sealed)
    forged = json.loads(head_line(ledger.state, 1, "0" * 64, stolen))
    ledger.close()
    proof = json.loads(pgwarden(sealed, "prove", "1").output)
    code, told = proven(sealed, first, json.dumps(proof | {"head": forged}))
    assert (code, "after it was replaced" in told) == (1, True), told


def test_a_replaced_key_signs_nothing_any_more(sealed, first):
    """Somebody kept a copy of it."""
    stolen = private(sealed)
    pgwarden(sealed, "rotate")
    grow(sealed)
    ledger = Ledger(sealed)
    forged = head_line(ledger.state, 1, "0" * 64, stolen)
    ledger.close()
    kept = sealed.parent / "kept.jsonl"
    kept.write_bytes(forged + b"\n")
    (problem, *_) = check_folder(sealed, kept, first).problems
    assert "signed by a key after it was replaced" in problem
    with_two = key_rotation._note(stolen, Ed25519PrivateKey.generate().public_key(), 99)
    ledger = Ledger(sealed)
    ledger.append(1, (), notes=(with_two,))
    ledger.close()
    assert any("names two others" in each for each in check_folder(sealed, None, first).problems)


@pytest.mark.parametrize("lie", ["stranger", "changed", "other_context"])
def test_a_key_that_no_trusted_one_named_is_not_trusted(sealed, first, lie):
    ours, new = private(sealed), Ed25519PrivateKey.generate()
    ledger = Ledger(sealed)
    by = new if lie == "stranger" else ours
    note = key_rotation._note(by, new.public_key(), ledger.seq + 1)
    if lie == "changed":
        other = Ed25519PrivateKey.generate().public_key()
        pem = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        note["said"]["next"] = pem.decode()
    if lie == "other_context":
        said = {name: each for name, each in note["said"].items() if name != "sig"}
        plain = pgwarden_verify.CONTEXT + pgwarden_verify.canonical(said)
        note["said"]["sig"] = ours.sign(plain).hex()
    ledger.append(1, (), notes=(note,))
    line = head_line(ledger.state, 1, "0" * 64, new)
    ledger.close()
    with (sealed / "heads.jsonl").open("ab") as heads:
        heads.write(line + b"\n")
    problems = check_folder(sealed, None, first).problems
    assert any("it is not of the form" in each for each in problems)
    assert any("signed by a key that is not trusted" in each for each in problems)


@pytest.mark.parametrize("after", ["create_key", "append", "append_line", "replace"])
def test_a_crash_in_between_is_made_good_at_the_next_start(sealed, first, monkeypatch, after):
    class Crash(Exception):
        pass

    def crashing(real):
        def call(*arguments, **named):
            real(*arguments, **named)
            raise Crash

        return call

    places = {
        "create_key": (key_rotation, "create_key"),
        "append": (key_rotation.Ledger, "append"),
        "append_line": (key_rotation, "append_line"),
        "replace": (key_rotation.os, "replace"),
    }
    where, name = places[after]
    with monkeypatch.context() as patch:
        patch.setattr(where, name, crashing(getattr(where, name)))
        with pytest.raises(Crash):
            rotate(sealed, Sealing())
    for _ in range(2):
        grow(sealed)
        assert check_folder(sealed, sealed.parent / "outside.jsonl", first).problems == []
    named = len(successions(sealed))
    assert named == (after != "create_key")
    pgwarden(sealed, "rotate")
    grow(sealed)
    assert len(successions(sealed)) == named + 1
    verified(sealed)


def test_it_needs_a_key_the_folder_for_itself_and_a_ledger_that_holds(sealed):
    store = opened(sealed)
    done = pgwarden(sealed, "rotate")
    assert done.exit_code == 1
    assert "in use by another collector" in " ".join(done.output.split())
    store.close()
    whole = (sealed / "ledger.jsonl").read_bytes()
    (sealed / "ledger.jsonl").write_bytes(whole.replace(b'"test"', b'"tost"', 1)[1:])
    with pytest.raises(RotationError, match="does not hold"):
        rotate(sealed, Sealing())
    (sealed / "ledger.jsonl").write_bytes(whole)
    (sealed / "ledger.key").unlink()
    with pytest.raises(RotationError, match="no key to rotate"):
        rotate(sealed, Sealing())


@pytest.mark.parametrize("sign", [signed_here, signed_by_child])
def test_agents_follow_over_two_rotations_and_no_stranger(tmp_path, sign):
    (tmp_path / "agent").mkdir()
    witness = Witness(tmp_path / "agent", "host-a", sign)
    data = tmp_path / "data"
    with world_at(data) as world:
        world.grow(3)
        assert world.ask(witness).refused == ""
    first = shutil.copy(data / "ledger.pub", tmp_path / "first.pub")
    for _ in range(2):
        rotate(data, Sealing())
    with world_at(data) as world:
        world.grow()
        assert world.ask(witness).refused == ""
        assert witness._ledger_key == world.store.heads.public_key
        world.grow()
        stranger = Ed25519PrivateKey.generate()
        line = head_line(world.store.ledger.state, 1, "0" * 64, stranger)
        note = key_rotation._note(stranger, stranger.public_key(), 1)
        lie = pb.Head(
            line=line,
            from_size=witness.size,
            ledger_key=stranger.public_key().public_bytes_raw(),
            successions=[*successions(data), pgwarden_verify.canonical(note["said"])],
        )
        world.cosigning._advance(witness.size + 1)
        lie.leaves = b"".join(world.cosigning._leaves(witness.size, witness.size + 1))
        assert "nor did that name it" in witness.observe(lie).refused
        assert world.ask(witness).refused == "", "it goes on with the one it knows"
    report = check_folder(data, tmp_path / "agent/witness.jsonl", first)
    assert report.problems == []
    assert (data / SUCCESSIONS).read_bytes().count(b"\n") == 2
