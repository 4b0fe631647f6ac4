"""The verifier of one file: it needs no pgwarden, and answers whatever it is given."""

import ast
import hashlib
import json
import shutil
import subprocess
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from collector import pgwarden_verify as verifier
from collector.heads import key_id
from collector.pgwarden_verify import check_proof
from collector.proofs import Prover
from tests.collector.test_ledger_heads import VERIFIER, sealed

__all__ = ["sealed"]

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_whatever_stands_in_the_files_the_verifier_answers_and_does_not_fail(data):
    """Good chains around hostile contents, as only somebody makes who wants to stop it."""
    entries, prev = [], verifier.ZEROS
    names = ("seq", "at_us", "prev", "files", "sources", "removed", "reason", "events", "notes")
    usual = {"seq": 1, "files": [], "removed": [], "notes": [], "reason": "merged"}
    file = {"path": "a", "sha256": "b", "bytes": 1, "rows": 1}
    for number in range(data.draw(st.integers(1, 3))):
        fields = {**usual, "seq": number + 1, "files": [file | data.draw(_some(tuple(file)))]}
        fields |= data.draw(_some(names)) | {"prev": prev}
        body = verifier.canonical(fields)
        prev = hashlib.sha256(prev.encode() + body).hexdigest()
        entries.append(verifier.canonical({**fields, "hash": prev}))
    head = {"at_us": 1, "key": key_id(KEY.public_key()), "prev": "", "root": "", "size": 1}
    head |= data.draw(_some(tuple(head)))
    head["sig"] = KEY.sign(verifier.CONTEXT + verifier.canonical(head)).hex()
    head |= data.draw(_some(("sig",)))
    line = verifier.canonical(head)
    keys = {key_id(KEY.public_key()): KEY.public_key()}
    written = b"".join(entry + b"\n" for entry in entries)
    verifier.check(written, line + b"\n", lambda path: ("b", 1), keys, line)
    verifier.check(data.draw(st.binary()), data.draw(st.binary()), lambda path: None, keys)
    proof = {"head": head, "index": 0, "entry": entries[0].decode(), "path": [], "event": "x"}
    proof |= data.draw(_some((*proof, "event_path", "event_index")))
    assert check_proof(proof, keys)


KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


def _some(names):
    return st.dictionaries(st.sampled_from(names), _json, max_size=2)


def test_the_verifier_is_one_file_of_under_300_lines_on_the_standard_library_and_cryptography():
    source = VERIFIER.read_text()
    assert source.count("\n") < 300
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    assert names - {"cryptography"} <= sys.stdlib_module_names


def test_the_verifier_runs_from_where_it_lies(sealed):
    """Its folder comes first for imports then: no file in it may be called as one of Python's."""
    command = [sys.executable, str(VERIFIER), str(sealed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_verifier_runs_alone_on_a_folder_and_on_proofs(sealed, tmp_path):
    alone = tmp_path / "alone" / "verify.py"
    alone.parent.mkdir()
    shutil.copy(VERIFIER, alone)
    outside = tmp_path / "outside.jsonl"
    key = tmp_path / "trusted.pub"
    shutil.copy(sealed / "ledger.pub", key)
    proofs = tmp_path / "proofs.jsonl"
    proofs.write_text(json.dumps(Prover(sealed, outside).event(2, 1)) + "\n")

    def run(*arguments):
        command = [sys.executable, "-I", str(alone), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        return done.returncode, done.stdout

    code, said = run(sealed, "--heads", outside, "--key", key)
    assert (code, said.splitlines()[-1]) == (0, "✓ everything holds")
    code, said = run("--proof", proofs, "--key", key, "--heads", outside)
    assert code == 0
    assert '"count":2' in said
    assert run()[0] == 2
    proofs.write_text("")
    assert run("--proof", proofs, "--key", key)[0] == 1
    victim = next((sealed / "segments/losses").glob("*.parquet"))
    victim.write_bytes(b"x" + victim.read_bytes()[1:])
    code, said = run(sealed)
    assert code == 1
    assert victim.name in said
