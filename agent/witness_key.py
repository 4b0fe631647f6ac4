"""The key with which this host signs heads of the ledger, in a process of its own.

``cryptography`` costs 9 MB of memory, beside a database and for one signature in five minutes. So
the agent executes this module anew for each: one JSON object on standard input, one back.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HEAD_CONTEXT = b"pgwarden ledger head v1\n"
KEY_CONTEXT = b"pgwarden ledger key v1\n"
CONTEXT = b"pgwarden ledger cosignature v1\n"
"""Before what is signed, so that the signature means nothing elsewhere."""
TIMEOUT_SECONDS = 20.0
BAD = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
NO_HEAD = "what came as a head of the ledger is none"
OTHER_KEY = (
    "the ledger's key is not the one that this host knows, nor did that name it: if it was lost,"
    " remove witness.json in the agent's state_dir and restart"
)


class SigningError(Exception):
    """Nothing was signed; the message says why."""


def signed_here(
    file: Path,
    agent: str,
    at_us: int,
    head: Mapping[str, Any],
    ledger_key: bytes,
    known_key: bytes = b"",
    successions: Sequence[bytes] = (),
) -> tuple[bytes, bytes]:
    """The line of a co-signature and our public key; the key is made if there is none.

    Only of a head that the ledger's key has signed, and only if that is ``known_key`` or one that
    ``successions`` lead to. Raises SigningError, OSError.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        said = {name: value for name, value in head.items() if name != "sig"}
        believed = Ed25519PublicKey.from_public_bytes(ledger_key)
        believed.verify(bytes.fromhex(head["sig"]), HEAD_CONTEXT + canonical(said))
    except (InvalidSignature, *BAD):
        raise SigningError(NO_HEAD) from None
    if known_key and not _leads(known_key, successions, ledger_key):
        raise SigningError(OTHER_KEY)
    key = _open(file)
    raw = key.public_key().public_bytes_raw()
    name = hashlib.sha256(raw).hexdigest()[:16]
    fields = {"agent": agent, "at_us": at_us, "head": dict(head), "key": name}
    signature = key.sign(CONTEXT + canonical(fields))
    return canonical({**fields, "sig": signature.hex()}), raw


def _leads(known_key: bytes, successions: Sequence[bytes], ledger_key: bytes) -> bool:
    """Whether one key named the next, from the first to the last."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    at = Ed25519PublicKey.from_public_bytes(known_key)
    for line in successions:
        if at.public_bytes_raw() == ledger_key:
            break
        try:
            said = json.loads(line)
            signature = bytes.fromhex(said.pop("sig"))
            at.verify(signature, KEY_CONTEXT + canonical(said))
            named = load_pem_public_key(said["next"].encode())
        except (InvalidSignature, *BAD):
            continue  # of a key before the one that is known
        if isinstance(named, Ed25519PublicKey):
            at = named
    return at.public_bytes_raw() == ledger_key


def signed_by_child(
    file: Path,
    agent: str,
    at_us: int,
    head: Mapping[str, Any],
    ledger_key: bytes,
    known_key: bytes = b"",
    successions: Sequence[bytes] = (),
) -> tuple[bytes, bytes]:
    """As ``signed_here``, executed anew: the agent has threads and gRPC, and forks nothing."""
    asked = {
        "file": str(file), "agent": agent, "at_us": at_us, "head": head,
        "ledger_key": ledger_key.hex(), "known_key": known_key.hex(),
        "successions": [line.hex() for line in successions],
    }  # fmt: skip
    root = str(Path(__file__).resolve().parents[1])
    folders = [root, *(os.path.abspath(entry) for entry in sys.path if entry)]
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-B", "-m", "agent.witness_key"],
            input=json.dumps(asked).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONPATH": os.pathsep.join(dict.fromkeys(folders)), "LC_ALL": "C.UTF-8"},
            cwd="/",
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        answer = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        raise SigningError(f"the process that signs gave no answer: {error}") from error
    if "problem" in answer:
        raise SigningError(answer["problem"])
    return answer["line"].encode(), bytes.fromhex(answer["key"])


def replace_file(file: Path, data: bytes) -> None:
    """Whole or not at all, durable, for its owner only."""
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    part.replace(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def canonical(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def _open(file: Path) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    if not file.exists():
        made = Ed25519PrivateKey.generate()
        replace_file(file, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    try:
        key = load_pem_private_key(file.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(f"{file}: not an Ed25519 private key in PEM")
    return key


def main() -> None:
    asked = json.load(sys.stdin)
    try:
        line, key = signed_here(
            Path(asked["file"]),
            asked["agent"],
            asked["at_us"],
            asked["head"],
            bytes.fromhex(asked["ledger_key"]),
            bytes.fromhex(asked["known_key"]),
            [bytes.fromhex(line) for line in asked["successions"]],
        )
        answer = {"line": line.decode(), "key": key.hex()}
    except (SigningError, OSError) as error:
        answer = {"problem": str(error)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
