"""Verify a pgwarden ledger without pgwarden: this file, Python 3.11 and ``cryptography`` suffice.

    pgwarden_verify.py (DATA_DIR | --proof FILE) [--heads FILE] [--key FILE] [--cosigners FILE]

``--heads``: heads that were kept elsewhere: a file, a syslog, an agent's witness.jsonl. ``--key``,
``--cosigners``: public keys, from outside too; without them ``ledger.pub`` and ``cosigners.pub``
are believed. Exit code 0: everything holds; 1: something does not; 2: usage. See docs/ledger.md.
"""

import argparse
import hashlib
import json
import sys
from binascii import a2b_base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

CONTEXT, KEY_CONTEXT = b"pgwarden ledger head v1\n", b"pgwarden ledger key v1\n"
COSIGN_CONTEXT = b"pgwarden ledger cosignature v1\n"
COSIGNED, COSIGNERS, AGENT, ZEROS = "cosignatures.jsonl", "cosigners.pub", "agent:", "0" * 64
REPLACED = "signed by a key after it was replaced"
BAD = (ValueError, TypeError, KeyError, AttributeError, RecursionError)  # of hostile JSON
Fields = dict[str, Any]
Lines = Sequence[bytes]
Keys = dict[str, Ed25519PublicKey]  # by id; those of agents, which sign no head, by AGENT and id
File = Path | None
Segment = Callable[[str], tuple[str, int] | None]  # a file's SHA-256 and size, if it is there


@dataclass
class Report:
    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    entries: int = 0
    signed: int = 0  # so many entries are under a signed head
    cosigned: dict[str, int] = field(default_factory=dict)  # so many, by agent
    segments: int = 0
    keys: Keys = field(default_factory=dict)  # that are trusted
    until: dict[str, int] = field(default_factory=dict)  # so many entries, if it was replaced


def canonical(fields: Any) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def roots_at(lines: Lines, sizes: set[int]) -> dict[int, str]:
    """The tree's root, hex, when it had each of these sizes."""
    peaks, found = list[bytes](), {0: sha().hex()}
    for size, line in enumerate(lines, 1):
        peaks.append(sha(b"\0", line))
        for _ in range((size & -size).bit_length() - 1):
            peaks[-2:] = [sha(b"\1", *peaks[-2:])]
        if size in sizes:
            found[size] = reduce(lambda right, left: sha(b"\1", left, right), peaks[::-1]).hex()
    return found


def need(holds: bool, why: str) -> None:
    if not holds:
        raise ValueError(why)


def included(leaf: bytes, index: int, size: int, path: Sequence[str], root: str) -> bool:
    """RFC 6962: whether this leaf hash is number ``index`` of the tree. Path and root are hex."""
    is_leaf, turns = 0 <= index < size, list[bool]()  # from the root down; the path: lowest first
    while size > 1:
        left = 1 << (size - 1).bit_length() - 1
        turns.append(index >= left)
        index, size = (index - left, size - left) if index >= left else (index, left)
    for is_right, other in zip(reversed(turns), map(bytes.fromhex, path), strict=False):
        leaf = sha(b"\1", other, leaf) if is_right else sha(b"\1", leaf, other)
    return is_leaf and len(turns) == len(path) and leaf.hex() == root


def public_keys(pems: bytes, whose: str = "") -> Keys:
    keys: Keys = {}  # ValueError where one is not Ed25519 in PEM (RFC 8410)
    for pem in pems.split(b"-----BEGIN")[1:]:
        der = a2b_base64(b"".join(pem.split(b"-----")[1:2]))
        need(der[:12].hex() == "302a300506032b6570032100", "a public key is not Ed25519")
        key = Ed25519PublicKey.from_public_bytes(der[12:])
        keys[whose + hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]] = key
    return keys


def signed_head(line: bytes, keys: Keys, context: bytes = CONTEXT, whose: str = "") -> Fields:
    """A head, or what an agent signed with one in it. ValueError: why it cannot be believed."""
    try:
        fields = json.loads(line)
        signature, key_id = bytes.fromhex(fields.pop("sig")), str(fields["key"])
        head = fields["head"] if whose else fields
        fits = type(head["size"]) is int and head["size"] >= 0 and type(head["root"]) is str
        need(canonical({**fields, "sig": signature.hex()}) == line and fits and "prev" in head, "")
    except BAD:
        raise ValueError("not a head") from None
    need(len(key_id) == 16 and whose + key_id in keys, "signed by a key that is not trusted")
    try:
        keys[whose + key_id].verify(signature, context + canonical(fields))
    except InvalidSignature:
        raise ValueError("its signature is not valid") from None
    return dict(fields)


def succeed(said: Fields, keys: Keys, until: dict[str, int]) -> None:
    key, size = signed_head(canonical(said), keys, KEY_CONTEXT)["key"], said["size"]
    need(until.setdefault(key, size) == size, "a key names two others")  # it ends with the first
    keys |= public_keys(said["next"].encode())


def check(ledger: bytes, heads: bytes, segment: Segment, keys: Keys, told: bytes = b"") -> Report:
    """``told``: heads that were kept or signed elsewhere; ``keys``: those that are trusted."""
    (*lines, rest), (*ours, torn) = ledger.split(b"\n"), heads.split(b"\n")
    report = Report(entries=len(lines), keys=dict(keys))
    if rest or torn:
        report.notices.append("a last line is half written, as by a crash: it does not count")
    _check_segments(_entries(lines, report), segment, report)
    _check_heads(lines, ours, report.keys, told, report)
    return report


def _entries(lines: Lines, report: Report) -> list[Fields]:
    """The chain: each line bound to the one before."""
    entries, prev = [], ZEROS
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            claimed = entry.pop("hash")
            bound = entry["prev"] == prev and entry["seq"] == number
            content = str(entry["prev"]).encode() + canonical(entry)
            need(canonical({**entry, "hash": claimed}) == line, "")
            entries.append(entry)
        except BAD:
            report.problems.append(f"entry {number}: not a ledger entry")
            continue
        if claimed != hashlib.sha256(content).hexdigest():
            report.problems.append(f"entry {number}: its hash does not match its content")
        elif not bound:
            report.problems.append(f"entry {number}: it does not follow from the one before")
        prev = claimed
    return entries


def _check_segments(entries: Iterable[Fields], segment: Segment, report: Report) -> None:
    live: dict[str, Fields] = {}
    try:
        for entry in entries:
            gone = [live.pop(path) for path in entry["removed"] if path in live]
            rows = sum(file["rows"] for file in gone) - sum(file["rows"] for file in entry["files"])
            if len(gone) != len(entry["removed"]):
                report.problems.append(f"entry {entry['seq']}: removes what was not there")
            if entry["reason"] == "merged" and rows:
                report.problems.append(f"entry {entry['seq']}: merged into another number of rows")
            elif entry["reason"] != "merged" and gone:
                report.notices.append(f"entry {entry['seq']}: {rows} rows gone: {entry['reason']}")
            for file in entry["files"]:
                sealed = (file["sha256"], file["bytes"])
                live[str(file["path"])] = {**file, "seq": entry["seq"], "sealed": sealed}
            for note in entry.get("notes", ()):
                if note["kind"] == "ledger_key":
                    succeed(note["said"], report.keys, report.until)
                elif note["kind"] == "ledger_contradicted":
                    report.notices.append(f"entry {entry['seq']} notes: {note['problem']}")
    except BAD as error:
        report.problems.append(f"an entry is not of the form that a collector writes: {error}")
        return
    report.segments = len(live)
    for path, file in live.items():
        found = segment(path) if ".." not in path and not path.startswith("/") else None
        how = "is missing" if found is None else "is not the file that was sealed"
        if found != file["sealed"]:
            report.problems.append(f"entry {file['seq']}: {path} {how}")


def _check_heads(lines: Lines, ours: Lines, keys: Keys, outside: bytes, report: Report) -> None:
    named = [(f"head {number}", line) for number, line in enumerate(ours, 1)]
    # A torn line is what a full disk leaves outside; syslog puts its own words before a head.
    told = [line[line.find(b"{") :] for line in outside.split(b"\n") if line.endswith(b"}")]
    known, prev, believed = set(ours), ZEROS, []
    for name, line in named + [("a head from outside", line) for line in told]:
        agent = ""
        try:
            if b'"head":{' in line and name.startswith("a "):
                outer = signed_head(line, keys, COSIGN_CONTEXT, AGENT)
                agent, line = str(outer.get("agent")), canonical(outer["head"])
                name = f"a head that {agent} signed"
            head = signed_head(line, keys)
            need(head["size"] <= report.until.get(head["key"], head["size"]), REPLACED)
            believed.append((name, head))
            if agent:
                report.cosigned[agent] = max(head["size"], report.cosigned.get(agent, 0))
            if name.startswith("a ") and line not in known:
                report.problems.append(f"{name} of {head['size']} entries is not in heads.jsonl")
            elif not name.startswith("a ") and head["prev"] != prev:
                report.problems.append(f"{name}: it does not follow from the one before")
        except ValueError as error:
            report.problems.append(f"{name}: {error}")
        prev = hashlib.sha256(line).hexdigest()
    roots = roots_at(lines, {head["size"] for _, head in believed})
    for name, size, root in ((name, head["size"], head["root"]) for name, head in believed):
        if size > len(lines):
            report.problems.append(f"{name}: {size} entries signed, {len(lines)} are here")
        elif roots[size] != root:
            report.problems.append(f"{name}: the first {size} entries are not the signed")
        report.signed = max(report.signed, size if roots.get(size) == root else 0)
    if not ours:
        told_to = report.problems if keys and lines else report.notices
        told_to.append("no signed head: only the chain of hashes holds")
    elif report.signed < len(lines):
        report.notices.append(f"{len(lines) - report.signed} entries are not signed yet")


def check_proof(proof: Fields, keys: Keys, told: bytes | None = None) -> list[str]:
    """What does not hold in a proof of ``pgwarden ledger prove``; empty: it is proven."""
    try:
        line, entry = canonical(proof["head"]), proof["entry"].encode()
        need(told is None or line in told.split(b"\n"), "its head is not among those given")
        keys, until = dict(keys), dict[str, int]()  # an older one leads to that of the head
        for said in proof.get("keys", ()):
            succeed(said, keys, until)
        head = signed_head(line, keys)
        need(head["size"] <= until.get(head["key"], head["size"]), REPLACED)
        place = proof["index"], head["size"], proof["path"], head["root"]
        need(included(sha(b"\0", entry), *place), "the entry is not in the signed tree")
        if "event" in proof:
            event, sealed = proof["event"].encode(), json.loads(entry)["events"]
            place = proof["event_index"], sealed["count"], proof["event_path"], sealed["root"]
            need(included(sha(b"\0", event), *place), "the event is not in the entry")
    except BAD as error:
        return [f"not a proof that convinces: {error}"]
    return []


def check_folder(data: Path, heads: File = None, key: File = None, agents: File = None) -> Report:
    """Files from outside: heads, the key, keys of agents. Raises OSError and ValueError."""

    def read(name: str) -> bytes:
        return (data / name).read_bytes() if (data / name).exists() else b""

    def segment(path: str) -> tuple[str, int] | None:
        if not (data / path).is_file():
            return None
        with (data / path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()

    # Outside heads, then ours, then the ledger: a living collector adds to them the other way.
    told = (heads.read_bytes() if heads else b"") + b"\n" + read(COSIGNED)
    ours, keys = read("heads.jsonl"), public_keys(key.read_bytes() if key else read("ledger.pub"))
    signers = public_keys(agents.read_bytes() if agents else read(COSIGNERS), AGENT)
    report = check(read("ledger.jsonl"), ours, segment, keys | signers, told)
    if agents and len(report.cosigned) < len(signers):
        report.problems.append(f"{len(report.cosigned)} of {len(signers)} agents signed a head")
    return report


def check_proofs(proofs: Path, key: Path, heads: File = None) -> Report:
    """One proof a line; what is proven is among the notices. Raises OSError and ValueError."""
    report, keys = Report(), public_keys(key.read_bytes())
    for proof in map(json.loads, proofs.read_text().splitlines()):
        problems = check_proof(proof, keys, heads.read_bytes() if heads else None)
        report.problems += problems
        report.notices += [] if problems else [f"proven: {proof.get('event') or proof['entry']}"]
    report.problems += [] if report.problems or report.notices else [f"{proofs} holds no proof"]
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data_dir", type=Path, nargs="?")
    for option in ("--heads", "--key", "--cosigners", "--proof"):
        parser.add_argument(option, type=Path)
    options = parser.parse_args()
    if not options.data_dir and not (options.proof and options.key):
        parser.error("a data directory is needed, or --proof and --key")
    try:
        if options.proof:
            key = options.key or options.data_dir / "ledger.pub"
            report = check_proofs(options.proof, key, options.heads)
        else:
            report = check_folder(options.data_dir, options.heads, options.key, options.cosigners)
            print(f"{report.entries} entries ({report.signed} signed), {report.segments} segments")
            report.notices += [f"{who} signed {n} entries" for who, n in report.cosigned.items()]
    except (OSError, *BAD) as error:
        raise SystemExit(f"✗ {error}") from None
    told = [f"! {notice}" for notice in report.notices] + [f"✗ {each}" for each in report.problems]
    print(*told, "✗ it does not hold" if report.problems else "✓ everything holds", sep="\n")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
