"""What an auditor brings along is looked at: files of heads and of keys that hold none are none."""

import json
import shutil
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.witness import _append
from collector.heads import key_id
from collector.ledger_entry import RETENTION
from collector.pgwarden_verify import COSIGN_CONTEXT, COSIGNED, canonical, check_folder
from tests.collector.test_ledger_heads import VERIFIER, lose, opened, pgwarden, sealed, verified

__all__ = ["sealed"]


@pytest.fixture
def auditor(sealed):
    """A folder of files that are kept outside."""
    folder = sealed.parent / "auditor"
    folder.mkdir()
    shutil.copy(sealed / "ledger.pub", folder)
    shutil.copy(sealed.parent / "outside.jsonl", folder / "heads")
    return folder


def roll_back(folder):
    """To the first head: of nothing."""
    heads = (folder / "heads.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "heads.jsonl").write_bytes(heads[0])
    (folder / "ledger.jsonl").write_bytes(b"")
    shutil.rmtree(folder / "segments")


def in_syslog(data):
    lines = data.splitlines()
    return b"".join(
        b"<110>1 2026-11-27 db pgwarden - ledger-head " + line + b" \r\n" for line in lines
    )


FORMS = {
    "as it is": lambda data: data,
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "blanks and empty lines": lambda data: data.replace(b"\n", b"  \n\n\n"),
    "no end": lambda data: data.rstrip(b"\n"),
    "a torn line before each": lambda data: data.replace(b'{"at', b'{"at_us":17,"ent\n{"at'),
    "syslog": in_syslog,
}


@pytest.mark.parametrize("form", FORMS)
def test_heads_are_heads_in_whatever_form_a_file_got_here(sealed, auditor, form):
    known = (auditor / "heads").read_bytes()
    (auditor / "heads").write_bytes(FORMS[form](known))
    assert verified(sealed, auditor / "heads").told == known.count(b"\n")
    roll_back(sealed)
    assert check_folder(sealed).problems == []
    assert check_folder(sealed, auditor / "heads").problems


@pytest.mark.parametrize(
    "data", [b"", b"hello\n", b"\n\n", b'{"at_us":1}\n', "é{}".encode("utf-16")]
)
def test_a_file_without_a_head_that_holds_is_a_problem(sealed, auditor, data):
    (auditor / "heads").write_bytes(data)
    shutil.copy(sealed.parent / "outside.jsonl", sealed / COSIGNED)  # of what lies here none counts
    assert any(
        "no head in it holds" in each for each in check_folder(sealed, auditor / "heads").problems
    )
    assert pgwarden(sealed, "verify", "--heads", str(auditor / "heads")).exit_code == 1


def test_a_folder_without_a_ledger_and_files_without_a_key_are_errors(sealed, auditor):
    (auditor / "empty.pub").write_bytes(b"")
    for arguments in (
        ("--data", str(auditor)),
        ("--key", str(auditor / "empty.pub")),
        ("--cosigners", str(auditor / "empty.pub")),
    ):
        assert pgwarden(sealed, "verify", *arguments).exit_code == 1, arguments
    assert alone(auditor)[0] == 1
    assert alone(sealed, "--key", auditor / "empty.pub")[0] == 1


def alone(*arguments):
    command = [sys.executable, "-I", str(VERIFIER), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def cosigned(folder, *by):
    """Signatures over the newest head, of (key, agent)."""
    head = json.loads((folder / "heads.jsonl").read_bytes().splitlines()[-1])
    lines = []
    for key, agent in by:
        fields = {"agent": agent, "at_us": 1, "head": head, "key": key_id(key.public_key())}
        signature = key.sign(COSIGN_CONTEXT + canonical(fields)).hex()
        lines.append(canonical({**fields, "sig": signature}) + b"\n")
    return lines


def pems(*keys):
    return b"".join(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        for key in keys
    )


def test_one_key_under_two_names_is_one_cosigner(sealed, auditor):
    one, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    (auditor / "agents.pub").write_bytes(pems(one, other))
    given = sealed, None, None, auditor / "agents.pub"
    stranger = key_id(other.public_key())
    for names in (
        ((one, "host-a"),),
        ((one, "host-a"), (one, "host-b")),
        ((one, f"b ({stranger})"),),
    ):
        (sealed / COSIGNED).write_bytes(b"".join(cosigned(sealed, *names)))
        (problem,) = check_folder(*given).problems
        assert f"(agent:{stranger})" in problem
        base64 = pems(other).splitlines()[1].decode()
        assert base64[16:] in problem, "what an auditor finds in the file"
    (sealed / COSIGNED).write_bytes(b"".join(cosigned(sealed, (one, "a"), (other, "a"))))
    assert check_folder(*given).problems == []
    # The host was set up anew: its older key is taken out of the auditor's file.
    (sealed / COSIGNED).write_bytes(b"".join(cosigned(sealed, (other, "host-a"))))
    assert check_folder(*given).problems
    (auditor / "agents.pub").write_bytes(pems(other))
    assert check_folder(*given).problems == []


def test_what_a_full_disk_left_on_an_agent_accuses_nobody(sealed, auditor):
    """Half a signature, and the next one behind it: with a line's end or, as once, without."""
    key = Ed25519PrivateKey.generate()
    (auditor / "agents.pub").write_bytes(pems(key))
    (line,) = cosigned(sealed, (key, "host-a"))
    for between in (b"", b"\n"):
        # A line that ends with the head in it looks whole: one byte of them all.
        for cut in (each for each in range(len(line) - 1) if line[each - 1 : each] != b"}"):
            (auditor / "witness").write_bytes(line[:cut] + between + line)
            report = check_folder(sealed, auditor / "witness", None, auditor / "agents.pub")
            assert (report.problems, report.told) == ([], 1), cut


def test_an_agent_ends_the_line_that_a_full_disk_cut(tmp_path):
    file = tmp_path / "witness.jsonl"
    file.write_bytes(b'{"agent":"ho')
    for line in (b"one", b"two"):
        _append(file, line)
    assert file.read_bytes() == b'{"agent":"ho\none\ntwo\n'


def test_no_word_of_a_hostile_ledger_moves_the_cursor(sealed, auditor):
    store = opened(sealed)
    lose(store, 1)
    hostile = f"{RETENTION}\n\x1b[1A\x1b[2K✓ everything holds\n\x1b[8m\u202e"
    victim = next(iter(store.ledger.files))
    store.ledger.append(1, (), removed=(victim,), reason=hostile)
    store.close()
    code, said = alone(sealed)
    assert code == 0
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert len(said.splitlines()) == 3
    assert "\\x1b[8m\\u202e" in said
