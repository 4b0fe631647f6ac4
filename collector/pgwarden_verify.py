"""Verify a pgwarden ledger without pgwarden: this file, Python 3.11 and ``cryptography`` suffice.

    pgwarden_verify.py (DATA_DIR | --proof FILE) [--heads FILE] [--key FILE] [--cosigners FILE]

``--heads``: kept elsewhere: a file, a syslog, an agent's witness.jsonl. ``--key``, ``--cosigners``:
public keys, from outside too. Exit code 0: everything holds; 1: not; 2: usage. See docs/ledger.md.
"""

import argparse
import hashlib
import json
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

CONTEXT, KEY_CONTEXT = b"pgwarden ledger head v1\n", b"pgwarden ledger key v1\n"
COSIGN_CONTEXT, ENTRY_CONTEXT = b"pgwarden ledger cosignature v1\n", b"pgwarden ledger entry v1\n"
COSIGNED, COSIGNERS, AGENT, ZEROS = "cosignatures.jsonl", "cosigners.pub", "agent:", "0" * 64
REPLACED, OUTSIDE = "signed by a key after it was replaced", "a head from outside"
BAD = (ValueError, TypeError, KeyError, AttributeError, RecursionError)  # of hostile JSON
Fields = dict[str, Any]
Keys = dict[str, Ed25519PublicKey]  # by id; those of agents, which sign no head, by AGENT and id
File = Path | None
Segment = Callable[[str], tuple[str, int] | None]  # a file's SHA-256 and size, if it is there


def canonical(fields: Any) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def roots_at(lines: list[bytes], sizes: set[int]) -> dict[int, str]:
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
        keys[whose + sha(der[12:]).hex()[:16]] = Ed25519PublicKey.from_public_bytes(der[12:])
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


@dataclass
class Report:
    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    entries: int = 0
    signed: int = 0  # so many entries are under a signed head
    each: bool = False  # what follows the newest head is signed too, entry by entry
    told: int = 0  # heads from outside that can be believed
    cosigned: dict[str, int] = field(default_factory=dict)  # so many, by agent and key
    segments: int = 0
    keys: Keys = field(default_factory=dict)  # that are trusted
    until: dict[str, int] = field(default_factory=dict)  # so many entries, if it was replaced

    def succeed(self, said: Fields) -> None:
        key, size = signed_head(canonical(said), self.keys, KEY_CONTEXT)["key"], said["size"]
        need(self.until.setdefault(key, size) == size, "a key names two others")  # it ends there
        self.keys |= public_keys(said["next"].encode())

    def entries_of(self, lines: list[bytes]) -> list[Fields]:
        entries, prev = [], ZEROS
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                before, prev = prev, entry.pop("hash")
                need(canonical({**entry, "hash": prev}) == line, "its form")
                entries.append({**entry, "seq": number, "gone": []})
                need(prev == sha(str(entry["prev"]).encode(), canonical(entry)).hex(), "its hash")
                need(entry["prev"] == before and entry["seq"] == number, "its place is another")
            except BAD as error:
                self.problems.append(f"entry {number} is not sound: {error}")
        return entries

    def check_segments(self, entries: list[Fields], segment: Segment) -> None:
        live: dict[str, Fields] = {}
        for name, entry in ((f"entry {each['seq']}", each) for each in entries):
            try:
                gone = entry["gone"] = [live.pop(path) for path in entry["removed"] if path in live]
                rows = sum(f["rows"] for f in gone) - sum(f["rows"] for f in entry["files"])
                for note in entry.get("notes", ()):
                    if note["kind"] == "ledger_key":
                        self.succeed(note["said"])
                    elif note["kind"] == "ledger_contradicted":
                        self.notices.append(f"{name} notes: {note['problem']}")
                if gone and entry["reason"] != "merged":
                    self.notices.append(f"{name}: {rows} rows gone: {entry['reason']}")
                need(len(gone) == len(entry["removed"]), "removes what was not there")
                need(entry["reason"] != "merged" or not rows, "merged into another number of rows")
                for file in entry["files"]:
                    path, sealed = str(file["path"]), (file["sha256"], file["bytes"])
                    need(path not in live, f"{path} is there already")
                    live[path] = {**file, "path": path, "name": name, "sealed": sealed}
            except BAD as error:
                why = f"{name}: it is not of the form that a collector writes: {error}"
                self.problems.append(why)
        self.segments = len(live)
        for path, file in live.items():
            if (found := segment(path)) != file["sealed"]:
                how = "is not the file that was sealed" if found else "is missing"
                self.problems.append(f"{file['name']}: {path} {how}")

    def check_heads(self, lines: list[bytes], named: Sequence[tuple[str, bytes]]) -> None:
        known, prev = {line for name, line in named if name[0] == "h"}, ZEROS
        sizes = re.findall(rb'"size":(\d{1,15})', b"".join(line for _, line in named))
        roots = roots_at(lines, set(map(int, sizes)))
        for name, line in named:
            try:
                if b'"head":{' in line and line not in known:
                    by = signed_head(line, self.keys, COSIGN_CONTEXT, AGENT)
                    line, name = canonical(by["head"]), f"{name} that {by.get('agent')} signed"
                    self.cosigned[f"{by.get('agent')} ({by['key']})"] = by["head"]["size"]
                head = signed_head(line, self.keys)
                size, root = head["size"], head["root"]
                need(size <= self.until.get(head["key"], size), REPLACED)
                need(size <= len(lines), f"{size} entries signed, {len(lines)} are here")
                need(roots.get(size) == root, f"the first {size} entries are not the signed")
                if size >= self.signed:
                    self.signed, self.each = size, head.get("entries") == "signed"
                self.told += name.startswith(OUTSIDE)
                need(line in known, f"it has {size} entries and is not in heads.jsonl")
                need(name[0] != "h" or head["prev"] == prev, "it does not follow the one before")
            except ValueError as error:
                self.problems.append(f"{name}: {error}")
            prev = sha(line).hex()
        if not known:
            why = "no signed head: only the chain of hashes holds"
            (self.problems if self.keys and lines else self.notices).append(why)
        elif self.signed < len(lines):
            self.notices.append(f"{len(lines) - self.signed} entries are not signed yet")

    def check_rest(self, entries: list[Fields], segment: Segment) -> None:
        for entry in (each for each in entries if each["seq"] > self.signed):
            changed = [f for f in entry.pop("gone") if segment(f["path"]) != f["sealed"]]
            try:
                *notes, own = entry["notes"]
                said = sha(entry["prev"].encode(), canonical({**entry, "notes": notes}))
                need(own["kind"] == "signed" and AGENT not in own["key"], "")
                need(entry["seq"] <= self.until.get(own["key"], entry["seq"]), REPLACED)
                self.keys[own["key"]].verify(a2b_base64(own["sig"]), ENTRY_CONTEXT + said)
            except (InvalidSignature, *BAD):
                if self.each or changed:  # earlier releases signed heads alone
                    self.problems.append(f"entry {entry['seq']}: nobody signed it")


def check(ledger: bytes, ours: bytes, segment: Segment, keys: Keys, *told: bytes) -> Report:
    """Heads: ``ours``, and ``told``: elsewhere, by agents here; ``keys``: that are trusted."""
    (*lines, rest), (*heads, torn) = ledger.split(b"\n"), ours.split(b"\n")
    report = Report(entries=len(lines), keys=dict(keys))
    report.notices += ["a last line is half written, as by a crash"] if rest or torn else []
    report.check_segments(entries := report.entries_of(lines), segment)
    named = [(f"head {number}", line) for number, line in enumerate(heads, 1)]
    for place, data in zip((OUTSIDE, "a head here"), told, strict=False):
        named += [(place, line) for line in _heads_in(data)]
    report.check_heads(lines, named)
    report.check_rest(entries, segment)
    return report


def _heads_in(data: bytes) -> list[bytes]:
    """A torn line is what a full disk leaves; syslog puts words of its own before a head."""
    lines = [line.strip() for line in data.split(b"\n") if line.strip().endswith(b"}")]
    return [line[max(line.rfind(b'{"agent":'), line.find(b"{")) :] for line in lines]


def check_proof(proof: Fields, keys: Keys, told: bytes | None = None) -> list[str]:
    """What does not hold in a proof of ``pgwarden ledger prove``; empty: it is proven."""
    try:
        line, entry = canonical(proof["head"]), proof["entry"].encode()
        need(told is None or line in _heads_in(told), "its head is not among those given")
        known = Report(keys=dict(keys))  # an older one leads to that of the head
        for said in proof.get("keys", ()):
            known.succeed(said)
        head = signed_head(line, known.keys)
        need(head["size"] <= known.until.get(head["key"], head["size"]), REPLACED)
        place = proof["index"], head["size"], proof["path"], head["root"]
        need(included(sha(b"\0", entry), *place), "the entry is not in the signed tree")
        if "event" in proof:
            event, said = proof["event"].encode(), json.loads(entry)
            roots = {n["table"]: n for n in said.get("notes", ()) if n["kind"] == "events"}
            sealed = roots.get(proof.get("event_table"), said["events"])
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
        if ".." in path or path.startswith("/") or not (data / path).is_file():
            return None
        with (data / path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()

    told, here = heads.read_bytes() if heads else b"", read(COSIGNED)  # first: they grow last
    ours, keys = read("heads.jsonl"), public_keys(key.read_bytes() if key else read("ledger.pub"))
    signers = public_keys(agents.read_bytes() if agents else read(COSIGNERS), AGENT)
    need(bool(keys or not key) and bool(signers or not agents), "a file of public keys holds none")
    report = check((data / "ledger.jsonl").read_bytes(), ours, segment, keys | signers, told, here)
    report.problems += [f"{heads}: no head in it holds"] if heads and not report.told else []
    signed = {AGENT + who[-17:-1] for who in report.cosigned}
    for each in sorted(signers.keys() - signed) if agents else ():
        pem = b2a_base64(signers[each].public_bytes_raw(), newline=False).decode()
        report.problems.append(f"{agents}: no head of this is signed by the key ...{pem} ({each})")
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data_dir", type=Path, nargs="?")
    for option in ("--heads", "--key", "--cosigners", "--proof"):
        parser.add_argument(option, type=Path)
    args = parser.parse_args()
    if not args.data_dir and not (args.proof and args.key):
        parser.error("a data directory is needed, or --proof and --key")
    try:
        if args.proof:
            report, told = Report(), args.heads.read_bytes() if args.heads else None
            keys = public_keys((args.key or args.data_dir / "ledger.pub").read_bytes())
            for proof in map(json.loads, args.proof.read_text().splitlines()):
                report.problems += (bad := check_proof(proof, keys, told))
                report.notices += [] if bad else [f"proven: {proof.get('event') or proof['entry']}"]
            need(bool(report.problems + report.notices), f"{args.proof} holds no proof")
        else:
            report = check_folder(args.data_dir, args.heads, args.key, args.cosigners)
            covered = f"{report.entries} entries ({report.signed} signed)"
            print(f"{covered}, {report.segments} segments, {report.told} heads from outside")
            report.notices += [f"{who} signed {n} entries" for who, n in report.cosigned.items()]
    except (OSError, *BAD) as error:
        raise SystemExit(f"✗ {error}") from None
    out = [f"! {each}" for each in report.notices] + [f"✗ {each}" for each in report.problems]
    out.append("✗ it does not hold" if report.problems else "✓ everything holds")
    plain = ["".join(c if c.isprintable() else ascii(c)[1:-1] for c in text) for text in out]
    print(*plain, sep="\n")  # no word of a hostile ledger moves the cursor
    return 1 if report.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
